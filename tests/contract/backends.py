"""The stores that the contract suite runs against. A new one needs a function here that yields a ``Backend``.

The function raises ``tests.services.Absent`` where its server cannot be had.
"""
from __future__ import annotations

import sqlite3
import time
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, TypeVar
from uuid import uuid4

import pytest

from drtc.errors import StoreUnavailable
from drtc.settings import settings_of
from drtc.stores import open_store, settings_class
from drtc.stores.base import Store
from drtc.stores.memory import content, forget
from drtc.values import parse

from ..services import (
    Aerospike, Cassandra, Elasticsearch, MongoDB, OpenSearch, PostgreSQL, Redis, Servers, Service)
from ..services.opensearch import Search
from ..services.redis import RedisCluster


Result = TypeVar("Result")


@dataclass(frozen=True)
class Backend:
    """One store, empty, whose place no other test has."""

    section: Mapping[str, str]  # [store], as it stands in an INI file
    base: Path
    unavailable: Callable[[], AbstractContextManager[None]]  # while it lasts, the store takes no saves
    impatient: Mapping[str, str] = field(default_factory=dict)  # more for a store that gives up waiting soon
    shared: bool = True  # other processes can open it
    server: Service | None = None  # what runs it, to be killed, frozen and started again
    loses: str = ""  # what kill -9 of the server takes away of what was stored, in words; "": nothing

    @property
    def settings(self) -> Any:
        return made(self.section)

    def open(self, **more: str) -> Store:
        return open_store(made({**self.section, **more}), self.base)


def made(section: Mapping[str, str]) -> Any:
    """The settings that an INI file with this section gives."""
    cls = settings_class(section["type"])
    hints = {each.key: each for each in settings_of(cls)}
    return cls(**{hints[key].attribute: parse(text, hints[key].hint) for key, text in section.items() if key != "type"})


@contextmanager
def memory(directory: Path, servers: Servers) -> Iterator[Backend]:
    name = uuid4().hex

    @contextmanager
    def unavailable() -> Iterator[None]:
        content(name).unavailable = "switched off"
        try:
            yield
        finally:
            content(name).unavailable = ""

    yield Backend({"type": "memory", "name": name}, directory, unavailable, shared=False)
    forget(name)


