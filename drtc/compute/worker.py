"""A worker process: maps pieces and merges the parts of the keys that it owns. It exits when its pipe closes."""
from __future__ import annotations

import gc
import logging
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections import deque
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Mapping

from ..batch import Batch, Header, Lane, Payload
from ..errors import DrtcError, JobError, StoreError, StoreUnavailable
from ..memory import keep_large_buffers
from ..observe.logs import start as start_logs
from ..wire.frames import cut
from ..wire.messages import (
    Failed, Map, Mapped, MappedSpan, Merge, Merged, Need, Ready, Stop, Supply, Trouble)
from .mapper import Mapper, Part, RecordKey, Span
from .merge import Merger, Piece
from .pack import pack_dead, pack_parts, unpack_dead, unpack_parts
from .pipe import Frame, Pipe
from .records import Layout

if TYPE_CHECKING:
    from ..config import Config
    from ..job import Job, JobSpec
    from ..stores.base import Store


def main(connection: Connection, config: Config, number: int) -> None:
    """The process's whole life."""
    import socket

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the node says when to stop
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _name(f"drtc worker {number}")
    start_logs(config.cluster.log, level=logging.WARNING)
    keep_large_buffers()
    sock = socket.socket(fileno=os.dup(connection.fileno()))
    pipe = Pipe(sock)
    connection.close()
    threading.Thread(target=_end_with_node, args=(sock.fileno(),), daemon=True).start()
    try:
        worker = Worker(pipe, config, number)
        gc.freeze()
        gc.set_threshold(100_000, 20, 100)  # records at hand are many and have no cycles; looking costs a third
        worker.run()
    except EOFError:
        pass  # the node is gone, and so are we
    except DrtcError as error:
        try:
            pipe.send(Failed(str(error), error.exit_code))
        except EOFError:
            print(f"drtc: {error}", file=sys.stderr)


def _end_with_node(pipe: int) -> None:
    """Ends the process when the node is gone, even in the middle of a long ``map``: nobody waits for it any more."""
    poll = select.poll()
    poll.register(pipe, 0)  # a hang-up is always told
    poll.poll()
    os._exit(0)


def _name(title: str) -> None:
    try:
        import setproctitle
    except ImportError:
        return
    setproctitle.setproctitle(title)


