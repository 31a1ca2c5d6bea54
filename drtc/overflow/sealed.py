"""An item as it stands on disk: a head of 16 bytes (its number, a checksum, a mark), then its bytes.

The checksum covers number and bytes, so that an item in another's place is found as surely as a changed one. It is
zlib's CRC-32, which every Python has: what one installation wrote every other can read.
"""
from __future__ import annotations

import struct
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from .base import Bytes

_HEAD = struct.Struct(">4sqI")
_NUMBER = struct.Struct(">q")
_MARK = b"drq1"
OVERHEAD = _HEAD.size


def seal(number: int, item: Bytes) -> bytes:
    """The item with its head."""
    return b"".join((_HEAD.pack(_MARK, number, crc32(item, crc32(_NUMBER.pack(number)))), item))


def unseal(number: int, sealed: bytes) -> bytes:
    """The item that was sealed under this number.

    Raises:
        ValueError: it is not that; the text says what is wrong, as in "its checksum is wrong".
    """
    if len(sealed) < OVERHEAD:
        raise ValueError(f"it is truncated to {len(sealed)} bytes")
    mark, found, checksum = _HEAD.unpack_from(sealed)
    if mark != _MARK:
        raise ValueError("it does not begin as an item does")
    if found != number:
        raise ValueError(f"item {found} is in its place")
    item = sealed[OVERHEAD:]
    if crc32(item, crc32(_NUMBER.pack(number))) != checksum:
        raise ValueError("its checksum is wrong")
    return item
