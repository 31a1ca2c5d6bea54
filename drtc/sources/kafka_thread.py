"""Lets kafka-python's rebalance callbacks run where drtc's sources promise them: on the reader's own thread.

The library calls its listener on an I/O thread, while the caller of ``poll`` is blocked, and a callback that blocks
there stops heartbeats and cannot commit. So ``poll`` is called on a thread apart, and the reader's waits for its end
or for an errand from the callback, whichever comes first.
"""
from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, Callable, Collection, TypeVar

from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener
from kafka.future import Future
from kafka.structs import TopicPartition

T = TypeVar("T")
Partitions = Collection[TopicPartition]


class Reader:
    """The reader's side: calls that may block for long, and the errands that come up meanwhile."""

    def __init__(self) -> None:
        self._inbox: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._caller = ThreadPoolExecutor(1, "drtc-kafka-poll")

    def call(self, blocking: Callable[[], T]) -> T:
        """The result of ``blocking``, called on the other thread; errands are done here until it is known.

        Raises whatever ``blocking`` raised, or else the first exception of an errand.
        """
        trouble: BaseException | None = None
        result = self._caller.submit(blocking)
        result.add_done_callback(lambda _: self._inbox.put(None))
        while (errand := self._inbox.get()) is not None:
            try:
                errand()
            except BaseException as error:  # the other thread must be waited for all the same
                trouble = trouble or error
        if trouble is not None:
            raise trouble
        return result.result()

    def put(self, errand: Callable[[], None]) -> None:
        """From any thread while ``call`` is under way."""
        self._inbox.put(errand)

    def close(self) -> None:
        self._caller.shutdown(wait=False)


class Rebalances(AsyncConsumerRebalanceListener):  # type: ignore[misc]
    """Hands each callback to the reader and awaits its end, so that heartbeats go on meanwhile."""

    def __init__(self, consumer: Any, reader: Reader, assigned: Callable[[Partitions], None],
                 revoked: Callable[[Partitions], None], lost: Callable[[Partitions], None]) -> None:
        self._loop = consumer._net  # the only way to wake the library's event loop from outside
        self._reader = reader
        self._assigned, self._revoked, self._lost = assigned, revoked, lost

    async def on_partitions_assigned(self, assigned: Partitions) -> None:
        await self._hand(self._assigned, assigned)

    async def on_partitions_revoked(self, revoked: Partitions) -> None:
        await self._hand(self._revoked, revoked)

    async def on_partitions_lost(self, lost: Partitions) -> None:
        await self._hand(self._lost, lost)

    async def _hand(self, callback: Callable[[Partitions], None], partitions: Partitions) -> None:
        done = Future()

        def finish() -> None:
            done.success(None)

        def errand() -> None:
            try:
                callback(partitions)
            finally:
                self._loop.call_soon_threadsafe(finish)

        self._reader.put(errand)
        await done
