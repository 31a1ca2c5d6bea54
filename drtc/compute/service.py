"""The compute node's loop: frames in, the plan decides, frames out."""
from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Iterable

from ..batch import Batch, Payload
from ..cluster.membership import member
from ..errors import ConfigError, DrtcError, WireError
from ..process import run
from ..role import Role
from ..sources import source_class
from ..stores import make_store
from ..wire.frames import cut
from ..wire.messages import (
    Answer, Batches, Beat, Drain, Draining, Failed, Hello, Map, Mapped, Merge, Merged, Message, Need, Ready, Supply,
    Trouble)
from ..wire.peer import Listener, Peer
from ..wire.senders import Senders
from .pack import EMPTY, pack_dead, unpack_dead
from .plan import DeadLetterOf, MapOn, MergeOn, Plan, Reply, SupplyTo
from .pool import Pool

if TYPE_CHECKING:
    from ..config import Config

MOST_SAID = 20  # different errors of events that are logged


class Compute(Role):
    """Maps, joins and stores what coordinators send, in worker processes of its own."""

    name = "compute"

    def __init__(self, config: Config, node: str, listen: str = "") -> None:
        from ..job import describe
        from ..loading import load_job

        super().__init__(config, node)
        if not make_store(config.store, config.base).shared:
            raise ConfigError(f"{config.path}: [store] type: {config.types['store']} keeps results within one process, "
                              "which is for drtc.testing; use sqlite")
        settings = config.compute
        self.workers = settings.workers or len(os.sched_getaffinity(0))
        spec = describe(load_job(config.job.class_, config.base))
        self.plan = Plan(self.workers, settings.fork_bytes, settings.worker_kills, ordered=spec.kind == "run")
        self.pool = Pool(config, self.workers, self._from_worker, self._worker_died)
        self.listener = Listener(self.who, self._welcome, self._joined, self._on_frame, self._gone)
        self.coordinators = Senders(settings.memory_bytes)
        self.address = listen or str(settings.listen)
        self.seconds: dict[str, float] = {}
        self.troubles: dict[int, str] = {}
        self.deaths = 0
        self.survives = ""  # what "stored" does, as the store says that is open
        self._said: set[str] = set()  # errors of events

    async def start(self) -> None:
        source_class(self.config.types["source"]).require()
        await self.pool.start()
        self.address = await self.listener.listen(self.address)
        await asyncio.to_thread(self.membership.join, member(self.name, self.node, self.address, self.workers))
        self.log.info("listening", address=self.address, workers=self.workers)

    # --- coordinators ---

    def _welcome(self, hello: Hello) -> tuple[int, int]:
        if hello.role not in ("coordinator", "status"):
            raise WireError(f"this is a compute node: a {hello.role} has nothing to do here")
        if hello.role == "status":
            return 0, 0
        return self.coordinators.joining(self.plan.orphaned), 2 * self.workers + 1

    def _joined(self, peer: Peer) -> None:
        if peer.role != "status":
            self.coordinators.joined(peer)
            self._share()

    def _share(self) -> None:
        self.coordinators.share(self.plan.orphaned)

    def tick(self) -> None:
        self._share()  # what was left by links that are gone gets less

    def _gone(self, peer: Peer, why: str) -> None:
        number = self.coordinators.gone(peer)
        if number is not None:
            self.log.info("coordinator lost", coordinator=peer.node, why=why)
            self.plan.link_lost(number)
            self._share()
            self._act()

    def _on_frame(self, peer: Peer, message: Message, payload: Payload) -> None:
        if isinstance(message, Batches):
            parts = cut(payload, [header.size for header in message.headers])
            batches = [Batch(header, part) for header, part in zip(message.headers, parts)]
            self.plan.arrived(self.coordinators.number(peer), message.task, batches)
            self._act()
        elif isinstance(message, Draining):
            self.coordinators.parting.answered(peer)
        elif isinstance(message, Drain) and (message.role, message.node) == (self.name, self.node):
            self.asked_to_drain(by="drtc drain")
        elif not isinstance(message, Beat):
            raise WireError(f"a compute node has no use for a {type(message).__name__} frame")

    # --- workers ---

    def _from_worker(self, worker: int, message: Message, payload: Payload) -> None:
        plan = self.plan
        if isinstance(message, Mapped):
            *parts, dead = cut(payload, [*message.sizes, message.dead])
            if len(dead) > len(EMPTY):
                self._complain(dead)
            plan.mapped(message.piece, message.spans, list(parts), dead)
            self._spent(message.seconds)
        elif isinstance(message, Merged):
            plan.merged(worker, message.pieces, message.saved, message.replayed)
            self._spent(message.seconds)
        elif isinstance(message, Ready):
            plan.ready(worker, message.writers)
            if message.survives != self.survives:
                self.survives = message.survives
                self.log.info("store open", survives=self.survives)
        elif isinstance(message, Need):
            plan.need(worker, message.piece)
        elif isinstance(message, Trouble):
            self.troubles[worker] = message.reason
            if message.reason:
                self.last_error = message.reason
                self.log.warning("store waits", worker=worker, why=message.reason)
        elif isinstance(message, Failed):
            error = DrtcError(message.reason)
            error.exit_code = message.exit_code
            self.fail(error)
        self._act()

    def _complain(self, dead: Payload) -> None:
        """Says what is wrong with events, each thing once: the rest is in the dead letters."""
        for letter in unpack_dead(dead):
            if letter.error not in self._said and len(self._said) < MOST_SAID:
                self._said.add(letter.error)
                self.log.warning("event set aside", lane=letter.lane, offset=letter.offset, why=letter.error)

    def _spent(self, seconds: dict[str, float]) -> None:
        for stage, spent in seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + spent

    def _worker_died(self, worker: int, why: str) -> None:
        self.deaths += 1
        self.log.warning("worker died", worker=worker, why=why)
        self.troubles.pop(worker, None)
        self.plan.died(worker)
        self._act()

    def _act(self) -> None:
        while True:
            commands = self.plan.commands()
            if not commands:
                return
            for command in commands:
                if isinstance(command, MapOn):
                    headers = [batch.header for batch in command.batches]
                    self.pool.send(command.worker, Map(command.piece, self.plan.owners, headers),
                                   [batch.payload for batch in command.batches])
                elif isinstance(command, MergeOn):
                    self.pool.send(command.worker, Merge(command.piece, command.spans, len(command.dead)),
                                   [command.parts, command.dead])
                elif isinstance(command, Reply):
                    coordinator = self.coordinators.get(command.link)
                    assert coordinator is not None, "the plan answers no link that it was told is lost"
                    coordinator.send(Answer(command.task, command.stored))
                    self.pulse.moved(sum(each.counts.messages for each in command.stored))
                elif isinstance(command, SupplyTo):
                    headers = [batch.header for batch in command.batches]
                    self.pool.send(command.worker, Supply(command.piece, headers),
                                   [batch.payload for batch in command.batches])
                elif isinstance(command, DeadLetterOf):
                    self.log.error("event set aside", lane=command.letter.lane, offset=command.letter.offset,
                                   why=command.letter.error)
                    self.plan.mapped(command.piece, [command.span], [EMPTY] * self.plan.owners,
                                     pack_dead([command.letter]))

    # --- the role's frame ---

    async def drain(self) -> None:
        """Takes no new tasks and waits until those in hand are stored and answered. Where that takes too long, only
        what it has begun to store is finished; the rest its coordinators give to others."""
        self.coordinators.part()
        if not await self.patiently(lambda: self.coordinators.parting.over and not self.plan.bytes):
            self.log.warning("handing over", bytes=self.plan.bytes)
        self.membership.leave()
        self.listener.close()
        while self.plan.bytes:
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        self.listener.close()
        await self.pool.stop(2.0)

    def kill(self) -> None:
        self.pool.kill()

    def peers(self) -> Iterable[Peer]:
        return [*self.coordinators]

    def busy(self) -> bool:
        return bool(self.plan.bytes)

    def report(self) -> dict[str, Any]:
        return {
            "role": self.name, "node": self.node, "address": self.address, "started": self.started,
            "pid": os.getpid(), "pids": self.pool.pids(), "workers": self.workers, **self.plan.backlog(),
            "deaths": self.deaths, "seconds": self.seconds, "draining": self.draining, "last_error": self.last_error,
            "handled": self.pulse.events,
            "trouble": next((trouble for trouble in self.troubles.values() if trouble), ""),
        }


def main(config: Config, name: str, listen: str = "") -> int:
    """``drtc compute``."""
    run(Compute(config, name, listen))
    return 0
