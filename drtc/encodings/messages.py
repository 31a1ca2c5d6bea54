"""The encoding ``messages``: documents one behind the other, each four bytes that say its length (big-endian) and that
much msgpack: a list of offsets and a list of values.

It carries what a source hands out singly, and what ``route = key`` has taken out of a bigger batch.
"""
from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Optional, Sequence

import msgspec

from ..batch import Payload
from . import Damage, Messages

_LENGTH_BYTES = 4

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[list[int], list[Optional[bytes]]]).decode  # allocates no more than there is


def pack(offsets: Sequence[int], values: Sequence[bytes | None]) -> bytes:
    """The payload for messages in ascending order of their offsets; as many values as offsets; less than 4 GiB."""
    if not offsets:
        return b""
    document = _encode((offsets, values))
    return len(document).to_bytes(_LENGTH_BYTES, "big") + document


def unpack(payload: Payload, first: int, last: int) -> Messages:
    """The messages with ``first <= offset <= last``. Never raises.

    From the first document on that is none, to the payload's end, all is damage of unknown place: it is returned
    whatever the range asked for.
    """
    offsets: list[int] = []
    values: list[bytes | None] = []
    damaged: list[Damage] = []
    view = memoryview(payload)
    at = 0
    while at < len(view):
        start = at + _LENGTH_BYTES
        end = start + int.from_bytes(view[at:start], "big")
        try:
            begins, bodies = _document(view[start:end], end - start)
        except (ValueError, RecursionError) as error:
            reason = f"{len(view) - at} bytes at byte {at} of the batch are not messages: {error}"
            damaged.append(Damage(first, last, bytes(view[at:]), reason))
            break
        at = end
        here = slice(bisect_left(begins, first), bisect_right(begins, last))
        offsets += begins[here]
        values += bodies[here]
    return Messages(offsets, values, damaged)


def _document(document: memoryview, size: int) -> tuple[list[int], list[bytes | None]]:
    if len(document) != size:
        raise ValueError(f"{size} bytes are due, {len(document)} are there")
    offsets, values = _decode(document)
    if len(offsets) != len(values):
        raise ValueError(f"{len(offsets)} offsets for {len(values)} values")
    if offsets != sorted(offsets):
        raise ValueError("offsets that do not ascend")
    return offsets, values
