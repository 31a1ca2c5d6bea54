"""Whether a role gets on with its work, and how fast. No clock, no thread: it is told the time."""
from __future__ import annotations

from collections import deque

RATE_SECONDS = 10.0  # over which a rate is taken


class Pulse:
    """A role calls ``moved`` for each answer and ``look`` at every beat; the rest is read.

    Args:
        timeout: seconds without an answer, while there is work, after which the role counts as stalled.
    """

    def __init__(self, timeout: float) -> None:
        self.events = 0  # stored, as far as went through this role; never goes back
        self.stalled = False
        self.idle = 0.0  # seconds since something moved while there was work
        self.rate = 0.0  # events per second
        self._timeout = timeout
        self._moves = 0
        self._seen_moves = 0
        self._since: float | None = None  # when it moved last, or had nothing to do
        self._past: deque[tuple[float, int]] = deque()

    def moved(self, events: int) -> None:
        """An answer came: so many events more are stored. An answer of none is progress as well."""
        self._moves += 1
        self.events += events

    def look(self, now: float, busy: bool) -> None:
        """Takes stock. ``busy``: there is work, in hand or waiting to be fetched."""
        if self._since is None or not busy or self._moves != self._seen_moves:
            self._since = now
        self._seen_moves = self._moves
        self.idle = now - self._since
        self.stalled = self.idle > self._timeout
        self._past.append((now, self.events))
        while len(self._past) > 2 and now - self._past[0][0] > RATE_SECONDS:
            self._past.popleft()
        then, before = self._past[0]
        self.rate = (self.events - before) / (now - then) if now > then else 0.0
