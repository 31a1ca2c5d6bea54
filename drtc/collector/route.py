"""``[collector] route``: what decides a message's slot."""
from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass
from typing import Iterator, Sequence
from zlib import crc32

from ..batch import Chunk
from ..encodings import Damage, Messages, unpack
from ..encodings.messages import pack
from ..errors import ConfigError
from .split import CSV, JSON, KEY, MESSAGE, Dealt, split

_WORDS = "partition, key, message, json:FIELD or csv:COLUMN"


@dataclass(frozen=True)
class Route:
    """How a chunk is dealt to slots; a pure function of names and bytes, the same on every machine and for ever."""

    #: as in the INI file; kept with the committed offsets, since another route moves lanes
    note: str
    kind: int | None = None  # of collector.split; None: partitions stay whole
    field: bytes = b""
    column: int = 0

    @property
    def whole(self) -> bool:
        """Whether chunks are forwarded as they are."""
        return self.kind is None

    def slot_of_partition(self, partition: str, slots: int) -> int:
        """The slot of a whole source partition: ``zlib.crc32(name) % slots``."""
        return crc32(partition.encode()) % slots

    def split(self, chunk: Chunk, slots: int) -> list[tuple[int, Chunk]]:
        """The chunk's messages as chunks of single slots; those of one slot in order and without overlap.

        What cannot be taken apart goes to slot 0 in the chunk's own encoding: there a worker meets the damage again
        and makes a dead letter of it.

        Raises:
            ConfigError: the route needs keys and the source's messages have none.
        """
        if self.kind is None:
            return [(self.slot_of_partition(chunk.partition, slots), chunk)]
        messages, keys = self._unpacked(chunk)
        dealt = split(self.kind, self.field, self.column, slots, messages.offsets, messages.values, keys)
        routed = list(_with_damage(chunk, dealt[0], messages)) if messages.damaged else _packed(chunk, dealt[0])
        chunks = [(0, each) for each in routed]
        for slot in range(1, slots):
            chunks += ((slot, each) for each in _packed(chunk, dealt[slot]))
        return chunks

    def _unpacked(self, chunk: Chunk) -> tuple[Messages, Sequence[bytes | None]]:
        if self.kind != KEY:
            return unpack(chunk.encoding, chunk.payload, chunk.first, chunk.last), ()
        if chunk.encoding != "kafka":
            raise ConfigError("[collector] route: key needs messages that have a key, as Kafka's have; use "
                              "json:FIELD, csv:COLUMN or message")
        from ..encodings.kafka import unpack_keyed

        return unpack_keyed(chunk.payload, chunk.first, chunk.last)


def parse_route(text: str) -> Route:
    """The route that the INI file names.

    Raises:
        ConfigError: a word that is not a route.
    """
    name, colon, rest = text.partition(":")
    if text == "partition":
        return Route(text)
    if text == "key":
        return Route(text, KEY)
    if text == "message":
        return Route(text, MESSAGE)
    if name == "json" and rest and not re.search(r'["\\\s]', rest):
        return Route(text, JSON, field=b'"%s"' % rest.encode())
    if name == "csv" and re.fullmatch(r"\d{1,4}", rest, re.ASCII):
        return Route(f"csv:{int(rest)}", CSV, column=int(rest))
    if colon and name in ("json", "csv"):
        what = "a field's name as it stands in the text" if name == "json" else "a column's number, from 0"
        raise ConfigError(f"{text!r}: {name}: is followed by {what}, as in {_example(name)}")
    raise ConfigError(f"{text!r} is not a route: use {_WORDS}")


def _example(name: str) -> str:
    return "json:user_id" if name == "json" else "csv:0"


def _packed(chunk: Chunk, dealt: Dealt) -> list[Chunk]:
    offsets, values = dealt
    if not offsets:
        return []
    return [Chunk(chunk.partition, offsets[0], offsets[-1], len(offsets), "messages", pack(offsets, values))]


def _with_damage(chunk: Chunk, dealt: Dealt, messages: Messages) -> Iterator[Chunk]:
    """Slot 0's messages, parted where a damaged stretch lies between them, which keeps the lane's order."""
    offsets, values = dealt
    done = 0
    for damage in sorted(messages.damaged, key=lambda each: each.first):
        until = bisect_left(offsets, damage.first, done)
        yield from _packed(chunk, (offsets[done:until], values[done:until]))
        yield _stretch(chunk, damage, messages.offsets)
        done = until
    yield from _packed(chunk, (offsets[done:], values[done:]))


def _stretch(chunk: Chunk, damage: Damage, offsets: Sequence[int]) -> Chunk:
    """A damaged stretch by itself. Its end is often a guess; it ends before the next message that there is."""
    following = bisect_left(offsets, damage.first)
    last = min(damage.last, offsets[following] - 1) if following < len(offsets) else damage.last
    return Chunk(chunk.partition, damage.first, max(damage.first, last), 0, chunk.encoding, damage.raw)
