"""The Kafka source against a real broker: what is read, where it is begun, and what the listener is told."""
from __future__ import annotations

import gc
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Iterator, Mapping, Sequence

import pytest

from drtc.batch import Chunk
from drtc.encodings import unpack
from drtc.encodings.kafka import unpack_keyed
from drtc.errors import SourceError, SourceUnavailable
from drtc.sources.base import Listener, Position
from drtc.sources.kafka import KafkaSettings, KafkaSource
from drtc.values import Address

from ..services import Kafka
from ..services.base import free_port

# kafka-python's: deprecated calls as it is imported, and sockets of refused connections left to the garbage collector
pytestmark = [pytest.mark.filterwarnings("ignore:(read|open)_text is deprecated"),
              pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
              pytest.mark.filterwarnings("ignore:Exception ignored in. <socket")]

SECONDS = 30.0  # how long anything may take before the test gives up


class Notes(Listener):
    """Remembers what it was told; ``revoking`` runs inside ``revoked``."""

    def __init__(self) -> None:
        self.positions: dict[str, Position] = {}
        self.events: list[tuple[str, list[str]]] = []
        self.threads: set[int] = set()
        self.revoking: Callable[[Sequence[str]], None] = lambda partitions: None

    def assigned(self, positions: Mapping[str, Position]) -> None:
        self.positions.update(positions)
        self._note("assigned", list(positions))

    def revoked(self, partitions: Sequence[str]) -> None:
        self.revoking(partitions)
        self._note("revoked", list(partitions))

    def lost(self, partitions: Sequence[str]) -> None:
        self._note("lost", list(partitions))

    def _note(self, what: str, partitions: list[str]) -> None:
        self.events.append((what, sorted(partitions)))
        self.threads.add(threading.get_ident())


