"""``drtc drain``: one member finishes what it has begun and leaves; the others go on with its share."""
from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Iterable, NamedTuple

import click

from ..batch import Payload
from ..cluster.kinds import open_membership
from ..errors import ClusterError, DrtcError, NotDrained, WireError
from ..names import did_you_mean
from ..observe.status import Watch
from ..supervisor import seat
from ..wire.identity import identity
from ..wire.messages import Drain, Message
from ..wire.peer import Peer, connect

if TYPE_CHECKING:
    from ..config import Config

LISTENING = ("coordinator", "compute")
LOOK_SECONDS = 0.2  # between two looks at whether it is there still
SAY_SECONDS = 2.0  # between two lines about what it waits for
MOST_NAMED = 20  # members in a sentence


class Target(NamedTuple):
    """Somebody who can be told to drain."""

    role: str
    node: str
    address: str  # "": a collector, which its coordinators tell
    listed: bool  # it stands in the membership as long as it is there
    started: float

    def __str__(self) -> str:
        return f"{self.role}/{self.node}"


def drain(config: Config, node: str, timeout: float) -> None:
    """Returns when it has left the cluster.

    Raises:
        ClusterError: nobody has this name, or it cannot be told. NotDrained: it has not left in time, or has left
        something that is not known to be stored.
    """
    draining = Draining(config)
    try:
        asyncio.run(draining.drain(node, timeout))
    finally:
        draining.close()


class Draining:
    """One use of the command."""

    def __init__(self, config: Config) -> None:
        self._cluster = config.cluster.name
        self._who = identity(config, "status", "drain")
        self._membership = open_membership(config)
        self._watch = Watch(config)

    async def drain(self, node: str, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        target = self._choose(await self._everybody(), node)
        await self._tell(target)
        click.echo(f"{target} is told to drain{self._consequence(target)}")
        said = began
        while not await self._left(target):
            now = loop.time()
            if now - began >= timeout:
                raise NotDrained(f"{target} has not left within {timeout:g} s and drains on: ask drtc status what it "
                                 "waits for, or give drtc drain a longer --timeout")
            if now - said >= SAY_SECONDS:
                said = now
                click.echo(f"{target} is draining, {now - began:.0f} s: {await self._rest(target)}")
            await asyncio.sleep(LOOK_SECONDS)
        await self._check_last_words(target)
        click.echo(f"{target} has left after {loop.time() - began:.1f} s")

    def close(self) -> None:
        self._membership.close()

    # --- who it is ---

    async def _everybody(self) -> list[Target]:
        found = []
        for role in (*LISTENING, "collector"):
            for member in self._membership.look(role):
                found.append(Target(role, member.node, member.address, True, member.started))
        found = [target for target in await asyncio.gather(*map(self._named, found)) if target is not None]
        known = {(target.role, target.node) for target in found}
        for report in (await self._status()).get("members", ()):
            if report["role"] == "collector" and (report["role"], report["node"]) not in known:
                found.append(Target("collector", report["node"], "", False, report["started"]))
        return found

    async def _named(self, target: Target) -> Target | None:
        """Where addresses stand in the INI file, a member itself knows its name, and whether it is there."""
        if target.node != target.address:
            return target
        try:
            peer = await self._call(target.role, target.address)
        except (asyncio.TimeoutError, WireError):
            return target._replace(listed=False)
        except OSError:
            return None
        peer.connection.close("named")
        return target._replace(node=peer.node, listed=False)

    def _choose(self, everybody: list[Target], name: str) -> Target:
        """
        Raises:
            ClusterError: there is none of this name, or more than one.
        """
        if not everybody:
            raise ClusterError(f"nobody of the cluster {self._cluster!r} is running here: there is nothing to drain")
        chosen = [target for target in everybody if name in (target.node, target.address, str(target))]
        if not chosen:
            near = did_you_mean(name, (target.node for target in everybody))
            raise ClusterError(f"no member of the cluster {self._cluster!r} is called {name!r}{near}; there are "
                               f"{_listed(everybody)}")
        if len(chosen) > 1:
            raise ClusterError(f"{name!r} is more than one: say {' or '.join(sorted(map(str, chosen)))}")
        return chosen[0]

    def _consequence(self, target: Target) -> str:
        """What else happens: a run that started a role ends with it."""
        ours = target.node == seat(target.role, self._membership) and self._membership.look("run")
        return "; the drtc run that it belongs to ends with it" if ours else ""

    # --- telling it ---

    async def _tell(self, target: Target) -> None:
        """
        Raises:
            ClusterError: it does not answer; for a collector, none of the coordinators does.
        """
        coordinators = [(member.role, member.address) for member in self._membership.members("coordinator")]
        ways = coordinators if target.role == "collector" else [(target.role, target.address)]
        told = await asyncio.gather(*(self._send(role, address, Drain(target.role, target.node))
                                      for role, address in ways), return_exceptions=True)
        if None in told:
            return
        why = f": {told[0]}" if told else ""
        if target.role == "collector":
            raise ClusterError(f"{target} hears only its coordinators, and none answers{why}: end it by SIGTERM")
        raise ClusterError(f"{target} does not answer{why}: end it by SIGTERM")

    async def _send(self, role: str, address: str, message: Message) -> None:
        peer = await self._call(role, address)
        peer.send(message)
        peer.connection.close("told")

    async def _call(self, role: str, address: str) -> Peer:
        return await connect(self._who, address, role, _ignore_frame, _ignore_end)

    # --- waiting ---

    async def _left(self, target: Target) -> bool:
        if target.listed:
            listed = {(member.node, member.started) for member in self._membership.members(target.role)}
            if (target.node, target.started) in listed:
                return False
        if not target.address:
            return target.listed or not await self._reported(target)
        try:
            peer = await self._call(target.role, target.address)
        except (asyncio.TimeoutError, WireError):
            return False  # it is there, and not in a state to answer
        except OSError:
            return True
        peer.connection.close("asked and answered")
        return target.listed or peer.node != target.node  # else it is another one, which came in its place

    async def _reported(self, target: Target) -> dict[str, Any]:
        """Its own last report, as its coordinators have it; {} where they have none."""
        for report in (await self._status()).get("members", ()):
            if (report["role"], report["node"], report["started"]) == (target.role, target.node, target.started):
                return dict(report)
        return {}

    async def _rest(self, target: Target) -> str:
        for report in (await self._status()).get("members", ()):
            if (report["role"], report["node"]) == (target.role, target.node):
                rest = sum(report.get(key, 0) for key in ("depth", "bytes", "flying"))
                return f"{rest:,} bytes are not known to be stored" if rest else "all it had is stored"
        return "it is not heard of any more"

    async def _check_last_words(self, target: Target) -> None:
        """
        Raises:
            NotDrained: a collector whose drain was cut short.
        """
        for report in (await self._status()).get("departed", ()) if target.role == "collector" else ():
            if (report["node"], report["started"]) == (target.node, target.started) and report["flying"]:
                raise NotDrained(f"{target} has left before all that it had sent was known to be stored: the rest is "
                                 "read again; change the Job, its route or slots only after a drain that ends with 0")

    async def _status(self) -> dict[str, Any]:
        try:
            return await self._watch.ask()
        except (DrtcError, OSError):
            return {}  # no coordinator answers


def _listed(everybody: Iterable[Target]) -> str:
    names = sorted(map(str, everybody))
    return ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")


def _ignore_frame(peer: Peer, message: Message, payload: Payload) -> None:
    """Beats and the like: a peer that is only asked says more than the answer."""


def _ignore_end(peer: Peer, why: str) -> None:
    """The end of a conversation is no event."""
