"""One view as a SQLite table: its SQL, and rows to and from columns. Errors are SQLite's own; ``sqlite`` translates."""
from __future__ import annotations

from sqlite3 import Connection
from typing import Any, Iterable, Iterator, Sequence

import msgspec

from .base import Id, Key, Row, View

_TYPES = {"integer": "INTEGER", "real": "REAL", "text": "TEXT", "json": "JSON TEXT", "bytes": "BLOB"}
_SELECT = 512  # most ids of one SELECT

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Table:
    """The key has no type in SQL, so that it keeps its own: 5 and "5" are two keys."""

    def __init__(self, view: View) -> None:
        self._windowed = view.windowed
        self._json = [at for at, column in enumerate(view.columns) if column.kind == "json"]
        table = _quoted(view.name)
        ids = ["key", "window_start"] if view.windowed else ["key"]
        window_end = ["window_end"] if view.windowed else []
        changing = [*window_end, *(_quoted(column.name) for column in view.columns), "drtc_version", "drtc_state"]
        names = [*ids, *changing]
        same = " AND ".join(f"{name} = ?" for name in ids)
        #: name and declared type of each column, as SQLite tells them
        self.columns = [("key", ""), *((name, "NUMERIC") for name in [*ids[1:], *window_end]),
                        *((column.name, _TYPES[column.kind]) for column in view.columns),
                        ("drtc_version", "INTEGER"), ("drtc_state", "BLOB")]
        declared = [f"{_quoted(name)} {type}{' NOT NULL' if name in ids else ''}" for name, type in self.columns]
        self.create = f"CREATE TABLE {table} ({', '.join(declared)}, PRIMARY KEY ({', '.join(ids)}))"
        self.drop = f"DROP TABLE IF EXISTS {table}"
        self._table_info = f"PRAGMA table_info({table})"
        self._insert = (f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
                        f" ON CONFLICT ({', '.join(ids)}) DO NOTHING")
        self._update = (f"UPDATE {table} SET {', '.join(f'{name} = ?' for name in changing)}"
                        f" WHERE {same} AND drtc_version = ?")
        self._delete = f"DELETE FROM {table} WHERE {same}"
        self._rows = f"SELECT {', '.join(names)} FROM {table}"
        self._versions = f"SELECT {', '.join(ids)}, drtc_version FROM {table}"
        self._order = f" ORDER BY {', '.join(ids)}"

    def columns_there(self, connection: Connection) -> list[tuple[str, str]]:
        """The columns of the table as it is; none where there is no table."""
        return [(name, type) for _, name, type, *_ in connection.execute(self._table_info)]

    def insert(self, connection: Connection, rows: Sequence[Row]) -> int:
        """Adds those rows whose ids are not there; returns how many."""
        if not rows:
            return 0
        return connection.executemany(self._insert, (
            (*self._id(row.id), *self._changing(row)) for row in rows)).rowcount

    def update(self, connection: Connection, rows: Sequence[Row]) -> int:
        """Changes those rows that still have their version; returns how many."""
        if not rows:
            return 0
        return connection.executemany(self._update, (
            (*self._changing(row), *self._id(row.id), row.version) for row in rows)).rowcount

    def delete(self, connection: Connection, ids: Iterable[Id]) -> None:
        connection.executemany(self._delete, map(self._id, ids))

    def load(self, connection: Connection, ids: Sequence[Id]) -> Iterator[Row]:
        for where, values in self._wheres(ids):
            yield from map(self.row, connection.execute(self._rows + where, values))

    def versions(self, connection: Connection, ids: Sequence[Id]) -> dict[Id, int]:
        return {Id(*id): version for where, values in self._wheres(ids)
                for *id, version in connection.execute(self._versions + where, values)}

    def scan(self, key: Key | None, during: tuple[float, float] | None, limit: int | None) -> tuple[str, list[Any]]:
        """The SELECT and its values for ``Store.scan``; its rows go through ``row``."""
        wheres: list[str] = []
        values: list[Any] = []
        if key is not None:
            wheres.append("key = ?")
            values.append(key)
        if during is not None:
            wheres.append("window_end > ? AND (window_start < ? OR window_start <= ?)")
            values += [during[0], during[1], during[0]]
        where = f" WHERE {' AND '.join(wheres)}" if wheres else ""
        return f"{self._rows}{where}{self._order} LIMIT ?", [*values, -1 if limit is None else limit]

    def row(self, found: tuple[Any, ...]) -> Row:
        if self._windowed:
            key, start, end, *values, version, hidden = found
            id, end = Id(key, float(start)), None if end is None else float(end)
        else:
            key, *values, version, hidden = found
            id, end = Id(key), None
        for at in self._json:
            if values[at] is not None:
                values[at] = _decode(values[at])
        return Row(id, end, version, tuple(values), hidden)

    def _id(self, id: Id) -> tuple[Any, ...]:
        return (id.key, id.start) if self._windowed else (id.key,)

    def _changing(self, row: Row) -> list[Any]:
        values = [*row.values, row.next, row.hidden]
        for at in self._json:
            if values[at] is not None:
                values[at] = _encode(values[at]).decode()
        if self._windowed:
            values.insert(0, row.end)
        return values

    def _wheres(self, ids: Sequence[Id]) -> Iterator[tuple[str, list[Any]]]:
        """Conditions that together find exactly ``ids``, few of them: an IN for each window start, or for each key."""
        if not self._windowed:
            for keys in _parts([id.key for id in ids]):
                yield f" WHERE key IN ({', '.join('?' * len(keys))})", keys
            return
        by_start: dict[float | None, list[Any]] = {}
        by_key: dict[Key, list[Any]] = {}
        for key, start in ids:
            by_start.setdefault(start, []).append(key)
            by_key.setdefault(key, []).append(start)
        if len(by_start) <= len(by_key):
            for start, keys in by_start.items():
                for part in _parts(keys):
                    yield f" WHERE window_start = ? AND key IN ({', '.join('?' * len(part))})", [start, *part]
        else:
            for key, starts in by_key.items():
                for part in _parts(starts):
                    yield f" WHERE key = ? AND window_start IN ({', '.join('?' * len(part))})", [key, *part]


def _parts(values: list[Any]) -> Iterator[list[Any]]:
    """``values`` in parts whose lengths are few powers of two, so that SQLite prepares few statements."""
    for at in range(0, len(values), _SELECT):
        part = values[at:at + _SELECT]
        yield part + [None] * ((1 << (len(part) - 1).bit_length()) - len(part))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
