"""Rows in a SQLite table. The one connection locks the file, so that no shared memory is needed beside it."""
from __future__ import annotations

import sqlite3
from typing import Any, Iterable, Mapping

from .shelf import Shelf


class SQLiteShelf(Shelf):
    """May be passed from thread to thread, but is used by one at a time."""

    name = "queue.db"
    locking = ("locking_mode = EXCLUSIVE",)
    _connection: sqlite3.Connection | None = None

    def create(self) -> None:
        super().create()
        self.run("CREATE TABLE items (number INTEGER PRIMARY KEY, item BLOB NOT NULL)")

    def open(self) -> None:
        self._connected()

    def write(self, puts: Mapping[int, bytes], removes: Iterable[int]) -> None:
        try:
            connection = self._connected()
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("DELETE FROM items WHERE number = ?", ((number,) for number in removes))
            connection.executemany("INSERT OR REPLACE INTO items VALUES (?, ?)", puts.items())
            connection.execute("COMMIT")
        except BaseException:
            self.close()
            raise

    def get(self, number: int) -> bytes | None:
        found = self._read("SELECT item FROM items WHERE number = ?", number)
        if not found:
            return None
        (item,), = found
        if not isinstance(item, bytes):
            raise ValueError(f"it is no bytes, but of type {type(item).__name__}")
        return item

    def rows(self) -> Iterable[tuple[int, int]]:
        return self._read("SELECT number, LENGTH(item) FROM items ORDER BY number")

    def run(self, statement: str) -> None:
        try:
            self._connected().executescript(statement)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()

    def _read(self, statement: str, *values: object) -> list[Any]:
        try:
            return self._connected().execute(statement, values).fetchall()
        except BaseException:
            self.close()
            raise

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self.connect()
        return self._connection
