"""Committed offsets of sources that keep none themselves: in the store, beside the results, backed up with them."""
from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, Iterable, Mapping, NamedTuple

import msgspec

from . import open_store
from .base import Column, Id, Row, Store, View

_COLUMNS = (Column("offset", "integer"), Column("note", "text"), Column("detail", "json"))


class Entry(NamedTuple):
    """What is committed for one source partition."""

    offset: int  # everything below is stored
    note: str = ""  # the collector's (see sources.base.Position)
    detail: Any = None  # the source's own, plain values: what it needs to find the partition again


def view_of(name: str) -> View:
    """The companion view that holds the offsets of the view ``name``."""
    return View(f"{name}_offsets", _COLUMNS)


class Offsets:
    """The offsets of one view's source. Used by one thread; several processes may commit at the same time.

    An offset never goes back unless that is asked for: a collector that was thought dead cannot undo what its
    successor committed.
    """

    def __init__(self, store: Store | Callable[[], Store], view_name: str) -> None:
        self._given = store
        self._store: Store | None = None  # once it is open and the view is prepared
        self._view = view_of(view_name)
        self._known: dict[str, tuple[int, Entry]] = {}  # partition: version, entry

    @classmethod
    def later(cls, settings: Any, base: Path, view_name: str) -> Offsets:
        """Offsets in a store of their own, opened by the first call that needs it, on that call's thread."""
        return cls(lambda: open_store(settings, base), view_name)

    def load(self) -> dict[str, Entry]:
        """Every partition's entry, as it is in the store now.

        Raises:
            StoreUnavailable: not now.
        """
        self._known = {str(row.id.key): _read(row) for row in self._ready().scan(self._view)}
        return {partition: entry for partition, (_, entry) in self._known.items()}

    def save(self, entries: Mapping[str, Entry], *, rewind: bool = False) -> None:
        """Makes the entries durable; one whose offset is lower than the store's is passed over, except with ``rewind``.

        Raises:
            StoreUnavailable: the outcome is unknown; saving again is right.
        """
        store = self._ready()
        left = dict(entries)
        while left := {partition: entry for partition, entry in left.items() if self._moves(partition, entry, rewind)}:
            moved = store.save(self._view, [self._row(partition, entry) for partition, entry in left.items()])
            for partition, entry in left.items():
                if Id(partition) not in moved:
                    self._known[partition] = (self._version(partition) + 1, entry)
            left = {partition: entry for partition, entry in left.items() if Id(partition) in moved}
            found = store.load(self._view, list(moved)) if moved else {}
            for id in moved:
                if id in found:
                    self._known[str(id.key)] = _read(found[id])
                else:
                    self._known.pop(str(id.key), None)

    def forget(self, partitions: Iterable[str]) -> None:
        """Removes the entries of partitions that will not be met again."""
        gone = list(partitions)
        self._ready().delete(self._view, [Id(partition) for partition in gone])
        for partition in gone:
            self._known.pop(partition, None)

    def close(self) -> None:
        """Closes the store where it is our own; idempotent."""
        if self._store is not None and self._store is not self._given:
            self._store.close()
        self._store = None

    def _ready(self) -> Store:
        if self._store is None:
            self._store = self._given if isinstance(self._given, Store) else self._given()
            try:
                self._store.prepare(self._view)
            except BaseException:
                self.close()
                raise
        return self._store

    def _moves(self, partition: str, entry: Entry, rewind: bool) -> bool:
        if partition not in self._known:
            return True
        known = self._known[partition][1]
        return entry != known and (rewind or entry.offset >= known.offset)

    def _version(self, partition: str) -> int:
        return self._known[partition][0] if partition in self._known else 0

    def _row(self, partition: str, entry: Entry) -> Row:
        return Row(Id(partition), None, self._version(partition), tuple(entry), msgspec.msgpack.encode(entry))


def _read(row: Row) -> tuple[int, Entry]:
    return row.version, Entry(*msgspec.msgpack.decode(row.hidden))
