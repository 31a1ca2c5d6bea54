"""One view as a PostgreSQL table: its SQL, rows as arrays of columns, and back. Errors are for the client to translate.

A statement takes one array for each column, in PostgreSQL's binary form: that is three times as fast as values that
psycopg turns into arrays.
"""
from __future__ import annotations

import re
import struct
from itertools import chain
from typing import TYPE_CHECKING, Any, Callable, Iterable, Iterator, NamedTuple, Sequence

import msgspec

from ..errors import StoreError
from .base import Id, Key, Row, View
from .ids import key_text, order, text_key

if TYPE_CHECKING:
    from .postgresql_client import Client

TIMESTAMP = "timestamp with time zone"
_TYPES = {"integer": "bigint", "real": "double precision", "text": "text", "json": "json", "bytes": "bytea"}
_NAME_BYTES = 63  # PostgreSQL would drop the end of a longer name, and two views could become one table
_FILL = 50  # percent: where a page has room for the new row, an update touches no index and costs a third less
_PART_ROWS = 1000
_PART_BYTES = 32 << 20
_RECORD_BYTES = 256 << 20  # what PostgreSQL refuses is a message of 1 GiB
_LEAST, _MOST = -2 ** 63, 2 ** 63 - 1
_MICROS = 1_000_000
_EPOCH = 946_684_800 * _MICROS  # PostgreSQL counts from 2000-01-01
_EARLIEST, _LATEST = -210_866_803_200.0, 9_224_318_015_999.0  # timestamps end here; epoch seconds

# Integers by value, then strings: the order of keys that ids.key_text made text of
_INTEGER = "key ~ '^(0|-?[1-9][0-9]*)$'"
_ORDER = (f"({_INTEGER}) DESC, CASE WHEN {_INTEGER} THEN key::numeric END,"
          """ CASE WHEN key LIKE '"%' THEN substr(key, 2, length(key) - 2) ELSE key END COLLATE "C\"""")

_json = msgspec.json.Encoder().encode


class Array(NamedTuple):
    """An array in PostgreSQL's binary form, and the object id of its type."""

    oid: int
    binary: bytes


class Statement(NamedTuple):
    sql: str
    values: Sequence[Any] = ()
    prepared: bool = False  # worth it where the same is sent again and again


