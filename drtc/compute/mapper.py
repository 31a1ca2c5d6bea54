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
from .grouping import Group, Grouping, Groups, join

if TYPE_CHECKING:
    from ..job import Job, JobSpec

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
        self._aggregates = list(spec.fields.values())
        self._grouping = Grouping(spec, job)
        self._time: Callable[[Any], float] | None = spec.bind(job)
        self._check_key = check_key
        self._undeclared = undeclared
        self._suspicious = False

    def map(self, batches: Sequence[Batch]) -> Mapped:
        """Maps one batch for each lane. Never raises for what an event does; it becomes a dead letter."""
        mapped = Mapped([Span(batch.header.lane, batch.header.first, batch.header.last) for batch in batches],
                        [], [], [], [], {"unpack": 0.0, "decode": 0.0, "map": 0.0, "fold": 0.0})
        groups = self._quick(batches, 1, mapped)
        if groups is None:
            groups = {}
            for number, batch in enumerate(batches):
                alone = self._quick([batch], 1 << number, mapped) if len(batches) > 1 else None
                join(groups, self._slow(batch, 1 << number, mapped) if alone is None else alone)
        began = thread_time()
        for index, bucket in groups.items():
            for key, group in bucket.items():
                mapped.parts.append(Part(key, index, group[0], self._fold(group)))
        mapped.seconds["fold"] += thread_time() - began
        return mapped

    def _fold(self, group: Group) -> list[Any]:
        return [aggregate.fold(values) if values else None for aggregate, values in zip(self._aggregates, group[1:])]

    def refine(self, batches: Sequence[Batch],
               floors: Mapping[RecordKey, Mapping[int, int]]) -> dict[RecordKey, Part]:
        """Maps a piece again for a few records, counting of span ``i`` only what lies past ``floors[record][i]``
        (a span without a floor counts whole). Used when a fence lies inside a batch that was cut differently before."""
        groups: Groups = {}
        for number, batch in enumerate(batches):
            header = batch.header
            for offset, event in self._decoded(batch, None, Counts()):
                try:
                    yielded, _ = self._checked(event)
                except Exception:
                    continue  # it is a dead letter already: map() met it first, and the fence does not move that
                for key, index, fields in yielded:
                    lanes = floors.get((key, index))
                    if lanes is not None and offset > lanes.get(number, header.first - 1):
                        self._grouping.add(groups, index, key, fields, 1 << number)
        return {(key, index): Part(key, index, group[0], self._fold(group))
                for index, bucket in groups.items() for key, group in bucket.items()}

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

    def _slow(self, batch: Batch, bit: int, mapped: Mapped) -> Groups:
        """Maps one batch, in which something may be wrong."""
        counts = Counts()
        mapped.counts.append(counts)
        dead = len(mapped.dead)
        began = thread_time()
        groups, latest = self._careful(batch, bit, mapped.dead, counts)
        mapped.times.append(latest)
        mapped.seconds["map"] += thread_time() - began
        self._suspicious = len(mapped.dead) > dead
        return groups

    def _quick(self, batches: Sequence[Batch], bit: int, mapped: Mapped) -> Groups | None:
        """The pass that nothing may go wrong in, over all lanes at once; None where something did. ``bit`` is that of
        the first batch."""
        if self._suspicious:
            return None
        groups: Groups = {}
        times: list[float | None] = []
        counts: list[Counts] = []
        spent = mapped.seconds
        try:
            for batch in batches:
                header = batch.header
                began = thread_time()
                messages = unpack(header.encoding, batch.payload, header.first, header.last)
                unpacked = thread_time()
                spent["unpack"] += unpacked - began
                if messages.damaged:
                    return None
                latest, decoding = self._lane(messages.values, groups, bit)
                times.append(latest)
                counts.append(Counts(len(messages.values)))
                spent["decode"] += decoding
                spent["map"] += thread_time() - unpacked - decoding
                bit <<= 1
            began = thread_time()
            self._check(groups)
            spent["map"] += thread_time() - began
        except Exception:
            return None
        mapped.times.extend(times)
        mapped.counts.extend(counts)
        return groups

    def _lane(self, values: Sequence[Any], groups: Groups, bit: int) -> tuple[float | None, float]:
        """Decodes and groups a lane's messages; returns their greatest time, and the seconds that decoding took."""
        decode = self._spec.codec.decode_many
        latest: float | None = None
        decoding = 0.0
        for start in range(0, len(values), SLICE):
            began = thread_time()
            events = decode(values[start:start + SLICE])  # None among them: raises
            decoding += thread_time() - began
            time = self._grouping.events(events, groups, bit)
            latest = time if latest is None or (time is not None and time > latest) else latest
        return latest, decoding

    def _check(self, groups: Groups) -> None:
        """Raises for what may not be counted."""
        for bucket in groups.values():
            for key, group in bucket.items():
                self._check_key(self._spec.cls, key)
                for aggregate, values in zip(self._aggregates, group[1:]):
                    if values:
                        aggregate.check(values)

    def _careful(self, batch: Batch, bit: int, dead: list[DeadLetter],
                 counts: Counts) -> tuple[Groups, float | None]:
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
                self._grouping.add(groups, index, key, fields, bit)
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


def _printable(text: str) -> str:
    """Without what no store takes as text: lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode()
