"""How parts and dead letters cross the pipe between workers: msgpack of plain values, nothing else."""
from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any, Sequence

import msgpack

from ..batch import Lane, Payload
from .mapper import DeadLetter, Part
from .records import is_plain, pack_states, unpack_states

if TYPE_CHECKING:
    from ..aggregates import Aggregate

EMPTY = msgpack.packb([])


def owner_of(key: Any, owners: int) -> int:
    """Which worker of the node keeps the records of a key."""
    if owners == 1:
        return 0
    return zlib.crc32(str(key).encode("utf-8", "surrogatepass")) % owners


def pack_parts(parts: Sequence[Part], owners: int, aggregates: Sequence[Aggregate]) -> list[bytes]:
    """One payload for each owner."""
    shares: list[list[Any]] = [[] for _ in range(owners)]
    plain = all(map(is_plain, aggregates))
    for key, window, touched, states in parts:
        packed = pack_states(states, aggregates, plain)
        bits = touched if touched < 1 << 63 else touched.to_bytes(touched.bit_length() // 8 + 1, "big")
        shares[owner_of(key, owners)].append((key, window, bits, packed))
    return [msgpack.packb(share) for share in shares]


def unpack_parts(payload: Payload, aggregates: Sequence[Aggregate]) -> list[Part]:
    plain = all(map(is_plain, aggregates))
    parts = []
    for key, window, bits, packed in msgpack.unpackb(payload):
        touched = int.from_bytes(bits, "big") if isinstance(bits, bytes) else bits
        parts.append(Part(key, window, touched, unpack_states(packed, aggregates, plain)))
    return parts


def pack_dead(dead: Sequence[DeadLetter]) -> bytes:
    packed: bytes = msgpack.packb([
        (letter.lane.partition, letter.lane.slot, letter.offset, letter.raw, letter.error, letter.traceback)
        for letter in dead
    ], unicode_errors="surrogateescape")
    return packed


def unpack_dead(payload: Payload) -> list[DeadLetter]:
    if not payload:
        return []
    return [
        DeadLetter(Lane(partition, slot), offset, raw, error, trace)
        for partition, slot, offset, raw, error, trace in msgpack.unpackb(payload, unicode_errors="replace")
    ]
