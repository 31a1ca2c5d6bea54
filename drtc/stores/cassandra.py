"""Results in Cassandra: a table for each view, made from the Job, a row for each record, a column for each field.

A save is a lightweight transaction: the server compares ``drtc_version`` and writes in one step, agreed on by a
majority of the copies. Rows of one partition go in one transaction together, all or none of them; those that are left
because another one had moved go in the next. Loads read from a majority, so they see every save that was answered.

Rows are read with cqlsh; what is named ``drtc_..`` is drtc's own, and so is the table ``drtc_views``, which gives each
view's table its id: processes that make it at the same moment, by different nodes, make the same one.
"""
from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterable, Iterator, Literal, Sequence
from uuid import NAMESPACE_OID, uuid4, uuid5

from ..errors import StoreError, StoreUnavailable
from ..values import Address, Natural, Seconds, parse_size
from .base import Id, Key, Row, Store, View, other_columns
from .cassandra_table import Call, Table, encoded, quoted
from .ids import in_order

if TYPE_CHECKING:
    from .cassandra_link import Link

_NAME = 48  # most characters of a table's or keyspace's name
_BATCH_ROWS = 100  # most rows of one transaction
_BATCH_BYTES = 1 << 20
_ROW_BYTES = 16 << 20  # max_mutation_size where the server does not tell it
_SPARE_BYTES = 64 << 10  # what a row's columns and the protocol need beside the values


@dataclass(frozen=True, slots=True)
class CassandraSettings:
    #: one or more of its nodes; the others are found through them
    hosts: tuple[Address, ...] = (Address("127.0.0.1", 9042),)
    #: where the tables are; made where it is missing
    keyspace: str = "drtc"
    #: copies of each record, `3`, or for each data center, `east:3,west:3`; read when the keyspace is made, not later
    replication: str = "3"
    #: the data center whose nodes are asked; empty: that of the first of `hosts` that answers
    local_dc: str = ""
    #: `local_serial`: a majority of `local_dc` alone decides, which is quicker with several data centers and exact
    #: only where every process of drtc has the same `local_dc`
    consistency: Literal["serial", "local_serial"] = "serial"
    #: 0: a partition for each key; else the keys of a view share so many partitions, which makes saves many times
    #: faster and lookups by key alone harder
    buckets: Natural = 0
    #: who drtc is to the servers; empty: they do not ask
    user: str = ""
    #: better set as DRTC_STORE_PASSWORD
    password: str = field(default="", repr=False, metadata={"secret": True})
    #: an answer comes within so long, or the store counts as away
    timeout: Seconds = 10.0

    def __post_init__(self) -> None:
        if not self.hosts:
            raise ValueError("hosts: must name at least one node, host:port")
        if not re.fullmatch(rf"[A-Za-z0-9_]{{1,{_NAME}}}", self.keyspace):
            raise ValueError(f"keyspace: must be at most {_NAME} letters, digits and _, not {self.keyspace!r}")
        if not re.fullmatch(r"\s*(\d+|[^:,\s]+:\d+(\s*,\s*[^:,\s]+:\d+)*)\s*", self.replication):
            raise ValueError("replication: must be a number of copies such as 3, or one for each data center such as"
                             f" east:3,west:3, not {self.replication!r}")
        if self.timeout <= 0:
            raise ValueError("timeout: must be longer than nothing")


