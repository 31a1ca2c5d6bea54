"""What all roles share: a thin loop around plain decisions. Identity, signals, signs of life, one way to fail."""
from __future__ import annotations

import asyncio
import os
import time
from abc import ABC, abstractmethod
from collections import Counter
from typing import TYPE_CHECKING, Any, Callable, Coroutine, Iterable

from . import __version__
from .cluster.kinds import open_membership
from .cluster.membership import default_name
from .errors import NotDrained
from .observe.logs import Log
from .observe.monitor import Monitor
from .observe.pulse import Pulse
from .wire.frames import sign_of_life
from .wire.messages import Beat
from .wire.identity import identity
from .wire.peer import Peer

if TYPE_CHECKING:
    from .config import Config

DRAIN_SECONDS = 30.0  # how long a drain may take before what is left is left to the next start


class Role(ABC):
    """Base of collector, coordinator and compute node. One object runs once, on one event loop."""

    name = ""

    def __init__(self, config: Config, node: str) -> None:
        self.config = config
        self.node = node or default_name(self.name)
        self.view = config.view
        self.log = Log(self.name, node=self.node)
        self.who = identity(config, self.name, self.node)
        self.membership = open_membership(config)
        self.started = time.time()
        self.last_error = ""
        self.pulse = Pulse(config.cluster.timeout)
        self._monitor = Monitor(self.log, getattr(config, self.name).http, config.cluster.timeout)
        self._began = time.monotonic()
        self._ready = False
        self._stopping = asyncio.Event()
        self.patience = DRAIN_SECONDS  # seconds that a drain may take
        self._failure: BaseException | None = None

    # --- what a role fills in ---

    @abstractmethod
    async def start(self) -> None:
        """Opens what is needed; from here on frames may arrive."""

    @abstractmethod
    async def drain(self) -> None:
        """Stops taking new work and finishes what was begun; may be cut short after DRAIN_SECONDS."""

    @abstractmethod
    async def close(self) -> None:
        """Lets go of everything; called in every case."""

    @abstractmethod
    def peers(self) -> Iterable[Peer]:
        """Those that are connected now."""

    @abstractmethod
    def report(self) -> dict[str, Any]:
        """What the role says of itself in its beats (drtc.observe.status)."""

    def busy(self) -> bool:
        """Whether there is work, so that something has to move or the role is stalled."""
        return False

    def tick(self) -> None:
        """Called every heartbeat."""

    def vitals(self) -> dict[str, Any]:
        """What every role says of itself."""
        pulse = self.pulse
        return {
            "role": self.name, "node": self.node, "view": self.view, "version": __version__, "pid": os.getpid(),
            "started": self.started, "uptime": time.monotonic() - self._began, "state": self.state,
            "draining": self.draining, "stalled": pulse.stalled, "idle": pulse.idle, "rate": pulse.rate,
            "peers": dict(Counter(peer.role for peer in self.peers())), "http": self._monitor.listening,
            "last_error": self.last_error, "membership": self.membership.trouble,
        }

    def tell(self) -> dict[str, Any]:
        """The whole report."""
        return {**self.vitals(), **self.report()}

    @property
    def state(self) -> str:
        return "draining" if self.draining else "running" if self._ready else "starting"

    # --- the loop ---

    @property
    def draining(self) -> bool:
        return self._stopping.is_set()

    def finish(self) -> None:
        """The role has nothing left to do: it drains and ends."""
        self._stopping.set()

    def asked_to_drain(self, **by: str) -> None:
        """By a signal or by ``drtc drain``. Asking again changes nothing."""
        if not self.draining:
            self.log.info("draining", **by)
            self.finish()

    async def patiently(self, done: Callable[[], bool]) -> bool:
        """For a drain: waits until ``done``, for up to half of the time that it may take. Whether it was."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.patience / 2
        while not done():
            if loop.time() >= deadline:
                return False
            await asyncio.sleep(0.02)
        return True

    def fail(self, error: BaseException) -> None:
        """Something that cannot be mended: the role closes, and ``live`` raises it."""
        self._failure = self._failure or error
        self._stopping.set()

    async def live(self) -> None:
        """From start to end; drtc.process runs it and has an eye on signals.

        Raises:
            DrtcError: it has failed, or its drain was cut short.
        """
        beat: asyncio.Task[None] | None = None
        self._monitor.open(self.vitals())  # first of all: a start that does not end is seen
        try:
            await self.start()
            self._ready = True
            beat = self.begin(self._beat())
            await self._stopping.wait()
            if self._failure is None:
                try:
                    await asyncio.wait_for(self.drain(), self.patience)
                except asyncio.TimeoutError:
                    self.log.warning("drain cut short", seconds=self.patience)
                    self._failure = NotDrained(
                        f"the {self.name} was stopped before all that was begun was stored: the rest is read again at "
                        "the next start; change the Job, its route or slots only after a drain that ends with 0")
        finally:
            if beat is not None:
                beat.cancel()
            self.membership.close()
            await self.close()
            self._monitor.close()
        if self._failure is not None:
            raise self._failure

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task of the role's, to be cancelled by it: where it raises, the role fails."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    def kill(self) -> None:
        """Ends child processes at once."""

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        cluster = self.config.cluster
        while True:
            self.membership.check()
            self.tick()
            self.pulse.look(loop.time(), self.busy())
            report = self.tell()
            self._monitor.post(report)
            message, sign = sign_of_life(report), Beat({})
            for peer in list(self.peers()):
                peer.send(message if peer.role == "coordinator" else sign)  # who asks for reports asks coordinators
                silent = loop.time() - peer.connection.heard
                if silent > cluster.timeout:
                    peer.connection.abort(f"silent for {silent:.0f} s")
            await asyncio.sleep(cluster.heartbeat)
