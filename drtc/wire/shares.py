"""How a budget of bytes is shared among those who send: evenly, and told anew when one comes or goes."""
from __future__ import annotations

LEAST = 64 << 10  # bytes: less would make batches too small to be worth a frame


class Shares:
    """A receiver's budget. What all senders have on their way together stays within it, but for the moment in which
    a newcomer's share is taken from the others."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._senders = 0

    def joining(self, taken: int = 0) -> int:
        """The share of one that is about to join. ``taken``: as in ``of``."""
        return self.of(self._senders + 1, taken)

    def of(self, senders: int, taken: int = 0) -> int:
        """Everybody's share, now that there are so many. ``taken`` is the bytes that are still here of senders that
        have gone: nobody else can have them."""
        self._senders = senders
        return max(LEAST, (self._budget - taken) // max(1, senders))
