"""One view as a Cassandra table: its CQL, and rows to and from columns. Nothing here talks to a server.

A row's key is text (``ids.key_text``), so that 5 and "5" are two. Cassandra's timestamps are milliseconds, so a
window's exact bounds stand beside them: ``drtc_start`` is part of the primary key, ``drtc_end`` a column.
"""
from __future__ import annotations

import math
from typing import Any, Iterator, NamedTuple, Sequence
from zlib import crc32

import msgspec

from ..plain import LEAST, MOST
from .base import Id, Key, Row, View
from .ids import key_text, text_key

_TYPES = {"integer": "bigint", "real": "double", "text": "text", "json": "text", "bytes": "blob"}
_SELECT = 64  # most rows of one SELECT
_EMPTY = '""'  # the key "", which Cassandra does not take, and no other key's text
_YEAR_1, _YEAR_9999 = -62_135_596_800_000, 253_402_300_799_999  # milliseconds: what Python's datetime can read

encoded = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Call(NamedTuple):
    """One statement and its values; ``id`` says in errors which record it is about."""

    cql: str
    values: Sequence[Any] = ()
    id: Id | None = None


class Table:
    """``buckets`` 0: a partition for each key; else so many partitions, and each holds many keys."""

    def __init__(self, keyspace: str, view: View, buckets: int = 0) -> None:
        self.name = view.name
        self._windowed = view.windowed
        self._buckets = buckets
        self._integers = [at for at, column in enumerate(view.columns) if column.kind == "integer"]
        self._json = [at for at, column in enumerate(view.columns) if column.kind == "json"]
        named = quoted(keyspace) + "." + quoted(view.name)
        partition = "drtc_bucket" if buckets else "key"
        clustering = [*(["key"] if buckets else []), *(["window_start", "drtc_start"] if view.windowed else [])]
        changing = [*(["window_end", "drtc_end"] if view.windowed else []),
                    *(quoted(column.name) for column in view.columns), "drtc_version", "drtc_state"]
        ids = [partition, *clustering]
        same = " AND ".join(f"{name} = ?" for name in ids)
        window = {"window_start": "timestamp", "drtc_start": "double", "window_end": "timestamp", "drtc_end": "double"}
        own = {"key": "text", **(window if view.windowed else {}), "drtc_version": "bigint", "drtc_state": "blob"}
        #: the type of each column, as Cassandra tells them
        self.types = {**({"drtc_bucket": "int"} if buckets else {}), **own,
                      **{column.name: _TYPES[column.kind] for column in view.columns}}
        #: what each column holds, as drtc remembers it: finer than the types
        self.kinds = {**self.types, **{column.name: column.kind for column in view.columns},
                      **({"drtc_bucket": f"of {buckets}"} if buckets else {})}
        self.create = (f"CREATE TABLE IF NOT EXISTS {named} ("
                       + "".join(f"{quoted(name)} {type}, " for name, type in self.types.items())
                       + f"PRIMARY KEY ({', '.join(ids)})) WITH id = ")
        self.drop = f"DROP TABLE IF EXISTS {named}"
        self._save = (f"UPDATE {named} SET {', '.join(f'{name} = ?' for name in changing)} WHERE {same}"
                      " IF drtc_version = ?")  # null where nothing is there
        self._delete = f"DELETE FROM {named} WHERE {same} IF EXISTS"
        self._load = (f"SELECT key, {'drtc_start, ' if view.windowed else ''}"
                      f"{', '.join(name for name in changing if name != 'window_end')} FROM {named}"
                      f" WHERE {partition} IN ?" + (f" AND ({', '.join(clustering)}) IN ?" if clustering else ""))
        self._ids = f"SELECT key{', drtc_start' if view.windowed else ''} FROM {named}"
        self._ids_of_key = f"{self._ids} WHERE {'drtc_bucket = ? AND ' if buckets else ''}key = ?"

    def partition(self, id: Id) -> Any:
        """What places the row: rows of one partition can be saved together."""
        text = _text(id.key)
        return crc32(text.encode()) % self._buckets if self._buckets else text

    def save(self, row: Row, unset: Any) -> Call:
        """Its answer begins with whether the row still had its version. ``unset`` stands for: leave it as it is."""
        values = [*row.values]
        for at in self._integers:
            if type(values[at]) is float:  # so an aggregate shows a sum beyond 64 bits: the nearest bigint there is
                values[at] = int(min(max(values[at], LEAST), MOST))
        for at in self._json:
            if values[at] is not None:
                values[at] = encoded(values[at]).decode()
        if self._windowed:
            values[:0] = [None if row.end is None else _milliseconds(row.end), row.end]
        if row.version == 0:  # a null would be a tombstone
            values = [unset if value is None else value for value in values]
        return Call(self._save, (*values, row.next, row.hidden, *self._place(row.id), row.version or None),
                    row.id)

    def delete(self, id: Id) -> Call:
        return Call(self._delete, self._place(id), id)

    def loads(self, ids: Sequence[Id]) -> Iterator[Call]:
        """SELECTs that together find exactly ``ids``, few of them; their answers go through ``row``."""
        by_partition: dict[Any, list[Any]] = {}
        by_rest: dict[Any, list[Any]] = {}
        for id in ids:
            partition, *rest = self._place(id)
            by_partition.setdefault(partition, []).append(tuple(rest))
            by_rest.setdefault(tuple(rest), []).append(partition)
        if len(by_rest) <= len(by_partition):
            for rest, partitions in by_rest.items():
                for part in _parts(partitions):
                    yield Call(self._load, (part, [rest]) if rest else (part,))
        else:
            for partition, rests in by_partition.items():
                for part in _parts(rests):
                    yield Call(self._load, ([partition], part))

    def ids(self, key: Key | None) -> Call:
        """A SELECT of all ids, or of a key's; its answers go through ``id``."""
        if key is None:
            return Call(self._ids)
        text = _text(key)
        return Call(self._ids_of_key, (self.partition(Id(key)), text) if self._buckets else (text,))

    def id(self, found: Sequence[Any]) -> Id:
        return Id(text_key(found[0]), found[1] if self._windowed else None)

    def row(self, found: Sequence[Any]) -> Row:
        if self._windowed:
            key, start, end, *values, version, hidden = found
        else:
            (key, *values, version, hidden), start, end = found, None, None
        for at in self._json:
            if values[at] is not None:
                values[at] = _decode(values[at])
        return Row(Id(text_key(key), start), end, version, tuple(values), hidden)

    def versions(self, refused: Sequence[Sequence[Any]]) -> dict[Id, int]:
        """What a transaction of several rows that was refused has found: the version of each row that exists."""
        return {Id(text_key(found[2 if self._buckets else 1]), found[-2] if self._windowed else None): found[-1]
                for found in refused if len(found) > 1}

    def _place(self, id: Id) -> tuple[Any, ...]:
        """The values of the primary key's columns."""
        place: tuple[Any, ...] = (self.partition(id), _text(id.key)) if self._buckets else (_text(id.key),)
        if not self._windowed:
            return place
        if id.start is None:
            raise TypeError("a record of a windowed view needs the start of its window")
        return *place, _milliseconds(id.start), id.start + 0.0  # -0.0 is another value to Cassandra


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(key: Key) -> str:
    return key_text(key) or _EMPTY


def _milliseconds(seconds: float) -> int:
    return math.floor(max(_YEAR_1, min(seconds * 1000, _YEAR_9999)))


def _parts(values: list[Any]) -> Iterator[list[Any]]:
    for at in range(0, len(values), _SELECT):
        yield values[at:at + _SELECT]
