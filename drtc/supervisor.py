"""``drtc run``: one process for each role on this machine, watched, and started again when one dies."""
from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from .cluster.kinds import open_membership
from .cluster.membership import Membership, member
from .errors import INTERRUPTED, ClusterError, DrtcError, StoreUnavailable
from .observe.banner import banner
from .observe.logs import Log
from .observe.progress import Progress, summary
from .observe.status import Watch, summarize
from .role import DRAIN_SECONDS

if TYPE_CHECKING:
    from .config import Config

ROLES = ("coordinator", "compute", "collector")  # in the order of their start; they stop in the opposite order
LOOK_SECONDS = 0.25
QUICK_DEATH = 5.0  # seconds: who dies sooner after its start waits longer before the next
GIVE_UP = 5  # quick deaths in a row
FAILED_SECONDS = 1.0  # for the others to stop when a role has failed: what they have not stored is read again
ORPHANS_SECONDS = 20.0  # roles whose supervisor was killed have ended by then


class _Child:
    def __init__(self, role: str, name: str) -> None:
        self.role = role
        self.name = name
        self.process: asyncio.subprocess.Process | None = None
        self.quick_deaths = 0


def seat(role: str, membership: Membership) -> str:
    """The name of a run's role, and with ``run`` that of the run itself: one run of a cluster on each machine."""
    if membership.wide:
        return f"{role}-{socket.gethostname()}"
    return role if role == "run" else f"{role}-1"


