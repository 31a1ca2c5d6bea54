"""Deals messages to slots by an id that is found in their bytes, without decoding them.

The slot is ``zlib.crc32(id) % slots``, for ever: another hash would move lanes (docs/guarantees.md). It is a function
of the message's bytes alone, so a message read again by anybody lands in the same slot. This module is compiled by
mypyc where that is possible: plain typed functions.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Optional, Sequence
from zlib import crc32

if TYPE_CHECKING:
    from mypy_extensions import i64

MESSAGE, KEY, JSON, CSV = range(4)

Dealt = tuple[list[int], list[Optional[bytes]]]  # offsets and values of one slot, in order


def split(kind: int, field: bytes, column: int, slots: int, offsets: list[int], values: list[Optional[bytes]],
          keys: Sequence[Optional[bytes]]) -> list[Dealt]:
    """For each slot its messages, in order.

    Args:
        kind: where the id is: MESSAGE, the whole value; KEY, ``keys``; JSON, ``field``; CSV, ``column``.
        field: a JSON field's name with its quotes, as in ``b'"user_id"'``.
        column: a CSV column, from 0.

    A message without such an id, or without a body, has the empty one.
    """
    wheres: list[list[int]] = [[] for _ in range(slots)]
    bodies: list[list[Optional[bytes]]] = [[] for _ in range(slots)]
    count: i64 = slots
    at: i64 = 0
    for value in values:
        if kind == JSON:
            id = b"" if value is None else json_id(value, field)
        elif kind == KEY:
            id = keys[at] or b""
        elif kind == CSV:
            id = b"" if value is None else csv_id(value, column)
        else:
            id = value or b""
        crc: i64 = crc32(id)
        slot: i64 = crc % count
        wheres[slot].append(offsets[at])
        bodies[slot].append(value)
        at += 1
    return list(zip(wheres, bodies))


def json_id(value: bytes, field: bytes) -> bytes:
    """The first value in the text that is named ``field`` at any depth: a string without its quotes and with its
    escapes as they stand, or a number or literal up to the delimiter; b"" if there is none."""
    size: i64 = len(value)
    at: i64 = value.find(field)
    while at >= 0:
        at += len(field)
        while at < size and _blank(value[at]):
            at += 1
        if at < size and value[at] == 58:  # :
            at += 1
            while at < size and _blank(value[at]):
                at += 1
            if at < size and value[at] == 34:  # "
                return value[at + 1:_closing_quote(value, at + 1)]
            end: i64 = at
            while end < size and not _blank(value[end]) and value[end] not in b",}]":
                end += 1
            return value[at:end]
        at = value.find(field, at)  # it was a value, not a name
    return b""


def csv_id(value: bytes, column: int) -> bytes:
    """A column of a comma-separated line, without its quotes and with doubled quotes as they stand; b"" if the line
    has fewer columns."""
    size: i64 = len(value)
    while size and value[size - 1] in b"\r\n":
        size -= 1
    at: i64 = 0
    left: i64 = column
    while True:
        start: i64 = at
        end: i64 = -1
        if at < size and value[at] == 34:
            start += 1
            end = _closing_doubled(value, start, size)
            at = end
        comma: i64 = value.find(b",", at, size)
        if left == 0:
            if end < 0:
                end = comma if comma >= 0 else size
            return value[start:end]
        if comma < 0:
            return b""
        at = comma + 1
        left -= 1


def _closing_doubled(value: bytes, start: i64, size: i64) -> i64:
    """The place of the quote that ends the CSV field begun before ``start``: one that is not doubled."""
    end: i64 = value.find(b'"', start, size)
    while 0 <= end < size - 1 and value[end + 1] == 34:
        end = value.find(b'"', end + 2, size)
    return end if end >= 0 else size


def _closing_quote(value: bytes, start: i64) -> i64:
    """The place of the quote that ends the string begun before ``start``: one behind an even run of backslashes."""
    end: i64 = value.find(b'"', start)
    while end >= 0:
        slash: i64 = end - 1
        while slash >= start and value[slash] == 92:
            slash -= 1
        if (end - slash) & 1:
            return end
        end = value.find(b'"', end + 1)
    return len(value)


def _blank(byte: i64) -> bool:
    return byte == 32 or 9 <= byte <= 13
