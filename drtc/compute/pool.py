"""The worker processes of a node: started by a forkserver, watched, started again when they die."""
from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
from typing import TYPE_CHECKING, Callable, Sequence

from ..batch import Payload
from ..errors import JobError
from ..wire.connection import Connection
from ..wire.messages import Failed, Message, Ready, Stop
from .pipe import MOST
from .worker import main

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

    from ..config import Config

SLOWEST_RESTART = 5.0  # seconds
GIVE_UP = 5  # deaths in a row before it was ready


class _Seat:
    """A worker's number, and the process that has it now."""

    def __init__(self) -> None:
        self.process: ForkServerProcess | None = None
        self.connection: Connection | None = None
        self.failures = 0  # deaths since it was last ready


class Pool:
    """Calls ``on_frame(worker, message, payload)`` and ``on_death(worker, why)``; a dead worker is replaced by itself,
    and ``Failed`` is said for one that dies again and again before it is ready."""

    def __init__(self, config: Config, workers: int, on_frame: Callable[[int, Message, Payload], None],
                 on_death: Callable[[int, str], None]) -> None:
        self._config = config
        self._on_frame = on_frame
        self._on_death = on_death
        self._seats = [_Seat() for _ in range(workers)]
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["drtc.compute.worker"])
        self._stopping = False

    async def start(self) -> None:
        for number in range(len(self._seats)):
            await self._start(number)

    async def _start(self, number: int) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=main, args=(theirs, self._config, number), daemon=True,
                                        name=f"drtc worker {number}")
        process.start()
        theirs.close()
        loop = asyncio.get_running_loop()
        seat = self._seats[number]
        seat.process = process
        loop.add_reader(process.sentinel, self._died, number, process)

        def on_frame(connection: Connection, message: Message, payload: Payload) -> None:
            if isinstance(message, Ready):
                seat.failures = 0
            self._on_frame(number, message, payload)

        sock = socket.socket(fileno=os.dup(ours.fileno()))
        ours.close()
        _, connection = await loop.create_unix_connection(
            lambda: Connection(on_frame, lambda connection, why: None, MOST), sock=sock)
        seat.connection = connection

    def _died(self, number: int, process: ForkServerProcess) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(process.sentinel)
        process.join()
        seat = self._seats[number]
        if seat.connection is not None:
            seat.connection.abort("the worker died")
        seat.process = seat.connection = None
        if self._stopping:
            return
        code = process.exitcode
        why = f"signal {-code}" if code is not None and code < 0 else f"exit {code}"
        self._on_death(number, why)
        if seat.failures == GIVE_UP:
            sentence = f"worker processes die before they are ready ({why}): see what the Job's open does"
            self._on_frame(number, Failed(sentence, JobError.exit_code), b"")
            return
        wait = 0.0 if seat.failures == 0 else min(SLOWEST_RESTART, 0.1 * 2 ** seat.failures)
        seat.failures += 1
        loop.call_later(wait, self._restart, number)

    def _restart(self, number: int) -> None:
        if not self._stopping:
            asyncio.get_running_loop().create_task(self._start(number))

    def send(self, number: int, message: Message, payloads: Sequence[Payload] = ()) -> None:
        """Dropped where the worker is dead just now: ``on_death`` tells the plan, which gives the work out again."""
        connection = self._seats[number].connection
        if connection is not None:
            connection.send(message, payloads)

    def pids(self) -> list[int]:
        return [seat.process.pid for seat in self._seats if seat.process is not None and seat.process.pid is not None]

    async def stop(self, grace: float) -> None:
        """Asks all to stop, and kills what has not after ``grace`` seconds."""
        self._stopping = True
        for number in range(len(self._seats)):
            self.send(number, Stop())
        deadline = asyncio.get_running_loop().time() + grace
        while any(seat.process is not None and seat.process.is_alive() for seat in self._seats):
            if asyncio.get_running_loop().time() > deadline:
                self.kill()
                break
            await asyncio.sleep(0.02)

    def kill(self) -> None:
        self._stopping = True
        for seat in self._seats:
            if seat.process is not None:
                seat.process.kill()
