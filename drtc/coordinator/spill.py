"""What a coordinator decides about its overflow: which batches wait on disk, and when they come back.

Memory has two halves: one for what arrives, one for what comes back from disk; so neither a full disk nor a slow node
keeps the head of a lane on disk. A lane's queue is always some batches in memory and, behind them, some on disk: what
arrives while anything of its lane is there goes there too, and what went first comes back first. The order of a lane
is therefore nothing that the disk has to keep.

No disk, no clock, no thread: ``writes``, ``reads`` and ``discards`` give out what is to be done, one write and one
read at a time; the answers come by ``written``, ``refused`` and ``read``.
"""
from __future__ import annotations

from collections import Counter
from typing import Any, Iterable, Sequence

from ..batch import Lane, Payload
from .entry import Entry, Place

MOST = 8 << 20  # bytes of one write or read, so that neither keeps the other waiting for long


class Spill:
    """``memory`` and ``disk`` are the bytes that are here, and where. ``disk_bytes`` 0: nothing goes to disk."""

    def __init__(self, memory_bytes: int, disk_bytes: int) -> None:
        self._disk_bytes = disk_bytes
        self.arrivals = memory_bytes // 2 if disk_bytes else memory_bytes  # the budget of what has not been on disk
        self._returns = memory_bytes - self.arrivals
        self._returned = 0  # bytes that came back, or are on their way, and are not answered
        self._fresh: dict[Entry, None] = {}  # the oldest first
        self._cold: dict[Lane, dict[Entry, None]] = {}  # on disk, by lane in turn, the oldest first
        self._warm: Counter[Lane] = Counter()  # of the bytes that came back, how many are whose
        self._away: Counter[Lane] = Counter()  # how many of a lane are anywhere but in memory, to stay there
        self._spilled: Counter[int] = Counter()  # bytes by link that went to disk and are not answered
        self._held: Counter[int] = Counter()  # bytes by link that are here, wherever
        self._discards: list[int] = []
        self._writing: list[Entry] = []
        self._reading: list[Entry] = []
        self.full = False  # the disk took no more, the last time it was asked
        self.memory = 0
        self.disk = 0

    def came(self, entry: Entry) -> None:
        """A batch was accepted; it is behind all others of its lane."""
        self.memory += entry.header.size
        self._held[entry.link] += entry.header.size
        if self._disk_bytes and (self._away[entry.header.lane] or self._crowded):
            self._move(entry, Place.FRESH)
            self._fresh[entry] = None

    def taken(self, entry: Entry) -> None:
        """It leaves in a task: writing it would be of no use any more."""
        self._fresh.pop(entry, None)
        self._move(entry, Place.MEMORY)

    def done(self, entry: Entry) -> None:
        """It was answered or is forgotten: nobody waits for it."""
        size = entry.header.size
        _less(self._held, entry.link, size)
        if entry.place is Place.DISK:
            self._thaw(entry)
            self._discard(entry)
        else:
            self.memory -= size
            if entry.spilled:
                self._returned -= size
                _less(self._warm, entry.header.lane, size)
            self._fresh.pop(entry, None)
        if entry.spilled:
            _less(self._spilled, entry.link, size)
        self._move(entry, Place.GONE)
        entry.payload = None

    def spilled(self, link: int) -> int:
        """Bytes of a link that went to disk and are not answered: by so much more it may have on its way."""
        return self._spilled[link]

    def overdrawn(self, link: int, frame: int) -> bool:
        """Whether a link has more here than any window ever allowed it, and a frame of that size beyond."""
        return self._held[link] > self.arrivals + self._spilled[link] + frame

    @property
    def waits(self) -> bool:
        """Whether anything is to be written, or is being written."""
        return bool(self._fresh or self._writing)

    @property
    def _crowded(self) -> bool:
        return self.memory - self._returned > self.arrivals // 2

    # --- to be done ---

    def writes(self) -> list[Entry]:
        """What is to be written now, in this order."""
        if self._writing or self.full:
            return []
        if not self._cold and not self._reading and not self._crowded:
            for entry in self._fresh:  # there is room again
                self._move(entry, Place.MEMORY)
            self._fresh.clear()
        room = self._disk_bytes - self.disk
        self._writing = _head(self._fresh, min(MOST, room)) or _head(self._fresh, room)[:1]
        for entry in self._writing:
            del self._fresh[entry]
            self._move(entry, Place.WRITING)
        return list(self._writing)

    def written(self, tickets: Sequence[int]) -> None:
        """What ``writes`` gave out is on disk, under these numbers."""
        for entry, ticket in zip(self._writing, tickets):
            size = entry.header.size
            entry.ticket = ticket
            self.disk += size
            if entry.place is not Place.WRITING:
                self._discard(entry)  # it has left meanwhile
                continue
            entry.payload = None
            entry.spilled = True
            self.memory -= size
            self._spilled[entry.link] += size
            self._move(entry, Place.DISK)
            self._cold.setdefault(entry.header.lane, {})[entry] = None
        self._writing = []

    def refused(self) -> None:
        """The disk did not take what ``writes`` gave out: it stays in memory until there may be room (``retry``)."""
        kept = [entry for entry in self._writing if entry.place is Place.WRITING]
        for entry in kept:
            self._move(entry, Place.FRESH)
        self._fresh = {**dict.fromkeys(kept), **self._fresh}
        self._writing = []
        self.full = True

    def retry(self) -> None:
        """The disk may have room again."""
        self.full = False

    def reads(self) -> list[Entry]:
        """What is to be read now, in this order. Lanes have equal shares of what comes back, so that one whose node
        hangs does not keep the others on disk."""
        room = self._returns - self._returned
        if self._reading or not self._cold or room <= 0:
            return []
        share = self._returns // len(self._cold)
        room = min(room, MOST)
        for lane in list(self._cold):
            queue = self._cold[lane]
            while queue and self._warm[lane] < share and room > 0:
                entry = next(iter(queue))
                size = entry.header.size
                if size > room and (self._reading or self._returned):
                    room = 0
                    break
                room -= size
                self._reading.append(entry)
                self._thaw(entry)
                self._move(entry, Place.READING)
                self.memory += size
                self._returned += size
                self._warm[lane] += size
            if lane in self._cold:
                self._cold[lane] = self._cold.pop(lane)  # behind the others
            if room <= 0:
                break
        return list(self._reading)

    def read(self, payloads: Iterable[Payload | None]) -> list[Entry]:
        """What ``reads`` gave out has come back; None: it is damaged. Returns those that are lost to us: their links
        must be closed, so that their collectors send again."""
        lost = []
        for entry, payload in zip(self._reading, payloads):
            self._discard(entry)
            if entry.place is Place.READING:
                entry.payload = payload
                self._move(entry, Place.MEMORY)
                if payload is None:
                    lost.append(entry)
        self._reading = []
        return lost

    def on_disk(self) -> list[Entry]:
        """All that waits there, or is on its way back."""
        return [*self._reading, *(entry for queue in self._cold.values() for entry in queue)]

    def discards(self) -> list[int]:
        """Numbers that the disk need not keep any longer."""
        discards, self._discards = self._discards, []
        return discards

    def _thaw(self, entry: Entry) -> None:
        lane = entry.header.lane
        del self._cold[lane][entry]
        if not self._cold[lane]:
            del self._cold[lane]

    def _discard(self, entry: Entry) -> None:
        assert entry.ticket is not None
        self._discards.append(entry.ticket)
        self.disk -= entry.header.size
        entry.ticket = None

    def _move(self, entry: Entry, place: Place) -> None:
        stays = (Place.MEMORY, Place.GONE)
        change = (place in stays) - (entry.place in stays)
        entry.place = place
        if change:
            _less(self._away, entry.header.lane, change)


def _head(entries: dict[Entry, None], most: int) -> list[Entry]:
    """The first of them, up to so many bytes."""
    head: list[Entry] = []
    size = 0
    for entry in entries:
        size += entry.header.size
        if size > most:
            break
        head.append(entry)
    return head


def _less(counter: Counter[Any], key: Any, size: int) -> None:
    """Takes away from a count; one that is nothing is forgotten."""
    counter[key] -= size
    if not counter[key]:
        del counter[key]
