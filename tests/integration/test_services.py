"""The servers of the tests are what the tests believe them to be."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Iterable

import pytest
from confluent_kafka import Consumer, TopicPartition

from ..services import Kafka


def test_a_broker_that_is_stopped_and_killed_comes_back_with_its_content(kafka: Kafka) -> None:
    topic = kafka.create_topic(kafka.fresh("restart"), partitions=2)
    address = kafka.address
    kafka.produce(topic, [b"one", b"two"], partition=1)
    kafka.stop()
    assert not kafka.answers()
    kafka.start()
    kafka.produce(topic, [b"three"], partition=1)
    kafka.kill()
    kafka.start()
    assert kafka.address == address
    assert read(kafka, topic, 1) == [b"one", b"two", b"three"]
    assert kafka.ends(topic) == {0: 0, 1: 3}


def test_every_compression_is_produced_in_order(kafka: Kafka) -> None:
    sent = [b"%d" % number * 20 for number in range(500)]
    for compression in ("none", "gzip", "snappy", "lz4", "zstd"):
        topic = kafka.create_topic(kafka.fresh(compression))
        kafka.produce(topic, sent, partition=0, compression=compression)
        assert read(kafka, topic, 0) == sent


def test_aborted_transactions_are_in_the_log_and_not_for_readers(kafka: Kafka) -> None:
    topic = kafka.create_topic(kafka.fresh("transactions"))
    parts = [[b"%d" % number] * 3 for number in range(6)]
    kafka.produce_transactions(topic, parts, aborts=lambda number: number % 3 == 2)
    expected = [value for number, part in enumerate(parts) if number % 3 != 2 for value in part]
    assert read(kafka, topic, 0) == expected
    assert kafka.ends(topic) == {0: 6 * (3 + 1)}  # a transaction ends with a marker of its own


def test_a_topic_made_again_and_one_cut_off_at_its_start(kafka: Kafka) -> None:
    topic = kafka.create_topic(kafka.fresh("again"))
    kafka.produce(topic, [b"old"] * 5)
    kafka.delete_topic(topic)
    kafka.create_topic(topic)
    assert kafka.ends(topic) == {0: 0}
    kafka.produce(topic, [b"0", b"1", b"2"])
    kafka.delete_records(topic, {0: 2})
    assert read(kafka, topic, 0) == [b"2"]


def test_committed_offsets_carry_their_metadata(kafka: Kafka) -> None:
    topic, group = kafka.create_topic(kafka.fresh("committed")), kafka.fresh("group")
    assert kafka.committed(group, topic) == {}
    consumer = Consumer({"bootstrap.servers": kafka.address, "group.id": group})
    consumer.commit(offsets=[TopicPartition(topic, 0, 7, "a note")], asynchronous=False)
    consumer.close()
    assert kafka.committed(group, topic) == {0: (7, "a note")}


@pytest.mark.parametrize("ci, verdict, code", [("", "1 skipped", 0), ("true", "1 error", 1)])
def test_an_absent_service_is_visible_and_in_ci_a_failure(ci: str, verdict: str, code: int) -> None:
    one = f"{Path(__file__)}::{test_committed_offsets_carry_their_metadata.__name__}"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", one]
    nobody = {**os.environ, "DRTC_TEST_KAFKA": "127.0.0.1:1", "CI": ci}
    done = subprocess.run(command, env=nobody, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == code
    assert "ABSENT: DRTC_TEST_KAFKA=127.0.0.1:1 does not answer; tests concerned: 1" in done.stdout
    assert verdict in done.stdout.splitlines()[-1]


def read(kafka: Kafka, topic: str, partition: int) -> list[bytes | None]:
    """Everything that a reader of committed messages sees in a partition."""
    consumer = Consumer({"bootstrap.servers": kafka.address, "group.id": "unused", "enable.partition.eof": True,
                         "enable.auto.commit": False, "auto.offset.reset": "earliest"})
    try:
        consumer.assign([TopicPartition(topic, partition, 0)])
        return list(_values(consumer))
    finally:
        consumer.close()


def _values(consumer: Consumer) -> Iterable[bytes | None]:
    while True:
        message = consumer.poll(30)
        assert message is not None, "the broker sent nothing for 30 s"
        if message.error():
            return  # the end of the partition
        yield message.value()
