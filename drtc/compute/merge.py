"""Merging parts into the store: the fence test, the conditional save, and what is done when somebody else was first.

Each part is put to the fence test (drtc.compute.fences): a new one is merged, one counted already is skipped; where
only some of its events are new, this record's events are mapped again past the fences, and that is merged.
"""
from __future__ import annotations

import random
import time
from typing import Any, Callable, Mapping, NamedTuple, Sequence

import msgpack

from ..batch import Lane
from ..errors import StoreUnavailable
from ..stores.base import Id, Row, Store, View
from .fences import COUNTED, NEW, NOTHING, advance, fence_verdict
from .letters import dead_view, keep
from .mapper import DeadLetter, Part, RecordKey, Span
from .records import Layout, Record, lanes_view

Refine = Callable[[Mapping[RecordKey, Mapping[int, int]]], Mapping[RecordKey, Part]]


class Piece:
    """A mapped piece on its way into the store. ``parts`` shrinks as records are saved."""

    __slots__ = ("number", "spans", "parts", "dead", "refine", "refined", "saved", "replayed")

    def __init__(self, number: int, spans: Sequence[Span], parts: Sequence[Part], dead: Sequence[DeadLetter],
                 refine: Refine) -> None:
        self.number = number
        self.spans = spans
        self.parts: dict[RecordKey, Part] = {(part.key, part.window): part for part in parts}
        self.dead = list(dead)
        self.refine = refine
        self.refined: dict[RecordKey, tuple[Mapping[int, int], Part | None]] = {}  # floors, and what lies past them
        self.saved = 0
        self.replayed = 0

    def past(self, floors: Mapping[RecordKey, Mapping[int, int]]) -> dict[RecordKey, Part | None]:
        """What lies past the records' floors. Mapped again only where a floor has moved since it was asked last:
        a save that was lost to a writer of other lanes leaves them as they were, and who maps for long loses many."""
        unknown = {key: floor for key, floor in floors.items()
                   if key not in self.refined or self.refined[key][0] != floor}
        if unknown:
            exact = self.refine(unknown)
            self.refined |= {key: (floor, exact.get(key)) for key, floor in unknown.items()}
        return {key: self.refined[key][1] for key in floors}


class Outcome(NamedTuple):
    """What an attempt came to. ``delay`` is None when nothing is left to do, else seconds until the next attempt."""

    done: list[Piece]
    delay: float | None
    trouble: str  # why the store does not take it, "" where it does


class LaneNumbers:
    """The small numbers that stand for lanes in fences, given out once per view and kept in the store."""

    def __init__(self, store: Store, view: str) -> None:
        self._store = store
        self._view = lanes_view(view)
        self._numbers: dict[Lane, int] = {}
        self._prepared = False

    def of(self, lanes: Sequence[Lane]) -> list[int]:
        while not all(lane in self._numbers for lane in lanes):
            self._learn(lanes)
        return [self._numbers[lane] for lane in lanes]

    def _learn(self, lanes: Sequence[Lane]) -> None:
        if not self._prepared:
            self._store.prepare(self._view)
            self._prepared = True
        row = self._store.load(self._view, [Id("lanes")]).get(Id("lanes"))
        known: list[list[Any]] = msgpack.unpackb(row.hidden) if row is not None else []
        numbers = {Lane(partition, slot): number for number, (partition, slot) in enumerate(known)}
        fresh = [lane for lane in dict.fromkeys(lanes) if lane not in numbers]
        if fresh:
            known += [[lane.partition, lane.slot] for lane in fresh]
            shown = {str(Lane(partition, slot)): number for number, (partition, slot) in enumerate(known)}
            new = Row(Id("lanes"), None, row.version if row is not None else 0, (shown,), msgpack.packb(known))
            if self._store.save(self._view, [new]):
                return  # somebody else numbered lanes just now: look again
            numbers = {Lane(partition, slot): number for number, (partition, slot) in enumerate(known)}
        self._numbers = numbers


