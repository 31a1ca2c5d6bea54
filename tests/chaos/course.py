"""How a run went, computed from samples: when a fault was noticed, when throughput was back, how much had piled up."""
from __future__ import annotations

import re
from typing import NamedTuple, Sequence

WINDOW = 2.0  # seconds over which throughput is measured, where nothing else is said
SHARE = 0.95  # of the sender's rate: less is a dip


class Sample(NamedTuple):
    at: float  # monotonic seconds
    sent: int  # events, since the beginning
    stored: int


class Heard(NamedTuple):
    """A line of a log."""

    at: float
    who: str
    line: str


def slow(samples: Sequence[Sample], rate: float, window: float = WINDOW) -> list[tuple[float, bool]]:
    """For each sample with a whole window before it: whether less than SHARE of the rate was stored in the window."""
    found = []
    begin = 0
    for sample in samples[1:]:
        while samples[begin + 1].at <= sample.at - window:
            begin += 1
        first = samples[begin]
        span = sample.at - first.at
        if span >= window:
            found.append((sample.at, sample.stored - first.stored < SHARE * rate * span))
    return found


def steady(samples: Sequence[Sample], rate: float, window: float = WINDOW) -> bool:
    """Whether throughput was there during the last window, and no more than a second's events have piled up."""
    if not samples:
        return False
    now = samples[-1]
    recent = [dip for at, dip in slow([sample for sample in samples if sample.at > now.at - 2.5 * window], rate, window)
              if at >= now.at - window]
    return len(recent) > 2 and not any(recent) and now.sent - now.stored <= rate


def back(samples: Sequence[Sample], rate: float, struck: float, window: float = WINDOW) -> float | None:
    """Seconds from the stroke to the end of the last dip: 0.0 where there was none, None where it did not end."""
    ended: float | None = 0.0
    for at, dip in slow(samples, rate, window):
        if at < struck:
            continue
        if dip:
            ended = None
        elif ended is None:
            ended = at - struck
    return ended


def backlog(samples: Sequence[Sample], struck: float) -> int:
    """The most events that were sent and not stored, from the stroke on."""
    return max((sample.sent - sample.stored for sample in samples if sample.at >= struck), default=0)


def noticed(heard: Sequence[Heard], sign: str, struck: float) -> float | None:
    """Seconds from the stroke to the first line that names the fault; None where nobody did."""
    return next((line.at - struck for line in heard if line.at >= struck and re.search(sign, line.line)), None)
