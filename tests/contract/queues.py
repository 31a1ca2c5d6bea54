"""The queues on disk that the overflow suite runs against: each type in each mode."""
from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from drtc.overflow import NAMES, open_overflow
from drtc.overflow.base import Overflow

MIB = 1 << 20


@dataclass(frozen=True)
class Queue:
    """One directory, and how it is opened."""

    kind: str
    durable: bool
    base: Path
    disk_bytes: int = 64 * MIB
    name: str = "coordinator-1"

    def open(self, **others: object) -> Overflow:
        queue = replace(self, **others)  # type: ignore[arg-type]
        return open_overflow(queue.kind, self.base / "overflow", queue.disk_bytes, queue.durable, queue.name)

    @property
    def root(self) -> Path:
        return self.base / "overflow" / self.name

    @property
    def file(self) -> Path:
        return self.root / "queue" / {"diskcache": "cache.db", "sqlite": "queue.db"}[self.kind]

    def run(self, diskcache: str, sqlite: str, *values: object) -> None:
        """A statement from outside, for a queue that no one has open (or a diskcache)."""
        with closing(sqlite3.connect(self.file)) as connection, connection:
            connection.execute(diskcache if self.kind == "diskcache" else sqlite, values)


#: type and mode
ALL = [(kind, durable) for kind in sorted(NAMES) for durable in (False, True)]


def label(kind: str, durable: bool) -> str:
    return f"{kind}-{'durable' if durable else 'cache'}"


def item(number: int, size: int = 1000) -> bytes:
    """Bytes that are found again in a file, and are no other item's."""
    return (b"<%d>" % number * size)[:size]
