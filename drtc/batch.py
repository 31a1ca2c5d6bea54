"""The values that flow through every role: a chunk that was read, a lane, a batch, and the answer "stored".

A value is made once and never changed. Payloads are bytes-like and opaque: only an encoding
(``drtc.encodings``) takes them apart, and only in a worker or where ``route = key`` splits.
"""
from __future__ import annotations

from typing import NamedTuple, Union

import msgspec

Payload = Union[bytes, bytearray, memoryview]

#: batches are joined up to so many messages, however few bytes they have: compressed ones grow when they are unpacked
MOST_MESSAGES = 200_000


class Lane(NamedTuple):
    """The unit of order: a source partition and a slot, of one view."""

    partition: str
    slot: int

    def __str__(self) -> str:
        return f"{self.partition}#{self.slot}"


class Chunk(msgspec.Struct, frozen=True):
    """What a source read in one piece: messages of one partition whose offsets lie in ``first..last``.

    ``last`` is the last offset covered, whether or not a message bears it: a chunk may end in a gap, and one
    with ``count == 0`` and no payload only says that the source has moved past ``last``. A payload may hold
    messages before ``first`` (Kafka hands out whole record batches); who unpacks it leaves them out.
    """

    partition: str
    first: int
    last: int
    count: int  # messages, where known without unpacking; an estimate otherwise
    encoding: str
    payload: Payload


class Header(msgspec.Struct, frozen=True, array_like=True):
    """What every hop may know of a batch: its place, not its content.

    ``stream`` is one run of consecutive batches by one collector, new after every start, rebalance or rewind;
    ``seq`` numbers the lane's batches in it without a gap, so that a hop can refuse what would break the order.
    """

    partition: str
    slot: int
    stream: str
    seq: int
    first: int
    last: int
    count: int
    encoding: str
    size: int  # bytes of payload
    watermark: float | None = None  # seconds; everything of the partition up to this event time is stored

    @property
    def lane(self) -> Lane:
        return Lane(self.partition, self.slot)


class Batch(NamedTuple):
    """A run of consecutive messages of one lane."""

    header: Header
    payload: Payload


class Counts(msgspec.Struct, array_like=True):
    """What became of the messages of a batch. Only for people and metrics; nothing is decided by them."""

    messages: int = 0
    dead: int = 0
    skipped: int = 0  # messages without a body (Kafka's tombstones)
    replayed: int = 0  # records whose fence said "already counted"
    saved: int = 0  # records saved

    def add(self, other: "Counts") -> None:
        self.messages += other.messages
        self.dead += other.dead
        self.skipped += other.skipped
        self.replayed += other.replayed
        self.saved += other.saved


class Stored(msgspec.Struct, frozen=True, array_like=True):
    """The answer that alone acknowledges: all of the lane's stream up to ``seq`` (offset ``last``) is in the store."""

    partition: str
    slot: int
    stream: str
    seq: int
    last: int
    time: float | None  # greatest event time among the messages, seconds
    counts: Counts

    @property
    def lane(self) -> Lane:
        return Lane(self.partition, self.slot)
