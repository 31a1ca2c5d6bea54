"""A producer that keeps a steady pace: ``python -m tests.bench.pace ADDRESS TOPIC EVENTS RATE OUTPUT``.

A process of its own, so that it does not wait for whoever looks at the store. OUTPUT gets the time at which each event
was handed to the producer, epoch seconds as float64.
"""
from __future__ import annotations

import sys
import time

import numpy as np

from .broker import send
from .streams import PARTITIONS, Campaigns

TICK = 0.002  # seconds: what falls due in a tick is sent together


def main(arguments: list[str]) -> None:
    from confluent_kafka import Producer

    address, topic, count, rate, output = arguments
    events = int(count)
    values = [value for chunk in Campaigns(events, apart=True).chunks() for value in chunk]
    producer = Producer({"bootstrap.servers": address, "compression.type": "none", "linger.ms": 0})
    producer.list_topics(topic)
    times = np.zeros(events)
    sent = 0
    began = time.monotonic()
    while sent < events:
        due = min(events, int((time.monotonic() - began) * int(rate)))
        while sent < due:
            times[sent] = time.time()
            send(producer, topic, values[sent], sent % PARTITIONS)
            sent += 1
        producer.poll(0)
        time.sleep(TICK)
    producer.flush()
    times.tofile(output)


if __name__ == "__main__":
    main(sys.argv[1:])
