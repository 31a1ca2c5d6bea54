"""Compute nodes that do nothing: ``python -m tests.bench.peers INI NAMES OUTPUT``, many in one process.

Each registers, listens, greets and beats as a real one does, on the real code of the wire; it has no workers. What it
is sent it answers at once, counted and not stored. When it is told to stop, OUTPUT gets what all of them together have
heard: events, and beats with their bytes.
"""
from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from drtc.batch import Counts, Payload, Stored
from drtc.cluster.kinds import open_membership
from drtc.cluster.membership import member
from drtc.cluster.rendezvous import owner
from drtc.config import Config, load
from drtc.wire.frames import encode, sign_of_life
from drtc.wire.identity import identity
from drtc.wire.messages import Answer, Batches, Beat, Hello, Message
from drtc.wire.peer import Listener, Peer

BEAT_SECONDS = 0.5  # as drtc.role
PLACES, WINDOW = 1, 64 << 20  # the weight of a node is its places


class Heard:
    """What all of them have heard."""

    def __init__(self) -> None:
        self.events = self.beats = self.beat_bytes = 0


class Idle:
    """One node."""

    def __init__(self, config: Config, node: str, heard: Heard) -> None:
        self.node = node
        self._heard = heard
        self._membership = open_membership(config)
        self._peers: list[Peer] = []
        self._listener = Listener(identity(config, "compute", node), self._welcome, self._peers.append, self._frame,
                                  self._gone)
        self._address = ""

    async def start(self, address: str) -> None:
        self._address = await self._listener.listen(address)
        await asyncio.to_thread(self._membership.join, member("compute", self.node, self._address, 1.0))

    def _welcome(self, hello: Hello) -> tuple[int, int]:
        return WINDOW, PLACES

    def _gone(self, peer: Peer, why: str) -> None:
        self._peers.remove(peer)

    def _frame(self, peer: Peer, message: Message, payload: Payload) -> None:
        if isinstance(message, Batches):
            self._heard.events += sum(each.count for each in message.headers)
            peer.send(Answer(message.task, [
                Stored(each.partition, each.slot, each.stream, each.seq, each.last, None, Counts(each.count))
                for each in message.headers]))
        elif isinstance(message, Beat):
            self._heard.beats += 1
            self._heard.beat_bytes += len(encode(message))

    def beat(self) -> None:
        report: dict[str, Any] = {
            "role": "compute", "node": self.node, "address": self._address, "started": 0.0, "pid": os.getpid(),
            "pids": [], "pieces": 0, "unmapped": 0, "bytes": 0, "workers": 1, "deaths": 0, "seconds": {},
            "last_error": "", "trouble": "", "stalled": False}
        for peer in self._peers:
            peer.send(sign_of_life(report))

    def stop(self) -> None:
        self._membership.leave()
        self._listener.close()


def names(count: int, lanes: list[str], real: str, weight: float) -> list[str]:
    """Names under which rendezvous hashing gives none of these lanes to an idle node: they are to be idle."""
    found: list[str] = []
    number = 0
    while len(found) < count:
        number += 1
        name = f"idle-{number}"
        if all(owner(lane, {real: weight, name: float(PLACES)}) == real for lane in lanes):
            found.append(name)
    return found


async def run(config: Config, chosen: list[str], output: Path) -> None:
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    addresses = [str(each) for each in config.cluster.computes[-len(chosen):]] or ["127.0.0.1:0"] * len(chosen)
    heard = Heard()
    nodes = [Idle(config, name, heard) for name in chosen]
    for node, address in zip(nodes, addresses):
        await node.start(address)
    due = time.monotonic()
    while not over.is_set():
        for node in nodes:
            node.beat()
        output.write_text(json.dumps(vars(heard)))
        due += BEAT_SECONDS
        try:
            await asyncio.wait_for(over.wait(), max(0.0, due - time.monotonic()))
        except asyncio.TimeoutError:
            continue
    for node in nodes:
        node.stop()


if __name__ == "__main__":
    asyncio.run(run(load(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()), Path(sys.argv[3])))
