"""What is known of who is there, between two readings and while nobody can be asked. No client, no thread, no clock."""
from __future__ import annotations

from typing import Iterable, Mapping, NamedTuple

from .membership import Member


class Listing(NamedTuple):
    """The children of a role's node as they were read, and what tells whether they have changed since."""

    made: int  # the zxid at which the role's node was created
    changes: int  # how often a child came or went since (cversion)
    members: Mapping[str, Member]  # by node


def unread(before: Listing | None, made: int, changes: int, names: Iterable[str]) -> set[str]:
    """Those of the names whose content must be read: a member's never changes, but its name may be taken again.

    Where as many came and went as the names tell, only those that came; where more did, somebody may have gone and
    come back between the two readings, with another address.
    """
    there = set(names)
    if before is None or before.made != made:
        return there
    moved = there ^ set(before.members)
    return there - set(before.members) if changes - before.changes == len(moved) else there


class Known:
    """The last members of each role.

    When a session was lost, other members may have lost theirs as well and be about to register again (after an
    outage, or when the servers lost their data): for ``grace`` seconds nobody who was there is taken for gone.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self.until = float("-inf")  # the end of that time
        self._members: dict[str, dict[str, Member]] = {}  # replaced, never changed: another thread reads

    def session_lost(self, now: float) -> None:
        self.until = now + self._grace

    def read(self, role: str, found: Mapping[str, Member], now: float) -> None:
        """A full reading has succeeded: these are there."""
        late = self._members.get(role, {}) if now < self.until else {}
        self._members[role] = {**late, **found}

    def has(self, role: str) -> bool:
        """Whether the role has ever been read."""
        return role in self._members

    def members(self, role: str) -> list[Member]:
        """In the order of their names; empty where nothing is known yet."""
        members = self._members.get(role, {})
        return [members[node] for node in sorted(members)]
