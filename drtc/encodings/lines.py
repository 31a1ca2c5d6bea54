"""The encoding ``lines``: chunks of a text file as they were read, each behind a small head that says where it began.

A message is a line without its end (``\\n`` or ``\\r\\n``); its offset is the byte position of its first byte. Blank
lines are no messages. Because each piece bears its own position, pieces can be put one behind the other, and the same
payload can be asked for any part of its offsets.
"""
from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate, count
from operator import add
from struct import Struct

from ..batch import Payload
from . import Damage, Messages

_HEAD = Struct(">cQI")  # kind, byte position of the piece, bytes in the piece
HEAD_BYTES = _HEAD.size
_WHOLE = b"L"
_CUT = b"X"


def pack(start: int, chunk: Payload) -> bytes:
    """The payload for ``chunk``, which begins at byte ``start`` of its file, at the beginning of a line.

    A last line without its end is a message like the others. At most 4 GiB.
    """
    return b"".join((_HEAD.pack(_WHOLE, start, len(chunk)), chunk))


def pack_cut(start: int, piece: Payload) -> bytes:
    """The payload for a piece of a line that cannot be forwarded whole: unpacking makes it one dead letter."""
    return b"".join((_HEAD.pack(_CUT, start, len(piece)), piece))


def unpack(payload: Payload, first: int, last: int) -> Messages:
    """The lines that begin in ``first..last``. Never raises.

    What is no piece, to the payload's end, is damage of unknown place: it is returned whatever the range asked for.
    """
    offsets: list[int] = []
    values: list[bytes | None] = []
    damaged: list[Damage] = []
    view = memoryview(payload).cast("B") if payload else memoryview(b"")
    at = 0
    while at < len(view):
        body = at + _HEAD.size
        kind, start, size = _HEAD.unpack_from(view, at) if body <= len(view) else (b"", 0, 0)
        if kind not in (_WHOLE, _CUT) or body + size > len(view):
            error = f"{len(view) - at} bytes at byte {at} of the batch are not a piece of a file"
            damaged.append(Damage(first, last, bytes(view[at:]), error))
            break
        at = body + size
        if not size or start > last or start + size <= first:
            continue
        piece = bytes(view[body:at])
        if kind == _WHOLE:
            _lines(piece, start, first, last, offsets, values)
        elif start >= first:
            error = (f"bytes {start} to {start + size - 1} are part of a line that is longer than max_line_bytes,"
                     f" or whose beginning was counted before the line was complete")
            damaged.append(Damage(start, start + size - 1, piece, error))
    return Messages(offsets, values, damaged)


def _lines(piece: bytes, start: int, first: int, last: int, offsets: list[int], values: list[bytes | None]) -> None:
    """Appends the lines of one piece that begin in ``first..last``."""
    lines = piece.split(b"\n")
    # the n-th line begins after n line ends and the lengths of the lines before it
    begins = list(map(add, accumulate(map(len, lines), initial=start), count()))
    if b"\r\n" in piece or piece.endswith(b"\r"):
        lines = [line[:-1] if line.endswith(b"\r") else line for line in lines]
    here = slice(bisect_left(begins, first), bisect_right(begins, last))
    lines, begins = lines[here], begins[here]
    if lines and not lines[-1]:
        lines.pop()  # what follows the last line end
    if not all(lines):
        filled = [(begin, line) for begin, line in zip(begins, lines) if line]
        begins, lines = [begin for begin, _ in filled], [line for _, line in filled]
    offsets += begins[:len(lines)]
    values += lines