class Table:
    """The key is text as ``ids.key_text`` writes it, so that it keeps its type: ``5`` and ``"5"`` are two keys."""

    def __init__(self, schema: str, view: View) -> None:
        for name in (schema, view.name, *(column.name for column in view.columns)):
            if len(name.encode()) > _NAME_BYTES:
                raise StoreError(f"the view {view.name}: PostgreSQL takes names of up to {_NAME_BYTES} bytes, and"
                                 f" {name} is longer: choose a shorter one")
        self._schema, self._view = schema, view
        self._text = [at for at, column in enumerate(view.columns) if column.kind == "text"]
        self._table = f"{_quoted(schema)}.{_quoted(view.name)}"
        window = [("window_start", TIMESTAMP), ("window_end", TIMESTAMP)] if view.windowed else []
        #: name and type of each column, as PostgreSQL tells them
        self.columns = [("key", "text"), *window, *((column.name, _TYPES[column.kind]) for column in view.columns),
                        ("drtc_version", "bigint"), ("drtc_state", "bytea")]
        names = [_quoted(name) for name, _ in self.columns]
        self._ids = names[:2] if view.windowed else names[:1]
        rows, wanted = self._unnest(len(names)), self._unnest(len(self._ids))
        ids, all, its_ids = ", ".join(self._ids), ", ".join(names), ", ".join(f"its.{name}" for name in self._ids)
        same = " AND ".join(f"its.{name} = given.{name}" for name in self._ids)
        changes = ", ".join(f"{name} = given.{name}" for name in names[len(self._ids):])
        self._insert = (f"INSERT INTO {self._table} AS its ({all}) SELECT * FROM {rows}"
                        f" ON CONFLICT ({ids}) DO NOTHING RETURNING {its_ids}")
        self._update = (f"UPDATE {self._table} AS its SET {changes} FROM {rows} AS given ({all})"
                        f" WHERE {same} AND its.drtc_version = given.drtc_version - 1 RETURNING {its_ids}")
        self._load = (f"SELECT {', '.join(f'its.{name}' for name in names)} FROM {wanted} AS given ({ids})"
                      f" JOIN {self._table} AS its ON {same}")
        self._delete = f"DELETE FROM {self._table} AS its USING {wanted} AS given ({ids}) WHERE {same}"
        self.drop = f"DROP TABLE IF EXISTS {self._table}"
        #: finds the name of who may drop it
        self.owner = Statement("SELECT tableowner::text FROM pg_tables WHERE schemaname = $1 AND tablename = $2",
                               [schema, view.name])

    def columns_there(self, client: Client) -> set[tuple[str, str]]:
        """The columns of the table as it is; none where there is no table."""
        return set(client.ask(Statement(
            "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute"
            " JOIN pg_class ON pg_class.oid = attrelid JOIN pg_namespace ON pg_namespace.oid = relnamespace"
            " WHERE nspname = $1 AND relname = $2 AND attnum > 0 AND NOT attisdropped",
            [self._schema, self._view.name])))

    def create(self, client: Client) -> None:
        """Makes the table, and the schema. The caller's transaction ends with ``create`` of anybody else's done."""
        client.ask(Statement("SELECT pg_advisory_xact_lock(hashtext($1))", [f"drtc {self._table}"]))
        if self.columns_there(client):
            return
        there = Statement("SELECT 1 FROM pg_namespace WHERE nspname = $1", [self._schema])
        if not client.ask(there):
            user, database, may = client.execute("SELECT current_user, current_database(),"
                                                 " has_database_privilege(current_database(), 'CREATE')")[0]
            if not may:
                raise StoreError(f"the schema {self._schema} does not exist, and {user} may not make it: grant CREATE"
                                 f" on the database {database} to {user}, or set [store] schema to one that exists")
            client.execute(f"CREATE SCHEMA IF NOT EXISTS {_quoted(self._schema)}")
        declared = ", ".join(f"{_quoted(name)} {type}{_more(name)}" for name, type in self.columns)
        client.execute(f"CREATE TABLE {self._table} ({declared}, PRIMARY KEY ({', '.join(self._ids)}))"
                       f" WITH (fillfactor = {_FILL})")

    def saves(self, rows: Iterable[Row]) -> Iterator[Statement]:
        """Statements that return the ids of the rows that they saved. All writers lock rows in the same order."""
        ordered = sorted(rows, key=lambda row: order(row.id))
        for sql, some in ((self._update, [row for row in ordered if row.version]),
                          (self._insert, [row for row in ordered if not row.version])):
            for at in range(0, len(some), _PART_ROWS):
                yield from self._save(sql, some[at:at + _PART_ROWS])

    def load(self, ids: Sequence[Id]) -> Statement:
        return Statement(self._load, self._arrays_of_ids(ids), prepared=True)

    def delete(self, ids: Sequence[Id]) -> Statement:
        return Statement(self._delete, self._arrays_of_ids(sorted(ids, key=order)), prepared=True)

    def scan(self, key: Key | None, during: tuple[float, float] | None, limit: int | None) -> Statement:
        """The ids for ``Store.scan``, in its order."""
        values: list[Any] = []
        wheres: list[str] = []
        if key is not None:
            values.append(_escaped(key_text(key)))
            wheres.append("key = $1::text")
        if during is not None:
            begin, end = (f"to_timestamp(${len(values) + at}::double precision)" for at in (1, 2))
            values += [min(max(time, _EARLIEST), _LATEST) for time in during]
            wheres.append(f"window_end > {begin} AND (window_start < {end} OR window_start <= {begin})")
        where = f" WHERE {' AND '.join(wheres)}" if wheres else ""
        start = ", window_start" if self._view.windowed else ""
        most = "" if limit is None else f" LIMIT {limit}"
        return Statement(f"SELECT {', '.join(self._ids)} FROM {self._table}{where} ORDER BY {_ORDER}{start}{most}",
                         values)

    def id(self, found: Sequence[Any]) -> Id:
        return Id(text_key(_unescaped(found[0])), found[1] if self._view.windowed else None)

    def row(self, found: tuple[Any, ...]) -> Row:
        if self._view.windowed:
            _, _, end, *values, version, hidden = found
        else:
            _, *values, version, hidden = found
            end = None
        for at in self._text:
            if values[at] is not None:
                values[at] = _unescaped(values[at])
        return Row(self.id(found), end, version, tuple(values), hidden)

    def refused(self, rows: Sequence[Row]) -> str:
        """Which of the rows PostgreSQL has no place for, and why, where that can be told from here."""
        for row in rows:
            try:
                self._arrays([row])
            except (ValueError, TypeError, OverflowError, struct.error) as error:
                return f"the record {tuple(row.id)} of {self._view.name}: {error}"
        longest = max(rows, key=lambda row: len(str(row.id.key)), default=None)
        if longest is None:
            return ""
        size = len(str(longest.id.key).encode())
        return f"the longest key of {self._view.name} has {size} bytes and begins {str(longest.id.key)[:40]!r}"

    def _save(self, sql: str, rows: Sequence[Row]) -> Iterator[Statement]:
        arrays = self._arrays(rows)
        size = sum(len(array.binary) for array in arrays)
        if size <= _PART_BYTES:
            yield Statement(sql, arrays, prepared=True)
        elif len(rows) > 1:
            for half in (rows[:len(rows) // 2], rows[len(rows) // 2:]):
                yield from self._save(sql, half)
        elif size <= _RECORD_BYTES:
            yield Statement(sql, arrays)
        else:
            raise StoreError(f"the record {tuple(rows[0].id)} of {self._view.name} is too large for PostgreSQL: {size}"
                             f" bytes, at most {_RECORD_BYTES}: let the Job keep less of each key")

    def _arrays(self, rows: Sequence[Row]) -> list[Array]:
        columns: list[Sequence[Any]] = list(zip(*(row.values for row in rows)))
        columns += [[row.next for row in rows], [row.hidden for row in rows]]
        if self._view.windowed:
            columns.insert(0, [row.end for row in rows])
        arrays = self._arrays_of_ids([row.id for row in rows])
        return [*arrays, *(_ARRAYS[type](values) for (_, type), values in zip(self.columns[len(arrays):], columns))]

    def _arrays_of_ids(self, ids: Sequence[Id]) -> list[Array]:
        keys = _ARRAYS["text"]([key_text(id.key) for id in ids])
        return [keys, _ARRAYS[TIMESTAMP]([id.start for id in ids])] if self._view.windowed else [keys]

    def _unnest(self, count: int) -> str:
        return f"unnest({', '.join(f'${at}::{type}[]' for at, (_, type) in enumerate(self.columns[:count], 1))})"


def seconds(binary: bytes | bytearray | memoryview) -> float:
    """Epoch seconds of a timestamp in PostgreSQL's binary form."""
    micros: int = struct.unpack(">q", binary)[0] + _EPOCH
    return micros / _MICROS


def _more(name: str) -> str:
    return {"key": ' COLLATE "C" NOT NULL', "window_start": " NOT NULL", "drtc_version": " NOT NULL",
            "drtc_state": " NOT NULL"}.get(name, "")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


# --- Text: PostgreSQL's has no NUL, which stands there as the two characters ␀0; and ␀ itself as ␀␀ ---

def _escaped(text: str) -> str:
    return text.replace("␀", "␀␀").replace("\0", "␀0") if "\0" in text or "␀" in text else text


def _unescaped(text: str) -> str:
    return re.sub("␀(.)", lambda found: "\0" if found[1] == "0" else found[1], text) if "␀" in text else text


# --- Arrays: one dimension, whether there are NULLs, the elements' type, how many, the lower bound; then each with its
# length before it ---

_NULL = b"\xff\xff\xff\xff"


def _head(element: int, count: int, nulls: bool) -> bytes:
    return struct.pack(">iiIii", 1, nulls, element, count, 1)


def _varying(oid: int, element: int, plain: Callable[[Any], bytes]) -> Callable[[Sequence[Any]], Array]:
    pack = struct.Struct(">i").pack

    def array(values: Sequence[Any]) -> Array:
        items = [None if value is None else plain(value) for value in values]
        body = [part for item in items for part in ((_NULL,) if item is None else (pack(len(item)), item))]
        return Array(oid, b"".join([_head(element, len(items), None in items), *body]))

    return array


def _fixed(oid: int, element: int, letter: str, plain: Callable[[Any], Any]) -> Callable[[Sequence[Any]], Array]:
    """Of numbers of eight bytes; ``plain`` makes one of a value that is none."""
    single = struct.Struct(f">i{letter}").pack

    def array(values: Sequence[Any]) -> Array:
        try:
            flat = chain.from_iterable(zip((8,) * len(values), values))
            return Array(oid, _head(element, len(values), False) + struct.pack(f">{f'i{letter}' * len(values)}", *flat))
        except struct.error:  # something is no such number: one by one
            body = [_NULL if value is None else single(8, plain(value)) for value in values]
            return Array(oid, b"".join([_head(element, len(values), None in values), *body]))

    return array


def _integer(value: Any) -> Any:
    """What an aggregate shows for a sum beyond 64 bits is a float: the nearest number that a bigint can be."""
    return int(min(max(value, _LEAST), _MOST)) if type(value) is float else value


def _micros(time: float) -> int:
    if not _EARLIEST <= time <= _LATEST or (micros := round(time * _MICROS)) / _MICROS != time:
        raise ValueError(f"PostgreSQL has no timestamp for {time!r}: windows begin and end at whole microseconds,"
                         " in the years -4712 to 294276")
    return micros - _EPOCH


_timestamps = _fixed(1185, 1184, "q", _integer)
_ARRAYS: dict[str, Callable[[Sequence[Any]], Array]] = {
    "bigint": _fixed(1016, 20, "q", _integer),
    "double precision": _fixed(1022, 701, "d", float),
    "text": _varying(1009, 25, lambda text: _escaped(text).encode()),
    "json": _varying(199, 114, _json),
    "bytea": _varying(1001, 17, lambda value: value),
    TIMESTAMP: lambda times: _timestamps([None if time is None else _micros(time) for time in times]),
}