class Worker:
    """The loop: one piece to map, then all merges that are at hand in one go, in turn. Under load merges gather
    meanwhile, which makes commits bigger and fewer; without load nothing waits."""

    def __init__(self, pipe: Pipe, config: Config, number: int) -> None:
        from ..job import describe
        from ..loading import load_job

        self._pipe = pipe
        self._trouble = ""
        self._inbox: deque[Frame] = deque()
        self._maps: deque[Frame] = deque()
        self._due = 0.0  # when the next attempt to merge may be made, monotonic seconds
        spec: JobSpec = describe(load_job(config.job.class_, config.base))
        layout = Layout(spec, config.job.version, config.job.name)
        self._store = self._open_store(config, layout)
        self._job = open_job(spec, config, layout.view.name, number)
        self._spec = spec
        self._aggregates = layout.aggregates
        self._mapper = Mapper(spec, self._job)
        self._merger = Merger(self._store, layout, config.compute.cache_records)
        self._pipe.send(Ready(self._store.writers, self._store.survives))

    def _open_store(self, config: Config, layout: Layout) -> Store:
        """The store, waited for where it does not answer yet."""
        from ..stores import open_store

        wait = 0.1
        while True:
            try:
                store = open_store(config.store, config.base)
                store.prepare(layout.view)
            except StoreUnavailable as error:
                self._say(str(error))
                if self._pipe.ready(wait):
                    self._inbox.append(self._pipe.receive())  # also notices that the node is gone
                wait = min(5.0, wait * 2)
            else:
                self._say("")
                return store

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            self._pipe.send(Trouble(trouble))

    def run(self) -> None:
        mapped_last = False
        while True:
            self._receive()
            while self._inbox:
                message, payload = self._inbox.popleft()
                if isinstance(message, Map):
                    self._maps.append(Frame(message, payload))
                elif isinstance(message, Merge):
                    self._take(message, payload)
                elif isinstance(message, Stop):
                    self._store.close()
                    close_job(self._job)
                    return
            if self._maps and (mapped_last := not mapped_last or not len(self._merger)):
                message, payload = self._maps.popleft()
                assert isinstance(message, Map)
                self._map(message, payload)
            elif len(self._merger) and time.monotonic() >= self._due:
                self._merge()

    def _receive(self) -> None:
        """Waits for the node where there is nothing else to do; takes all that has arrived."""
        timeout: float | None = None
        if self._maps or self._inbox:
            timeout = 0.0
        elif len(self._merger):
            timeout = max(0.0, self._due - time.monotonic())
        while self._pipe.ready(timeout):
            self._inbox.append(self._pipe.receive())
            timeout = 0.0

    def _map(self, message: Map, payload: Payload) -> None:
        batches = _batches(message.headers, payload)
        mapped = self._mapper.run(batches) if self._spec.kind == "run" else self._mapper.map(batches)
        began = time.thread_time()
        parts = pack_parts(mapped.parts, message.owners, self._aggregates)
        dead = pack_dead(mapped.dead)
        mapped.seconds["pack"] = time.thread_time() - began
        spans = [
            MappedSpan(span.lane.partition, span.lane.slot, span.first, span.last, at, counts.messages, counts.dead,
                       counts.skipped)
            for span, at, counts in zip(mapped.spans, mapped.times, mapped.counts)
        ]
        self._pipe.send(Mapped(message.piece, spans, [len(part) for part in parts], len(dead), mapped.seconds),
                        [*parts, dead])

    def _take(self, message: Merge, payload: Payload) -> None:
        number = message.piece
        parts, dead = cut(payload, [len(payload) - message.dead, message.dead])
        spans = [Span(Lane(span.partition, span.slot), span.first, span.last) for span in message.spans]

        def refine(floors: Mapping[RecordKey, Mapping[int, int]]) -> Mapping[RecordKey, Part]:
            return self._mapper.refine(self._fetch(number), floors)

        self._merger.add(Piece(number, spans, unpack_parts(parts, self._aggregates), unpack_dead(dead), refine))

    def _fetch(self, piece: int) -> list[Batch]:
        """The batches of a piece, from the node; what else arrives meanwhile waits."""
        self._pipe.send(Need(piece))
        while True:
            frame = self._pipe.receive()
            if isinstance(frame.message, Supply) and frame.message.piece == piece:
                return _batches(frame.message.headers, frame.payload)
            self._inbox.append(frame)

    def _merge(self) -> None:
        began = time.thread_time()
        try:
            outcome = self._merger.attempt()
        except (DrtcError, EOFError):
            raise
        except Exception as error:  # it would be the same after a restart, again and again
            traceback.print_exc()
            if any(frame.f_locals.get("self") is self._store for frame, _ in traceback.walk_tb(error.__traceback__)):
                raise StoreError(f"{type(self._store).__name__}, the store, has a mistake: {type(error).__name__}: "
                                 f"{error}") from error
            raise JobError(f"{self._spec.cls.__name__}: its aggregates cannot be merged, shown or packed: "
                           f"{type(error).__name__}: {error}") from error
        took = time.thread_time() - began
        self._say(outcome.trouble)
        self._due = time.monotonic() + (outcome.delay or 0.0)
        if outcome.done:
            self._pipe.send(Merged([piece.number for piece in outcome.done], [piece.saved for piece in outcome.done],
                                   [piece.replayed for piece in outcome.done], {"merge": took}))


def open_job(spec: JobSpec, config: Config, view: str, number: int) -> Job:
    """Makes the user's Job and opens it.

    Raises:
        JobError: its ``open`` raised; the sentence says what.
    """
    from ..job import Context

    job = spec.cls()
    try:
        job.open(Context(options=dict(config.options), view=view, base=config.base, worker=number))
    except DrtcError:
        raise
    except Exception as error:
        raise JobError(f"{spec.cls.__name__}.open failed: {type(error).__name__}: {error}") from error
    return job


def close_job(job: Job) -> None:
    """Closes the user's Job.

    Raises:
        JobError: its ``close`` raised; the sentence says what.
    """
    try:
        job.close()
    except DrtcError:
        raise
    except Exception as error:
        raise JobError(f"{type(job).__name__}.close failed: {type(error).__name__}: {error}") from error


def _batches(headers: list[Header], payload: Payload) -> list[Batch]:
    if len(headers) == 1 and headers[0].size == len(payload):
        return [Batch(headers[0], payload)]  # bytes as they came: a view of them would be copied to be taken apart
    return [Batch(header, part) for header, part in zip(headers, cut(payload, [header.size for header in headers]))]
