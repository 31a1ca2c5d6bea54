"""Where results are kept: one contract (``base``), a module for each database, found by ``[store] type``."""
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..registry import Entry, Registry

if TYPE_CHECKING:
    from .base import Store

_REGISTRY: Registry[Store] = Registry("store", __name__, {
    "aerospike": Entry("aerospike", "AerospikeSettings", "AerospikeStore"),
    "cassandra": Entry("cassandra", "CassandraSettings", "CassandraStore"),
    "elasticsearch": Entry("elasticsearch", "ElasticsearchSettings", "ElasticsearchStore"),
    "opensearch": Entry("elasticsearch", "ElasticsearchSettings", "ElasticsearchStore"),  # one protocol, two names
    "memory": Entry("memory", "MemorySettings", "MemoryStore"),
    "mongodb": Entry("mongodb", "MongoDBSettings", "MongoDBStore"),
    "postgresql": Entry("postgresql", "PostgreSQLSettings", "PostgreSQLStore"),
    "redis": Entry("redis", "RedisSettings", "RedisStore"),
    "sqlite": Entry("sqlite", "SQLiteSettings", "SQLiteStore"),
})

#: the ``type`` where none is set
DEFAULT = "aerospike"
#: the values that ``type`` can have
names = _REGISTRY.names
own_names = _REGISTRY.own_names
settings_class = _REGISTRY.settings_class
#: the store for its settings and the directory that relative paths are relative to, not opened
make_store = _REGISTRY.make


def open_store(settings: Any, base: Path) -> Store:
    """The open store for these settings; relative paths are relative to ``base``.

    Raises:
        StoreUnavailable: not now. StoreError: never with these settings.
    """
    store = make_store(settings, base)
    store.open()
    return store
