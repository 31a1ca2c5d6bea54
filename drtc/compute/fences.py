"""The fence test: what decides that each event counts once (docs/guarantees.md).

A fence maps a lane's number to the last of its offsets that the record has counted. For a part of a record:

- fence < first: the part is new; merge it and move the fence to ``last``;
- fence >= last: counted already; skip;
- between, or the lanes disagree: only some of its events are new.

With ``route = key`` a record can meet every lane in every batch, so this module is compiled by mypyc where that is
possible: plain typed functions.
"""
from __future__ import annotations

from typing import Final

NEW: Final = "new"
COUNTED: Final = "counted"
MIXED: Final = "mixed"

NOTHING: Final = -1  # the fence of a lane that never touched the record


def fence_verdict(fence: dict[int, int], spans: list[tuple[int, int, int]], touched: int) -> str:
    """The fence test of a part: ``spans`` are (lane number, first, last), ``touched`` says which of them matter."""
    new = False
    counted = False
    for lane, first, last in spans:
        if touched & 1:
            have = fence.get(lane, NOTHING)
            if have < first:
                new = True
            elif have >= last:
                counted = True
            else:
                return MIXED
        touched >>= 1
    if not counted:
        return NEW
    return MIXED if new else COUNTED


def advance(fence: dict[int, int], spans: list[tuple[int, int, int]], touched: int) -> None:
    """Moves the fence over the part, which is counted now."""
    for lane, _, last in spans:
        if touched & 1 and fence.get(lane, NOTHING) < last:
            fence[lane] = last
        touched >>= 1
