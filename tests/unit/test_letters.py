"""Dead letters that the store takes only in part."""
from __future__ import annotations

from typing import Sequence

import pytest

from drtc.batch import Lane
from drtc.compute.letters import CUT, dead_view, keep, read
from drtc.compute.mapper import DeadLetter
from drtc.errors import StoreError
from drtc.stores.base import Id, Row, View
from drtc.stores.memory import MemorySettings, MemoryStore

VIEW = dead_view("v_v1")


class Small(MemoryStore):
    """Refuses records of more than a megabyte, as Aerospike does."""

    limit = 1 << 20

    def save(self, view: View, rows: Sequence[Row]) -> set[Id]:
        if any(len(row.hidden) + len(row.values[5]) > self.limit for row in rows):
            raise StoreError("too large")
        return super().save(view, rows)


def letter(offset: int, size: int) -> DeadLetter:
    return DeadLetter(Lane("p", 0), offset, b"x" * size, "ValueError: no", "Traceback: here")


def test_one_that_is_too_large_is_kept_cut_and_the_others_whole() -> None:
    store = Small(MemorySettings("letters"))
    store.prepare(VIEW)
    letters = [letter(0, 10), letter(1, 3 << 20), letter(2, (1 << 20) - 1000)]
    for _ in range(2):  # a replay keeps each once
        keep(store, VIEW, letters, 5.0)
    found = [read(row) for row in store.scan(VIEW)]
    assert [(each.offset, len(each.raw), each.cut) for each in found] == [
        (0, 10, 0), (1, CUT, 3 << 20), (2, (1 << 20) - 1000, 0)]
    assert found[1].error == "ValueError: no (too large for the store: the first 65536 of 3145728 bytes are kept)"
    assert found[1].raw == b"x" * CUT and found[0].raw == b"x" * 10


def test_a_store_that_refuses_everything_is_not_pleaded_with() -> None:
    store = Small(MemorySettings("no letters"))
    store.prepare(VIEW)
    store.limit = 0
    with pytest.raises(StoreError):
        keep(store, VIEW, [letter(0, 10)], 5.0)
