"""What all roles share: a thin loop around plain decisions. Identity, signals, signs of life, one way to fail."""
from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Iterable

from .cluster.membership import default_name, open_membership
from .errors import NotDrained
from .memory import keep_large_buffers
from .observe.logs import Log
from .wire.frames import sign_of_life
from .wire.peer import Peer

if TYPE_CHECKING:
    from .config import Config

DRAIN_SECONDS = 30.0  # how long a drain may take before what is left is left to the next start
ORPHAN_SECONDS = 5.0  # the same where the supervisor is gone: it may be started again at any moment


@dataclass(frozen=True)
class Who:
    """A role's identity on the wire (drtc.wire.peer.Identity)."""

    cluster: str
    role: str
    node: str
    view: str
    secret: str
    max_frame: int


class Role(ABC):
    """Base of collector, coordinator and compute node. One object runs once, on one event loop."""

    name = ""

    def __init__(self, config: Config, node: str) -> None:
        self.config = config
        self.node = node or default_name(self.name)
        self.view = config.view
        self.log = Log(self.name, node=self.node)
        self.who = Who(config.cluster.name, self.name, self.node, self.view, config.cluster.secret,
                       config.cluster.max_frame_bytes)
        self.membership = open_membership(config)
        self.started = time.time()
        self.last_error = ""
        self._stopping = asyncio.Event()
        self._patience = DRAIN_SECONDS
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

    def tick(self) -> None:
        """Called every heartbeat."""

    # --- the loop ---

    def finish(self) -> None:
        """The role has nothing left to do: ``run`` drains and returns."""
        self._stopping.set()

    def fail(self, error: BaseException) -> None:
        """Something that cannot be mended: ``run`` closes and raises it."""
        self._failure = self._failure or error
        self._stopping.set()

    async def run(self) -> None:
        """Runs until finished, failed or told to stop by SIGINT or SIGTERM; a second signal ends it at once."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._unexpected)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled, number)
        if "DRTC_SUPERVISED" in os.environ:
            loop.add_reader(0, self._orphaned)
        beat: asyncio.Task[None] | None = None
        try:
            await self.start()
            beat = asyncio.create_task(self._beat())
            await self._stopping.wait()
            if self._failure is None:
                try:
                    await asyncio.wait_for(self.drain(), self._patience)
                except asyncio.TimeoutError:
                    self.log.warning("drain cut short", seconds=self._patience)
                    self._failure = NotDrained(
                        f"the {self.name} was stopped before all that was begun was stored: the rest is read again at "
                        "the next start; change the Job, its route or slots only after a drain that ends with 0")
        finally:
            if beat is not None:
                beat.cancel()
            self.membership.leave()
            await self.close()
        if self._failure is not None:
            raise self._failure

    def _signalled(self, number: int) -> None:
        if self._stopping.is_set():
            self.log.warning("stopping at once")
            self.kill()
            sys.stderr.flush()
            os._exit(128 + number)
        self.log.info("draining", signal=signal.Signals(number).name)
        self._stopping.set()

    def _orphaned(self) -> None:
        """Our end of the supervisor's pipe has closed: it is dead, however it died."""
        asyncio.get_running_loop().remove_reader(0)
        if not self._stopping.is_set():
            self.log.warning("supervisor gone, draining")
            self._patience = ORPHAN_SECONDS
            self._stopping.set()

    def kill(self) -> None:
        """Ends child processes at once."""

    def _unexpected(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A mistake in drtc itself: never swallowed, the role ends with it."""
        error = context.get("exception")
        if isinstance(error, (ConnectionError, TimeoutError)) or (
                isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)):
            self.log.warning("connection error", why=str(error))
            return
        self.fail(error if error is not None else RuntimeError(str(context.get("message"))))

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        cluster = self.config.cluster
        while True:
            self.tick()
            message = sign_of_life(self.report())
            for peer in list(self.peers()):
                peer.send(message)
                silent = loop.time() - peer.connection.heard
                if silent > cluster.timeout:
                    peer.connection.abort(f"silent for {silent:.0f} s")
            await asyncio.sleep(min(cluster.heartbeat, 0.5))


def run(role: Role) -> None:
    """Runs a role on the fastest event loop there is.

    Raises:
        DrtcError: the role failed; its sentence says why.
    """
    keep_large_buffers()
    factory = None
    try:
        import uvloop

        factory = uvloop.new_event_loop
    except ImportError:
        pass
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(role.run())
