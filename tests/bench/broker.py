"""The topic of the benchmarks: loaded once, then read by every run with a consumer group of its own."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .streams import PARTITIONS, Campaigns

if TYPE_CHECKING:
    from ..services import Kafka

#: nothing compressed; a record batch holds as much as its producer puts in one by default, about 4,000 events
PRODUCER = {"compression.type": "none", "linger.ms": 100, "batch.num.messages": 10_000, "batch.size": 1_000_000,
            "queue.buffering.max.messages": 500_000, "queue.buffering.max.kbytes": 1_000_000}


def load(kafka: Kafka, campaigns: Campaigns) -> str:
    """Writes all events into a fresh topic; returns its name once every one is acknowledged."""
    topic = kafka.create_topic(kafka.fresh("ads"), PARTITIONS)
    producer = kafka.producer(PRODUCER)
    for chunk in campaigns.chunks():
        for partition in range(PARTITIONS):
            for value in chunk[partition::PARTITIONS]:
                send(producer, topic, value, partition)
        producer.poll(0)
    producer.flush()
    found = sum(kafka.ends(topic).values())
    if found != campaigns.events:
        raise RuntimeError(f"the topic {topic} holds {found} events of {campaigns.events}")
    return topic


def send(producer: Any, topic: str, value: bytes, partition: int) -> None:
    """Hands one event to the producer, and waits while its queue is full."""
    while True:
        try:
            producer.produce(topic, value, None, partition)
            return
        except BufferError:
            producer.poll(0.01)
