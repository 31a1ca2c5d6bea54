"""Kafka: a topic's partitions as record batches, shared out by a consumer group, committed to Kafka itself."""
from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Collection, Iterable, Iterator, Mapping, Protocol, Sequence, TypeVar

from ..batch import Chunk
from ..errors import SourceError, SourceUnavailable
from .base import Listener, Position, Source
from .kafka_offsets import Extent, metadata, resume
from .kafka_settings import KafkaSettings as KafkaSettings
from .kafka_settings import MiB

if TYPE_CHECKING:
    from kafka.structs import TopicPartition

    from . import kafka_client, kafka_thread

T = TypeVar("T")
POLL = 0.5  # seconds: how long close may have to wait for a read under way
SILENCE = 5.0  # seconds without anything read, after which the brokers are asked whether they are there
PATIENCE = 10.0  # seconds for one request before it is tried again
_MILLISECONDS = round(PATIENCE * 1000)
STUCK = 3.0  # seconds of refused commits, after which the group is joined again
SINGLES = 10_000  # messages of one read where they can only be had singly


class Context(Protocol):
    """Of sources.SourceContext, what this source looks at."""

    @property
    def base(self) -> Path: ...

    @property
    def view(self) -> str: ...


class KafkaSource(Source):
    """One member of a consumer group. A partition is named ``ads-0@1kNpXw``: topic, number, the topic's id in short, so
    that a topic that was made again has other lanes.

    A topic that does not exist is waited for, as a broker is. An offset that is committed but no longer there ends
    the run with a sentence: what is lost is never passed over in silence.
    """

    def __init__(self, settings: KafkaSettings, context: Context) -> None:
        self._settings = settings
        self._group = settings.group or context.view
        self._base = context.base
        self._closing = threading.Event()
        self._lock = threading.Lock()  # whoever holds it uses the consumer
        self._holder = 0
        self._consumer: Any = None
        self._topic_id = ""
        self._names: dict[TopicPartition, str] = {}
        self._places: dict[str, TopicPartition] = {}
        self._next: dict[TopicPartition, int] = {}  # offset of the next chunk
        self._ask_at = 0.0
        self._refused_at = 0.0  # when the first of the commits in a row was refused

    @classmethod
    def require(cls) -> None:
        from ..encodings.compression import require

        require()

    def open(self, listener: Listener, warn: Callable[[str], None]) -> None:
        self.require()
        try:
            from .kafka_client import Waiting, connect, named
            from .kafka_thread import Reader, Rebalances
        except ImportError as error:
            raise SourceError("reading Kafka needs kafka-python: pip install 'drtc[kafka]'") from error
        self._listener, self._warn = listener, warn
        self._waiting: kafka_client.Waiting = Waiting(warn, self._closing)
        self._reader: kafka_thread.Reader = Reader()
        with self._lock:
            found = self._waiting.until(named(self._settings),
                                        lambda: connect(self._settings, self._group, self._base))
            if found is None:
                return
            self._consumer, batches = found
            self._most = max(1, self._settings.fetch_bytes // MiB) if batches else SINGLES
            if not batches:
                from kafka import __version__

                warn(f"kafka-python {__version__} does not give record batches: messages are read singly, which costs "
                     "about eight times as much")
            topic = self._settings.topic
            self._waiting.until(f"topic {topic} to exist", self._partitions)
            self._consumer.subscribe([topic], listener=Rebalances(self._consumer, self._reader, self._assigned,
                                                                  self._revoked, self._lost))
            self._ask_at = time.monotonic() + SILENCE

    def read(self, timeout: float) -> list[Chunk]:
        deadline = time.monotonic() + timeout
        with self._lock:
            self._holder = threading.get_ident()
            try:
                while not self._closing.is_set() and self._consumer is not None:
                    left = deadline - time.monotonic()
                    chunks = self._poll(max(0.0, min(left, POLL)))
                    if chunks or left <= POLL:
                        return chunks
                return []
            finally:
                self._holder = 0
                if self._closing.is_set():
                    self._leave()

    def pause(self, partitions: Sequence[str]) -> None:
        if ours := self._ours(partitions):
            self._consumer.pause(*ours)

    def resume(self, partitions: Sequence[str]) -> None:
        if ours := self._ours(partitions):
            self._consumer.resume(*ours)

    def seek(self, partition: str, offset: int) -> None:
        for place in self._ours([partition]):
            self._consumer.seek(place, offset)
            self._next[place] = offset

    def commit(self, offsets: Mapping[str, Position]) -> None:
        """As the contract says. What a rebalance or a broker's absence makes fail passes: it is for the caller to
        commit again, or for the partition's next owner to read again."""
        from kafka.errors import KafkaError
        from kafka.structs import OffsetAndMetadata

        from .kafka_client import in_words, passing

        wanted = {self._places[name]: OffsetAndMetadata(position.offset, metadata(position.note, self._topic_id), -1)
                  for name, position in offsets.items() if name in self._places}
        if not wanted:
            return
        try:
            self._consumer.commit(wanted, timeout_ms=_MILLISECONDS)
            self._refused_at = 0.0
        except KafkaError as error:
            if not passing(error):
                raise in_words(error) from error
            self._join_again()
            raise SourceUnavailable(f"kafka did not take the commit of {len(wanted)} partitions of group {self._group} "
                                    f"({type(error).__name__})") from error

    def _join_again(self) -> None:
        """Called for each commit that fails. kafka-python can come out of a rebalance neither a stable member nor about
        to join again, and then takes no commit for ever; after a while it is told to join."""
        now = time.monotonic()
        if not self._refused_at:
            self._refused_at = now
        elif now - self._refused_at > STUCK:
            self._refused_at = 0.0
            self._consumer._coordinator.request_rejoin()

    def ends(self) -> dict[str, int]:
        """As the contract says; with ``read_committed`` not past the first open transaction."""
        places = list(self._names)
        if not places:
            return {}
        found = self._ask("the ends of the partitions", lambda: self._consumer.end_offsets(places, _MILLISECONDS))
        return {self._names[place]: end for place, end in (found or {}).items()}

    def complete(self) -> bool:
        """Whether the group has dealt its partitions and some are ours; other members may have the rest."""
        if self._consumer is None or not self._names:
            return False
        from kafka.structs import MemberState

        return bool(self._consumer.group_metadata().state == MemberState.STABLE)

    def progress(self) -> dict[str, int]:
        ends = {self._names[place]: self._consumer.highwater(place) for place in self._ours(self._places)}
        return {name: end for name, end in ends.items() if end is not None}

    def forget(self) -> None:
        from .kafka_client import forget_group

        forget_group(self._settings, self._group, self._base)

    def close(self) -> None:
        self._closing.set()
        if self._holder != threading.get_ident():  # else read leaves the group when it returns
            with self._lock:
                self._leave()

    def _leave(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            self._forget(list(self._names))
            self._reader.call(lambda: consumer.close(timeout_ms=2000))
            self._reader.close()

    def _poll(self, timeout: float) -> list[Chunk]:
        from kafka.errors import KafkaError

        from .kafka_client import in_words, passing

        consumer = self._consumer
        try:
            polled = self._reader.call(lambda: consumer.poll(round(timeout * 1000), self._most))
        except KafkaError as error:
            if not passing(error):
                raise in_words(error) from error
            polled = {}
            self._closing.wait(min(timeout, 0.1))
        self._check_topic()
        self._check_silence(bool(polled))
        return [chunk for place, items in polled.items() if place in self._names
                for chunk in self._chunks(place, items)]

    def _chunks(self, place: TopicPartition, items: Sequence[Any]) -> Iterator[Chunk]:
        """Runs as they are; messages that could only be had singly become a record batch again, keys included."""
        from .kafka_batches import Run

        name = self._names[place]
        singles = []
        for item in items:
            if not isinstance(item, Run):
                if item.offset >= self._next[place]:  # a batch may begin before the offset asked for
                    singles.append(item)
                continue
            if singles:
                yield self._packed(place, singles)
                singles = []
            yield Chunk(name, self._next[place], item.last, item.records, "kafka", item.payload)
            self._next[place] = item.last + 1
        if singles:
            yield self._packed(place, singles)

    def _packed(self, place: TopicPartition, records: Sequence[Any]) -> Chunk:
        from ..encodings.kafka import pack

        first, last = self._next[place], records[-1].offset
        self._next[place] = last + 1
        payload = pack([record.offset for record in records], [record.key for record in records],
                       [record.value for record in records])
        return Chunk(self._names[place], first, last, len(records), "kafka", payload)

    def _check_topic(self) -> None:
        from .kafka_batches import topic_id

        now = topic_id(self._consumer, self._settings.topic)
        if self._topic_id and now and now != self._topic_id:
            raise SourceError(f"topic {self._settings.topic} was deleted and made again while it was read: start drtc "
                              "once more, and it reads the new one from its beginning")

    def _check_silence(self, heard: bool) -> None:
        """Says so when no broker answers any more; the library reconnects by itself, in silence."""
        from .kafka_client import answers, named

        now = time.monotonic()
        missed = self._waiting.attempt
        if heard or now >= self._ask_at:
            if heard or answers(self._settings):
                self._waiting.attempt = 0
                self._ask_at = now + SILENCE
                if missed:
                    self._warn(f"{named(self._settings)} answers again")
                    self._warn("")
            else:
                self._ask_at = now + self._waiting.tell(named(self._settings))

    def _assigned(self, partitions: Collection[TopicPartition]) -> None:
        if self._closing.is_set():
            return
        positions = {}
        for place, position in self._positions(sorted(partitions)).items():
            name = f"{place.topic}-{place.partition}" + (f"@{self._topic_id}" if self._topic_id else "")
            self._consumer.seek(place, position.offset)
            self._names[place], self._places[name], self._next[place] = name, place, position.offset
            positions[name] = position
        if positions:
            self._listener.assigned(positions)

    def _revoked(self, partitions: Collection[TopicPartition]) -> None:
        names = [self._names[place] for place in partitions if place in self._names]
        if names and not self._closing.is_set():
            self._listener.revoked(names)
        self._forget(partitions)

    def _lost(self, partitions: Collection[TopicPartition]) -> None:
        names = [self._names[place] for place in partitions if place in self._names]
        self._forget(partitions)
        if names and not self._closing.is_set():
            self._listener.lost(names)

    def _forget(self, partitions: Collection[TopicPartition]) -> None:
        for place in partitions:
            self._places.pop(self._names.pop(place, ""), None)
            self._next.pop(place, None)

    def _positions(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, Position]:
        """Where each partition is begun: at what is committed of this very topic, or at the start."""
        from .kafka_batches import topic_id

        consumer = self._consumer
        earliest = self._settings.start == "earliest"
        self._topic_id = topic_id(consumer, self._settings.topic)
        found = self._ask("the committed offsets", lambda: (
            {place: consumer.committed(place, metadata=True, timeout_ms=_MILLISECONDS) for place in partitions},
            consumer.beginning_offsets(partitions, _MILLISECONDS), consumer.end_offsets(partitions, _MILLISECONDS)))
        if found is None:
            return {}
        committed, begins, ends = found
        positions = {}
        for place in partitions:
            known = committed[place]
            position = None
            if known:
                where = f"{place.topic}-{place.partition} in group {self._group}"
                position = resume(where, known.offset, known.metadata or "", self._topic_id,
                                  Extent(begins[place], ends[place]))
                if position is None:
                    self._warn(f"{where}: the topic was made again since offset {known.offset} was committed: "
                               f"the new one is read from its {'beginning' if earliest else 'end'}")
            positions[place] = position or Position((begins if earliest else ends)[place], "")
        return positions

    def _partitions(self) -> set[int] | None:
        return self._consumer.partitions_for_topic(self._settings.topic) or None

    def _ask(self, what: str, question: Callable[[], T]) -> T | None:
        """The brokers' answer, however long it takes; None if the source was closed meanwhile."""
        from .kafka_client import Waiting, named

        return Waiting(self._warn, self._closing).until(f"{named(self._settings)} to tell {what}", question)

    def _ours(self, names: Iterable[str]) -> list[TopicPartition]:
        assigned = self._consumer.assignment() if self._consumer is not None else ()
        return [self._places[name] for name in names if self._places.get(name) in assigned]
