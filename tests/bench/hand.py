"""What drtc is measured against: the loops that somebody would write by hand, with no guarantee and nothing stored.

``python -m tests.bench.hand CLIENT ADDRESS TOPIC TABLE EVENTS [PARTITION]`` reads so many events and prints, as JSON,
when the first was there and the last was counted, and the counts.
"""
from __future__ import annotations

import json
import sys
import time
from typing import Callable, Iterable, Iterator

import msgspec

from .streams import PARTITIONS, WINDOW_MS

Values = Iterator[Iterable[bytes]]  # values, as many as came at once


class AdEvent(msgspec.Struct):
    ad_id: str
    event_type: str
    event_time: int


def confluent(address: str, topic: str, partitions: list[int]) -> Values:
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({
        "bootstrap.servers": address, "group.id": "hand", "enable.auto.commit": False,
        "fetch.queue.backoff.ms": 2, "queued.min.messages": 1_000_000, "queued.max.messages.kbytes": 262_144,
    })
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    while True:
        yield [message.value() or b"" for message in consumer.consume(10_000, 0.1)]


def kafka_python(address: str, topic: str, partitions: list[int]) -> Values:
    from kafka import KafkaConsumer, TopicPartition

    consumer = KafkaConsumer(bootstrap_servers=address, enable_auto_commit=False, auto_offset_reset="earliest",
                             max_partition_fetch_bytes=4 << 20)
    consumer.assign([TopicPartition(topic, partition) for partition in partitions])
    while True:
        polled = consumer.poll(100, max_records=10_000)
        yield [record.value for records in polled.values() for record in records]


CLIENTS: dict[str, Callable[[str, str, list[int]], Values]] = {"confluent-kafka": confluent,
                                                               "kafka-python": kafka_python}


def count(values: Values, campaign: dict[str, str], events: int) -> tuple[float, float, dict[tuple[str, int], int]]:
    """The loop itself: when the first event was there, when the last was counted, and views by campaign and window."""
    decode = msgspec.json.Decoder(AdEvent).decode
    counts: dict[tuple[str, int], int] = {}
    seen = 0
    first = 0.0
    for some in values:
        if not seen and some:
            first = time.time()
        for value in some:
            seen += 1
            event = decode(value)
            if event.event_type == "view":
                key = campaign[event.ad_id], event.event_time // WINDOW_MS
                counts[key] = counts.get(key, 0) + 1
        if seen >= events:
            break
    return first, time.time(), counts


def main(arguments: list[str]) -> None:
    client, address, topic, table, events, *some = arguments
    with open(table) as file:
        campaign = json.load(file)
    partitions = list(map(int, some)) or list(range(PARTITIONS))
    first, last, counts = count(CLIENTS[client](address, topic, partitions), campaign, int(events))
    views = [(name, window * WINDOW_MS // 1000, views) for (name, window), views in counts.items()]
    print(json.dumps({"first": first, "last": last, "counts": views}))


if __name__ == "__main__":
    main(sys.argv[1:])
