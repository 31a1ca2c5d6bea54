"""The Kafka source without a broker: runs out of fetched buffers, where a partition is begun, threads, settings."""
from __future__ import annotations

import threading
from collections import namedtuple
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from drtc.encodings.kafka import CONTROL, TRANSACTIONAL, pack, unpack
from drtc.errors import ConfigError, SourceError, SourceUnavailable
from drtc.sources import SourceContext
from drtc.sources.base import Position
from drtc.sources.kafka import KafkaSettings
from drtc.sources.kafka_offsets import Extent, metadata, resume
from drtc.values import Address

# kafka-python's, as it is imported
pytestmark = pytest.mark.filterwarnings("ignore:(read|open)_text is deprecated")

Aborted = namedtuple("Aborted", "producer_id first_offset")
HERE = "ads-0 in group g"


def batch(first: int, count: int = 1, producer: int = -1, attributes: int = 0, last: int | None = None) -> bytes:
    """A record batch with values that tell their offsets, up to ``last`` where compaction took some away."""
    offsets = list(range(first, first + count))
    raw = bytearray(pack(offsets, [None] * count, [b"%d" % offset for offset in offsets]))
    raw[22] = attributes
    raw[23:27] = ((offsets[-1] if last is None else last) - first).to_bytes(4, "big")
    raw[43:51] = producer.to_bytes(8, "big", signed=True)
    raw[17:21] = crc32c(bytes(raw[21:])).to_bytes(4, "big")
    return bytes(raw)


def partition(buffer: bytes, offset: int = 0, committed: bool = True, aborted: list[Aborted] | None = None) -> Any:
    from kafka.consumer.fetcher import Fetcher
    from kafka.protocol.consumer import IsolationLevel
    from kafka.record import MemoryRecords
    from kafka.structs import TopicPartition

    from drtc.sources import kafka_batches

    assert kafka_batches.fits(Fetcher.PartitionRecords, MemoryRecords)
    return kafka_batches._RunsOfPartition(
        offset, TopicPartition("ads", 0), MemoryRecords(buffer), aborted_transactions=aborted,
        isolation_level=IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED)


def values(runs: list[Any], first: int = 0) -> list[bytes | None]:
    return [value for run in runs for value in unpack(run.payload, first, run.last).values]


def test_consecutive_batches_are_one_run() -> None:
    records = partition(batch(3, 2) + batch(5, 3) + batch(8) + batch(9, 5)[:-1], offset=4)
    (run,) = records.take()
    assert (run.last, run.records, len(run.payload)) == (8, 6, len(batch(3, 2) + batch(5, 3) + batch(8)))
    assert records.next_fetch_offset == 9
    assert not records


def test_a_run_ends_at_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    from drtc.sources import kafka_batches

    monkeypatch.setattr(kafka_batches, "RUN_BYTES", 2 * len(batch(0)))
    records = partition(b"".join(batch(offset) for offset in range(5)))
    (first,) = records.take(1)
    assert (first.last, records.next_fetch_offset) == (1, 2)
    assert [run.last for run in records.take(9)] == [3, 4]
    assert records.next_fetch_offset == 5
    monkeypatch.setattr(kafka_batches, "RUN_BYTES", 1 << 20)
    monkeypatch.setattr(kafka_batches, "RUN_RECORDS", 5)
    assert [run.records for run in partition(batch(0, 3) + batch(3, 2) + batch(5, 9) + batch(14)).take()] == [5, 9, 1]


def test_aborted_transactions_are_cut_out_and_passed() -> None:
    good, bad = TRANSACTIONAL, TRANSACTIONAL
    marker = TRANSACTIONAL | CONTROL
    buffer = (batch(0, 2) + batch(2, 2, 7, good) + batch(4, 2, 8, bad) + batch(6, 1, 7, marker) + batch(7, 1, 8, marker)
              + batch(8, 2, 8, good) + batch(10, 1, 8, marker) + batch(11, 3, 7, bad))
    records = partition(buffer, aborted=[Aborted(7, 11), Aborted(8, 4)])
    runs = records.take()
    assert values(runs) == [b"0", b"1", b"2", b"3", b"8", b"9"]
    assert [(run.last, run.records) for run in runs] == [(7, 4), (13, 2)]
    assert records.next_fetch_offset == 14
    everything = partition(buffer, committed=False, aborted=[Aborted(8, 4)]).take()
    assert values(everything) == [b"%d" % offset for offset in (0, 1, 2, 3, 4, 5, 8, 9, 11, 12, 13)]
    assert len(everything) == 1


