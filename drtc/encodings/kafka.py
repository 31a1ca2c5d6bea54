"""The encoding ``kafka``: the broker's own record batches (format 2), one behind the other, as they came.

This module is compiled by mypyc where that is possible: plain typed functions, no classes of its own but values. The
layout of a record batch: https://kafka.apache.org/documentation/#recordbatch
"""
from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple, Optional, Sequence

from ..batch import Payload
from . import Damage, Messages
from .compression import Undecompressable, decompress

if TYPE_CHECKING:
    from mypy_extensions import i64

# base offset, length, leader epoch, magic, crc, attributes, last offset delta, two timestamps, producer's id, its
# epoch, base sequence, count of records
_HEAD = Struct(">qiibIhiqqqhii")
_HEAD_BYTES = 61
_LENGTH_END = 12  # the length counts what lies behind it
_CRC_START = 21  # what the checksum covers, to the batch's end
_MAGIC = Struct(">b")

CONTROL = 0x20
TRANSACTIONAL = 0x10
COMPRESSION = 0x07


class Span(NamedTuple):
    """Where one record batch lies in a buffer, and what its head says. Nothing of it is verified."""

    start: int  # bytes
    end: int
    base: int  # offsets
    last: int
    records: int
    producer: int  # -1: none
    transactional: bool
    control: bool


def scan(payload: bytes, start: int = 0) -> list[Span]:
    """The heads of the whole record batches of format 2 from byte ``start`` on.

    Ends before the first that is cut short (what a broker's answer ends with), of another format, or not a batch;
    ``magic`` tells which.
    """
    spans: list[Span] = []
    size = len(payload)
    while size - start >= _HEAD_BYTES:
        base, length, _, magic, _, attributes, delta, _, _, producer, _, _, count = _HEAD.unpack_from(payload, start)
        end = start + _LENGTH_END + length
        if magic != 2 or delta < 0 or count < 0 or length < _HEAD_BYTES - _LENGTH_END or end > size:
            break
        spans.append(Span(start, end, base, base + delta, count, producer,
                          attributes & TRANSACTIONAL != 0, attributes & CONTROL != 0))
        start = end
    return spans


def magic(payload: bytes, start: int) -> int:
    """The format of the batch at ``start``; -1 where a whole batch does not begin there."""
    if len(payload) - start <= 16:
        return -1
    end = start + _LENGTH_END + int.from_bytes(payload[start + 8:start + 12], "big", signed=True)
    return int(_MAGIC.unpack_from(payload, start + 16)[0]) if start + _LENGTH_END < end <= len(payload) else -1


def unpack(payload: Payload, first: int, last: int) -> Messages:
    """The messages with ``first <= offset <= last``; control batches hold none. Verifies every checksum. Never
    raises for what the bytes hold: a batch that is damaged is returned as such, those behind it are read.

    Raises:
        ImportError: a package for checksums or the compression is missing (``compression.require``).
    """
    messages = Messages([], [], [])
    _unpack(payload, first, last, messages, None)
    return messages


def unpack_keyed(payload: Payload, first: int, last: int) -> tuple[Messages, list[Optional[bytes]]]:
    """As ``unpack``, and the key of each message."""
    messages = Messages([], [], [])
    keys: list[Optional[bytes]] = []
    _unpack(payload, first, last, messages, keys)
    return messages, keys


def _unpack(payload: Payload, first: int, last: int, messages: Messages, keys: Optional[list[Optional[bytes]]]) -> None:
    from crc32c import crc32c

    data = payload if isinstance(payload, bytes) else bytes(payload)
    view = memoryview(data)
    size = len(data)
    start = 0
    damage: Optional[tuple[int, int, int, str]] = None  # start, end, base offset, reason
    while start < size:
        if size - start < _HEAD_BYTES:
            _close(messages.damaged, data, damage, first, last, last + 1)
            base = int.from_bytes(data[start:start + 8], "big", signed=True) if size - start >= 8 else first
            damage = (start, size, base, f"{size - start} bytes are too few for a record batch")
            break
        base, length, _, version, crc, attributes, delta, _, _, _, _, _, count = _HEAD.unpack_from(data, start)
        _close(messages.damaged, data, damage, first, last, base)
        damage = None
        end = start + _LENGTH_END + length
        if length < _HEAD_BYTES - _LENGTH_END or end > size:
            damage = (start, size, base, f"a record batch of {length} bytes, of which {size - start - _LENGTH_END} "
                                         "are there")
            break
        if version != 2:
            damage = (start, end, base, f"a record batch of format {version}, not 2")
        elif crc32c(view[start + _CRC_START:end]) != crc:
            damage = (start, end, base, "a record batch whose checksum is wrong")
        elif attributes & CONTROL == 0 and base <= last and base + delta >= first:
            reason = _read(data, start + _HEAD_BYTES, end, attributes & COMPRESSION, base, delta, count, first, last,
                           messages, keys)
            if reason:
                damage = (start, end, base, reason)
        start = end
    _close(messages.damaged, data, damage, first, last, last + 1)


def _close(damaged: list[Damage], data: bytes, damage: Optional[tuple[int, int, int, str]], first: int, last: int,
           following: int) -> None:
    """Notes a damaged batch once it is known where the next begins: its own last offset cannot be relied on."""
    if damage is None:
        return
    start, end, base, reason = damage
    lowest = base if first <= base <= last else first
    highest = following - 1 if following <= last else last
    if following <= base <= last:  # one of the two offsets is garbage: rather too wide than lost
        highest = last
    if lowest <= highest and base <= last:
        damaged.append(Damage(lowest, highest, data[start:end], reason))


