"""Rows in a diskcache.Cache, held to what a queue needs.

Left to itself diskcache evicts, keeps large values in files that it does not sync, maps the file into memory (so that
an error of the disk kills the process) and unpickles whatever it finds. Here nothing is evicted, everything is in the
database, nothing is mapped, and a value that is not plain bytes is refused both ways.
"""
from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Iterable, Mapping

from ..errors import QueueError
from .shelf import Shelf

try:
    from diskcache import Cache, Disk, Timeout
    from diskcache.core import DBNAME, DEFAULT_SETTINGS, METADATA, MODE_RAW
except ImportError as error:
    raise QueueError("overflow = diskcache needs a package: pip install 'drtc[overflow]', or set overflow = sqlite"
                     ) from error


class PlainDisk(Disk):  # type: ignore[misc]  # diskcache has no types
    """Keys are whole numbers, values are bytes in the database; nothing is pickled or unpickled, ever."""

    def put(self, key: object) -> tuple[int, bool]:
        if type(key) is not int:
            raise ValueError(f"a key of type {type(key).__name__} is refused")
        return key, True

    def get(self, key: object, raw: object) -> int:
        if type(key) is not int or not raw:
            raise ValueError("a key that is no plain number is refused")
        return key

    def store(self, value: object, read: bool, key: object = None) -> tuple[int, int, None, bytes]:
        if type(value) is not bytes or read:
            raise ValueError(f"a value of type {type(value).__name__} is refused")
        return 0, MODE_RAW, None, value

    def fetch(self, mode: int, filename: str | None, value: object, read: bool) -> bytes:
        if mode != MODE_RAW or filename is not None or type(value) is not bytes:
            raise ValueError("it is not plain bytes, and is not unpickled")
        return value


class DiskcacheShelf(Shelf):
    """One connection for each thread that uses it, of which only one does at a time."""

    name = DBNAME

    def __init__(self, path: Path, durable: bool) -> None:
        super().__init__(path, durable)
        self._cache: Any = None
        self._settings = {
            "eviction_policy": "none", "cull_limit": 0, "statistics": 0, "tag_index": 0, "size_limit": 2 ** 62,
            "disk_min_file_size": 2 ** 62, "sqlite_auto_vacuum": 2, "sqlite_cache_size": -8192,
            "sqlite_journal_mode": self.journal, "sqlite_mmap_size": 0, "sqlite_synchronous": self.synchronous,
        }

    def open(self) -> None:
        self._cache = Cache(str(self.path.parent), timeout=5, disk=PlainDisk, **self._settings)
        found = {key: getattr(self._cache, key) for key in self._settings}
        if found != self._settings or type(self._cache.disk) is not PlainDisk:
            raise QueueError(f"{self.path}: diskcache has other settings than a queue needs: {found}")

    def check(self) -> None:
        super().check()
        with closing(self.connect()) as connection:
            tables = {name for name, in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if "Settings" in tables:  # they become attributes and statements of diskcache's
                keys = {key for key, in connection.execute("SELECT key FROM Settings")}
                if keys - {*DEFAULT_SETTINGS, *METADATA}:
                    raise ValueError("it has settings that diskcache does not know")

    def write(self, puts: Mapping[int, bytes], removes: Iterable[int]) -> None:
        try:
            with self._cache.transact():
                for number in removes:
                    self._cache.delete(number)
                for number, row in puts.items():
                    self._cache.set(number, row)
        except Timeout as error:
            self._cache.close()
            raise sqlite3.OperationalError("a transaction could not be begun") from error
        except BaseException:
            self._cache.close()  # a COMMIT that fails leaves its transaction open
            raise

    def get(self, number: int) -> bytes | None:
        try:
            found: bytes | None = self._cache.get(number)
        except sqlite3.Error:
            self._cache.close()
            raise
        return found

    def rows(self) -> Iterable[tuple[int, int]]:
        with closing(self.connect()) as connection:
            found = connection.execute("SELECT key, IFNULL(LENGTH(value), 0) + (mode != 1 OR filename IS NOT NULL) "
                                       "FROM Cache ORDER BY key").fetchall()
        if any(type(key) is not int for key, _ in found):
            raise ValueError("it has a key that is no plain number")
        return found

    def close(self) -> None:
        if self._cache is not None:
            self._cache.close()
