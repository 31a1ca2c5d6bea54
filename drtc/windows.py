"""Windows in event time: which windows an event counts in, and from when to when a window lasts.

Windows are aligned to the epoch and numbered: number 0 begins at 1970-01-01 00:00 UTC, so a day is a day of UTC.
A window contains its start and not its end.
"""
from __future__ import annotations

from math import isfinite
from typing import Sequence

from .errors import JobError
from .event import EARLIEST, LATEST, checked

MICROS = 1_000_000
SHORTEST = 1000  # microseconds; far above what a float can tell apart in the year 9999
MOST_WINDOWS = 10_000  # that one event may count in


class Window:
    """Base of the kinds of windows: number ``i`` lasts from ``i * every`` to ``i * every + size``, in seconds.

    Lengths are kept in whole microseconds and a window's borders are rounded once, so that no border drifts:
    ``bounds`` decides, and ``index`` and ``indexes`` agree with it for every float.
    """

    def __init__(self, size: float, every: float) -> None:
        self._size = _micros(self, size)
        self._every = _micros(self, every)
        self.size = _seconds(self._size)
        self.every = _seconds(self._every)

    def index(self, time: float) -> int:
        """The number of the latest window that contains the time (epoch seconds).

        Raises:
            TypeError, ValueError: not finite, or not between the years 1 and 9999.
        """
        if not EARLIEST <= time < LATEST:
            checked(time)  # raises
        number = int(time // self.every)
        if type(self.every) is int:
            return number  # the division is exact
        every = self._every
        while time < number * every / MICROS:
            number -= 1
        while time >= (number + 1) * every / MICROS:
            number += 1
        return number

    def indexes(self, time: float) -> Sequence[int]:
        """The numbers of all windows that contain the time, ascending; at least one. Raises as ``index``."""
        latest = self.index(time)
        first = latest
        while time < ((first - 1) * self._every + self._size) / MICROS:
            first -= 1
        return range(first, latest + 1)

    def bounds(self, index: int) -> tuple[float, float]:
        """Start and end of a window in epoch seconds; whole numbers are ints."""
        start = index * self._every
        return _seconds(start), _seconds(start + self._size)

    def end(self, start: float) -> float:
        """The end of the window that starts at ``start``, which must be one that ``bounds`` gave."""
        return self.bounds(round(start * MICROS / self._every))[1]


class Tumbling(Window):
    """Windows one behind the other: ``Tumbling(seconds=10)``, ``Tumbling(days=1)``. Lengths given together add up."""

    def __init__(self, *, seconds: float = 0, minutes: float = 0, hours: float = 0, days: float = 0) -> None:
        size = seconds + 60 * minutes + 3600 * hours + 86400 * days
        super().__init__(size, size)

    def indexes(self, time: float) -> Sequence[int]:
        return (self.index(time),)

    def __repr__(self) -> str:
        return f"Tumbling(seconds={self.size})"


class Sliding(Window):
    """Windows of one length that begin every ``every`` seconds: ``Sliding(hours=1, every=300)``.

    An event counts in each window that contains it, about ``size / every`` of them.
    """

    def __init__(self, *, every: float, seconds: float = 0, minutes: float = 0, hours: float = 0,
                 days: float = 0) -> None:
        super().__init__(seconds + 60 * minutes + 3600 * hours + 86400 * days, every)
        if self.every > self.size:
            raise JobError(f"{self!r} leaves gaps between its windows: every must not be longer than the window")
        if self._size > MOST_WINDOWS * self._every:
            raise JobError(f"{self!r} counts each event in {self._size // self._every} windows, more than "
                           f"{MOST_WINDOWS}: make every longer")

    def __repr__(self) -> str:
        return f"Sliding(seconds={self.size}, every={self.every})"


def _micros(window: Window, seconds: float) -> int:
    if not isfinite(seconds) or seconds * MICROS < SHORTEST:
        raise JobError(f"a {type(window).__name__} window needs lengths of at least a millisecond, such as seconds=10")
    return round(seconds * MICROS)


def _seconds(micros: int) -> float:
    whole, rest = divmod(micros, MICROS)
    return micros / MICROS if rest else whole
