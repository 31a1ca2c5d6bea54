"""The map stage: messages of one or several lanes become, per record, one partial state.

Costs per event are paid here and nowhere else. The fast pass assumes that nothing goes wrong and, when
something does, throws its groups away; the careful pass then takes the same messages one event at a time, so that an
event counts whole or not at all.
"""
from __future__ import annotations

import itertools
import traceback
from time import thread_time
from typing import TYPE_CHECKING, Any, Callable, Iterable, Mapping, NamedTuple, Sequence

from ..batch import Batch, Counts, Lane
from ..encodings import unpack

if TYPE_CHECKING:
    from ..job import Job, JobSpec

#: values yielded for one record, by field
Group = dict[str, list[Any]]
#: window number (None without windows) -> key -> values
Groups = dict["int | None", dict[Any, Group]]
RecordKey = tuple[Any, "int | None"]

SLICE = 1000  # events that are decoded before they are mapped: few enough to stay in the processor's cache


class DeadLetter(NamedTuple):
    """An event that could not be counted, kept with all that is needed to try it again."""

    lane: Lane
    offset: int
    raw: bytes
    error: str
    traceback: str


class Span(NamedTuple):
    """The stretch of a lane that a piece covers."""

    lane: Lane
    first: int
    last: int


class Part(NamedTuple):
    """What a piece adds to one record: ``touched`` has a bit for each of the piece's spans that yielded for it."""

    key: Any
    window: int | None  # its number
    touched: int
    states: list[Any]  # one for each field, None where nothing was yielded


class Mapped(NamedTuple):
    """All that came out of mapping a piece."""

    spans: list[Span]
    parts: list[Part]
    dead: list[DeadLetter]
    times: list[float | None]  # for each span, the greatest event time seen
    counts: list[Counts]  # for each span
    seconds: dict[str, float]  # where the time went: unpack, decode, map, fold


