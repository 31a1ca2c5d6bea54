"""Keeps a connection to every member of a role, and says which come and go."""
from __future__ import annotations

import asyncio
import random
from typing import Callable

from ..cluster.membership import Member, Membership
from ..errors import WireError
from .identity import Identity
from .peer import OnFrame, OnGone, Peer, connect

LOOK_SECONDS = 0.1  # between two looks at the membership
LONGEST_WAIT = 2.0  # seconds between two attempts to connect


class Links:
    """One for each role that a role connects to. ``joined`` and ``gone`` are called in turn for each peer."""

    def __init__(self, identity: Identity, membership: Membership, role: str, joined: Callable[[Peer], None],
                 on_frame: OnFrame, gone: OnGone, say: Callable[..., None]) -> None:
        self._identity = identity
        self._membership = membership
        self._role = role
        self._joined = joined
        self._on_frame = on_frame
        self._gone = gone
        self._say = say
        self._attempts: dict[str, asyncio.Task[None]] = {}
        self.peers: dict[str, Peer] = {}  # by node

    async def run(self) -> None:
        """Runs until cancelled, or until something raises that is no trouble of the wire's: that is raised here."""
        try:
            while True:
                for attempt in self._attempts.values():
                    if attempt.done():
                        attempt.result()
                members = {member.address: member for member in self._membership.members(self._role)}
                for address, member in members.items():
                    if address not in self._attempts:
                        self._attempts[address] = asyncio.create_task(self._keep(member))
                for address in [address for address in self._attempts if address not in members]:
                    self._attempts.pop(address).cancel()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            for attempt in self._attempts.values():
                attempt.cancel()

    async def _keep(self, member: Member) -> None:
        """Connects again and again, as long as the member is listed."""
        failures = 0
        peer: Peer | None = None
        try:
            while True:
                ended = asyncio.Event()

                def on_gone(lost: Peer, why: str) -> None:
                    ended.set()
                    if self.peers.get(lost.node) is lost:
                        del self.peers[lost.node]
                        self._say("link lost", role=lost.role, node=lost.node, why=why)
                        self._gone(lost, why)

                try:
                    peer = await connect(self._identity, member.address, self._role, self._on_frame, on_gone)
                except (OSError, asyncio.TimeoutError, WireError) as error:
                    failures += 1
                    wait = min(LONGEST_WAIT, 0.05 * 2 ** failures) * (0.5 + random.random())
                    if failures in (3, 10) or failures % 60 == 0:
                        self._say("waiting", role=self._role, address=member.address, attempt=failures,
                                  next=f"{wait:.1f}s", why=str(error) or "no answer")
                    await asyncio.sleep(wait)
                    continue
                failures = 0
                if peer.connection.closed:
                    continue
                if peer.node in self.peers:
                    peer.connection.close("a second connection to the same node")
                    await asyncio.sleep(LONGEST_WAIT)
                    continue
                self.peers[peer.node] = peer
                self._say("link up", role=peer.role, node=peer.node, address=member.address)
                self._joined(peer)
                await ended.wait()
        finally:
            if peer is not None and not peer.connection.closed:
                peer.connection.close("it left the membership")
