"""The encoding ``messages``: msgpack documents one behind the other, each a list of offsets and a list of values.

It carries what a source hands out singly, and what ``route = key`` has taken out of a bigger batch.
"""
from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any, Sequence

import msgpack

from ..batch import Payload
from . import Damage, Messages

#: most messages of one document: bounds what a forged list header can make the reader allocate
DOCUMENT = 16384

_TYPES = {bytes, type(None)}


def pack(offsets: Sequence[int], values: Sequence[bytes | None]) -> bytes:
    """The payload for messages in ascending order of their offsets; as many values as offsets."""
    packer = msgpack.Packer()
    if len(offsets) <= DOCUMENT:
        return bytes(packer.pack((offsets, values))) if offsets else b""
    return b"".join(packer.pack((offsets[at:at + DOCUMENT], values[at:at + DOCUMENT]))
                    for at in range(0, len(offsets), DOCUMENT))


def unpack(payload: Payload, first: int, last: int) -> Messages:
    """The messages with ``first <= offset <= last``. Never raises.

    From the first document on that is none, to the payload's end, all is damage of unknown place: it is returned
    whatever the range asked for.
    """
    offsets: list[int] = []
    values: list[bytes | None] = []
    damaged: list[Damage] = []
    size = len(payload)
    unpacker = msgpack.Unpacker(max_buffer_size=max(size, 1), max_bin_len=size, max_array_len=DOCUMENT,
                                max_str_len=0, max_map_len=0, max_ext_len=0)
    unpacker.feed(payload)
    at = 0
    while at < size:
        try:
            begins, bodies = _document(unpacker.unpack())
        except (ValueError, msgpack.UnpackException) as error:
            reason = f"{size - at} bytes at byte {at} of the batch are not messages: {error or type(error).__name__}"
            damaged.append(Damage(first, last, bytes(payload[at:]), reason))
            break
        at = unpacker.tell()
        here = slice(bisect_left(begins, first), bisect_right(begins, last))
        offsets += begins[here]
        values += bodies[here]
    return Messages(offsets, values, damaged)


def _document(document: Any) -> tuple[list[int], list[bytes | None]]:
    match document:
        case [list(offsets), list(values)]:
            if len(offsets) != len(values):
                raise ValueError(f"{len(offsets)} offsets for {len(values)} values")
            if not set(map(type, offsets)) <= {int} or offsets != sorted(offsets):
                raise ValueError("offsets that do not ascend")
            if not set(map(type, values)) <= _TYPES:
                raise ValueError("a value that is not bytes")
            return offsets, values
    raise ValueError("not a list of offsets and a list of values")
