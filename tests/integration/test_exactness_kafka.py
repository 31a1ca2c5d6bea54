"""Flights through a real broker, in every way that a topic can be written and read: the answer is always the same.

Every pair of settings meets in some run: partitions, route, workers, compression, batch size, forking.
"""
from __future__ import annotations

import random
from functools import lru_cache
from itertools import combinations, product
from pathlib import Path
from typing import Any, Mapping, NamedTuple, Sequence
from zlib import crc32

import pytest

from ..services import Kafka
from ..services.base import await_true
from ..services.kafka import Message
from .exactness import JsonFlights, Records, as_json, check, flights_csv, read_lines, run, truth

pytestmark = pytest.mark.slow

TAILNUM, CARRIER = 11, 9
LINES = {1: 2_000, 100: 20_000, 10_000: 40_000, 100_000: 112_000}  # by batch size: a run takes seconds


class Case(NamedTuple):
    """One run. ``batch`` is the number of messages in the producer's record batches and, as near as bytes can say it,
    in the batches of collector and coordinator."""

    partitions: int
    route: str
    workers: int
    compression: str
    batch: int
    fork: str

    def __str__(self) -> str:
        return "-".join(map(str, self))


VALUES: dict[str, Sequence[Any]] = {
    "partitions": (1, 2, 7),
    "route": ("partition", "key", f"csv:{CARRIER}", "json:carrier"),
    "workers": (1, 2, 4),
    "compression": ("none", "gzip", "snappy", "lz4", "zstd"),
    "batch": tuple(LINES),
    "fork": ("0", "256K", "1G"),
}
BATCH_BYTES = {1: "1", 100: "10K", 10_000: "1M", 100_000: "32M"}


def pairwise() -> list[Case]:
    """Few cases in which each value of a setting meets each value of every other one. The same ones every time."""
    dice = random.Random(13)
    names = list(VALUES)
    missing = {(one, a, two, b) for one, two in combinations(names, 2) for a, b in product(VALUES[one], VALUES[two])}
    cases = []
    while missing:
        drawn = [Case(**{name: dice.choice(values) for name, values in VALUES.items()}) for _ in range(300)]
        best = max(drawn, key=lambda case: len(_pairs(case) & missing))
        missing -= _pairs(best)
        cases.append(best)
    return cases


def _pairs(case: Case) -> set[tuple[str, Any, str, Any]]:
    return {(one, a, two, b) for (one, a), (two, b) in combinations(case._asdict().items(), 2)}


@lru_cache
def lines_of(batch: int) -> list[bytes]:
    return read_lines(flights_csv(), LINES[batch])


@lru_cache
def truth_of(batch: int) -> Records:
    return truth(lines_of(batch))


def write(kafka: Kafka, case: Case) -> str:
    """A topic with the case's flights, keyed by the plane."""
    topic = kafka.create_topic(kafka.fresh("flights"), case.partitions)
    shares: list[list[Message]] = [[] for _ in range(case.partitions)]
    for line in lines_of(case.batch):
        plane = line.split(b",")[TAILNUM]
        value = as_json(line) if case.route.startswith("json:") else line
        shares[crc32(plane) % case.partitions].append((plane, value))
    for partition, messages in enumerate(shares):
        kafka.produce(topic, messages, partition, case.compression, {"batch.num.messages": case.batch})
    return topic


def sections(kafka: Kafka, topic: str, fetch: str = "1M",
             **others: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {"job": {"class": "drtc.examples.flights:Flights"},
            "source": {"type": "kafka", "brokers": kafka.address, "topic": topic, "group": kafka.fresh("flights"),
                       "fetch_bytes": fetch, "partition_fetch_bytes": fetch},
            **others}


@pytest.mark.parametrize("case", pairwise(), ids=str)
def test_every_way_to_write_and_read(case: Case, kafka: Kafka, tmp_path: Path) -> None:
    size = BATCH_BYTES[case.batch]
    job = f"{JsonFlights.__module__}:JsonFlights" if case.route.startswith("json:") else "drtc.examples.flights:Flights"
    database = run(tmp_path, sections(
        kafka, write(kafka, case), size, job={"class": job, "name": "flights"},
        collector={"route": case.route, "batch_bytes": size}, coordinator={"batch_bytes": size},
        compute={"workers": case.workers, "fork_bytes": case.fork}))
    check(database, truth_of(case.batch))


@pytest.mark.parametrize("route", ["partition", "key"])
def test_a_compacted_topic(kafka: Kafka, tmp_path: Path, route: str) -> None:
    """Offsets with gaps, old values gone, deletions without a body: what counts is what the topic holds."""
    topic = kafka.create_topic(kafka.fresh("compacted"), 2, {
        "cleanup.policy": "compact", "segment.ms": "100", "segment.bytes": "1048576",
        "min.cleanable.dirty.ratio": "0.001", "max.compaction.lag.ms": "200", "delete.retention.ms": "600000"})
    lines = lines_of(100)
    messages: list[Message] = [(line.split(b",")[TAILNUM], line) for line in lines]
    messages += [(plane, None) for plane in sorted({line.split(b",")[TAILNUM] for line in lines})[::5]]
    kafka.produce(topic, messages, config={"batch.num.messages": 50})
    seen = [-1, -1]

    def compacted() -> bool:
        """The active segment is never compacted: another message ends it. Twice the same is settled."""
        kafka.produce(topic, [(b"last", lines[-1])])
        seen.append(len(held(kafka, topic)))
        return seen[-1] < len(messages) // 2 and seen[-1] == seen[-2] == seen[-3]

    await_true(compacted, 60, "compaction")
    expected = truth(held(kafka, topic))
    database = run(tmp_path, sections(kafka, topic, collector={"route": route}))
    check(database, expected)


def held(kafka: Kafka, topic: str) -> list[bytes]:
    """The bodies that a plain consumer reads from the topic."""
    from confluent_kafka import Consumer, TopicPartition

    ends = kafka.ends(topic)
    consumer = Consumer({"bootstrap.servers": kafka.address, "group.id": "unused", "enable.partition.eof": True,
                         "enable.auto.commit": False, "log_level": 0})
    try:
        consumer.assign([TopicPartition(topic, partition, 0) for partition in ends])
        bodies = []
        reading = set(ends)
        while reading:
            for message in consumer.consume(10_000, 1.0):
                if message.error() is not None:
                    reading.discard(message.partition())
                elif message.value() is not None:
                    bodies.append(message.value())
        return bodies
    finally:
        consumer.close()


@pytest.mark.parametrize(("route", "compression"), [("partition", "lz4"), ("key", "none"), (f"csv:{CARRIER}", "zstd")])
def test_aborted_transactions(kafka: Kafka, tmp_path: Path, route: str, compression: str) -> None:
    """Every third transaction is aborted: nothing of it counts."""
    topic = kafka.create_topic(kafka.fresh("transactions"), 2)
    lines = lines_of(100)
    committed: list[bytes] = []
    for partition in range(2):
        share = lines[partition::2]
        parts = [share[at:at + 250] for at in range(0, len(share), 250)]
        kafka.produce_transactions(topic, [[(line.split(b",")[TAILNUM], line) for line in part] for part in parts],
                                   lambda number: number % 3 == 2, partition, compression)
        committed += [line for number, part in enumerate(parts) if number % 3 != 2 for line in part]
    database = run(tmp_path, sections(kafka, topic, collector={"route": route}, compute={"fork_bytes": 0}))
    check(database, truth(committed))
