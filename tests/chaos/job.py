"""The job of the chaos runs: an account of every event that shows a lost, a doubled and a misplaced one.

A key's events lie in one source partition, so that their order is known: ``recent`` must be the last of them in order.
A group's events lie in all partitions, so that its record meets every lane.
"""
from __future__ import annotations

from typing import Any, Iterator

import drtc

GROUPS, MANY_GROUPS = 7, 300
RECENT = 5


class Entry(drtc.Event):
    key: str
    number: int
    amount: int


class Tally(drtc.Job):
    decode = drtc.csv(Entry)
    groups = GROUPS

    events = drtc.Count()
    total = drtc.Sum(int)
    recent = drtc.Recent(RECENT)

    def map(self, entry: Entry) -> Iterator[tuple[str, dict[str, Any]]]:
        if entry.number < 0:
            return  # a quiet one
        yield entry.key, {"events": 1, "total": entry.amount, "recent": entry.number}
        yield f"group {entry.number % self.groups}", {"events": 1, "total": entry.amount}


class Meeting(Tally):
    """A few hundred records that meet every lane, so that all nodes write all of them at once."""

    groups = MANY_GROUPS
