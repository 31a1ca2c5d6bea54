"""What keeps the rows of a queue, in one SQLite file: the small contract under both types, and what they share."""
from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from contextlib import closing
from pathlib import Path
from typing import Iterable, Iterator, Mapping

from ..errors import QueueError, QueueFull

PAGE_BYTES = 16384  # large items then have few pages; small ones share one
_LARGE_BYTES = 8 << 20  # a smaller file is not worth being cut short
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC,
         sqlite3.SQLITE_IOERR_TRUNCATE)  # a quota that is used up says only that the disk does not work
_PASSING = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PERM,
            sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)


class Shelf(ABC):
    """Rows of bytes by number, 0 and negative ones included. Errors are SQLite's own; see ``translate``.

    After an error the next call works with a new connection: what had not been committed is undone.
    """

    locking: tuple[str, ...] = ()  # what a connection must be told before it touches the file

    def __init__(self, path: Path, durable: bool) -> None:
        self.path = path
        # A cache's journal is in memory: of a process that died nobody reads the files. A durable one is no write-ahead
        # log: SQLite passes over a damaged end of that in silence, and with it over items that were acknowledged.
        self.journal = "persist" if durable else "memory"
        self.synchronous = 2 if durable else 0

    @abstractmethod
    def open(self) -> None:
        """Opens the file that ``create`` made, or that an earlier process left."""

    @abstractmethod
    def write(self, puts: Mapping[int, bytes], removes: Iterable[int]) -> None:
        """All of it or nothing; where the mode is durable, on disk before it returns. A row may be replaced."""

    @abstractmethod
    def get(self, number: int) -> bytes | None:
        """The row, None where there is none. Raises ValueError for a row that is no plain bytes."""

    @abstractmethod
    def rows(self) -> Iterable[tuple[int, int]]:
        """Number and size of each row, in ascending order of numbers."""

    @abstractmethod
    def close(self) -> None:
        """May be called twice."""

    def create(self) -> None:
        """Makes the file: pages of our size, and room that can be given back."""
        with closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("VACUUM")

    def check(self) -> None:
        """Raises ValueError where the file's structure is not whole; what items hold is checked when they are read."""
        with closing(self.connect()) as connection:
            found, = connection.execute("PRAGMA quick_check(1)").fetchone()
            if found != "ok":
                raise ValueError(found)

    def compact(self) -> None:
        """Gives the room of an empty queue back to the disk."""
        if self.path.stat().st_size > _LARGE_BYTES:
            self.run("PRAGMA incremental_vacuum")

    def run(self, statement: str) -> None:
        """One statement for the file as a whole."""
        with closing(self.connect()) as connection:
            connection.executescript(statement)  # execute would take one step of a vacuum: one page

    def connect(self) -> sqlite3.Connection:
        """A connection of our own to the file, which must be there."""
        connection = sqlite3.connect(f"{self.path.as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=5,
                                     check_same_thread=False)
        try:
            for pragma in (*self.locking, f"journal_mode = {self.journal}", f"synchronous = {self.synchronous}",
                           "cache_size = -8192"):
                connection.execute(f"PRAGMA {pragma}").fetchall()
        except BaseException:
            connection.close()
            raise
        return connection


def is_full(error: BaseException) -> bool:
    """Whether the disk is full, as far as the error or one behind it says so."""
    return any(_code(each) in _FULL for each in _chain(error))


def is_damage(error: BaseException) -> bool:
    """Whether it is the content of the file that is wrong, and not the circumstances."""
    return not is_full(error) and not any(_code(each) & 0xFF in _PASSING for each in _chain(error))


def translate(doing: str, path: Path, error: Exception) -> QueueError:
    """SQLite's error as one of ours."""
    if is_full(error):
        return QueueFull(f"{path}: cannot {doing}: the disk is full, or does not work ({error}): make room on it")
    if _code(error) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return QueueError(f"{path}: cannot {doing}: the file is damaged ({error}): start drtc again")
    return QueueError(f"{path}: cannot {doing}: {error}")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _code(error: BaseException) -> int:
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code