def test_nothing_but_what_is_left_out_says_how_far_it_was_passed() -> None:
    buffer = batch(4, 3, 8, TRANSACTIONAL) + batch(7, 1, 8, TRANSACTIONAL | CONTROL)
    (run,) = partition(buffer, offset=5, aborted=[Aborted(8, 4)]).take()
    assert (run.last, run.records, bytes(run.payload)) == (7, 0, b"")
    assert partition(b"", offset=5).take() == []


def test_gaps_of_compaction_are_covered() -> None:
    (run,) = partition(batch(10, 2, last=19) + batch(30, 1, last=39), offset=3).take()
    assert (run.last, run.records) == (39, 3)
    assert values([run]) == [b"10", b"11", b"30"]


@given(st.lists(st.tuples(st.sampled_from([-1, 1, 2]), st.booleans(), st.integers(1, 3), st.integers(0, 2)),
                max_size=12), st.integers(0, 10))
@settings(max_examples=200, deadline=None)
def test_the_same_messages_as_the_library_finds(steps: list[tuple[int, bool, int, int]], start: int) -> None:
    """Interleaved transactions of two producers, committed and aborted, beside messages without any."""
    from kafka.consumer.fetcher import Fetcher
    from kafka.protocol.consumer import IsolationLevel
    from kafka.record import MemoryRecords
    from kafka.structs import TopicPartition

    buffer, offset, began = b"", 0, dict[int, int]()
    aborted = []
    for producer, ends, count, gap in steps:
        buffer += batch(offset, count, producer, TRANSACTIONAL if producer > 0 else 0, offset + count - 1 + gap)
        began.setdefault(producer, offset)
        offset += count + gap
        if ends and producer > 0:
            kind = b"\0\0\0" + bytes([count % 2])  # 0 aborts, 1 commits
            if kind[3] == 0:
                aborted.append(Aborted(producer, began[producer]))
            del began[producer]
            raw = bytearray(pack([offset], [kind], [b"\0\0\0\0\0\0"]))
            raw[22] = TRANSACTIONAL | CONTROL
            raw[43:51] = producer.to_bytes(8, "big", signed=True)
            raw[17:21] = crc32c(bytes(raw[21:])).to_bytes(4, "big")
            buffer += bytes(raw)
            offset += 1
    theirs = Fetcher.PartitionRecords(start, TopicPartition("ads", 0), MemoryRecords(buffer),
                                      aborted_transactions=aborted, isolation_level=IsolationLevel.READ_COMMITTED)
    expected = [record.value for record in theirs.take()]
    ours = partition(buffer, start, aborted=aborted)
    assert values(ours.take(), start) == expected
    assert ours.next_fetch_offset == max(theirs.next_fetch_offset, start)


def test_older_formats_come_singly() -> None:
    from kafka.record import MemoryRecordsBuilder

    builder = MemoryRecordsBuilder(1, 0, 1 << 20, offset=2)
    for number in (2, 3):
        builder.append(1_700_000_000_000, b"key", b"%d" % number)
    builder.close()
    run, *singles = partition(batch(0, 2) + bytes(builder.buffer())).take()
    assert run.last == 1
    assert [(each.offset, each.key, each.value) for each in singles] == [(2, b"key", b"2"), (3, b"key", b"3")]


def test_what_is_no_batch_is_an_error_and_not_skipped() -> None:
    from kafka.errors import CorruptRecordError

    strange = bytearray(batch(0))
    strange[16] = 9
    with pytest.raises(CorruptRecordError, match="what begins at offset 5"):
        partition(bytes(strange), offset=5).take()
    records = partition(batch(4) + bytes(strange), offset=4)
    assert [run.last for run in records.take()] == [4]  # first what is good


def test_another_make_of_the_library_does_not_fit() -> None:
    from kafka.consumer.fetcher import Fetcher
    from kafka.record import MemoryRecords

    from drtc.sources.kafka_batches import fits, install, never_create_topics, receive_much, topic_id

    class Other:
        def __init__(self, fetch_offset: int, tp: object, records: object) -> None: ...

    assert not fits(None, MemoryRecords)
    assert not fits(Other, MemoryRecords)
    assert not fits(Fetcher.PartitionRecords, object)
    assert not install(object())
    never_create_topics(object())
    receive_much(object())
    assert topic_id(object(), "ads") == ""