class Reading:
    """A source that was opened, what it said, and everything it delivered."""

    def __init__(self, address: Address, topic: str, group: str, **settings: Any) -> None:
        self.notes = Notes()
        self.warnings: list[str] = []
        self.chunks: list[Chunk] = []
        self.source = KafkaSource(KafkaSettings((address,), topic, group=group, **settings),
                                  SimpleNamespace(base=Path("."), view="view"))

    def open(self) -> Reading:
        self.source.open(self.notes, self.warnings.append)
        return self

    def read(self) -> list[Chunk]:
        chunks = self.source.read(0.2)
        self.chunks += chunks
        return chunks

    def until(self, done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + SECONDS
        while not done():
            assert time.monotonic() < deadline, f"waited in vain for {what}; warnings: {self.warnings}"
            self.read()

    def to_the_end(self) -> Reading:
        """Reads until every assigned partition was passed up to its end of this moment."""
        self.until(self.source.complete, "an assignment")
        ends = {name: end for name, end in self.source.ends().items() if end > self.notes.positions[name].offset}
        self.until(lambda: all(self.place(name) >= end for name, end in ends.items()), f"the ends {ends}")
        return self

    def place(self, name: str) -> int:
        """The offset up to which the partition was passed."""
        return max((chunk.last + 1 for chunk in self.chunks if chunk.partition == name), default=-1)

    def messages(self, name: str = "") -> list[tuple[int, bytes | None]]:
        """Offsets and values; also checks that chunks follow each other and that nothing is damaged."""
        found: list[tuple[int, bytes | None]] = []
        passed: dict[str, int] = {}
        for chunk in self.chunks:
            assert chunk.first == passed.get(chunk.partition, chunk.first)
            passed[chunk.partition] = chunk.last + 1
            taken = unpack(chunk.encoding, chunk.payload, chunk.first, chunk.last)
            assert taken.damaged == []
            if not name or name == chunk.partition:
                found += zip(taken.offsets, taken.values)
        return found

    def values(self) -> list[bytes | None]:
        return [value for _, value in self.messages()]


class Opener:
    """Makes readings of one test and closes them after it."""

    def __init__(self, kafka: Kafka) -> None:
        host, _, port = kafka.address.rpartition(":")
        self.address = Address(host, int(port))
        self.kafka = kafka
        self.made: list[Reading] = []

    def __call__(self, topic: str, group: str = "", **settings: Any) -> Reading:
        self.made.append(Reading(settings.pop("address", self.address), topic, group or self.kafka.fresh("group"),
                                 **settings))
        return self.made[-1]


@pytest.fixture
def reading(kafka: Kafka) -> Iterator[Opener]:
    opener = Opener(kafka)
    yield opener
    for each in opener.made:
        each.source.close()
    opener.made.clear()
    gc.collect()  # here, where the warnings that it brings up are expected


def numbered(count: int, start: int = 0) -> list[bytes]:
    return [b"message %d of many that are much alike" % number for number in range(start, start + count)]


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_every_compression(kafka: Kafka, reading: Opener, compression: str) -> None:
    topic = kafka.create_topic(kafka.fresh("packed"))
    kafka.produce(topic, numbered(1000), 0, compression, {"batch.num.messages": 300})
    read = reading(topic).open().to_the_end()
    assert read.messages() == list(enumerate(numbered(1000)))
    assert {chunk.encoding for chunk in read.chunks} == {"kafka"}
    assert read.warnings == []


@pytest.mark.parametrize("partitions", [1, 2, 7])
def test_every_partition_in_order(kafka: Kafka, reading: Opener, partitions: int) -> None:
    topic = kafka.create_topic(kafka.fresh("parts"), partitions)
    for partition in range(partitions):
        kafka.produce(topic, numbered(100, partition * 1000), partition)
    read = reading(topic).open().to_the_end()
    by_number = sorted(read.source.ends())
    assert len(by_number) == partitions
    for partition, name in enumerate(by_number):
        assert name.startswith(f"{topic}-{partition}@")
        assert read.messages(name) == list(enumerate(numbered(100, partition * 1000)))
    assert read.source.progress() == read.source.ends() == dict.fromkeys(by_number, 100)
    assert read.notes.threads == {threading.get_ident()}


def test_aborted_transactions_are_left_out_and_passed(kafka: Kafka, reading: Opener) -> None:
    topic = kafka.create_topic(kafka.fresh("transactions"))
    kafka.produce_transactions(topic, [numbered(5, 10 * each) for each in range(12)], lambda each: each % 3 == 2)
    read = reading(topic).open().to_the_end()
    expected = [value for each in range(12) if each % 3 != 2 for value in numbered(5, 10 * each)]
    assert read.values() == expected
    assert read.place(*read.source.ends()) == kafka.ends(topic)[0]  # the last thing there is an abort's marker
    every = reading(topic, isolation="read_uncommitted").open().to_the_end()
    assert every.values() == [value for each in range(12) for value in numbered(5, 10 * each)]


def test_an_open_transaction_is_not_read(kafka: Kafka, reading: Opener) -> None:
    topic = kafka.create_topic(kafka.fresh("open"))
    kafka.produce(topic, [b"before"], 0)
    producer = kafka.producer({"transactional.id": kafka.fresh("open"), "retries": 5, "acks": "all"})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, b"inside", partition=0)
    producer.flush()
    read = reading(topic).open().to_the_end()
    assert read.values() == [b"before"]
    assert list(read.source.ends().values()) == [1]
    producer.commit_transaction(30)
    read.until(lambda: len(read.values()) == 2, "what was committed")
    assert read.values() == [b"before", b"inside"]


def test_a_compacted_topic(kafka: Kafka, reading: Opener) -> None:
    topic = kafka.create_topic(kafka.fresh("compacted"), config={
        "cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01",
        "min.compaction.lag.ms": "0", "delete.retention.ms": "0", "max.compaction.lag.ms": "100"})
    kafka.produce(topic, [(b"key %d" % (number % 7), b"value %d" % number) for number in range(700)], 0,
                  config={"batch.num.messages": 50})
    kafka.produce(topic, [(b"key 0", None)], 0)
    deadline = time.monotonic() + SECONDS
    while True:
        time.sleep(0.3)
        kafka.produce(topic, [(b"roll", b"roll")], 0)  # a new segment, so that the one before may be compacted
        read = reading(topic).open().to_the_end()
        found = [(offset, value) for offset, value in read.messages() if value != b"roll"]
        read.source.close()
        if len(found) <= 7:
            break
        assert time.monotonic() < deadline, "the broker did not compact"
    assert [value for _, value in found if value] == [b"value %d" % number for number in range(694, 700)]
    assert read.chunks[0].first == 0  # the gap before the first message that is left is covered


