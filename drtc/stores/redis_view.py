"""One view as Redis keys: their names, and rows to and from hashes.

With the prefix ``drtc:``, of a view ``daily_v1``:

    drtc:daily_v1                  what the view is: JSON, made by ``prepare``
    drtc:daily_v1.ids              the ids of its records: a sorted set, for scans
    drtc:daily_v1:UA@1372896000    a record: a hash with a field for each column

On a Redis Cluster there are ``TAGS`` such families, ``drtc:daily_v1{0}`` and so on, so that a view's records spread
over the nodes and those of one family may still be saved by one call; an id's family is CLUSTER KEYSLOT of its text,
modulo TAGS.
"""
from __future__ import annotations

from typing import Any, Callable, Iterable, Iterator, NamedTuple, Sequence, TypeVar

import msgpack
import msgspec

from ..errors import StoreError
from .base import Id, Kind, Row, View
from .ids import to_text

TAGS = 64  # lies in the names of keys: another number would look for old records in the wrong place
PART_ROWS = 500  # most records of one call: a script holds up everybody else
PART_BYTES = 8 << 20

_Item = TypeVar("_Item")
_decode_json = msgspec.json.Decoder().decode
_encode_json = msgspec.json.Encoder().encode


class Family(NamedTuple):
    """The keys of a view that lie together."""

    view: str

    @property
    def ids(self) -> str:
        return f"{self.view}.ids"

    def record(self, text: str) -> str:
        return f"{self.view}:{text}"


class Packed(NamedTuple):
    """A row on its way: the text of its id, and what SAVE takes for it."""

    id: Id
    text: str
    content: bytes


class Hashes:
    """How the rows of a view lie in Redis. ``slot``: CLUSTER KEYSLOT, of a cluster; else None."""

    def __init__(self, view: View, prefix: str, slot: Callable[[bytes], int] | None) -> None:
        self._slot = slot
        tags = [""] if slot is None else [f"{{{number}}}" for number in range(TAGS)]
        self.families = [Family(f"{prefix}{view.name}{tag}") for tag in tags]
        #: what the view is, as it stands in Redis
        self.description = _encode_json({"columns": {column.name: column.kind for column in view.columns},
                                         "windowed": view.windowed})
        self._columns = view.columns
        self._windowed = view.windowed
        self._encoders = [_ENCODERS[column.kind] for column in view.columns]
        self._decoders = [_DECODERS[column.kind] for column in view.columns]
        names = [column.name for column in view.columns]
        self._saved = [*(["window_start", "window_end"] if view.windowed else []), *names, "drtc_version", "drtc_state"]
        #: the first arguments of SAVE and of LOAD
        self.to_save: list[bytes | str] = [self.description, msgpack.packb(self._saved)]
        self.to_load: list[bytes | str] = [self.description, *self._saved[1 if view.windowed else 0:]]

    def changed(self, found: bytes | None) -> list[str]:
        """What is other in this description of a view than in its own."""
        try:
            have, want = (_decode_json(each or b"{}") for each in (found, self.description))
            if have.get("windowed", want["windowed"]) != want["windowed"]:
                return ["windows"]
            old, new = have.get("columns", {}), want["columns"]
            return sorted(name for name in {*old, *new} if old.get(name) != new.get(name)) or ["another order"]
        except (msgspec.DecodeError, AttributeError, TypeError):
            return ["not drtc's"]

    def family(self, text: str) -> Family:
        return self.families[0 if self._slot is None else self._slot(text.encode()) % TAGS]

    def text(self, id: Id) -> str:
        """The id as it stands in keys. Raises StoreError where that is no text."""
        text = to_text(id if id.start is None else Id(id.key, float(id.start)))
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise StoreError(f"Redis cannot keep the key {id.key!r}: it is no text: {error}") from error
        return text

    def by_family(self, ids: Iterable[Id]) -> dict[Family, list[tuple[Id, str]]]:
        """The ids with their texts."""
        dealt: dict[Family, list[tuple[Id, str]]] = {}
        for id in ids:
            text = self.text(id)
            dealt.setdefault(self.family(text), []).append((id, text))
        return dealt

    def pack(self, row: Row, text: str, most: int) -> Packed:
        """Raises StoreError where a value is none of its column's, or the record has more than ``most`` bytes."""
        window: list[bytes | None] = []
        if self._windowed:
            if row.id.start is None:
                raise StoreError(f"the record {row.id.key!r} has no window, and its view has windows")
            window = [_seconds(row.id.start), None if row.end is None else _seconds(row.end)]
        try:
            values = [None if value is None else encode(value) for encode, value in zip(self._encoders, row.values)]
        except (AttributeError, OverflowError, TypeError, ValueError) as error:
            raise StoreError(f"the record {row.id.key!r} cannot be kept: {self._misfit(row)}: {error}") from error
        content: bytes = msgpack.packb(
            [b"%d" % row.version, *window, *values, b"%d" % row.next, row.hidden], use_bin_type=False)
        if len(content) > most:
            raise StoreError(f"the record {row.id.key!r} has {len(content):,} bytes, and the server takes {most:,}:"
                             " let the Job keep less for each key, or raise the server's proto-max-bulk-len")
        return Packed(row.id, text, content)

    def unpack(self, id: Id, found: Sequence[bytes | None]) -> Row | None:
        """The row of what LOAD gave for it, None where there is none."""
        *values, version, hidden = found
        if version is None or hidden is None:
            return None
        end = None
        if self._windowed:
            said, *values = values
            end = None if said is None else float(said)
        shown = tuple([None if value is None else decode(value) for decode, value in zip(self._decoders, values)])
        return Row(id, end, int(version), shown, hidden)

    def _misfit(self, row: Row) -> str:
        for column, encode, value in zip(self._columns, self._encoders, row.values):
            try:
                None if value is None else encode(value)
            except (AttributeError, OverflowError, TypeError, ValueError):
                return f"{value!r:.100} is nothing for the {column.kind} column {column.name}"
        return "its window"


def parts(items: Iterable[_Item], size: Callable[[_Item], int] = lambda item: 0) -> Iterator[list[_Item]]:
    """The items in parts that one call may have."""
    part: list[_Item] = []
    total = 0
    for item in items:
        if part and (len(part) == PART_ROWS or total + size(item) > PART_BYTES):
            yield part
            part, total = [], 0
        part.append(item)
        total += size(item)
    if part:
        yield part


def _seconds(instant: float) -> bytes:
    return b"%d" % instant if float(instant).is_integer() else repr(instant).encode()


def _integer(value: Any) -> bytes:
    return repr(value).encode() if isinstance(value, float) else b"%d" % value  # a sum past 64 bits is shown as a float


def _number(text: bytes) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


_ENCODERS: dict[Kind, Callable[[Any], bytes]] = {
    "integer": _integer,
    "real": lambda value: repr(float(value)).encode(),
    "text": str.encode,
    "json": _encode_json,
    "bytes": lambda value: bytes(memoryview(value)),
}
_DECODERS: dict[Kind, Callable[[bytes], Any]] = {
    "integer": _number,
    "real": float,
    "text": bytes.decode,
    "json": _decode_json,
    "bytes": bytes,
}