@contextmanager
def sqlite(directory: Path, servers: Servers) -> Iterator[Backend]:
    @contextmanager
    def unavailable() -> Iterator[None]:
        other = sqlite3.connect(directory / "results.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.close()

    yield Backend({"type": "sqlite", "path": "results.db"}, directory, unavailable, {"busy_seconds": "0.1"})


@contextmanager
def aerospike(directory: Path, servers: Servers) -> Iterator[Backend]:
    server = servers.get(Aerospike)
    with server.place() as prefix:
        yield Backend({"type": "aerospike", "hosts": server.address, "namespace": server.namespace, "prefix": prefix},
                      directory, server.full, {"timeout": "1"}, server=server, loses="about its last second")


@contextmanager
def redis(directory: Path, servers: Servers) -> Iterator[Backend]:
    with _redis(directory, servers.get(Redis), "redis") as found:
        yield found


@contextmanager
def redis_cluster(directory: Path, servers: Servers) -> Iterator[Backend]:
    with _redis(directory, servers.get(RedisCluster), "redis+cluster") as found:
        yield found


@contextmanager
def _redis(directory: Path, server: Redis, scheme: str) -> Iterator[Backend]:
    """A prefix of its own in a server that all tests share."""
    prefix = f"test-{uuid4().hex}:"

    @contextmanager
    def unavailable() -> Iterator[None]:
        server.configure(maxmemory=1)
        try:
            yield
        finally:
            server.configure(maxmemory=0)

    yield Backend({"type": "redis", "url": f"{scheme}://{server.address}", "prefix": prefix}, directory, unavailable,
                  server=server)
    server.wipe(prefix)


@contextmanager
def cassandra(directory: Path, servers: Servers) -> Iterator[Backend]:
    server = servers.get(Cassandra)

    @contextmanager
    def unavailable() -> Iterator[None]:
        server.kill()  # a frozen one would do, later, what it was asked meanwhile
        try:
            yield
        finally:
            server.start()

    with server.keyspace() as keyspace:
        yield Backend({"type": "cassandra", "hosts": server.address, "keyspace": keyspace, "replication": "1",
                       "user": server.user, "password": server.password, "timeout": "20"}, directory,
                      unavailable, {"timeout": "2"}, server=server)


@contextmanager
def search(type: str, kind: type[Search], directory: Path, servers: Servers) -> Iterator[Backend]:
    """Elasticsearch or OpenSearch, with indices of its own prefix."""
    server = servers.get(kind)
    prefix = f"test-{uuid4().hex}-"

    @contextmanager
    def unavailable() -> Iterator[None]:
        block = {"index.blocks.write": True}
        assert server.ask("PUT", f"/{prefix}*/_settings", block)[0] == 200
        try:
            yield
        finally:
            assert server.ask("PUT", f"/{prefix}*/_settings", {name: None for name in block})[0] == 200

    try:
        yield Backend({"type": type, "hosts": f"http://{server.address}", "prefix": prefix, "replicas": "0"}, directory,
                      unavailable, server=server)
    finally:
        server.remove(prefix)


@contextmanager
def elasticsearch(directory: Path, servers: Servers) -> Iterator[Backend]:
    with search("elasticsearch", Elasticsearch, directory, servers) as backend:
        yield backend


@contextmanager
def opensearch(directory: Path, servers: Servers) -> Iterator[Backend]:
    with search("opensearch", OpenSearch, directory, servers) as backend:
        yield backend


@contextmanager
def postgresql(directory: Path, servers: Servers) -> Iterator[Backend]:
    server = servers.get(PostgreSQL)
    with server.database() as url:
        name = url.rpartition("/")[2]

        @contextmanager
        def unavailable() -> Iterator[None]:
            with server.admin() as connection:
                connection.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 0".encode())
                connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
                try:
                    yield
                finally:
                    connection.execute(f"ALTER DATABASE {name} CONNECTION LIMIT -1".encode())

        yield Backend({"type": "postgresql", "url": url, "password": server.password}, directory, unavailable,
                      {"timeout": "2"}, server=server)


@contextmanager
def mongodb(directory: Path, servers: Servers) -> Iterator[Backend]:
    server = servers.get(MongoDB)
    database = f"test_{uuid4().hex}"

    @contextmanager
    def unavailable() -> Iterator[None]:
        server.kill()
        try:
            yield
        finally:
            server.start()

    try:
        yield Backend({"type": "mongodb", "url": server.url, "database": database, "timeout": "30"}, directory,
                      unavailable, {"timeout": "0.5"}, server=server)
    finally:
        with server.client() as client:
            client.drop_database(database)


BACKENDS: dict[str, Callable[[Path, Servers], AbstractContextManager[Backend]]] = {
    "aerospike": aerospike,
    "cassandra": cassandra,
    "elasticsearch": elasticsearch,
    "memory": memory,
    "mongodb": mongodb,
    "opensearch": opensearch,
    "postgresql": postgresql,
    "redis": redis,
    "redis_cluster": redis_cluster,
    "sqlite": sqlite,
}


def eventually(act: Callable[[], Result]) -> Result:
    """What the merger does: again and again while the store is not there, a minute at most."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return act()
        except StoreUnavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


#: the same code against a second and heavier server
SECOND = frozenset({"elasticsearch"})


def parameters(long: frozenset[str] = SECOND) -> list[Any]:
    """Every backend as a test's parameter; those in ``long`` only with DRTC_LONG=1."""
    return [pytest.param(name, marks=pytest.mark.long) if name in long else name for name in sorted(BACKENDS)]