def test_a_position_is_committed_and_resumed() -> None:
    extent = Extent(3, 20)
    for note in ("", "route=key;slots=16", "a;topic=b"):
        for topic in ("", "3fR2kq"):
            assert resume(HERE, 7, metadata(note, topic), topic, extent) == Position(7, note)
    assert resume(HERE, 3, "", "3fR2kq", extent) == Position(3, "")  # committed by something else
    assert resume(HERE, 20, metadata("n", ""), "3fR2kq", extent) == Position(20, "n")
    assert resume(HERE, 99, metadata("n", "former"), "3fR2kq", extent) is None


@pytest.mark.parametrize(("offset", "sentence"), [
    (21, "ads-0 in group g: the committed offset 21 lies past the partition's end 20: the topic was made again or has "
         "lost its end; run drtc reset to count it from the beginning"),
    (2, "ads-0 in group g: the committed offset 2 is no longer there, the partition begins at 3")])
def test_an_offset_outside_the_partition_is_refused(offset: int, sentence: str) -> None:
    with pytest.raises(SourceError) as raised:
        resume(HERE, offset, metadata("n", "3fR2kq"), "3fR2kq", Extent(3, 20))
    assert str(raised.value).startswith(sentence)


def test_errands_are_done_on_the_readers_thread_until_the_call_ends() -> None:
    from drtc.sources.kafka_thread import Reader

    reader = Reader()
    done = threading.Event()
    seen: list[int] = []

    def errand() -> None:
        seen.append(threading.get_ident())
        done.set()

    def blocking() -> str:
        reader.put(errand)
        assert done.wait(30)
        seen.append(threading.get_ident())
        return "result"

    assert reader.call(blocking) == "result"
    assert seen[0] == threading.get_ident() != seen[1]

    def failing() -> None:
        raise SourceError("an errand's")

    released = threading.Event()
    ended: list[bool] = []

    def outlasts_what_failed() -> None:
        reader.put(failing)
        reader.put(released.set)  # only who goes on after a failure gets so far
        ended.append(released.wait(30))

    with pytest.raises(SourceError, match="an errand's"):
        reader.call(outlasts_what_failed)
    assert ended == [True]
    with pytest.raises(ZeroDivisionError):
        reader.call(lambda: 1 // 0)
    reader.close()


@pytest.mark.parametrize(("wrong", "sentence"), [
    ({"brokers": ()}, "brokers: must name"), ({"topic": ""}, "topic: must be one topic's name"),
    ({"topic": "a,b"}, "topic: must be one topic's name"), ({"topic": "a" * 250}, "topic: must be"),
    ({"security": "SASL_SSL"}, "user: SASL_SSL needs a user and a password")])
def test_settings_that_cannot_be(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises((ValueError, ConfigError)) as raised:
        KafkaSettings(**{"brokers": (Address("localhost", 9092),), "topic": "ads", **wrong})
    assert sentence in str(raised.value)


def test_importing_the_source_imports_no_client() -> None:
    import subprocess
    import sys

    code = ("import sys, drtc.sources.kafka, drtc.collector.route, drtc.encodings.kafka\n"
            "print([name for name in ('kafka', 'crc32c', 'lz4', 'snappy', 'zstandard') if name in sys.modules])")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_member_whose_commits_are_refused_for_long_joins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """kafka-python can come out of a rebalance half joined; nothing but joining again brings it back."""
    from kafka.coordinator.consumer import ConsumerCoordinator
    from kafka.errors import RebalanceInProgressError
    from kafka.structs import TopicPartition

    from drtc.sources import kafka as module

    assert callable(ConsumerCoordinator.request_rejoin), "the hook is gone: another way must be found"
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    consumer = mock.Mock()
    source = module.KafkaSource(KafkaSettings(brokers=(Address("localhost", 9092),), topic="ads"),
                                SourceContext(Path(), "ads_v1", None, False))
    source._consumer = consumer
    source._places = {"ads-0@x": TopicPartition("ads", 0)}
    refused = consumer.commit.side_effect = RebalanceInProgressError()

    def commits(until: float) -> int:
        """How often it was told to join again."""
        while clock[0] < until:
            try:
                source.commit({"ads-0@x": Position(5, "")})
            except SourceUnavailable:
                pass
            clock[0] += 0.5
        return int(consumer._coordinator.request_rejoin.call_count)

    assert commits(102.9) == 0, "a rebalance takes a moment"
    consumer.commit.side_effect = None
    assert commits(104) == 0
    consumer.commit.side_effect = refused
    assert commits(107) == 0, "what was taken in between begins it anew"
    assert commits(108) == 1
    assert commits(111) == 1, "it is given time to join"
    assert commits(113) == 2
