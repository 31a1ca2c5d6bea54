"""What a source is to a collector: ordered partitions that can be read, sought and committed.

A source is used by one thread only, the collector's reader. It decodes nothing and drops nothing.
"""
from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Callable, Mapping, NamedTuple, Sequence

from ..batch import Chunk


class Position(NamedTuple):
    """Where a partition is begun: what was committed, or the start."""

    offset: int  # the next offset to read
    note: str  # what was committed with it (see collector.settings_note), "" where nothing was


class Listener(ABC):
    """What a source tells its collector, always from inside ``read``, on the reader's thread."""

    @abstractmethod
    def assigned(self, positions: Mapping[str, Position]) -> None:
        """These partitions are ours now, each to be read from its position on."""

    @abstractmethod
    def revoked(self, partitions: Sequence[str]) -> None:
        """These are about to be taken away. May take a few seconds: what is under way is stored and committed
        (``commit`` may be called from inside). Afterwards nothing more of them is read or committed."""

    @abstractmethod
    def lost(self, partitions: Sequence[str]) -> None:
        """These were taken away already: forget them, commit nothing."""


class Source(ABC):
    """Base of every source with offsets. ``guarantee`` is the sentence shown at start-up."""

    guarantee = "exactly once: offsets of the source, fences in every record"

    @classmethod
    def require(cls) -> None:
        """Called where the source is read and where its batches are taken apart, before the first of them.

        Raises:
            SourceError: a package is missing; the sentence names the extra.
        """

    @abstractmethod
    def open(self, listener: Listener, warn: Callable[[str], None]) -> None:
        """Connects. Waits for what is not there yet, saying so through ``warn`` ("waiting for kafka
        localhost:9092, attempt 3, next in 4 s"); must give up promptly once ``close`` was called from another thread.

        Raises:
            SourceError: what waiting cannot mend (no such topic, a missing decompressor, no file matches).
        """

    @abstractmethod
    def read(self, timeout: float) -> list[Chunk]:
        """What has arrived, in order per partition, at most about ``fetch_bytes``; waits up to ``timeout`` seconds
        for the first. Partitions that are paused deliver nothing but stay ours. Consecutive chunks of a
        partition leave no message out: ``first`` of the next is past ``last`` of the one before.

        Raises:
            SourceError: for good. Passing trouble is waited out inside and told through ``warn``.
        """

    @abstractmethod
    def pause(self, partitions: Sequence[str]) -> None: ...

    @abstractmethod
    def resume(self, partitions: Sequence[str]) -> None: ...

    @abstractmethod
    def seek(self, partition: str, offset: int) -> None:
        """The next chunk of the partition begins at ``offset`` (or covers it, see Chunk.first)."""

    @abstractmethod
    def commit(self, offsets: Mapping[str, Position]) -> None:
        """Makes "everything below ``offset`` is stored" durable, with its note; a partition that is no longer ours is
        passed over silently.

        Raises:
            SourceUnavailable, StoreUnavailable: not known to be durable now; committing again, later, is right.
            SourceError: refused for good.
        """

    @abstractmethod
    def ends(self) -> dict[str, int]:
        """For each assigned partition, the offset after the last message there is at this moment (what ``--until-end``
        runs to)."""

    def complete(self) -> bool:
        """Whether all partitions that this run can have are assigned (``--until-end`` waits for it)."""
        return True

    def progress(self) -> dict[str, int]:
        """For each assigned partition, the greatest end known without asking anybody: what lag is counted from."""
        return {}

    def forget(self) -> None:
        """Drops what was committed outside of the store, so that the next run begins anew (``drtc reset``). Called on a
        source that is not open.

        Raises:
            SourceError: it cannot be dropped; nothing else is dropped then either.
        """

    @abstractmethod
    def close(self) -> None:
        """Leaves the group, closes files and connections. May be called from another thread; idempotent."""
