"""Results in a SQLite file: a table for each view, a row for each record, a column for each field.

Several processes may use the file at the same time, on one machine: its write-ahead log does not work over a network
file system. Rows are read with any SQLite tool; ``drtc_version`` and ``drtc_state`` are drtc's own.
"""
from __future__ import annotations

import os
import random
import sqlite3
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, Iterator, Literal, Sequence

from ..errors import StoreError, StoreUnavailable
from .base import Id, Key, Row, Store, View, other_columns
from .sqlite_table import Table

_PASSING = {
    sqlite3.SQLITE_BUSY: "another process is writing",
    sqlite3.SQLITE_LOCKED: "it is locked",
    sqlite3.SQLITE_PROTOCOL: "it is locked",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk does not work, or is full",
    sqlite3.SQLITE_NOMEM: "no memory is left",
}
_SPARE_BYTES = 1 << 20  # less free space than this is called full


@dataclass(frozen=True, slots=True)
class SQLiteSettings:
    #: the file; made where it is missing
    path: str
    #: full: what is stored survives a power cut; normal: a killed process only, but saves are quicker on slow disks
    synchronous: Literal["full", "normal"] = "full"
    #: seconds to wait for another process that is writing
    busy_seconds: float = 10.0


class SQLiteStore(Store):
    """May be passed from thread to thread, but is used by one at a time."""

    writers = 1  # SQLite lets one process write at a time

    def __init__(self, settings: SQLiteSettings, base: Path = Path()) -> None:
        self.survives = "a killed process and a power cut" if settings.synchronous == "full" else "a killed process"
        self._settings = settings
        self._path = Path(os.path.abspath(base / settings.path))
        self._tables: dict[View, Table] = {}
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    def open(self) -> None:
        with self._translated("open"):
            pass

    def prepare(self, view: View) -> None:
        table = self._table(view)
        with self._transaction("prepare") as connection:
            have = table.columns_there(connection)
            if not have:
                connection.execute(table.create)
            elif have != table.columns:
                changed = sorted({name for name, _ in {*have, *table.columns} - {*have} & {*table.columns}})
                raise other_columns(view, changed, str(self._path))

    def load(self, view: View, ids: Sequence[Id]) -> dict[Id, Row]:
        with self._translated("read") as connection:
            return {row.id: row for row in self._table(view).load(connection, ids)}

    def save(self, view: View, rows: Sequence[Row]) -> set[Id]:
        if not rows:
            return set()
        table = self._table(view)
        new = [row for row in rows if row.version == 0]
        old = [row for row in rows if row.version != 0]
        with self._transaction("write") as connection:
            if table.insert(connection, new) == len(new) and table.update(connection, old) == len(old):
                return set()
            # Some version had moved, which is rare: undo, find out which, and save the others
            connection.execute("ROLLBACK")
            connection.execute("BEGIN IMMEDIATE")
            there = table.versions(connection, [row.id for row in rows])
            moved = {row.id for row in rows if there.get(row.id, 0) != row.version}
            table.insert(connection, [row for row in new if row.id not in moved])
            table.update(connection, [row for row in old if row.id not in moved])
            return moved

    def scan(self, view: View, key: Key | None = None, during: tuple[float, float] | None = None,
             limit: int | None = None) -> Iterator[Row]:
        if during is not None and not view.windowed:
            return
        table = self._table(view)
        sql, values = table.scan(key, during, limit)
        with self._translated("read") as connection:
            cursor = connection.execute(sql, values)
        while True:
            with self._translated("read"):
                found = cursor.fetchmany(1000)
            if not found:
                return
            yield from map(table.row, found)

    def delete(self, view: View, ids: Iterable[Id]) -> None:
        with self._transaction("write") as connection:
            self._table(view).delete(connection, ids)

    def drop(self, view: View) -> None:
        with self._transaction("write") as connection:
            connection.execute(self._table(view).drop)

    def health(self) -> None:
        with self._transaction("write"):
            pass
        disk = os.statvfs(self._path)
        if disk.f_bavail * disk.f_frsize < _SPARE_BYTES:
            raise StoreUnavailable(f"{self._path}: the disk is full: make room on it")

    def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()

    def _table(self, view: View) -> Table:
        table = self._tables.get(view)
        if table is None:
            table = self._tables[view] = Table(view)
        return table

    @contextmanager
    def _transaction(self, doing: str) -> Iterator[sqlite3.Connection]:
        with self._translated(doing) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def _translated(self, doing: str) -> Iterator[sqlite3.Connection]:
        """The connection, for one piece of work; after an error of SQLite's the next piece gets a new one."""
        try:
            yield self._connected()
        except (sqlite3.Error, OverflowError, UnicodeEncodeError, TypeError) as error:
            self.close()
            raise self._translate(doing, error) from error

    def _connected(self) -> sqlite3.Connection:
        if self._file is not None and self._file != _identity(self._path):
            raise StoreError(f"{self._path}: the file was removed or replaced while it was in use: start drtc again")
        if self._connection is None:
            self._connection = self._connect()
            self._file = _identity(self._path)
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=self._settings.busy_seconds, isolation_level=None,
                                     check_same_thread=False)
        try:
            _write_ahead(connection, self._settings.busy_seconds)
            connection.execute(f"PRAGMA synchronous = {self._settings.synchronous}")
            connection.execute("PRAGMA cache_size = -65536")  # KiB
            connection.execute("PRAGMA wal_autocheckpoint = 8192")  # pages; fewer and longer checkpoints cost less
            connection.execute("PRAGMA journal_size_limit = 67108864")
            connection.execute("BEGIN IMMEDIATE")  # a file that may only be read is found here, not at the first save
            connection.execute("ROLLBACK")
        except BaseException:
            connection.close()
            raise
        return connection

    def _translate(self, doing: str, error: Exception) -> StoreError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _PASSING:
            return StoreUnavailable(f"{self._path}: cannot {doing} now: {_PASSING[code]} ({error})")
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
            if not self._path.parent.is_dir():
                return StoreError(f"{self._path}: there is no directory {self._path.parent}: make it,"
                                  f" or change [store] path")
            return StoreError(f"{self._path}: cannot {doing}: drtc must be allowed to write this file and its"
                              f" directory ({error})")
        if code == sqlite3.SQLITE_NOTADB:
            return StoreError(f"{self._path}: this is a file, but not a SQLite database: change [store] path")
        if code == sqlite3.SQLITE_CORRUPT:
            return StoreError(f"{self._path}: the database is damaged: restore it from a backup ({error})")
        if "no such table" in str(error):
            return StoreError(f"{self._path}: {error} (was it reset while in use?): start drtc again")
        return StoreError(f"{self._path}: cannot {doing}: {error}")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _write_ahead(connection: sqlite3.Connection, seconds: float) -> None:
    """Turns the write-ahead log on; SQLite does not wait by itself for another process that does the same."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            mode, = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            break
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.005, 0.02))
    if mode != "wal":
        raise StoreError("SQLite cannot keep a write-ahead log here (a network file system?): change [store] path")
