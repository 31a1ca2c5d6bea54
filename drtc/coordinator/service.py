"""The coordinator's loop: frames in, the dispatch decides, frames out."""
from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Iterable

from ..batch import Batch, Payload
from ..cluster.membership import member
from ..errors import WireError
from ..process import run
from ..role import Role
from ..wire.frames import cut
from ..wire.links import Links
from ..wire.messages import (
    Answer, Batches, Beat, Drain, Draining, Hello, Message, StatusReply, StatusRequest, Window)
from ..wire.peer import Listener, Peer
from ..wire.senders import Senders
from .disk import Disk
from .dispatch import Dispatch
from .entry import Entry
from .spill import Spill

if TYPE_CHECKING:
    from ..config import Config

MOST_DEPARTED = 16
LOOK_SECONDS = 1.0  # between two looks at how the nodes keep up


class Coordinator(Role):
    """Takes batches from collectors, gives tasks to compute nodes, hands answers back. Also answers ``drtc status``."""

    name = "coordinator"

    def __init__(self, config: Config, node: str, listen: str = "") -> None:
        super().__init__(config, node)
        settings = config.coordinator
        self.spill = Spill(settings.memory_bytes, settings.disk_bytes)
        self.dispatch = Dispatch(settings.batch_bytes, self.spill)
        self.disk = Disk(self.spill, self.log, self._act, self._lost_on_disk, self.fail)
        self.listener = Listener(self.who, self._welcome, self._collector_joined, self._from_collector,
                                 self._collector_gone)
        self.nodes = Links(self.who, self.membership, "compute", self._node_joined, self._from_node, self._node_gone,
                           self.log.info)
        self.collectors = Senders(self.spill.arrivals)
        self._looked = 0.0  # loop time of the last look at the nodes' pace
        self.address = listen or str(settings.listen)
        self._departed: dict[str, dict[str, Any]] = {}  # the last reports of collectors that have gone
        self._looking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        settings = self.config.coordinator
        if settings.disk_bytes:
            from ..overflow import open_overflow

            directory = self.config.base / settings.directory
            await self.disk.open(lambda: open_overflow(settings.overflow, directory, settings.disk_bytes, False,
                                                       self.node))
        self.address = await self.listener.listen(self.address)
        await asyncio.to_thread(self.membership.join, member(self.name, self.node, self.address, 1.0))
        self._looking = self.begin(self.nodes.run())
        self.log.info("listening", address=self.address)

    # --- collectors ---

    def _welcome(self, hello: Hello) -> tuple[int, int]:
        if hello.role not in ("collector", "status"):
            raise WireError(f"this is a coordinator: a {hello.role} has nothing to do here")
        return (self.collectors.joining(), 0) if hello.role == "collector" else (0, 0)

    def _collector_joined(self, peer: Peer) -> None:
        if peer.role == "collector":
            self._departed.pop(peer.node, None)
            self.collectors.joined(peer)
            self._share()

    def _share(self) -> None:
        """Tells each collector how much it may have on its way: its share of memory, and what lies on disk of it."""
        self.collectors.share(more=self.spill.spilled)

    def _lost_on_disk(self, entry: Entry) -> None:
        peer = self.collectors.get(entry.link)
        if peer is not None:
            peer.connection.close("a batch of its was damaged on the coordinator's disk: it is to be sent again")

    def _collector_gone(self, peer: Peer, why: str) -> None:
        number = self.collectors.gone(peer)
        if number is not None:
            self._departed[peer.node] = peer.report
            while len(self._departed) > MOST_DEPARTED:
                del self._departed[next(iter(self._departed))]
            self.log.info("collector lost", collector=peer.node, why=why)
            self.dispatch.link_lost(number)
            self._share()

    def _from_collector(self, peer: Peer, message: Message, payload: Payload) -> None:
        if isinstance(message, Batches):
            number = self.collectors.number(peer)
            parts = cut(payload, [header.size for header in message.headers])
            alone = len(parts) == 1  # else the slowest lane would keep the bytes of all
            for header, part in zip(message.headers, parts):
                self.dispatch.accept(number, Batch(header, part if alone else bytes(part)))
            if self.spill.overdrawn(number, self.config.cluster.max_frame_bytes):
                raise WireError(f"it sends more than the window of {self.collectors.told(number)} bytes that it was "
                                "given")
            self._act()
        elif isinstance(message, StatusRequest):
            peer.send(StatusReply(self._status()))
        elif isinstance(message, Draining):
            self.collectors.parting.answered(peer)
        elif isinstance(message, Drain):
            self._pass_on(message)
        elif not isinstance(message, Beat):
            raise WireError(f"a coordinator has no use for a {type(message).__name__} frame")

    def _pass_on(self, drain: Drain) -> None:
        """A collector listens to nobody but its coordinators."""
        if (drain.role, drain.node) == (self.name, self.node):
            self.asked_to_drain(by="drtc drain")
        for peer in self.collectors:
            if (drain.role, drain.node) == (peer.role, peer.node):
                peer.send(drain)

    # --- compute nodes ---

    def _node_joined(self, peer: Peer) -> None:
        self.dispatch.node_joined(peer.node, max(1.0, (peer.places - 1) / 2), peer.places, peer.window)
        self._act()

    def _node_gone(self, peer: Peer, why: str) -> None:
        self.last_error = f"lost {peer.node}: {why}"
        self.dispatch.node_lost(peer.node)
        self._act()

    def _from_node(self, peer: Peer, message: Message, payload: Payload) -> None:
        if isinstance(message, Answer):
            for reply in self.dispatch.answered(peer.node, message.task, message.stored):
                collector = self.collectors.get(reply.link)
                if collector is not None:
                    collector.send(Answer(0, reply.stored))
            self.pulse.moved(sum(each.counts.messages for each in message.stored))
            self._act()
        elif isinstance(message, Window):
            self.dispatch.node_window(peer.node, message.bytes)
            self._act()
        elif isinstance(message, Draining):
            self.dispatch.node_draining(peer.node)
            peer.send(message)
            self._act()
        elif not isinstance(message, Beat):
            raise WireError(f"a compute node sent a {type(message).__name__} frame")

    def _act(self) -> None:
        for task in list(self.dispatch.next()):
            self.nodes.peers[task.node].send(Batches(task.number, task.headers), task.payloads)
        self.disk.step()
        if self.config.coordinator.disk_bytes:
            self._share()

    def tick(self) -> None:
        super().tick()
        now = asyncio.get_running_loop().time()
        if now - self._looked >= LOOK_SECONDS:
            if self.dispatch.look(now - self._looked):
                shares = {name: node["share"] for name, node in self.dispatch.nodes().items()}
                self.log.info("shares changed", **{name: f"{share:.3f}" for name, share in shares.items()})
            self._looked = now
        self.disk.retry()
        self._act()

    # --- the role's frame ---

    async def drain(self) -> None:
        """Gives its slots to others and waits until what it has is stored and answered: nothing is read again. Where
        that takes too long, only what is under way is finished; the rest its collectors read again."""
        self.collectors.part()
        if not await self.patiently(lambda: self.collectors.parting.over and not self.dispatch.depth):
            self.log.warning("handing over", bytes=self.dispatch.depth)
        self.membership.leave()
        self.listener.close()
        while self.dispatch.depth:
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        self.listener.close()
        await self.disk.close()

    def peers(self) -> Iterable[Peer]:
        return [*self.collectors, *self.nodes.peers.values()]

    def busy(self) -> bool:
        return bool(self.dispatch.depth)

    def report(self) -> dict[str, Any]:
        return {
            "role": self.name, "node": self.node, "address": self.address, "started": self.started,
            "pid": os.getpid(), "depth": self.dispatch.depth, "memory": self.spill.memory, "disk": self.spill.disk,
            "lanes": self.dispatch.lanes(), "nodes": self.dispatch.nodes(), "draining": self.draining,
            "last_error": self.last_error, "handled": self.pulse.events,
            "trouble": self.disk.trouble or ("waiting for a compute node" if self.busy() and not self.nodes.peers
                                             else ""),
        }

    def _status(self) -> dict[str, Any]:
        """What this coordinator knows of everybody: its own report and the last one of each peer."""
        return {"view": self.view, "members": [self.tell(), *(peer.report for peer in self.peers() if peer.report)],
                "departed": [report for report in self._departed.values() if report]}


def main(config: Config, name: str, listen: str = "") -> int:
    """``drtc coordinator``."""
    run(Coordinator(config, name, listen))
    return 0
