"""Real servers that the tests start for themselves: ``python -m tests.services install`` puts them in the cache."""
from __future__ import annotations

from .aerospike import Aerospike
from .base import Absent, Broken, ByAddress, Servers, Service
from .cassandra import Cassandra
from .elasticsearch import Elasticsearch
from .kafka import Kafka
from .mongodb import MongoDB
from .opensearch import OpenSearch
from .postgresql import PostgreSQL
from .redis import Redis
from .zookeeper import ZooKeeper

SERVICES: dict[str, type[Service]] = {service.name: service for service in (
    Aerospike, Cassandra, Elasticsearch, Kafka, MongoDB, OpenSearch, PostgreSQL, Redis, ZooKeeper)}

__all__ = ["SERVICES", "Absent", "Aerospike", "Broken", "ByAddress", "Cassandra", "Elasticsearch", "Kafka", "MongoDB",
           "OpenSearch", "PostgreSQL", "Redis", "Servers", "Service", "ZooKeeper"]
