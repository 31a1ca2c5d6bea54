"""Real servers that the tests start for themselves: ``python -m tests.services install`` puts them in the cache."""
from __future__ import annotations

from .base import Absent, Broken, ByAddress, Servers, Service
from .kafka import Kafka
from .zookeeper import ZooKeeper

SERVICES: dict[str, type[Service]] = {service.name: service for service in (Kafka, ZooKeeper)}

__all__ = ["SERVICES", "Absent", "Broken", "ByAddress", "Kafka", "Servers", "Service", "ZooKeeper"]