def test_keys_and_tombstones(kafka: Kafka, reading: Opener) -> None:
    topic = kafka.create_topic(kafka.fresh("keyed"))
    kafka.produce(topic, [(b"a", b"1"), (None, b"2"), (b"c", None), (b"", b"")], 0)
    read = reading(topic).open().to_the_end()
    (chunk,) = read.chunks
    messages, keys = unpack_keyed(chunk.payload, chunk.first, chunk.last)
    assert (messages.values, keys) == ([b"1", b"2", None, b""], [b"a", None, b"c", b""])


def test_without_the_hook_messages_come_singly_and_are_the_same(kafka: Kafka, reading: Opener,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    topic = kafka.create_topic(kafka.fresh("singly"))
    kafka.produce(topic, [(b"k%d" % number, value) for number, value in enumerate(numbered(500))], 0, "lz4")
    kafka.produce_transactions(topic, [[b"good"], [b"bad"], [b"better"]], lambda each: each == 1)
    monkeypatch.setattr("drtc.sources.kafka_batches.fits", lambda *classes: False)
    read = reading(topic).open()
    read.until(lambda: len(read.values()) == 502, "all messages")
    assert read.values() == [*numbered(500), b"good", b"better"]
    assert unpack_keyed(read.chunks[0].payload, 0, 9)[1] == [b"k%d" % number for number in range(10)]
    assert "messages are read singly" in read.warnings[0]
    read.source.seek(read.chunks[0].partition, 498)
    read.chunks.clear()
    read.until(lambda: len(read.values()) == 4, "the rest")


def test_seek_and_pause(kafka: Kafka, reading: Opener) -> None:
    topic = kafka.create_topic(kafka.fresh("seek"), 2)
    kafka.produce(topic, numbered(1000), 0)
    kafka.produce(topic, numbered(10), 1)
    read = reading(topic).open().to_the_end()
    name, other = sorted(read.source.ends())
    read.chunks.clear()
    read.source.seek(name, 437)  # in the middle of a record batch
    read.until(lambda: read.place(name) == 1000, "the end, again")
    assert read.messages() == list(enumerate(numbered(1000)))[437:]
    read.chunks.clear()
    read.source.pause([name])
    read.source.seek(name, 990)
    kafka.produce(topic, [b"new"], 1)
    read.until(lambda: read.place(other) == 11, "the partition that is not paused")
    assert read.values() == [b"new"]
    read.source.resume([name])
    read.until(lambda: read.place(name) == 1000, "the paused partition")
    assert read.messages(name) == list(enumerate(numbered(1000)))[990:]


def test_commit_and_note_are_read_back(kafka: Kafka, reading: Opener) -> None:
    topic = kafka.create_topic(kafka.fresh("commit"))
    group = kafka.fresh("group")
    kafka.produce(topic, numbered(10), 0)
    read = reading(topic, group).open().to_the_end()
    (name,) = read.source.ends()
    assert read.notes.positions == {name: Position(0, "")}
    read.source.commit({name: Position(4, "route=key;slots=16"), "somewhere-else": Position(1, "")})
    read.source.close()
    assert kafka.committed(group, topic)[0][0] == 4
    again = reading(topic, group).open().to_the_end()
    assert again.notes.positions == {name: Position(4, "route=key;slots=16")}
    assert again.messages() == list(enumerate(numbered(10)))[4:]


def test_start_latest(kafka: Kafka, reading: Opener) -> None:
    topic = kafka.create_topic(kafka.fresh("latest"))
    kafka.produce(topic, [b"old"], 0)
    read = reading(topic, start="latest").open().to_the_end()
    kafka.produce(topic, [b"new"], 0)
    read.until(lambda: bool(read.chunks), "the new message")
    assert read.messages() == [(1, b"new")]


def test_two_members_share_and_hand_over(kafka: Kafka, reading: Opener) -> None:
    topic = kafka.create_topic(kafka.fresh("shared"), 2)
    group = kafka.fresh("group")
    for partition in (0, 1):
        kafka.produce(topic, numbered(10), partition)
    one = reading(topic, group).open().to_the_end()
    one.notes.revoking = lambda names: one.source.commit({name: Position(7, "handed over") for name in names})
    two = reading(topic, group).open()
    stop = threading.Event()

    def keep_reading() -> None:
        while not stop.is_set():
            one.read()

    beside = threading.Thread(target=keep_reading)
    beside.start()
    try:
        two.until(lambda: bool(two.notes.positions), "a partition")
        two.to_the_end()
    finally:
        stop.set()
        beside.join()
    (given,) = two.notes.positions
    assert one.notes.events[1:] == [("revoked", [given])]
    assert two.notes.positions[given] == Position(7, "handed over")
    assert two.messages() == list(enumerate(numbered(10)))[7:]
    assert list(one.source.ends()) == [name for name in one.notes.positions if name != given]
    one.source.close()
    two.until(lambda: len(two.notes.positions) == 2, "the other partition")


def test_a_member_that_was_silent_too_long_has_lost_its_partitions(kafka: Kafka, reading: Opener) -> None:
    topic = kafka.create_topic(kafka.fresh("silent"))
    group = kafka.fresh("group")
    kafka.produce(topic, numbered(10), 0)
    one = reading(topic, group, session_timeout=1.0).open().to_the_end()
    (name,) = one.source.ends()
    kafka.admin()  # made before the group is emptied by hand
    one.source._consumer._coordinator._disable_heartbeat()
    two = reading(topic, group).open()
    two.until(lambda: bool(two.notes.positions), "the partition")
    with pytest.raises(SourceUnavailable, match="did not take the commit"):
        one.source.commit({name: Position(5, "too late")})
    one.until(lambda: ("lost", [name]) in one.notes.events, "the loss")
    assert kafka.committed(group, topic) == {}


def test_a_broker_that_restarts(kafka: Kafka, reading: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drtc.sources.kafka.SILENCE", 0.5)
    topic = kafka.create_topic(kafka.fresh("restart"))
    kafka.produce(topic, numbered(10), 0)
    read = reading(topic).open().to_the_end()
    kafka.stop()
    read.until(lambda: bool(read.warnings), "a warning")
    assert read.warnings[0] == f"waiting for kafka {kafka.address}, attempt 1, next in 1 s"
    kafka.start()
    kafka.produce(topic, numbered(10, 10), 0)
    read.until(lambda: len(read.values()) == 20, "what came after")
    assert read.messages() == list(enumerate(numbered(20)))
    assert read.warnings[-2:] == [f"kafka {kafka.address} answers again", ""]
    read.source.commit({name: Position(20, "") for name in read.source.ends()})
    assert kafka.committed(read.source._group, topic)[0][0] == 20


def test_a_topic_that_was_made_again_has_other_lanes(kafka: Kafka, reading: Opener) -> None:
    topic = kafka.create_topic(kafka.fresh("again"))
    group = kafka.fresh("group")
    kafka.produce(topic, numbered(10), 0)
    before = reading(topic, group).open().to_the_end()
    kafka.delete_topic(topic)
    kafka.create_topic(topic)
    kafka.produce(topic, numbered(20, 100), 0)
    try:  # the group may notice that the topic is gone before it is there again, or not
        before.until(lambda: len(before.values()) == 30, "the new topic")
    except SourceError as error:
        assert "was deleted and made again while it was read" in str(error)
    former, *newer = sorted({chunk.partition for chunk in before.chunks}, key=list(before.notes.positions).index)
    # for metadata_max_age_ms the library may go on where the former topic ended: docs/guarantees.md says so
    assert before.messages(former)[:10] == list(enumerate(numbered(10)))
    assert [before.messages(name) for name in newer] in ([], [list(enumerate(numbered(20, 100)))])
    before.source.close()
    after = reading(topic, group).open().to_the_end()
    assert after.messages() == list(enumerate(numbered(20, 100)))
    assert former not in after.notes.positions


def test_what_was_committed_for_a_former_topic_is_not_used(kafka: Kafka, reading: Opener) -> None:
    topic = kafka.create_topic(kafka.fresh("former"))
    group = kafka.fresh("group")
    kafka.produce(topic, numbered(10), 0)
    commit(kafka, group, topic, 5, "note;topic=AAAAAA")
    read = reading(topic, group).open().to_the_end()
    assert read.messages() == list(enumerate(numbered(10)))
    assert "was made again since offset 5 was committed" in read.warnings[0]


def test_an_offset_past_the_end_is_refused(kafka: Kafka, reading: Opener) -> None:
    topic = kafka.create_topic(kafka.fresh("past"))
    group = kafka.fresh("group")
    commit(kafka, group, topic, 500, "")
    with pytest.raises(SourceError, match="offset 500 lies past the partition's end 0: .* drtc reset"):
        reading(topic, group).open().to_the_end()


def test_an_offset_that_was_deleted_is_refused(kafka: Kafka, reading: Opener) -> None:
    topic = kafka.create_topic(kafka.fresh("deleted"))
    group = kafka.fresh("group")
    kafka.produce(topic, numbered(10), 0)
    read = reading(topic, group).open().to_the_end()
    read.source.commit({name: Position(3, "") for name in read.source.ends()})
    read.source.pause(list(read.source.ends()))
    kafka.delete_records(topic, {0: 6})
    with pytest.raises(SourceError, match="offset 3 is no longer there, the partition begins at 6"):
        reading(topic, group).open().to_the_end() if read.source.close() is None else None
    late = reading(topic).open()
    late.until(lambda: bool(late.notes.positions), "an assignment")
    late.source.seek(*late.notes.positions, 2)
    with pytest.raises(SourceError, match="deleted messages before they were read"):
        late.until(lambda: late.place(*late.notes.positions) == 3, "nothing")


def test_a_broker_and_a_topic_that_come_later(kafka: Kafka, reading: Opener) -> None:
    topic = kafka.fresh("later")
    read = reading(topic)
    opening = threading.Thread(target=read.open)
    opening.start()
    await_warning(read, f"waiting for topic {topic} to exist, attempt 1, next in 1 s")
    assert topic not in kafka.admin().list_topics(timeout=10).topics
    kafka.create_topic(topic)
    opening.join(SECONDS)
    kafka.produce(topic, [b"at last"], 0)
    read.to_the_end()
    assert read.values() == [b"at last"]


def test_a_missing_broker_is_waited_for_until_the_source_is_closed(reading: Opener) -> None:
    nowhere = Address("127.0.0.1", free_port())
    read = reading("any", address=nowhere)
    opening = threading.Thread(target=read.open)
    opening.start()
    await_warning(read, f"waiting for kafka {nowhere}, attempt 2, next in 2 s")
    read.source.close()
    opening.join(SECONDS)
    assert not opening.is_alive()
    assert read.source.read(0.1) == []


def test_closing_leaves_no_thread(kafka: Kafka, reading: Opener) -> None:
    topic = kafka.create_topic(kafka.fresh("threads"))
    before = set(threading.enumerate())
    read = reading(topic).open().to_the_end()
    closing = threading.Thread(target=read.source.close)
    closing.start()
    while read.source.read(1.0) or closing.is_alive():
        pass
    read.source.close()
    closing.join(SECONDS)
    for thread in set(threading.enumerate()) - before:
        thread.join(SECONDS)
        assert not thread.is_alive()
    assert read.notes.events[1:] == []


def await_warning(read: Reading, text: str) -> None:
    deadline = time.monotonic() + SECONDS
    while text not in read.warnings:
        assert time.monotonic() < deadline, read.warnings
        time.sleep(0.02)


def commit(kafka: Kafka, group: str, topic: str, offset: int, metadata: str) -> None:
    """As another program would, or an older drtc."""
    from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

    place = TopicPartition(topic, 0, offset, metadata)
    for future in kafka.admin().alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, [place])]).values():
        future.result(30)
