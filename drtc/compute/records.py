"""A record between the store's row and the aggregates' states, and the companion views of a job."""
from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, Sequence

import msgpack

from ..stores.base import Column, Id, Row, View

if TYPE_CHECKING:
    from ..aggregates import Aggregate
    from ..job import JobSpec


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
        self._shown_zeros = [aggregate.show(aggregate.zero()) for aggregate in self.aggregates]
        self._plain = all(is_plain(aggregate) for aggregate in self.aggregates)

    def id(self, key: Any, index: int | None) -> Id:
        """The store's id of a key in the window number ``index`` (None in a view without windows)."""
        if index is None or self.window is None:
            return Id(key)
        return Id(key, self.window.bounds(index)[0])

    def new(self, id: Id) -> Record:
        return Record(id, [None] * len(self.aggregates), {}, 0)

    def read(self, row: Row) -> Record:
        flat, packed = msgpack.unpackb(row.hidden, strict_map_key=False)
        states = unpack_states(packed, self.aggregates, self._plain)
        return Record(row.id, states, dict(zip(flat[::2], flat[1::2])), row.version)

    def write(self, record: Record) -> Row:
        """The row to save, on condition that the store still has ``record.version``."""
        states = record.states
        shown = tuple([
            zero if state is None else aggregate.show(state)
            for aggregate, state, zero in zip(self.aggregates, states, self._shown_zeros)
        ])
        packed = pack_states(states, self.aggregates, self._plain)
        flat = list(chain.from_iterable(record.fence.items()))
        start = record.id.start
        end = None if start is None or self.window is None else self.window.end(start)
        return Row(record.id, end, record.version, shown, msgpack.packb([flat, packed]))

    def merge(self, record: Record, states: Sequence[Any]) -> None:
        """Adds a part's states (None: the field was not yielded) to the record's."""
        own = record.states
        for i, part in enumerate(states):
            if part is not None:
                aggregate = self.aggregates[i]
                left = own[i]
                own[i] = aggregate.merge(aggregate.zero() if left is None else left, part)


def is_plain(aggregate: Aggregate) -> bool:
    """Whether its states are packed as they are, which spares a pass over them."""
    from ..aggregates import Aggregate as Base

    return type(aggregate).pack is Base.pack and type(aggregate).unpack is Base.unpack


def pack_states(states: Sequence[Any], aggregates: Sequence[Aggregate], plain: bool) -> Sequence[Any]:
    """States as msgpack takes them; None stays None."""
    if plain:
        return states
    return [None if state is None else aggregate.pack(state) for aggregate, state in zip(aggregates, states)]


def unpack_states(packed: list[Any], aggregates: Sequence[Aggregate], plain: bool) -> list[Any]:
    """The states that were packed, the caller's own."""
    if plain:
        return packed
    return [None if state is None else aggregate.unpack(state) for aggregate, state in zip(aggregates, packed)]


def lanes_view(view: str) -> View:
    """The numbers that stand for lanes in the fences of a view: one row, ``lanes``."""
    return View(f"{view}_lanes", (Column("numbers", "json"),))