class Cache:
    """The records saved last, so that the steady state needs no load. Two generations stand in for an exact LRU."""

    def __init__(self, limit: int) -> None:
        self._half = max(1, limit // 2)
        self._young: dict[Id, Record] = {}
        self._old: dict[Id, Record] = {}

    def take(self, id: Id) -> Record | None:
        """Removes and returns the record: it comes back by ``put`` once its save was answered."""
        record = self._young.pop(id, None)
        return record if record is not None else self._old.pop(id, None)

    def put(self, record: Record) -> None:
        if len(self._young) >= self._half:
            self._old = self._young
            self._young = {}
        self._young[record.id] = record


class Merger:
    """Brings pieces into the store, in the order in which they were added, each record saved once per attempt.

    ``attempt`` never raises for a store that is away: it says so in its outcome and may be repeated for ever; pieces
    added meanwhile join the next attempt, so that waiting makes commits bigger, not more.

    Raises (from ``attempt``):
        StoreError: the store refuses for good.
    """

    def __init__(self, store: Store, layout: Layout, cache_records: int, clock: Callable[[], float] = time.time,
                 dice: random.Random | None = None) -> None:
        self._store = store
        self._layout = layout
        self._lanes = LaneNumbers(store, layout.view.name)
        self._dead: View = dead_view(layout.view.name)
        self._dead_prepared = False
        self._cache = Cache(cache_records)
        self._pending: list[Piece] = []
        self._failures = 0
        self._clock = clock
        self._dice = dice or random.Random()

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, piece: Piece) -> None:
        self._pending.append(piece)

    def attempt(self) -> Outcome:
        """Tries to bring everything that is pending into the store."""
        try:
            self._save_dead()
            conflicts = self._save_records()
        except StoreUnavailable as error:
            self._failures += 1
            return Outcome([], self._backoff(5.0), str(error))
        done = [piece for piece in self._pending if not piece.parts and not piece.dead]
        self._pending = [piece for piece in self._pending if piece.parts or piece.dead]
        self._failures = self._failures + 1 if conflicts else 0
        return Outcome(done, self._backoff(0.1) if self._pending else None, "")

    def _backoff(self, most: float) -> float:
        wait: float = min(most, 0.002 * 2 ** min(self._failures, 12))
        return wait * (0.5 + self._dice.random())

    def _save_dead(self) -> None:
        for piece in self._pending:
            if piece.dead:
                if not self._dead_prepared:
                    self._store.prepare(self._dead)
                    self._dead_prepared = True
                keep(self._store, self._dead, piece.dead, self._clock())
                piece.dead = []

    def _save_records(self) -> bool:
        """One pass over all pending parts. Returns whether any record's version had moved."""
        records: dict[RecordKey, Record] = {}
        if any(piece.parts for piece in self._pending):
            self._fetch(records)
        dirty: dict[RecordKey, Record] = {}
        replayed: list[int] = []
        for piece in self._pending:
            replayed.append(self._apply(piece, records, dirty) if piece.parts else 0)
        rows = [self._layout.write(record) for record in dirty.values()]
        if self._store.forgets:
            rows = [row if row.version else row._replace(first=self._dice.getrandbits(62) + 1) for row in rows]
        moved = self._store.save(self._layout.view, rows) if rows else set()
        for record, row in zip(dirty.values(), rows):
            record.version = row.next  # of those that had moved the record is forgotten
        for record_key, record in records.items():
            if record.version and record.id not in moved:
                self._cache.put(record)
        for piece, skipped in zip(self._pending, replayed):
            piece.replayed += skipped
            if moved:
                before = len(piece.parts)
                piece.parts = {key: part for key, part in piece.parts.items() if records[key].id in moved}
                piece.saved += before - len(piece.parts)
            else:
                piece.saved += len(piece.parts)
                piece.parts = {}
        return bool(moved)

    def _fetch(self, records: dict[RecordKey, Record]) -> None:
        missing: dict[Id, RecordKey] = {}
        layout = self._layout
        for piece in self._pending:
            for record_key in piece.parts:
                if record_key not in records:
                    id = layout.id(*record_key)
                    record = self._cache.take(id)
                    if record is None:
                        missing[id] = record_key
                        record = layout.new(id)
                    records[record_key] = record
        if missing:
            for id, row in self._store.load(layout.view, list(missing)).items():
                records[missing[id]] = layout.read(row)

    def _apply(self, piece: Piece, records: Mapping[RecordKey, Record], dirty: dict[RecordKey, Record]) -> int:
        """Merges a piece's parts into the records, in memory. Returns how many parts were counted before."""
        numbers = self._lanes.of([span.lane for span in piece.spans])
        spans = [(number, span.first, span.last) for number, span in zip(numbers, piece.spans)]
        merge = self._layout.merge
        counted = 0
        floors: dict[RecordKey, dict[int, int]] = {}
        for record_key, part in piece.parts.items():
            record = records[record_key]
            verdict = fence_verdict(record.fence, spans, part.touched)
            if verdict == COUNTED:
                counted += 1
                continue
            if verdict == NEW:
                merge(record, part.states)
                dirty[record_key] = record
                advance(record.fence, spans, part.touched)
            else:
                floors[record_key] = {i: record.fence.get(lane, NOTHING) for i, (lane, _, _) in enumerate(spans)}
        if floors:
            exact = piece.past(floors)
            for record_key in floors:
                record = records[record_key]
                past = exact[record_key]
                if past is not None:
                    merge(record, past.states)
                dirty[record_key] = record
                advance(record.fence, spans, piece.parts[record_key].touched)
        return counted
