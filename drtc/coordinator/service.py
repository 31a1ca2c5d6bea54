"""The coordinator's loop: frames in, the dispatch decides, frames out."""
from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Iterable

from ..batch import Batch, Payload
from ..cluster.membership import member
from ..errors import WireError
from ..role import Role, run
from ..wire.frames import cut
from ..wire.links import Links
from ..wire.messages import Answer, Batches, Beat, Hello, Message, StatusReply, StatusRequest, Window
from ..wire.peer import Listener, Peer
from ..wire.shares import Shares
from .dispatch import Dispatch

if TYPE_CHECKING:
    from ..config import Config

MOST_DEPARTED = 16


class Coordinator(Role):
    """Takes batches from collectors, gives tasks to compute nodes, hands answers back. Also answers ``drtc status``."""

    name = "coordinator"

    def __init__(self, config: Config, node: str, listen: str = "") -> None:
        super().__init__(config, node)
        settings = config.coordinator
        self.dispatch = Dispatch(settings.batch_bytes)
        self.listener = Listener(self.who, self._welcome, self._collector_joined, self._from_collector,
                                 self._collector_gone)
        self.nodes = Links(self.who, self.membership, "compute", self._node_joined, self._from_node, self._node_gone,
                           self.log.info)
        self.shares = Shares(settings.memory_bytes)
        self.address = listen or str(settings.listen)
        self._collectors: dict[int, Peer] = {}
        self._numbers: dict[int, int] = {}  # by id of the peer
        self._departed: dict[str, dict[str, Any]] = {}  # the last reports of collectors that have gone
        self._next_link = 0
        self._looking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.address = await self.listener.listen(self.address)
        self.membership.join(member(self.name, self.node, self.address, 1.0))
        self._looking = asyncio.create_task(self.nodes.run())
        self.log.info("listening", address=self.address)

    # --- collectors ---

    def _welcome(self, hello: Hello) -> tuple[int, int]:
        if hello.role not in ("collector", "status"):
            raise WireError(f"this is a coordinator: a {hello.role} has nothing to do here")
        return (self.shares.joining(), 0) if hello.role == "collector" else (0, 0)

    def _collector_joined(self, peer: Peer) -> None:
        if peer.role == "collector":
            self._next_link += 1
            self._collectors[self._next_link] = peer
            self._departed.pop(peer.node, None)
            self._numbers[id(peer)] = self._next_link
            self._share()

    def _share(self) -> None:
        share = self.shares.of(len(self._collectors))
        for peer in self._collectors.values():
            peer.send(Window(share))

    def _collector_gone(self, peer: Peer, why: str) -> None:
        number = self._numbers.pop(id(peer), None)
        if number is not None:
            del self._collectors[number]
            self._departed[peer.node] = peer.report
            while len(self._departed) > MOST_DEPARTED:
                del self._departed[next(iter(self._departed))]
            self.log.info("collector lost", collector=peer.node, why=why)
            self.dispatch.link_lost(number)
            self._share()

    def _from_collector(self, peer: Peer, message: Message, payload: Payload) -> None:
        if isinstance(message, Batches):
            number = self._numbers[id(peer)]
            parts = cut(payload, [header.size for header in message.headers])
            for header, part in zip(message.headers, parts):
                self.dispatch.accept(number, Batch(header, part))
            self._act()
        elif isinstance(message, StatusRequest):
            peer.send(StatusReply(self._status()))
        elif not isinstance(message, Beat):
            raise WireError(f"a coordinator has no use for a {type(message).__name__} frame")

    # --- compute nodes ---

    def _node_joined(self, peer: Peer) -> None:
        self.dispatch.node_joined(peer.node, max(1.0, peer.places), peer.places, peer.window)
        self._act()

    def _node_gone(self, peer: Peer, why: str) -> None:
        self.last_error = f"lost {peer.node}: {why}"
        self.dispatch.node_lost(peer.node)
        self._act()

    def _from_node(self, peer: Peer, message: Message, payload: Payload) -> None:
        if isinstance(message, Answer):
            for reply in self.dispatch.answered(peer.node, message.task, message.stored):
                collector = self._collectors.get(reply.link)
                if collector is not None:
                    collector.send(Answer(0, reply.stored))
            self._act()
        elif isinstance(message, Window):
            self.dispatch.node_window(peer.node, message.bytes)
            self._act()
        elif not isinstance(message, Beat):
            raise WireError(f"a compute node sent a {type(message).__name__} frame")

    def _act(self) -> None:
        for task in list(self.dispatch.next()):
            self.nodes.peers[task.node].send(Batches(task.number, task.headers), task.payloads)

    # --- the role's frame ---

    async def drain(self) -> None:
        """Waits until what is under way is stored; the rest its collectors send to others."""
        self.membership.leave()
        self.listener.close()
        while self.dispatch.depth:
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        self.listener.close()

    def peers(self) -> Iterable[Peer]:
        return [*self._collectors.values(), *self.nodes.peers.values()]

    def report(self) -> dict[str, Any]:
        return {
            "role": self.name, "node": self.node, "address": self.address, "started": self.started,
            "pid": os.getpid(), "depth": self.dispatch.depth, "lanes": self.dispatch.lanes(),
            "nodes": self.dispatch.nodes(), "last_error": self.last_error,
        }

    def _status(self) -> dict[str, Any]:
        """What this coordinator knows of everybody: its own report and the last one of each peer."""
        return {"view": self.view, "members": [self.report(), *(peer.report for peer in self.peers() if peer.report)],
                "departed": [report for report in self._departed.values() if report]}


def main(config: Config, name: str, listen: str = "") -> int:
    """``drtc coordinator``."""
    run(Coordinator(config, name, listen))
    return 0