def _read(data: bytes, start: int, end: int, codec: int, base: int, delta: int, count: int, first: int, last: int,
          messages: Messages, keys: Optional[list[Optional[bytes]]]) -> str:
    """Adds a batch's messages, all or none; what is wrong with it, or ""."""
    if codec:
        try:
            data = decompress(codec, memoryview(data)[start:end])
        except Undecompressable as error:
            return f"a record batch that cannot be read: {error}"
        start, end = 0, len(data)
    found = len(messages.values)
    known = 0 if keys is None else len(keys)
    whole = count == delta + 1 and base >= first and base + delta <= last
    deltas: Optional[list[int]] = None if whole else []
    if not 0 <= count <= end - start or not _records(data, start, end, count, messages.values, keys, deltas):
        del messages.values[found:]
        if keys is not None:
            del keys[known:]
        return f"a record batch that does not hold the {count} records that it says"
    if deltas is None:
        messages.offsets.extend(range(base, base + count))
        return ""
    offsets = [base + each for each in deltas]
    if count and (offsets[0] < first or offsets[count - 1] > last):
        wanted = [at for at in range(count) if first <= offsets[at] <= last]
        messages.values[found:] = [messages.values[found + at] for at in wanted]
        if keys is not None:
            keys[known:] = [keys[known + at] for at in wanted]
        offsets = [offsets[at] for at in wanted]
    messages.offsets.extend(offsets)
    return ""


def _records(data: bytes, start: i64, end: i64, count: i64, values: list[Optional[bytes]],
             keys: Optional[list[Optional[bytes]]], deltas: Optional[list[int]]) -> bool:
    """Takes ``count`` records apart; whether they fill ``start..end`` exactly.

    Varints of one and two bytes, which nearly all are, are read in place: a call for each would cost more than the
    rest.
    """
    at: i64 = start
    previous: i64 = -1
    while count > 0:
        count -= 1
        if end - at < 7:  # the shortest record there is
            return False
        size: i64 = data[at]
        if size < 128:
            at += 1
        else:
            size = size & 127 | data[at + 1] << 7
            at += 2
            if size > 16383:  # a third byte
                size = _varint(data, at - 2, end)
                at = _after(data, at - 2, end)
                if at < 0:
                    return False
        stop: i64 = at + (size >> 1)
        if size & 1 or stop > end or stop - at < 6:
            return False
        at += 1  # attributes
        while at < stop and data[at] > 127:  # timestamp
            at += 1
        at += 1
        if deltas is not None:
            delta: i64 = _varint(data, at, stop) >> 1
            if delta <= previous:
                return False
            previous = delta
            deltas.append(delta)
        while at < stop and data[at] > 127:  # offset delta
            at += 1
        at += 1
        if at >= stop:
            return False
        size = data[at]  # of the key; 1 is the zigzag of -1: none
        if size == 1:
            at += 1
            if keys is not None:
                keys.append(None)
        else:
            size = _varint(data, at, stop)
            at = _after(data, at, stop)
            if size & 1 or at < 0 or size >> 1 > stop - at:
                return False
            if keys is not None:
                keys.append(data[at:at + (size >> 1)])
            at += size >> 1
            if at >= stop:
                return False
        size = data[at]  # of the value
        if size < 128:
            at += 1
        else:
            if at + 1 >= stop:
                return False
            size = size & 127 | data[at + 1] << 7
            at += 2
            if size > 16383:
                size = _varint(data, at - 2, stop)
                at = _after(data, at - 2, stop)
                if at < 0:
                    return False
        if size == 1:
            values.append(None)
        elif size & 1 or size >> 1 >= stop - at:  # behind it stands at least the count of headers
            return False
        else:
            values.append(data[at:at + (size >> 1)])
        at = stop  # headers are passed over
    return at == end


def _varint(data: bytes, at: i64, end: i64) -> i64:
    """The zigzag number that begins at ``at``, still in its unsigned form; what ``_after`` calls none gives any."""
    number: i64 = 0
    shift: i64 = 0
    while at < end and shift < 35:
        byte: i64 = data[at]
        number |= (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
        at += 1
    return number


def _after(data: bytes, at: i64, end: i64) -> i64:
    """The place behind the varint that begins at ``at``; -1 if it does not end in five bytes and before ``end``."""
    longest: i64 = at + 5
    while at < end and at < longest:
        if data[at] < 128:
            return at + 1
        at += 1
    return -1


def pack(offsets: Sequence[int], keys: Sequence[Optional[bytes]], values: Sequence[Optional[bytes]]) -> bytes:
    """One record batch, uncompressed, for messages in ascending order of their offsets; b"" for none.

    For messages that a source could only have singly, and for tests. Timestamps and headers are left out.
    """
    from crc32c import crc32c

    if not offsets:
        return b""
    records: list[bytes] = []
    for offset, key, value in zip(offsets, keys, values):
        record = b"".join((b"\0\0", _zigzag(offset - offsets[0]), _sized(key), _sized(value), b"\0"))
        records.append(_zigzag(len(record)))
        records.append(record)
    body = b"".join(records)
    head = _HEAD.pack(offsets[0], _HEAD_BYTES - _LENGTH_END + len(body), -1, 2, 0, 0, offsets[-1] - offsets[0], 0, 0,
                      -1, -1, -1, len(offsets))
    covered = head[_CRC_START:] + body
    return head[:_CRC_START - 4] + crc32c(covered).to_bytes(4, "big") + covered


def _sized(value: Optional[bytes]) -> bytes:
    return b"\1" if value is None else _zigzag(len(value)) + value


def _zigzag(number: int) -> bytes:
    """A number from 0 to 2**31 - 1 as Kafka writes it."""
    number <<= 1
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)