class Supervisor:
    """Runs the three roles. A role that ends with an error of the user's ends the run with the same exit code."""

    def __init__(self, config: Config, until_end: bool) -> None:
        self._config = config
        self._until_end = until_end
        self._log = Log("run")
        self._membership = open_membership(config)
        self._name = seat("run", self._membership)
        self._children = [_Child(role, seat(role, self._membership)) for role in ROLES]
        self._stopping = asyncio.Event()
        self._signals = 0
        self._code = 0
        self._began = 0.0  # epoch seconds

    async def run(self) -> int:
        self._began = time.time()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled)
        await self._await_orphans()
        watches = [asyncio.create_task(self._keep(child)) for child in self._children]
        show = asyncio.create_task(self._show())
        await self._stopping.wait()
        await self._stop(self._children[-1])
        show.cancel()
        await asyncio.gather(show, return_exceptions=True)
        await self._sum_up()
        for child in reversed(self._children):
            await self._stop(child)
        await asyncio.gather(*watches)
        self._membership.close()
        return self._code or (INTERRUPTED if self._early else 0)

    @property
    def _early(self) -> bool:
        """It was to run to the end of the source, and was told to stop before."""
        return self._until_end and self._signals > 0

    def claim(self) -> None:
        """Makes sure that nobody else supervises these roles.

        Raises:
            ClusterError: somebody does.
        """
        try:
            for role in ("run", *ROLES):
                self._membership.members(role)  # from here on it is known who is there
            self._membership.join(member("run", self._name, "", 0.0))
        except ClusterError as error:
            others = [each for each in self._membership.members("run") if each.node == self._name]
            if not others:
                raise
            since = datetime.fromtimestamp(others[0].started).strftime("%H:%M:%S")
            raise ClusterError(f"the cluster {self._config.cluster.name!r} is run already, since {since}: stop that "
                               "drtc run, or give this one another [cluster] name") from error

    async def _await_orphans(self) -> None:
        """Roles whose supervisor was killed are about to end; their names are free then."""
        names = {child.name for child in self._children}
        deadline = time.monotonic() + ORPHANS_SECONDS
        said = False
        while time.monotonic() < deadline and not self._stopping.is_set():
            alive = [each.node for role in ROLES for each in self._membership.members(role) if each.node in names]
            if not alive:
                return
            if not said:
                self._log.info("waiting for an earlier run's roles to end", roles=",".join(alive))
            said = True
            await asyncio.sleep(0.05)

    async def _sum_up(self) -> None:
        """The last line, from the collector's last word."""
        if self._code:
            return
        try:
            status = await Watch(self._config).ask()
        except (DrtcError, OSError, asyncio.TimeoutError):
            return  # no coordinator was left to ask: its own log says why
        nobody = {"events": 0, "dead": 0, "waiting": "", "started": self._began, "stopped": time.time()}
        for report in status["departed"] or [nobody]:  # a collector that had nothing to send is gone before it is heard
            took = report["stopped"] - report["started"]
            early = "stopped before the end of the source: " if self._early else ""
            why = f"; it was {report['waiting']}" if self._early and report["waiting"] else ""
            print(f"drtc: {early}{summary(report['events'], took, report['dead'], not early)}{why}", file=sys.stderr)

    def _signalled(self) -> None:
        self._signals += 1
        if self._signals > 1:
            for child in self._children:
                if child.process is not None and child.process.returncode is None:
                    child.process.kill()
            os._exit(INTERRUPTED)
        self._log.info("draining")
        self._stopping.set()

    async def _keep(self, child: _Child) -> None:
        """Starts a role, and starts it again when it was killed."""
        while not self._stopping.is_set():
            began = time.monotonic()
            arguments = [child.role, *self._config.arguments, "--name", child.name]
            if child.role == "collector" and self._until_end:
                arguments.append("--until-end")
            environ = {**os.environ, "DRTC_SUPERVISED": "1"}
            # its stdin ends when we do, however we end: that is how it learns of it
            child.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "drtc", *arguments, env=environ, start_new_session=True,
                stdin=asyncio.subprocess.PIPE)
            if self._stopping.is_set():
                child.process.terminate()
            code = await child.process.wait()
            if self._stopping.is_set():
                if 0 < code < 128:
                    self._code = self._code or code
                return
            if code == 0:
                self._stopping.set()  # a bounded collector has reached its end, or somebody asked a role to stop
                return
            if 0 < code < 128 and code != 1:  # it has said why
                self._code = code
                self._stopping.set()
                return
            self._log.warning("role died", role=child.role, code=code)
            child.quick_deaths = child.quick_deaths + 1 if time.monotonic() - began < QUICK_DEATH else 0
            if child.quick_deaths >= GIVE_UP:
                self._log.error("role keeps dying", role=child.role)
                self._code = 1
                self._stopping.set()
                return
            await asyncio.sleep(0.2 * child.quick_deaths)

    async def _stop(self, child: _Child) -> None:
        process = child.process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), DRAIN_SECONDS + 5 if self._code == 0 else FAILED_SECONDS)
        except asyncio.TimeoutError:
            process.kill()
            await process.wait()

    async def _show(self) -> None:
        """Keeps the progress line going."""
        watch = Watch(self._config)
        rate = Rate()
        with Progress(self._config.view) as progress:
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                try:
                    status = await watch.ask()
                except (DrtcError, OSError, asyncio.TimeoutError):
                    continue  # not up yet, or on its way down: the next look tells
                snapshot = summarize(status)
                progress.update(replace(snapshot, events_per_second=rate.of(snapshot.events, time.monotonic())))


class Rate:
    """Events per second over the last few looks."""

    def __init__(self, seconds: float = 3.0) -> None:
        self._seconds = seconds
        self._seen: list[tuple[float, int]] = []

    def of(self, events: int, now: float) -> float:
        if self._seen and events < self._seen[-1][1]:
            self._seen.clear()  # the collector was started again
        self._seen.append((now, events))
        while now - self._seen[0][0] > self._seconds and len(self._seen) > 2:
            del self._seen[0]
        then, before = self._seen[0]
        span = now - then
        return (events - before) / span if span > 0 else 0.0


def run(config: Config, until_end: bool) -> int:
    """``drtc run``.

    Raises:
        JobError, StoreError: the Job or the store is wrong; said once, before anything is started.
        ClusterError: it runs already.
    """
    from .commands.results import opened

    try:
        with opened(config) as (store, view):
            store.prepare(view)
    except StoreUnavailable:
        pass  # the roles wait for it, and say so
    supervisor = Supervisor(config, until_end)
    supervisor.claim()
    print(banner(config, "run"), file=sys.stderr)
    return asyncio.run(supervisor.run())
