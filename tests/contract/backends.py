"""The stores that the contract suite runs against. A new one needs a function here that yields a ``Backend``.

The function raises ``tests.services.Absent`` where its server cannot be had.
"""
from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Iterator
from uuid import uuid4

from drtc.stores import open_store
from drtc.stores.base import Store
from drtc.stores.memory import MemorySettings, content, forget
from drtc.stores.sqlite import SQLiteSettings


@dataclass(frozen=True)
class Backend:
    settings: Any
    base: Path
    unavailable: Callable[[], AbstractContextManager[None]]  # while it lasts, the store takes no saves
    impatient: Any  # settings of a store that gives up waiting soon
    shared: bool = True  # other processes can open it

    def open(self) -> Store:
        return open_store(self.settings, self.base)


@contextmanager
def memory(directory: Path) -> Iterator[Backend]:
    settings = MemorySettings(name=uuid4().hex)

    @contextmanager
    def unavailable() -> Iterator[None]:
        content(settings.name).unavailable = "switched off"
        try:
            yield
        finally:
            content(settings.name).unavailable = ""

    yield Backend(settings, directory, unavailable, settings, shared=False)
    forget(settings.name)


@contextmanager
def sqlite(directory: Path) -> Iterator[Backend]:
    settings = SQLiteSettings(path="results.db")

    @contextmanager
    def unavailable() -> Iterator[None]:
        other = sqlite3.connect(directory / settings.path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.close()

    yield Backend(settings, directory, unavailable, replace(settings, busy_seconds=0.1))


BACKENDS: dict[str, Callable[[Path], AbstractContextManager[Backend]]] = {"memory": memory, "sqlite": sqlite}