class Mapper:
    """Runs one job's ``map`` (or ``run``) over batches; one for each worker process."""

    def __init__(self, spec: JobSpec, job: Job) -> None:
        from ..job import check_key, undeclared

        self._spec = spec
        self._job = job
        self._aggregates = list(spec.fields.items())
        self._time: Callable[[Any], float] | None = spec.bind(job)
        self._check_key = check_key
        self._undeclared = undeclared
        self._suspicious = False

    def map(self, batches: Sequence[Batch]) -> Mapped:
        """Maps one batch for each lane. Never raises for what an event does; it becomes a dead letter."""
        mapped = Mapped([], [], [], [], [], {"unpack": 0.0, "decode": 0.0, "map": 0.0, "fold": 0.0})
        joined: dict[RecordKey, tuple[int, Group]] = {}
        for number, batch in enumerate(batches):
            header = batch.header
            mapped.spans.append(Span(header.lane, header.first, header.last))
            groups, time = self._batch(batch, mapped)
            mapped.times.append(time)
            bit = 1 << number
            for index, bucket in groups.items():
                for key, group in bucket.items():
                    have = joined.get((key, index))
                    if have is None:
                        joined[key, index] = (bit, group)
                    else:
                        for name, values in group.items():
                            have[1][name] += values
                        joined[key, index] = (have[0] | bit, have[1])
        began = thread_time()
        aggregates = self._aggregates
        for (key, index), (touched, group) in joined.items():
            states = [aggregate.fold(group[name]) if group[name] else None for name, aggregate in aggregates]
            mapped.parts.append(Part(key, index, touched, states))
        mapped.seconds["fold"] += thread_time() - began
        return mapped

    def refine(self, batches: Sequence[Batch],
               floors: Mapping[RecordKey, Mapping[int, int]]) -> dict[RecordKey, Part]:
        """Maps a piece again for a few records, counting of span ``i`` only what lies past ``floors[record][i]``
        (a span without a floor counts whole). Used when a fence lies inside a batch that was cut differently before."""
        found: dict[RecordKey, tuple[int, Group]] = {}
        for number, batch in enumerate(batches):
            header = batch.header
            for offset, event in self._decoded(batch, None, Counts()):
                try:
                    yielded, _ = self._checked(event)
                except Exception:
                    continue  # it is a dead letter already: map() met it first, and the fence does not move that
                for key, index, fields in yielded:
                    lanes = floors.get((key, index))
                    if lanes is None or offset <= lanes.get(number, header.first - 1):
                        continue
                    touched, group = found.setdefault((key, index), (0, self._group()))
                    found[key, index] = (touched | 1 << number, group)
                    for name, value in fields.items():
                        group[name].append(value)
        return {
            (key, index): Part(key, index, touched, [
                aggregate.fold(group[name]) if group[name] else None for name, aggregate in self._aggregates])
            for (key, index), (touched, group) in found.items()
        }

    def run(self, batches: Sequence[Batch]) -> Mapped:
        """Hands each batch to ``Job.run``. Side effects happen at least once; a batch whose ``run`` raises is run
        again in halves until the one event is found that makes it raise: that one is a dead letter."""
        from ..job import RawBatch

        mapped = Mapped([], [], [], [], [], {"unpack": 0.0, "decode": 0.0, "map": 0.0, "fold": 0.0})
        for batch in batches:
            header = batch.header
            mapped.spans.append(Span(header.lane, header.first, header.last))
            counts = Counts()
            pairs = list(self._messages(batch, mapped.dead, counts))
            counts.messages += len(pairs)
            began = thread_time()
            halves = [pairs] if pairs else []
            while halves:
                half = halves.pop()
                raw = RawBatch(header.partition, header.slot, [o for o, _ in half], [v for _, v in half],
                               self._spec.codec)
                try:
                    self._job.run(raw)
                except Exception as error:
                    if len(half) == 1:
                        offset, value = half[0]
                        counts.messages -= 1
                        self._dead(mapped.dead, counts, header.lane, offset, value, error)
                    else:
                        middle = len(half) // 2
                        halves += [half[middle:], half[:middle]]
            mapped.seconds["map"] += thread_time() - began
            mapped.times.append(None)
            mapped.counts.append(counts)
        return mapped

    def _batch(self, batch: Batch, mapped: Mapped) -> tuple[Groups, float | None]:
        counts = Counts()
        mapped.counts.append(counts)
        if not self._suspicious:
            quick = self._quick(batch, mapped, counts)
            if quick is not None:
                return quick
        dead = len(mapped.dead)
        began = thread_time()
        groups, latest = self._careful(batch, mapped.dead, counts)
        mapped.seconds["map"] += thread_time() - began
        self._suspicious = len(mapped.dead) > dead
        return groups, latest

    def _quick(self, batch: Batch, mapped: Mapped, counts: Counts) -> tuple[Groups, float | None] | None:
        """The pass that nothing may go wrong in; None where something did."""
        header = batch.header
        began = thread_time()
        messages = unpack(header.encoding, batch.payload, header.first, header.last)
        unpacked = thread_time()
        mapped.seconds["unpack"] += unpacked - began
        if messages.damaged:
            return None
        values = messages.values
        groups: Groups = {}
        latest: float | None = None
        decoding = 0.0
        try:
            for start in range(0, len(values), SLICE):
                began = thread_time()
                part = values[start:start + SLICE]
                events = self._spec.codec.decode_many(part)  # type: ignore[arg-type]  # None in it: raises
                decoding += thread_time() - began
                time = self._group_all(events, groups)
                latest = time if latest is None or (time is not None and time > latest) else latest
            aggregates = self._aggregates
            for bucket in groups.values():
                for key, group in bucket.items():
                    self._check_key(self._spec.cls, key)
                    for name, aggregate in aggregates:
                        if group[name]:
                            aggregate.check(group[name])
        except Exception:
            return None
        mapped.seconds["decode"] += decoding
        mapped.seconds["map"] += thread_time() - unpacked - decoding
        counts.messages += len(values)
        return groups, latest

    def _group_all(self, events: list[Any], groups: Groups) -> float | None:
        """Adds what the events yield to the groups; returns their greatest time."""
        map_ = self._job.map
        time_ = self._time
        names = [name for name, _ in self._aggregates]
        if time_ is None:
            bucket = groups.setdefault(None, {})
            for event in events:
                for key, fields in map_(event) or ():
                    group = bucket.get(key)
                    if group is None:
                        group = bucket[key] = {name: [] for name in names}
                    for name, value in fields.items():
                        group[name].append(value)
            return None
        window = self._spec.window
        if window is None or window.every != window.size:
            return self._group_overlapping(events, groups, time_)
        latest = float("-inf")
        start, end = 1.0, 0.0  # of the window that `bucket` belongs to; empty as yet
        for event in events:
            seconds: float | None = None
            for key, fields in map_(event) or ():
                if seconds is None:
                    seconds = time_(event)
                    if seconds > latest:
                        latest = seconds
                    if not start <= seconds < end:  # events come about in order of time: this is rare
                        index = window.index(seconds)
                        start, end = window.bounds(index)
                        bucket = groups.setdefault(index, {})
                group = bucket.get(key)
                if group is None:
                    group = bucket[key] = {name: [] for name in names}
                for name, value in fields.items():
                    group[name].append(value)
        return self._latest(events, latest)

    def _group_overlapping(self, events: list[Any], groups: Groups, time_: Callable[[Any], float]) -> float | None:
        """Sliding windows, and time without windows: an event may count in several groups."""
        window = self._spec.window
        latest = float("-inf")
        for event in events:
            yielded = list(self._job.map(event) or ())
            if not yielded:
                continue
            seconds = time_(event)
            latest = max(latest, seconds)
            for index in window.indexes(seconds) if window is not None else (None,):
                bucket = groups.setdefault(index, {})
                for key, fields in yielded:
                    group = bucket.get(key)
                    if group is None:
                        group = bucket[key] = self._group()
                    for name, value in fields.items():
                        group[name].append(value)
        return self._latest(events, latest)

    def _latest(self, events: list[Any], latest: float) -> float | None:
        """Events that yield nothing move time as well; the last one speaks for them, if it has a time."""
        if self._time is not None and events:
            try:
                latest = max(latest, self._time(events[-1]))
            except Exception:
                pass  # it yields nothing, so its time is nobody's concern
        return latest if latest > float("-inf") else None

    def _careful(self, batch: Batch, dead: list[DeadLetter], counts: Counts) -> tuple[Groups, float | None]:
        groups: Groups = {}
        latest: float | None = None
        raws = dict(self._messages(batch, dead, counts))
        for offset, event in self._decode(raws.items(), batch.header.lane, dead, counts):
            try:
                yielded, seconds = self._checked(event)
            except Exception as error:
                self._dead(dead, counts, batch.header.lane, offset, raws[offset], error)
                continue
            counts.messages += 1
            if seconds is not None and (latest is None or seconds > latest):
                latest = seconds
            for key, index, fields in yielded:
                group = groups.setdefault(index, {}).setdefault(key, self._group())
                for name, value in fields.items():
                    group[name].append(value)
        return groups, latest

    def _checked(self, event: Any) -> tuple[list[tuple[Any, int | None, Mapping[str, Any]]], float | None]:
        """What one event yields, each with its window, and its time; raises for anything that may not be counted."""
        spec = self._spec
        checked: list[tuple[Any, int | None, Mapping[str, Any]]] = []
        seconds: float | None = None
        for pair in self._job.map(event) or ():
            try:
                key, fields = pair
                values = fields.items()
            except (TypeError, ValueError, AttributeError):
                raise TypeError(f"{spec.cls.__name__}.map yielded {pair!r:.80}: yield key, {{field: value}}") from None
            self._check_key(spec.cls, key)
            for name, value in values:
                aggregate = spec.fields.get(name)
                if aggregate is None:
                    raise self._undeclared(spec.cls, name)
                aggregate.check([value])
            if self._time is not None and seconds is None:
                seconds = self._time(event)
            indexes: Iterable[int | None] = (None,)
            if spec.window is not None and seconds is not None:
                indexes = spec.window.indexes(seconds)
            checked += [(key, index, fields) for index in indexes]
        return checked, seconds

    def _decoded(self, batch: Batch, dead: list[DeadLetter] | None, counts: Counts) -> Iterable[tuple[int, Any]]:
        return self._decode(self._messages(batch, dead, counts), batch.header.lane, dead, counts)

    def _decode(self, pairs: Iterable[tuple[int, bytes]], lane: Lane, dead: list[DeadLetter] | None,
                counts: Counts) -> Iterable[tuple[int, Any]]:
        decode = self._spec.codec.decode
        for offset, value in pairs:
            try:
                event = decode(value)
            except Exception as error:
                if dead is not None:
                    self._dead(dead, counts, lane, offset, value, error)
                continue
            yield offset, event

    def _messages(self, batch: Batch, dead: list[DeadLetter] | None, counts: Counts) -> Iterable[tuple[int, bytes]]:
        """The messages that have a body; a damaged stretch becomes one dead letter, whole."""
        header = batch.header
        messages = unpack(header.encoding, batch.payload, header.first, header.last)
        if dead is not None:
            for damage in messages.damaged:
                counts.dead += 1
                dead.append(DeadLetter(header.lane, damage.first, damage.raw, damage.error, ""))
        for offset, value in zip(messages.offsets, messages.values):
            if value is None:
                counts.skipped += 1
            else:
                yield offset, value

    def _dead(self, dead: list[DeadLetter], counts: Counts, lane: Lane, offset: int, raw: bytes,
              error: Exception) -> None:
        from ..errors import JobError

        counts.dead += 1
        try:
            text = str(error) if isinstance(error, JobError) else f"{type(error).__name__}: {error}"
        except Exception:
            text = f"{type(error).__name__}, whose text cannot be shown"
        trace = "".join(itertools.islice(traceback.format_exception(error), 50))
        dead.append(DeadLetter(lane, offset, bytes(raw), _printable(text), _printable(trace)))

    def _group(self) -> Group:
        return {name: [] for name, _ in self._aggregates}


def _printable(text: str) -> str:
    """Without what no store takes as text: lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode()
