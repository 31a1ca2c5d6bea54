"""A record between the store's row and the aggregates' states, and the companion views of a job."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Sequence

import msgpack

from ..stores.base import Column, Id, Row, View

if TYPE_CHECKING:
    from ..aggregates import Aggregate
    from ..job import JobSpec

NOTHING = -1  # the fence of a lane that never touched the record


class Record:
    """The working state of one record. ``fence`` maps a lane's number to the last offset counted."""

    __slots__ = ("id", "states", "fence", "version")

    def __init__(self, id: Id, states: list[Any], fence: dict[int, int], version: int) -> None:
        self.id = id
        self.states = states
        self.fence = fence
        self.version = version


class Layout:
    """How a job's records lie in a store: readable columns for people, fence and states in the hidden field.

    The hidden field is msgpack ``[fence, states]``, the fence flat: ``[lane number, offset, lane number, offset ..]``.
    """

    def __init__(self, spec: JobSpec, version: int, name: str = "") -> None:
        self.view = View(
            f"{name or spec.name}_v{version}",
            tuple(Column(field, aggregate.kind) for field, aggregate in spec.fields.items()),
            spec.window is not None,
        )
        self.window = spec.window
        self.aggregates: list[Aggregate] = list(spec.fields.values())

    def id(self, key: Any, index: int | None) -> Id:
        """The store's id of a key in the window number ``index`` (None in a view without windows)."""
        if index is None or self.window is None:
            return Id(key)
        return Id(key, self.window.bounds(index)[0])

    def new(self, id: Id) -> Record:
        return Record(id, [None] * len(self.aggregates), {}, 0)

    def read(self, row: Row) -> Record:
        flat, packed = msgpack.unpackb(row.hidden, strict_map_key=False)
        states = [
            None if state is None else aggregate.unpack(state) for aggregate, state in zip(self.aggregates, packed)
        ]
        return Record(row.id, states, dict(zip(flat[::2], flat[1::2])), row.version)

    def write(self, record: Record) -> Row:
        """The row to save, on condition that the store still has ``record.version``."""
        flat: list[int] = []
        for entry in record.fence.items():
            flat += entry
        packed = []
        shown = []
        for aggregate, state in zip(self.aggregates, record.states):
            packed.append(None if state is None else aggregate.pack(state))
            shown.append(aggregate.show(aggregate.zero() if state is None else state))
        start = record.id.start
        end = None if start is None or self.window is None else self.window.end(start)
        return Row(record.id, end, record.version, tuple(shown), msgpack.packb([flat, packed]))

    def merge(self, record: Record, states: Sequence[Any]) -> None:
        """Adds a part's states (None: the field was not yielded) to the record's."""
        own = record.states
        for i, part in enumerate(states):
            if part is not None:
                aggregate = self.aggregates[i]
                left = own[i]
                own[i] = aggregate.merge(aggregate.zero() if left is None else left, part)


def lanes_view(view: str) -> View:
    """The numbers that stand for lanes in the fences of a view: one row, ``lanes``."""
    return View(f"{view}_lanes", (Column("numbers", "json"),))
