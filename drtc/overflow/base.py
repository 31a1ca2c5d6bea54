"""What a queue on disk must do: keep byte strings in order, in one of two modes.

*Cache* mode: opening empties the directory. Sources send again what was in it, so nothing is forced to disk.
*Durable* mode: what ``append`` returned is there after any end of the process, and of the machine as far as its disk
keeps what it acknowledged.
"""
from __future__ import annotations

import builtins
from abc import ABC, abstractmethod
from typing import Iterable, Sequence

Bytes = bytes | bytearray | memoryview


class Overflow(ABC):
    """A queue of byte strings on disk, in order. One owner process; used by one thread at a time."""

    #: items found missing, truncated or changed since this object was opened
    damaged: int

    @property
    @abstractmethod
    def depth(self) -> int:
        """Items that wait."""

    @property
    @abstractmethod
    def bytes(self) -> int:
        """Of the items that wait, without what the files add."""

    @abstractmethod
    def append(self, items: Sequence[Bytes]) -> list[int]:
        """Takes all items or none, and returns their numbers: ascending, never used again in this directory.

        In durable mode they are on disk before it returns.

        Raises:
            QueueFull: ``disk_bytes`` would be passed, or the disk is full. Nothing was taken; reads and discards go on.
            QueueError: the disk or the files do not work.
        """

    @abstractmethod
    def read(self, number: int) -> builtins.bytes:
        """The item, as it was appended. It stays in the queue.

        Raises:
            Damaged: it is missing, truncated or not what was written. It is out of the queue now: counted, logged, and
                what is left of it set aside for inspection.
            QueueError: it was never in the queue, or is discarded; or the disk does not work now.
        """

    @abstractmethod
    def discard(self, numbers: Iterable[int]) -> None:
        """These items are done: their room is free again. Numbers that are not in the queue are no mistake.

        In durable mode they do not come back after the process was killed, save where the disk was full: what cannot
        be written is written with the next call.
        """

    @abstractmethod
    def pending(self) -> list[int]:
        """The numbers of all items that wait, in order; right after opening in durable mode, those that survived."""

    @abstractmethod
    def gaps(self) -> list[tuple[int, int]]:
        """First and last number of each run of items that were missing at opening: neither there nor discarded."""

    @abstractmethod
    def close(self) -> None:
        """Lets go of the directory. May be called twice."""
