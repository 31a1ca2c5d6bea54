"""The coordinator's overflow on its thread: does what ``spill`` decides, so that the loop never waits for a disk."""
from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Callable, Sequence, TypeVar

from ..batch import Payload
from ..errors import DrtcError
from ..observe.logs import Log
from .entry import Entry
from .spill import Spill

if TYPE_CHECKING:
    from ..overflow.base import Overflow

Result = TypeVar("Result")


class Disk:
    """Used on the event loop; the queue itself is touched by one thread only.

    Args:
        changed: called when something has come back or room has come free.
        lost: called with a batch that is damaged on disk: its collector must send again.
        failed: called with a mistake in drtc itself.
    """

    def __init__(self, spill: Spill, log: Log, changed: Callable[[], None], lost: Callable[[Entry], None],
                 failed: Callable[[BaseException], None]) -> None:
        self._spill = spill
        self._log = log
        self._changed = changed
        self._lost = lost
        self._failed = failed
        self._thread = ThreadPoolExecutor(1, "overflow")
        self._opened: Callable[[], Overflow] | None = None
        self._queue: Overflow | None = None
        self._trouble = ""
        self._broken = False  # its files do not work, and new ones are not made yet
        self._renewing = False

    @property
    def trouble(self) -> str:
        """Why the disk takes nothing more, as long as anything waits for it."""
        return self._trouble if self._spill.waits else ""

    async def open(self, opened: Callable[[], Overflow]) -> None:
        """Opens the queue.

        Raises:
            QueueError: the directory cannot be used, or somebody has it.
        """
        self._opened = opened
        self._queue = await asyncio.get_running_loop().run_in_executor(self._thread, opened)

    async def close(self) -> None:
        """Lets go of the directory, after what is being written."""
        if self._queue is not None:
            queue, self._queue = self._queue, None
            await asyncio.get_running_loop().run_in_executor(self._thread, queue.close)
        self._thread.shutdown()

    def step(self) -> None:
        """Begins what is to be done. Called after everything that may have changed it."""
        queue, spill = self._queue, self._spill
        if queue is None or self._broken:
            return
        if discards := spill.discards():  # first of all: they make the room that is written to
            self._do(lambda: self._discard(queue, discards), lambda _: None)
        if entries := spill.writes():
            payloads = [entry.payload for entry in entries if entry.payload is not None]
            self._do(lambda: self._write(queue, payloads), self._written)
        if entries := spill.reads():
            tickets = [entry.ticket for entry in entries if entry.ticket is not None]
            self._do(lambda: [self._read(queue, ticket) for ticket in tickets], self._came_back)

    def retry(self) -> None:
        """Called every heartbeat: a disk that was full may have room, and one that did not work may work."""
        if self._broken:
            self._renew()
        elif self._spill.full:
            self._spill.retry()
            self.step()

    def _do(self, work: Callable[[], Result], done: Callable[[Result], None]) -> None:
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._thread, work)

        def finish(future: asyncio.Future[Result]) -> None:
            if future.cancelled() or self._queue is None:
                return
            error = future.exception()
            if error is not None:
                self._failed(error)
                return
            done(future.result())
            self.step()

        future.add_done_callback(finish)

    def _written(self, result: list[int] | DrtcError) -> None:
        if isinstance(result, DrtcError):
            self._refused(result)
            self._spill.refused()
            if not result.retryable:
                self._broken = True
                for entry in self._spill.on_disk():  # what is in the old files is sent again
                    self._lost(entry)
                self._renew()
        else:
            self._trouble = ""
            self._spill.written(result)
            self._changed()

    def _refused(self, error: DrtcError) -> None:
        if str(error) != self._trouble:
            self._log.warning("overflow takes nothing", why=str(error))
        self._trouble = str(error)

    def _came_back(self, payloads: list[Payload | None]) -> None:
        for entry in self._spill.read(payloads):
            self._lost(entry)
        self._changed()

    def _renew(self) -> None:
        """The files do not work any more: begins with new ones, or tries again with the next heartbeat."""
        queue, opened = self._queue, self._opened
        if queue is None or opened is None or self._renewing:
            return

        def renewed(result: Overflow | DrtcError) -> None:
            self._renewing = False
            if isinstance(result, DrtcError):
                self._refused(result)
                return
            self._queue, self._broken = result, False
            self._log.warning("overflow made anew")
            self._spill.retry()

        self._renewing = True
        self._do(lambda: self._reopen(queue, opened), renewed)

    # --- on the thread ---

    @staticmethod
    def _write(queue: Overflow, payloads: Sequence[Payload]) -> list[int] | DrtcError:
        """The numbers, or why nothing was written."""
        try:
            return queue.append(payloads)
        except DrtcError as error:
            return error

    @staticmethod
    def _reopen(queue: Overflow, opened: Callable[[], Overflow]) -> Overflow | DrtcError:
        """The new queue, or why there is none."""
        try:
            queue.close()
            return opened()
        except DrtcError as error:
            return error

    def _read(self, queue: Overflow, ticket: int) -> Payload | None:
        try:
            return queue.read(ticket)
        except DrtcError as error:
            self._log.error("batch lost on disk, its collector sends it again", ticket=ticket, why=str(error))
            return None

    def _discard(self, queue: Overflow, tickets: list[int]) -> None:
        try:
            queue.discard(tickets)
        except DrtcError as error:
            self._log.error("overflow keeps what is done", why=str(error))  # its room is missing until the next start
