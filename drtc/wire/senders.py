"""Those who send to a role that listens: a number for each, its share of the budget of bytes, and how it is left."""
from __future__ import annotations

from typing import Callable, Iterator

from .messages import Window
from .parting import Parting
from .peer import Peer

LEAST = 64 << 10  # bytes: less would make batches too small to be worth a frame
WORTH = 8  # a window that grows by less than this part of a share is not told


class Senders:
    """Everybody gets an even share of the budget, told anew when one comes or goes. What all have on their way together
    stays within it, but for the moment in which a newcomer's share is taken from the others.

    A number is one connection's: whoever comes back gets another.
    """

    def __init__(self, budget: int) -> None:
        self.parting = Parting()
        self._budget = budget
        self._peers: dict[int, Peer] = {}
        self._numbers: dict[Peer, int] = {}
        self._told: dict[int, int] = {}  # bytes, by number
        self._last = 0

    def __iter__(self) -> Iterator[Peer]:
        return iter(list(self._peers.values()))

    def number(self, peer: Peer) -> int:
        return self._numbers[peer]

    def get(self, number: int) -> Peer | None:
        """The sender of that number, None where it has gone."""
        return self._peers.get(number)

    def told(self, number: int) -> int:
        """The window that it knows, bytes."""
        return self._told.get(number, 0)

    def joining(self, taken: int = 0) -> int:
        """The share of one that is about to join. ``taken``: as in ``share``."""
        return self._share(len(self._peers) + 1, taken)

    def joined(self, peer: Peer) -> None:
        self._last += 1
        self._peers[self._last] = peer
        self._numbers[peer] = self._last
        self.parting.joined(peer)

    def gone(self, peer: Peer) -> int | None:
        """Its number until now; None for one that never joined."""
        number = self._numbers.pop(peer, None)
        if number is not None:
            del self._peers[number]
            self._told.pop(number, None)
            self.parting.gone(peer)
        return number

    def share(self, taken: int = 0, more: Callable[[int], int] = lambda number: 0) -> None:
        """Tells each its window. ``taken`` is the bytes that are still here of senders that have gone: nobody else can
        have them. ``more`` is what a number may have beyond its share."""
        share = self._share(len(self._peers), taken)
        for number, peer in self._peers.items():
            window, told = share + more(number), self._told.get(number, 0)
            if window < told or window > told + share // WORTH:
                self._told[number] = window
                peer.send(Window(window))

    def part(self) -> None:
        """Takes leave of everybody: see ``Parting``."""
        self.parting.begin(self)

    def _share(self, senders: int, taken: int) -> int:
        return max(LEAST, (self._budget - taken) // max(1, senders))
