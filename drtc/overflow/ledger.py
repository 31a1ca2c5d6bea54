"""What is in the queue, decided without a disk: numbers, room, gaps, and which rows must be written or removed.

Rows on disk, by number:

| row | is |
|---|---|
| ``n > 0`` | item ``n``; or empty: item ``n`` is discarded, and one before it still waits |
| ``-n`` | empty: item ``n`` is damaged and set aside; its row is left as it is |
| ``0`` | the mark: the least number that waits (the floor) and the next number |

With the mark and the empty rows every number between floor and next is accounted for, so that a row that has gone is
seen. In cache mode nothing is read after a restart: only items are written.
"""
from __future__ import annotations

import struct
from collections import OrderedDict
from heapq import heappop, heappush
from typing import Iterable, NamedTuple

from .sealed import OVERHEAD, seal, unseal

MARK = 0
_MARK = struct.Struct(">qq")


class Change(NamedTuple):
    """Rows to write and numbers of rows to remove, at once or not at all."""

    puts: dict[int, bytes]
    removes: list[int]


class Ledger:
    """The items of one queue by their numbers. ``first`` is the number of the first item in new files."""

    def __init__(self, first: int, durable: bool) -> None:
        self.bytes = 0
        self.gaps: list[tuple[int, int]] = []
        self._next = first
        self._durable = durable
        self._sizes: OrderedDict[int, int] = OrderedDict()  # a dict would pass over all that was removed at its front
        self._aside: set[int] = set()
        self._done: list[int] = []  # heap of the discarded ones whose empty rows are on disk
        self._owed = Change({}, [])

    def recover(self, mark: bytes | None, rows: Iterable[tuple[int, int]]) -> None:
        """Takes in what the files hold: the mark's row, and number and size of each row in ascending order.

        Raises:
            ValueError: the mark is damaged, and nothing is known for certain.
        """
        sizes = dict(rows)
        if mark is None:
            raise ValueError("the row that numbers the items is missing")
        floor, self._next = _MARK.unpack(unseal(MARK, mark))
        self._aside = {-number for number in sizes if number < 0}
        self._owed.removes.extend(number for number in sizes if 0 < number < floor and number not in self._aside)
        expected = floor
        for number in sorted(number for number in {*sizes, *self._aside} if number >= floor and number != MARK):
            if number >= self._next:
                raise ValueError(f"there is an item {number}, though the next one was to be {self._next}")
            if number > expected:
                self.gaps.append((expected, number - 1))
            expected = number + 1
            if number in self._aside:
                continue
            if sizes[number] == 0:
                heappush(self._done, number)
            else:
                self._sizes[number] = max(sizes[number] - OVERHEAD, 0)
                self.bytes += self._sizes[number]
        if expected < self._next:
            self.gaps.append((expected, self._next - 1))

    # --- what is there ---

    def __len__(self) -> int:
        return len(self._sizes)

    def __contains__(self, number: int) -> bool:
        return number in self._sizes

    def pending(self) -> list[int]:
        """The numbers that wait, in order."""
        return list(self._sizes)

    def aside(self) -> set[int]:
        """The numbers that were set aside since these files were made."""
        return self._aside

    @property
    def floor(self) -> int:
        """Everything below is done."""
        return next(iter(self._sizes), self._next)

    # --- what happens ---

    def numbers(self, count: int) -> list[int]:
        """The numbers that the next items will have; they are given only once ``appended`` is called."""
        return list(range(self._next, self._next + count))

    def mark(self, added: int = 0) -> dict[int, bytes]:
        """The row of the mark, as it is to be once so many items are added; nothing in cache mode."""
        return {MARK: seal(MARK, _MARK.pack(self.floor, self._next + added))} if self._durable else {}

    def appended(self, sizes: Iterable[int]) -> None:
        """Items of these sizes are on disk."""
        for size in sizes:
            self._sizes[self._next] = size
            self.bytes += size
            self._next += 1

    def discard(self, numbers: Iterable[int]) -> None:
        """These are done; what that means for the files is owed."""
        puts, removes = self._owed
        for number in numbers:
            size = self._sizes.pop(number, None)
            if size is None:
                continue
            self.bytes -= size
            if self._durable:
                heappush(self._done, number)
                puts[number] = b""
            else:
                removes.append(number)
        self._give_back()

    def set_aside(self, number: int) -> None:
        """This one is damaged: it waits no longer, and its row is not touched again.

        A damaged row may share pages with sound ones, which removing it would give away.
        """
        self.bytes -= self._sizes.pop(number)
        self._aside.add(number)
        if self._durable:
            self._owed.puts[-number] = b""
        self._give_back()

    def _give_back(self) -> None:
        """The empty rows that the floor has passed are not needed any more."""
        floor = self.floor
        while self._done and self._done[0] < floor:
            number = heappop(self._done)
            self._owed.puts.pop(number, None)
            self._owed.removes.append(number)

    def owed(self) -> Change | None:
        """What is still to be written for discards and damage, with the mark; None: nothing."""
        puts, removes = self._owed
        return Change({**puts, **self.mark()}, list(removes)) if puts or removes else None

    def paid(self) -> None:
        """All that was owed is on disk."""
        self._owed = Change({}, [])
