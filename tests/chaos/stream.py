"""A steady stream of events into Kafka: the rate that throughput is held against, and the account of what was sent."""
from __future__ import annotations

import threading
import time

from ..services import Broken, Kafka
from .truth import Account, Maker

STEP_SECONDS = 0.01
# Every event arrives once and in order, however long the broker is away.
EXACT = {"enable.idempotence": True, "acks": "all", "max.in.flight": 5, "message.send.max.retries": 10_000_000,
         "message.timeout.ms": 900_000, "reconnect.backoff.max.ms": 500}


class Stream:
    """Sends ``rate`` events a second, on a thread of its own, until it is closed."""

    def __init__(self, kafka: Kafka, topic: str, partitions: int, rate: int, seed: int) -> None:
        self.rate = rate
        self.family = "warm-up"  # the name of the keys of what is sent from now on
        self._topic = topic
        self._maker = Maker(seed, partitions)
        self._producer = kafka.producer(EXACT)
        self._failures: list[object] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stream")

    @property
    def sent(self) -> int:
        """Events so far; those that wait for the broker to come back are among them."""
        return self._maker.made

    def start(self) -> None:
        self._thread.start()

    def close(self) -> dict[str, Account]:
        """Ends it; what the records must be, when everything has arrived at the broker.

        Raises:
            Broken: something did not arrive.
        """
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()
        left = self._producer.flush(120)
        if left or self._failures:
            raise Broken(f"{left + len(self._failures)} events did not reach kafka {self._failures[:1]}")
        return self._maker.truth

    def _run(self) -> None:
        began = time.monotonic()
        while not self._ending.is_set():
            while self._maker.made < (time.monotonic() - began) * self.rate:
                partition, key, line = self._maker.make(self.family)
                self._producer.produce(self._topic, line, key, partition, on_delivery=self._answered)
            self._producer.poll(0)
            time.sleep(STEP_SECONDS)

    def _answered(self, error: object, message: object) -> None:
        if error is not None:
            self._failures.append(error)
