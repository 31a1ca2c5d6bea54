"""What a coordinator holds of a batch: its header always, its bytes unless they wait on disk."""
from __future__ import annotations

from enum import Enum

from ..batch import Header, Payload


class Place(Enum):
    MEMORY = "memory"
    FRESH = "fresh"  # in memory, to be written
    WRITING = "writing"  # in memory, on its way to the disk
    DISK = "disk"
    READING = "reading"  # on its way back
    GONE = "gone"  # answered or forgotten


class Entry:
    """A batch as it came, and from which link. Compared by identity."""

    __slots__ = ("link", "header", "payload", "place", "ticket", "spilled")

    def __init__(self, link: int, header: Header, payload: Payload) -> None:
        self.link = link
        self.header = header
        self.payload: Payload | None = payload  # None: it is on disk
        self.place = Place.MEMORY
        self.ticket: int | None = None  # its number in the overflow, while it is there
        self.spilled = False  # it went to disk, even if it has come back
