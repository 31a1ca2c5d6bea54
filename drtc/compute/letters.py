"""A dead letter as it is kept in the store: a row with everything that is needed to try the event again."""
from __future__ import annotations

from typing import Iterable, NamedTuple

import msgpack

from ..batch import Lane
from ..stores.base import Column, Id, Row, Store, View
from .mapper import DeadLetter


class Letter(NamedTuple):
    """A dead letter as it is kept. ``session`` and ``number`` are set while a replay has it in hand."""

    partition: str
    slot: int
    offset: int
    error: str
    traceback: str
    raw: bytes
    at: float  # epoch seconds
    session: str = ""
    number: int = -1

    @property
    def name(self) -> str:
        """What the command line calls it, and its key in the store: ``partition#slot@offset``."""
        return f"{Lane(self.partition, self.slot)}@{self.offset}"

    def row(self, version: int) -> Row:
        return Row(Id(self.name), None, version, tuple(self)[:7], msgpack.packb(tuple(self), unicode_errors="replace"))


def dead_view(view: str) -> View:
    """The dead letters of a view, a row each."""
    return View(f"{view}_dead", (
        Column("partition", "text"), Column("slot", "integer"), Column("offset", "integer"), Column("error", "text"),
        Column("traceback", "text"), Column("raw", "bytes"), Column("at", "real"),
    ))


def keep(store: Store, view: View, letters: Iterable[DeadLetter], at: float) -> None:
    """Keeps each of them once: one that is there already stays as it is."""
    rows = {}
    for each in letters:
        letter = Letter(each.lane.partition, each.lane.slot, each.offset, each.error, each.traceback, each.raw, at)
        rows[letter.name] = letter.row(0)
    store.save(view, list(rows.values()))


def read(row: Row) -> Letter:
    return Letter(*msgpack.unpackb(row.hidden, unicode_errors="replace"))
