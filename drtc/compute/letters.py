"""A dead letter as it is kept in the store: a row with everything that is needed to try the event again."""
from __future__ import annotations

from typing import Iterable, NamedTuple

import msgpack

from ..batch import Lane
from ..errors import StoreError, StoreUnavailable
from ..stores.base import Column, Id, Row, Store, View
from .mapper import DeadLetter


CUT = 64 << 10  # bytes of an event that is too large for the store; every database takes a record of this size


class Letter(NamedTuple):
    """A dead letter as it is kept. ``session`` and ``number`` are set while a replay has it in hand.

    ``raw`` stands in its column alone. ``cut``: of so many bytes only the first are in ``raw``; 0: it is whole.
    """

    partition: str
    slot: int
    offset: int
    error: str
    traceback: str
    raw: bytes
    at: float  # epoch seconds
    session: str = ""
    number: int = -1
    cut: int = 0

    @property
    def name(self) -> str:
        """What the command line calls it, and its key in the store: ``partition#slot@offset``."""
        return f"{Lane(self.partition, self.slot)}@{self.offset}"

    def row(self, version: int) -> Row:
        hidden = msgpack.packb(tuple(self._replace(raw=b"")), unicode_errors="replace")
        return Row(Id(self.name), None, version, tuple(self)[:7], hidden)

    def shortened(self) -> Letter:
        """What is kept of one that is too large for the store."""
        note = f"{self.error} (too large for the store: the first {CUT} of {len(self.raw)} bytes are kept)"
        return self._replace(raw=self.raw[:CUT], traceback=self.traceback[-CUT:], error=note[-CUT:],
                             cut=self.cut or len(self.raw))


def dead_view(view: str) -> View:
    """The dead letters of a view, a row each."""
    return View(f"{view}_dead", (
        Column("partition", "text"), Column("slot", "integer"), Column("offset", "integer"), Column("error", "text"),
        Column("traceback", "text"), Column("raw", "bytes"), Column("at", "real"),
    ))


def keep(store: Store, view: View, letters: Iterable[DeadLetter], at: float) -> None:
    """Keeps each of them once: one that is there already stays as it is."""
    kept: dict[str, Letter] = {}
    for each in letters:
        letter = Letter(each.lane.partition, each.lane.slot, each.offset, each.error, each.traceback, each.raw, at)
        kept[letter.name] = letter
    try:
        store.save(view, [letter.row(0) for letter in kept.values()])
    except StoreUnavailable:
        raise
    except StoreError:  # one of them is too large, it seems: an event is not to stop the others
        for letter in kept.values():
            _keep_what_fits(store, view, letter)


def _keep_what_fits(store: Store, view: View, letter: Letter) -> None:
    try:
        store.save(view, [letter.row(0)])
    except StoreUnavailable:
        raise
    except StoreError:
        if len(letter.raw) <= CUT:
            raise
        store.save(view, [letter.shortened().row(0)])


def read(row: Row) -> Letter:
    letter = Letter(*msgpack.unpackb(row.hidden, unicode_errors="replace"))
    return letter._replace(raw=bytes(row.values[5]))