class CassandraStore(Store):
    """Used by one thread at a time."""

    def __init__(self, settings: CassandraSettings, base: Path = Path()) -> None:
        self._settings = settings
        self._tables: dict[View, Table] = {}
        self._views = f"{quoted(settings.keyspace)}.drtc_views"
        self._row_bytes = _ROW_BYTES
        self._opened: Link | None = None

    def open(self) -> None:
        from .cassandra_link import Link

        if self._opened is None:
            self._opened = Link(self._settings)
        try:
            told = dict(self._link.ask(Call("SELECT name, value FROM system_views.settings")))
        except StoreUnavailable:
            raise
        except StoreError as error:  # older servers and those that only speak like one, or no permission
            if type(error.__cause__).__name__ not in ("InvalidRequest", "Unauthorized"):
                raise
            told = {}
        self.survives = survives(told)
        limits = ("max_mutation_size", "native_transport_max_frame_size")
        self._row_bytes = min(_size(told.get(name)) for name in limits)

    def prepare(self, view: View) -> None:
        from .cassandra_link import Missing

        if len(view.name) > _NAME:
            raise StoreError(f"{self._link.where}: the view {view.name} has a name of {len(view.name)} characters,"
                             f" Cassandra takes {_NAME}: give the Job a shorter one")
        table = self._table(view)
        try:
            found = self._registered(view)
        except Missing:
            self._make_keyspace()
            found = self._registered(view)
        if found is None:
            self._link.ask(Call(f"UPDATE {self._views} SET id = ?, columns = ? WHERE name = ? IF id = ?",
                                (uuid4(), table.kinds, view.name, None)))
            found = self._registered(view)
            if found is None:
                raise StoreUnavailable(f"{self._link.where}: the view {view.name} is being dropped")
        id, kinds = found
        self._compare(view, kinds, table.kinds)
        try:
            self._link.ask(table.ids(""))  # what can be read is there; what the schema tells may only be on its way
        except Missing:
            self._link.change(f"{table.create}{id}")
        self._compare(view, self._types(view), table.types)

    def load(self, view: View, ids: Sequence[Id]) -> dict[Id, Row]:
        table = self._table(view)
        answers = self._link.all([call] for call in table.loads(ids))
        wanted = set(ids)
        rows = (table.row(found) for answer in answers for found in answer)
        return {row.id: row for row in rows if row.id in wanted}

    def save(self, view: View, rows: Sequence[Row]) -> set[Id]:
        table = self._table(view)
        moved: set[Id] = set()
        parts = list(self._parts(table, rows))
        while parts:
            answers = self._link.all([table.save(row, self._link.unset) for row in part] for part in parts)
            again = []
            for part, answer in zip(parts, answers):
                if answer[0][0]:
                    continue
                there = table.versions(answer) if len(part) > 1 else {part[0].id: -1}
                gone = {row.id for row in part if there.get(row.id, 0) != row.version}
                if not gone:
                    raise StoreUnavailable(f"{self._link.where}: the view {view.name} changes too fast")
                moved |= gone
                if len(gone) < len(part):
                    again.append([row for row in part if row.id not in gone])
            parts = again
        return moved

    def scan(self, view: View, key: Key | None = None, during: tuple[float, float] | None = None,
             limit: int | None = None) -> Iterator[Row]:
        if during is not None and not view.windowed:
            return iter(())
        table = self._table(view)
        ids = [table.id(found) for found in self._link.ask(table.ids(key))]
        return in_order(ids, lambda bunch: self.load(view, bunch), key, during, limit)

    def delete(self, view: View, ids: Iterable[Id]) -> None:
        table = self._table(view)
        self._link.all([table.delete(id)] for id in ids)

    def drop(self, view: View) -> None:
        from .cassandra_link import Missing

        try:
            self._link.ask(Call(f"DELETE FROM {self._views} WHERE name = ? IF EXISTS", (view.name,)))
        except Missing:
            return
        self._link.change(self._table(view).drop)

    def health(self) -> None:
        # A row that no view has: whether a majority writes is what it is for
        self._link.ask(Call(f"DELETE FROM {self._views} WHERE name = ?", ("-",)))

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()

    @property
    def _link(self) -> Link:
        assert self._opened is not None, "the store is not open"
        return self._opened

    def _table(self, view: View) -> Table:
        table = self._tables.get(view)
        if table is None:
            table = self._tables[view] = Table(self._settings.keyspace, view, self._settings.buckets)
        return table

    def _make_keyspace(self) -> None:
        """Idempotent, and by any number of processes at once: a keyspace has no id, and drtc_views always this one."""
        keyspace = self._settings.keyspace
        if not self._link.ask(Call("SELECT durable_writes FROM system_schema.keyspaces WHERE keyspace_name = ?",
                                   (keyspace,))):  # who may not make one may have been given one
            self._link.change(f"CREATE KEYSPACE IF NOT EXISTS {quoted(keyspace)} WITH replication = "
                              f"{replication(self._settings.replication)}")
        self._link.change(f"CREATE TABLE IF NOT EXISTS {self._views} (name text PRIMARY KEY, id uuid,"
                          f" columns map<text, text>) WITH id = {uuid5(NAMESPACE_OID, f'drtc {keyspace}')}")

    def _types(self, view: View) -> dict[str, str]:
        return dict(self._link.ask(Call(
            "SELECT column_name, type FROM system_schema.columns WHERE keyspace_name = ? AND table_name = ?",
            (self._settings.keyspace, view.name))))

    def _registered(self, view: View) -> tuple[Any, dict[str, str]] | None:
        """The id that the view's table has or is to have, and what its columns hold."""
        found = self._link.ask(Call(f"SELECT id, columns FROM {self._views} WHERE name = ?", (view.name,)))
        return (found[0][0], dict(found[0][1])) if found else None

    def _compare(self, view: View, there: dict[str, str], ours: dict[str, str]) -> None:
        changed = sorted({name for name, _ in there.items() ^ ours.items()})
        if changed:
            raise other_columns(view, changed, self._link.where)

    def _parts(self, table: Table, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Rows that go in one transaction: of one partition, not too many and not too large."""
        partitions: dict[Any, list[Row]] = {}
        for row in rows:
            partitions.setdefault(table.partition(row.id), []).append(row)
        for together in partitions.values():
            part: list[Row] = []
            size = 0
            for row in together:
                own = self._checked_size(row)
                if part and (len(part) == _BATCH_ROWS or size + own > _BATCH_BYTES):
                    yield part
                    part, size = [], 0
                part.append(row)
                size += own
            yield part

    def _checked_size(self, row: Row) -> int:
        size = len(row.hidden) + len(str(row.id.key)) + sum(map(_length, row.values))
        if size > self._row_bytes:
            raise StoreError(f"{self._link.where}: the record {row.id.key!r} has {size} bytes, the server takes"
                             f" {self._row_bytes}: raise its max_mutation_size and native_transport_max_frame_size, or"
                             f" keep less in a record")
        return size


def survives(told: dict[str, Any]) -> str:
    """The banner's phrase, from the server's settings."""
    sync = told.get("commitlog_sync")
    if sync in ("batch", "group"):
        return "killed servers and a power cut"
    lost = f"the last {told.get('commitlog_sync_period', '10000ms')}" if sync == "periodic" else "some seconds"
    return f"killed servers and power cuts, unless they take all copies at once ({lost} may be lost then)"


def replication(text: str) -> dict[str, str]:
    """``3`` or ``east:3,west:3`` as the options of a keyspace, which are CQL as Python writes them."""
    copies = dict(part.strip().split(":") for part in text.split(",")) if ":" in text else {
        "replication_factor": text.strip()}
    return {"class": "NetworkTopologyStrategy", **copies}


def _length(value: Any) -> int:
    """Bytes of what can be long, roughly: not less than half of them."""
    if isinstance(value, (list, dict)):
        return len(encoded(value))
    return len(value) if isinstance(value, (str, bytes)) else 8


def _size(text: str | None) -> int:
    try:
        return parse_size(text or "") - _SPARE_BYTES
    except ValueError:
        return _ROW_BYTES - _SPARE_BYTES
