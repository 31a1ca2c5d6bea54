"""Cuts a text file into chunks of whole lines. What becomes of a line depends on its bytes and its place only."""
from __future__ import annotations

from typing import NamedTuple

from ..encodings import lines
from .content import Content

_BLOCK = 1 << 16
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Limits(NamedTuple):
    chunk_bytes: int  # of a payload of many lines
    line_bytes: int  # a longer line is not kept whole
    skip_lines: int  # at the beginning of the file


class Cut(NamedTuple):
    """A piece of a file. ``payload`` may be empty: then there was nothing but what is passed over."""

    payload: bytes
    end: int  # the position after it
    lines: int
    whole: bool  # it ends with a line's end


def cut(content: Content, position: int, in_line: bool, final: bool, limits: Limits) -> Cut | None:
    """The piece that begins at ``position``; None if there is none yet, or no more.

    Args:
        in_line: the position is not the beginning of a line; what is left of that line becomes a dead letter.
        final: nothing will be added to the file: its last line counts even without its end.
    """
    if in_line:
        return _rest(content, position, final, limits)
    begin = _begin(content, final, limits.skip_lines) if position == 0 else position
    if begin is None:
        return None
    size = limits.chunk_bytes - lines.HEAD_BYTES
    while True:
        found = content.read(begin, size)
        end = found.rfind(b"\n") + 1
        if end:
            return Cut(lines.pack(begin, memoryview(found)[:end]), begin + end, found.count(b"\n"), True)
        if len(found) > limits.line_bytes:
            piece = found[:limits.line_bytes]
            return Cut(lines.pack_cut(begin, piece), begin + len(piece), 1, False)
        if len(found) < size:
            break
        size = min(2 * size, limits.line_bytes + 1)
    if final and not content.damage and found:
        return Cut(lines.pack(begin, found), begin + len(found), 1, False)
    return Cut(b"", begin, 0, True) if final and begin > position else None


def starts_line(content: Content, position: int) -> bool:
    return position == 0 or content.read(position - 1, 1) == b"\n"


def last_line_end(content: Content, size: int) -> int:
    """The position after the last line end before ``size``."""
    while size > 0:
        start = max(0, size - _BLOCK)
        end = content.read(start, size - start).rfind(b"\n") + 1
        if end:
            return start + end
        size = start
    return 0


def _begin(content: Content, final: bool, skip_lines: int) -> int | None:
    """Where the first message begins: after the lines to skip, or after a byte order mark."""
    if not skip_lines:
        mark = content.read(0, len(_BYTE_ORDER_MARK))
        return len(mark) if mark == _BYTE_ORDER_MARK else 0
    at = 0
    while block := content.read(at, _BLOCK):
        ends = block.count(b"\n")
        if ends >= skip_lines:
            place = -1
            for _ in range(skip_lines):
                place = block.index(b"\n", place + 1)
            return at + place + 1
        skip_lines -= ends
        at += len(block)
    return at if final and not content.damage else None


def _rest(content: Content, position: int, final: bool, limits: Limits) -> Cut | None:
    found = content.read(position, limits.line_bytes)
    end = found.find(b"\n") + 1
    if not end and len(found) < limits.line_bytes and not (final and found and not content.damage):
        return None
    piece = found[:end or len(found)]
    body = piece.rstrip(b"\r\n") if end else piece
    return Cut(lines.pack_cut(position, body) if body else b"", position + len(piece), 1 if body else 0, bool(end))
