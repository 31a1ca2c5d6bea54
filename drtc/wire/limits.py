"""What a peer may cost: how many may call, how slowly one may go on, how often that is said. No socket, no clock."""
from __future__ import annotations

import ipaddress
from collections import Counter
from typing import Generic, Hashable, TypeVar

from ..errors import WireError

MOST_STRANGERS = 200  # connections that have not greeted
LOOKS = 4  # at a connection's pace within [cluster] timeout; that many in a row without progress are the end
LEAST_PROGRESS = 16 << 10  # bytes between two looks, or what was due if that is less
T = TypeVar("T", bound=Hashable)


def origin(host: str) -> str:
    """Whom a connection from ``host`` is counted for: an IPv4 address, or the /64 that one IPv6 subscriber has."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


class Census(Generic[T]):
    """Who is here: strangers, of which there is always room for one more, and peers, of which there is not.

    ``most`` peers altogether, ``most_of_one`` of one origin.
    """

    def __init__(self, most: int, most_of_one: int, most_strangers: int = MOST_STRANGERS) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._most_strangers = most_strangers
        self._strangers: dict[T, str] = {}  # the oldest first
        self._peers: dict[T, str] = {}
        self._of_strangers: Counter[str] = Counter()
        self._of_peers: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._strangers) + len(self._peers)

    def arrived(self, guest: T, of: str) -> T | None:
        """A stranger has called. Returns the one that has to leave for it: the oldest of the origin with the most, so
        that a flood from one place turns out its own."""
        self._strangers[guest] = of
        self._of_strangers[of] += 1
        if len(self._strangers) <= self._most_strangers:
            return None
        crowd = max(self._of_strangers, key=self._of_strangers.__getitem__)
        oldest = next(each for each, place in self._strangers.items() if place == crowd)
        self.left(oldest)
        return oldest

    def greeted(self, guest: T) -> None:
        """A stranger has become a peer.

        Raises:
            WireError: there are too many; it remains a stranger.
        """
        of = self._strangers[guest]
        if len(self._peers) >= self._most:
            raise WireError(f"{self._most} peers are connected here already: see [cluster] max_connections")
        if self._of_peers[of] >= self._most_of_one:
            raise WireError(f"{self._most_of_one} peers of {of} are connected here already: see [cluster] "
                            "max_connections_per_address")
        self.left(guest)
        self._peers[guest] = of
        self._of_peers[of] += 1

    def left(self, guest: T) -> None:
        """It is gone; may be said twice."""
        for here, counts in ((self._strangers, self._of_strangers), (self._peers, self._of_peers)):
            of = here.pop(guest, None)
            if of is not None:
                counts[of] -= 1
                if not counts[of]:
                    del counts[of]


class Pace:
    """Whether one direction of a connection gets on, looked at LOOKS times in a timeout.

    Looks are counted, not seconds: a process that was stopped for a while finds one look without progress, and not a
    peer that failed for all that time.
    """

    def __init__(self) -> None:
        self._due = 0
        self._moved = 0
        self._idle = 0

    def stuck(self, due: int, moved: int) -> bool:
        """``due``: bytes still to come of what is under way, 0 for nothing. ``moved``: bytes so far, in all."""
        if moved - self._moved >= min(self._due, LEAST_PROGRESS):
            self._idle = 0
        else:
            self._idle += 1
        self._due, self._moved = due, moved
        return self._idle >= LOOKS


class Quota:
    """How often something may be said: ``burst`` times at once, ``rate`` times a second for ever."""

    def __init__(self, burst: int, rate: float) -> None:
        self._burst = burst
        self._rate = rate
        self._left = float(burst)
        self._at: float | None = None
        self._missed = 0

    def take(self, now: float) -> int | None:
        """How many were not said since the last one that was; None: neither is this one."""
        if self._at is not None:
            self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            self._missed += 1
            return None
        self._left -= 1
        missed, self._missed = self._missed, 0
        return missed
