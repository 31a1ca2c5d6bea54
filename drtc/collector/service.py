"""The collector's loop: what the reader posts and what coordinators answer goes to the flow, which decides."""
from __future__ import annotations

import asyncio
import itertools
import os
import time
import uuid
from typing import TYPE_CHECKING, Any, Iterable

from ..batch import Payload
from ..cluster.membership import member
from ..errors import ConfigError, WireError
from ..process import run
from ..role import Role
from ..sources.base import Position
from ..wire.links import Links
from ..wire.messages import Answer, Batches, Beat, Drain, Draining, Message, Window
from ..wire.peer import Peer
from . import reader as events
from .flow import Flow
from .note import Note
from .reader import Reader
from .route import parse_route

if TYPE_CHECKING:
    from ..config import Config


class Collector(Role):
    """Reads the source, sends batches to coordinators, commits what is stored."""

    name = "collector"

    def __init__(self, config: Config, node: str, until_end: bool) -> None:
        super().__init__(config, node)
        settings = config.collector
        epochs = itertools.count(1)
        self.until_end = until_end
        if settings.linger >= config.cluster.timeout:
            raise ConfigError(f"{config.path}: [collector] linger: must be shorter than [cluster] timeout "
                              f"({config.cluster.timeout:g} s), or waiting looks like a stall")
        self.flow = Flow(uuid.uuid4().hex[:12], settings.batch_bytes, epochs, settings.linger,
                         settings.memory_bytes / 2)
        self.route = parse_route(settings.route)
        self.note = Note(self.view, self.route.note, settings.slots)
        self.links = Links(self.who, self.membership, "coordinator", self._up, self._from_coordinator, self._down,
                           self.log.info)
        self.waiting = ""
        self.ends: dict[str, int] | None = None  # where a bounded run ends; known once all is assigned
        self.known: dict[str, int] = {}  # the greatest ends heard of: for lag
        self.starts: dict[str, int] = {}
        self._committed: dict[str, int] = {}
        self._in_hand = 0  # bytes posted by the reader and not yet in the flow
        self._revoking: list[events.Revoking] = []
        self._ended = asyncio.Event()
        self._draining = False
        self._tasks: list[asyncio.Task[None]] = []
        self._reader = Reader(self._open_source(), self.route, self.note, settings.memory_bytes, epochs,
                              self._posted, lambda: self.flow.pending + self._in_hand, config.cluster.timeout / 2)

    def _open_source(self) -> Any:
        from ..sources import SourceContext, make_source

        return make_source(self.config.source, SourceContext(self.config.base, self.view, self._offsets(),
                                                             self.until_end))

    def _offsets(self) -> Any:
        """Where a source without offsets of its own keeps them; the reader's thread opens it."""
        from ..stores.offsets import Offsets

        return Offsets.later(self.config.store, self.config.base, self.view)

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks = [self.begin(self.links.run()), self.begin(self._commit_now_and_then())]
        if self.config.collector.linger:
            self._tasks.append(self.begin(self._send_what_lingered()))
        await asyncio.to_thread(self.membership.join, member(self.name, self.node, "", 1.0))  # it may take a while
        self._reader.start()

    # --- the reader ---

    def _posted(self, event: events.Event) -> None:
        """Called on the reader's thread."""
        if isinstance(event, events.Read):
            self._in_hand += event.size
        self._loop.call_soon_threadsafe(self._happened, event)

    def _happened(self, event: events.Event) -> None:
        flow = self.flow
        if isinstance(event, events.Read):
            self._in_hand -= event.size
            for epoch, partition, last, pieces in event.chunks:
                flow.read(epoch, partition, last, pieces)
            self._act()
        elif isinstance(event, events.Progress):
            self.known = event.ends
        elif isinstance(event, events.Assigned):
            for partition, offset in event.offsets.items():
                self.log.info("partition assigned", partition=partition, offset=offset)
                flow.assigned(partition, offset, event.epochs[partition], partition in event.clean)
                self.starts.setdefault(partition, offset)
                self._committed[partition] = offset
        elif isinstance(event, events.Revoking):
            for partition in event.partitions:
                flow.revoking(partition)
            self._act()
            self._revoking.append(event)
            self._settle()
        elif isinstance(event, events.Gone):
            for partition in event.partitions:
                flow.forget(partition)
                self._committed.pop(partition, None)
                if self.ends is not None:
                    self.ends.pop(partition, None)
            self._look_for_the_end()
        elif isinstance(event, events.Ends):
            for partition, end in event.ends.items():
                flow.ends_at(partition, end)
            self.ends = {**event.ends, **(self.ends or {})}
            self._look_for_the_end()
        elif isinstance(event, events.Waiting):
            if event.why:
                self.log.warning("source waits", why=event.why)
            elif self.waiting:
                self.log.info("source goes on")
            self.waiting = event.why
        elif isinstance(event, events.Finished):
            self._ended.set()
        else:
            self._ended.set()
            self.fail(event.error)

    def _settle(self) -> None:
        """Tells the reader what may be committed of partitions that are being taken away, once nothing is in flight."""
        for revoking in list(self._revoking):
            if self.flow.settled(revoking.partitions):
                for partition, (offset, drained) in self._finals().items():
                    if partition in revoking.partitions:
                        revoking.offsets[partition] = Position(offset, str(self.note._replace(drained=drained)))
                revoking.settled.set()
                self._revoking.remove(revoking)

    def _finals(self) -> dict[str, tuple[int, bool]]:
        """What may be committed of each partition for the last time, and whether it is drained."""
        return {partition: (offset, self.flow.drained(partition))
                for partition, offset in self.flow.frontiers().items()}

    # --- coordinators ---

    def _up(self, peer: Peer) -> None:
        self.flow.link_up(peer.node, peer.window)
        self._act()

    def _down(self, peer: Peer, why: str) -> None:
        self.last_error = f"lost {peer.node}: {why}"
        self.flow.link_down(peer.node)
        self._act()
        self._settle()

    def _from_coordinator(self, peer: Peer, message: Message, payload: Payload) -> None:
        if isinstance(message, Answer):
            before = self.flow.totals.messages
            for stored in message.stored:
                self.flow.stored(peer.node, stored)
            self.pulse.moved(self.flow.totals.messages - before)
            self._act()
            if self._revoking:
                self._settle()
            self._look_for_the_end()
        elif isinstance(message, Window):
            self.flow.link_window(peer.node, message.bytes)
            self._act()
        elif isinstance(message, Draining):
            self.flow.link_draining(peer.node)
            peer.send(message)  # behind the last batch
            self._act()
            self._settle()
        elif isinstance(message, Drain):
            self.asked_to_drain(by="drtc drain")
        elif not isinstance(message, Beat):
            raise WireError(f"a coordinator sent a {type(message).__name__} frame")

    def _act(self) -> None:
        for rewind in self.flow.rewinds():
            self.log.info("reading again", partition=rewind.partition, offset=rewind.offset)
            self._reader.seek(rewind.partition, rewind.offset, rewind.epoch)
        if self.flow.pending:
            for send in self.flow.sends(self._loop.time()):
                self.links.peers[send.coordinator].send(Batches(0, send.headers), send.payloads)

    def _look_for_the_end(self) -> None:
        if self.until_end and self.ends and not self._draining:  # none: all were lost, and may come back
            frontiers = self.flow.frontiers()
            if all(frontiers.get(partition, 0) >= end for partition, end in self.ends.items()):
                self.finish()

    # --- committing ---

    def _commit(self) -> None:
        moved = {partition: offset for partition, offset in self.flow.frontiers().items()
                 if self._committed.get(partition) != offset}
        if moved:
            self._reader.commit(moved)
            self._committed.update(moved)

    async def _send_what_lingered(self) -> None:
        while True:
            await asyncio.sleep(min(0.5, self.config.collector.linger / 8))
            self._act()

    async def _commit_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(self.config.collector.commit)
            self._commit()

    # --- the role's frame ---

    async def drain(self) -> None:
        self._draining = True
        self._reader.halt()
        partitions = list(self.flow.frontiers())
        if not partitions:
            self._reader.give_up()  # it may be waiting for the source, and there is nothing to commit
        for partition in partitions:
            self.flow.revoking(partition)
        self._act()
        while not self.flow.settled(partitions):
            await asyncio.sleep(0.005)
        self._reader.finish(self._finals())
        await self._ended.wait()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if not self._ended.is_set() and self._failure is None:
            self._reader.finish(self._finals())
            try:
                await asyncio.wait_for(self._ended.wait(), self.config.cluster.timeout)
            except asyncio.TimeoutError:
                self.log.warning("source not closed in time")
                self._reader.give_up()
        for peer in list(self.links.peers.values()):
            peer.send(Beat(self.tell()))  # the last word: coordinators keep it for whoever asks
            peer.connection.close("the collector stops")
        await asyncio.sleep(0)

    def peers(self) -> Iterable[Peer]:
        return self.links.peers.values()

    def busy(self) -> bool:
        """There is work, in hand or in the source."""
        if self.flow.flying or self.flow.pending:
            return True
        frontiers = self.flow.frontiers()
        return any(frontiers.get(partition, end) < end for partition, end in self._ends().items())

    def _ends(self) -> dict[str, int]:
        """Where each partition ends: for a bounded run as it was at the start, else as far as is known now."""
        return {**(self.ends or {}), **({} if self.until_end else self.known)}

    def report(self) -> dict[str, Any]:
        frontiers = self.flow.frontiers()
        ends = self._ends()
        totals = self.flow.totals
        return {
            "role": self.name, "node": self.node, "started": self.started, "stopped": time.time(), "pid": os.getpid(),
            "events": totals.messages, "dead": totals.dead, "skipped": totals.skipped, "replayed": totals.replayed,
            "saved": totals.saved, "pending": self.flow.pending, "flying": self.flow.flying,
            "oldest": self.flow.oldest(self._loop.time()), "waiting": self.waiting,
            "trouble": "waiting for a coordinator" if self.busy() and not self.links.peers else "",
            "partitions": {
                partition: {"offset": frontier, "end": ends.get(partition), "start": self.starts.get(partition)}
                for partition, frontier in frontiers.items()
            },
            "bounded": self.until_end, "watermarks": self.flow.watermarks(), "draining": self.draining,
            "last_error": self.last_error,
        }


def main(config: Config, name: str, until_end: bool, with_coordinator: bool) -> int:
    """``drtc collector``, with a coordinator in the same process or without."""
    collector = Collector(config, name, until_end)
    if with_coordinator:
        from ..coordinator.service import Coordinator

        run(collector, Coordinator(config, f"{name}-coordinator" if name else ""))
    else:
        run(collector)
    return 0
