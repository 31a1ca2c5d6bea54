"""The stores that the contract suite runs against. A new one needs a function here that yields a ``Backend``.

The function raises ``tests.services.Absent`` where its server cannot be had.
"""
from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping
from uuid import uuid4

from drtc.settings import settings_of
from drtc.stores import open_store, settings_class
from drtc.stores.base import Store
from drtc.stores.memory import content, forget
from drtc.values import parse

from ..services import Servers, Service


@dataclass(frozen=True)
class Backend:
    """One store, empty, whose place no other test has."""

    section: Mapping[str, str]  # [store], as it stands in an INI file
    base: Path
    unavailable: Callable[[], AbstractContextManager[None]]  # while it lasts, the store takes no saves
    impatient: Mapping[str, str] = field(default_factory=dict)  # more for a store that gives up waiting soon
    shared: bool = True  # other processes can open it
    server: Service | None = None  # what runs it, to be killed, frozen and started again

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


BACKENDS: dict[str, Callable[[Path, Servers], AbstractContextManager[Backend]]] = {
    "memory": memory,
    "sqlite": sqlite,
}
