"""Makes one input out of another: bytes flipped, lengths falsified, frames cut, doubled, spliced and shuffled."""
from __future__ import annotations

import random
from typing import Sequence

INTERESTING = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\xc1", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff",
               b"\xc6\xff\xff\xff\xff", b"\xdb\x7f\xff\xff\xff", b"\x91" * 50, b"\x81\xa0" * 30, b"\xcf" + b"\xff" * 8,
               b"\xd3\x80" + bytes(7), b"\xcb\x7f\xf8" + bytes(6), b"drtc", b"\n", b"\x1b[2J", b"\xff\xfe")
SIZES = (0, 1, 15, 16, 17, 4079, 4080, 4096, 4097, 65519, 65520, 65536, 1 << 20, (1 << 20) + 1, 4 << 20, (4 << 20) + 1,
         1 << 26, 1 << 31, 2 ** 32 - 1)


def mutate(source: random.Random, seeds: Sequence[bytes], most: int = 6) -> bytes:
    """An input made of one to three seeds by up to ``most`` changes; one in twenty is left as it was."""
    raw = bytearray(b"".join(source.choice(seeds) for _ in range(source.choice((1, 1, 1, 2, 3)))))
    if source.random() < 0.05:
        return bytes(raw)
    for _ in range(source.randint(1, most)):
        _CHANGES[source.randrange(len(_CHANGES))](source, raw, seeds)
    return bytes(raw)


def pieces(source: random.Random, raw: bytes) -> list[bytes]:
    """The input as it may arrive: whole, in halves, or byte by byte."""
    way = source.random()
    if way < 0.5 or len(raw) < 2:
        return [raw]
    if way < 0.95:
        cuts = sorted(source.randrange(1, len(raw)) for _ in range(source.randint(1, 4)))
        return [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)])]
    return [raw[at:at + 1] for at in range(min(len(raw), 200))] + [raw[200:]]


def _at(source: random.Random, raw: bytearray) -> int:
    """Anywhere, but most often in the head or at the header's beginning, where the structure is."""
    return source.randrange(min(len(raw), 40) if source.random() < 0.6 else len(raw)) if raw else 0


def _flip(source: random.Random, raw: bytearray, seeds: Sequence[bytes]) -> None:
    if raw:
        raw[_at(source, raw)] ^= 1 << source.randrange(8)


def _replace(source: random.Random, raw: bytearray, seeds: Sequence[bytes]) -> None:
    at, word = _at(source, raw), source.choice(INTERESTING)
    raw[at:at + len(word)] = word


def _insert(source: random.Random, raw: bytearray, seeds: Sequence[bytes]) -> None:
    at = _at(source, raw)
    raw[at:at] = source.choice(INTERESTING) if source.random() < 0.5 else source.randbytes(source.randint(1, 40))


def _cut(source: random.Random, raw: bytearray, seeds: Sequence[bytes]) -> None:
    at = _at(source, raw)
    del raw[at:at + source.randint(1, 20)]


def _end(source: random.Random, raw: bytearray, seeds: Sequence[bytes]) -> None:
    del raw[_at(source, raw):]


def _double(source: random.Random, raw: bytearray, seeds: Sequence[bytes]) -> None:
    at = _at(source, raw)
    raw[at:at] = raw[at:at + source.randint(1, 60)]


def _splice(source: random.Random, raw: bytearray, seeds: Sequence[bytes]) -> None:
    other = source.choice(seeds)
    raw[_at(source, raw):] = other[source.randrange(len(other)):]


def _kind(source: random.Random, raw: bytearray, seeds: Sequence[bytes]) -> None:
    if len(raw) > 5:
        raw[5] = source.randrange(45)


def _size(source: random.Random, raw: bytearray, seeds: Sequence[bytes]) -> None:
    """One of the two lengths in the head."""
    if len(raw) >= 16:
        at = source.choice((8, 12))
        raw[at:at + 4] = source.choice(SIZES).to_bytes(4, "big")


def _fit(source: random.Random, raw: bytearray, seeds: Sequence[bytes]) -> None:
    """Makes the lengths right again, so that what was changed is looked at and not only counted."""
    if len(raw) >= 16:
        payload = min(int.from_bytes(raw[12:16], "big"), len(raw) - 16)
        raw[8:16] = (len(raw) - 16 - payload).to_bytes(4, "big") + payload.to_bytes(4, "big")


_CHANGES = (_flip, _flip, _replace, _insert, _cut, _end, _double, _splice, _kind, _size, _fit, _fit)
