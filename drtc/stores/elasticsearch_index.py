"""One view as an index of Elasticsearch or OpenSearch: its mapping, and rows to and from documents.

A document bears the view's columns under their own names. What begins with ``drtc_`` is drtc's: the version, the hidden
part, the exact window (people read dates, which end at milliseconds), and the key in a form that sorts as scans do.
"""
from __future__ import annotations

from binascii import a2b_base64
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from typing import Any, Iterable, Iterator, Mapping, NamedTuple

import msgspec

from ..errors import StoreError
from ..plain import LEAST, MOST
from .base import Id, Key, Row, View, other_columns
from .ids import to_text

KEPT = 100_000  # records of a view whose place is remembered: as many as a worker keeps
PART = 1000  # most rows of a request
_PART_BYTES = 8 << 20  # and about so many bytes
_LINE_BYTES = 1024  # for the line that says what to do with a document
_ID_BYTES = 512  # no _id is longer
_TERM_CHARACTERS = 8000  # a term has at most 32,766 bytes, and a character up to four
_TYPES: Mapping[str, Mapping[str, Any]] = {
    "integer": {"type": "long"},
    "real": {"type": "double"},
    "text": {"type": "keyword", "ignore_above": _TERM_CHARACTERS},
    "json": {"type": "object", "enabled": False},  # kept and shown, in any shape; not searched
    "bytes": {"type": "binary"},
}
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

encode = msgspec.json.Encoder().encode


class Place(NamedTuple):
    """What a document is saved on condition of, and the version that it had there."""

    version: int
    seq: int
    term: int


class Index:
    """A view's index while this process uses it.

    Documents are loaded and saved by ``alias``, which is of this one index: made with it, named at random, gone with
    it. A name that others make anew after a reset would take saves that were meant for the old one, whose sequence
    numbers begin again at 0.
    """

    def __init__(self, view: View, name: str, alias: str) -> None:
        self.view = view
        self.name = name
        self.alias = alias
        self._places: dict[Id, Place] = {}
        self._names = [column.name for column in view.columns]
        self._integers = [column.name for column in view.columns if column.kind == "integer"]
        self._bytes = [column.name for column in view.columns if column.kind == "bytes"]

    def remember(self, id: Id, place: Place) -> None:
        self._places.pop(id, None)
        self._places[id] = place
        if len(self._places) > KEPT:
            del self._places[next(iter(self._places))]

    def forget(self, id: Id) -> None:
        self._places.pop(id, None)

    def place(self, id: Id, version: int) -> Place | None:
        """Where the record with this version was last seen; None: not known here."""
        place = self._places.get(id)
        return place if place is not None and place.version == version else None

    def document(self, row: Row) -> bytes:
        """The row as it is to be saved, in JSON.

        Raises:
            StoreError: JSON has no form for it.
        """
        id = row.id
        document: dict[str, Any] = {"key": id.key}
        if self.view.windowed:
            document["window_start"], document["window_end"] = _date(id.start), _date(row.end)
        document.update(zip(self._names, row.values))
        for name in self._integers:
            if type(document[name]) is float:  # so an aggregate shows a sum beyond 64 bits: the nearest long there is
                document[name] = int(min(max(document[name], LEAST), MOST))
        document["drtc_version"] = row.next
        document["drtc_state"] = row.hidden
        document["drtc_order"] = order_term(id.key)
        if self.view.windowed:
            document["drtc_start"], document["drtc_end"] = id.start, row.end
        try:
            return encode(document)
        except (TypeError, ValueError, OverflowError) as error:
            raise StoreError(f"the view {self.view.name}: the record {named(id)} cannot be written as JSON:"
                             f" {error}") from error

    def row(self, source: Mapping[str, Any]) -> Row:
        """The row that ``document`` made this of."""
        start = end = None
        if self.view.windowed:
            start, end = source["drtc_start"], source["drtc_end"]
            start, end = float(start), None if end is None else float(end)
        if self._bytes:
            source = {**source, **{name: a2b_base64(source[name]) for name in self._bytes if source[name] is not None}}
        return Row(Id(source["key"], start), end, source["drtc_version"], tuple([source[name] for name in self._names]),
                   a2b_base64(source["drtc_state"]))

    def query(self, key: Key | None, during: tuple[float, float] | None) -> dict[str, Any]:
        """What finds the documents of ``Store.scan``."""
        filters: list[dict[str, Any]] = []
        if key is not None:
            filters.append({"term": {"drtc_order": order_term(key)}})
        if during is not None:
            begin, end = during
            filters += [{"range": {"drtc_end": {"gt": begin}}},
                        {"bool": {"should": [{"range": {"drtc_start": {"lt": end}}},
                                             {"range": {"drtc_start": {"lte": begin}}}]}}]
        return {"bool": {"filter": filters}}

    def sort(self) -> list[dict[str, str]]:
        return [{"drtc_order": "asc"}, *([{"drtc_start": "asc"}] if self.view.windowed else [])]


def creation(view: View, alias: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What an index is created with."""
    date = {"type": "date", "format": "strict_date_optional_time"}
    number = {"type": "double"}
    windows = ({"window_start": date, "window_end": date}, {"drtc_start": number, "drtc_end": number})
    before, behind = windows if view.windowed else ({}, {})
    properties = {
        "key": _TYPES["text"],
        **before,
        **{column.name: _TYPES[column.kind] for column in view.columns},
        "drtc_version": {"type": "long", "index": False, "doc_values": False},
        "drtc_state": {"type": "binary"},
        "drtc_order": {"type": "keyword"},
        **behind,
    }
    return {
        "aliases": {alias: {}},
        "settings": {"index.translog.durability": "request", **settings},
        "mappings": {"dynamic": "strict", "_meta": {"drtc": {**_shape(view), "alias": alias}},
                     "properties": properties},
    }


def check(view: View, name: str, found: Mapping[str, Any]) -> str:
    """The alias of an index that is there, as ``GET /name`` describes it.

    Raises:
        StoreError: it is not this view's, or has other columns, or does not keep what is stored.
    """
    meta = found["mappings"].get("_meta", {}).get("drtc")
    if meta is None:
        raise StoreError(f"the index {name} exists and is not drtc's: change [store] prefix")
    if meta["view"] != view.name:
        raise StoreError(f"the index {name} is of the view {meta['view']}, whose name differs from {view.name} in"
                         f" capitals alone: change [job] name")
    changed = sorted({column for column, _ in _columns(meta) ^ _columns(_shape(view))})
    if changed:
        raise other_columns(view, [f"{', '.join(changed)}; the index {name}"])
    if found["settings"]["index"].get("translog", {}).get("durability", "request").lower() != "request":
        raise StoreError(f"the index {name} has index.translog.durability = async, and would lose what is stored:"
                         f" set it to request")
    alias: str = meta["alias"]
    if alias not in found["aliases"]:
        raise StoreError(f"the index {name} has lost its alias {alias}, by which drtc saves: add it again")
    return alias


def _shape(view: View) -> dict[str, Any]:
    return {"view": view.name, "windowed": view.windowed,
            "columns": [[column.name, column.kind] for column in view.columns]}


def _columns(shape: Mapping[str, Any]) -> set[tuple[str, str]]:
    window = ("window_start", "window_end") if shape["windowed"] else ()
    return {*((name, "date") for name in window), *((name, kind) for name, kind in shape["columns"])}


def document_id(id: Id) -> str:
    """The ``_id`` of a record: its text, or a hash where that is too long. No two records have the same.

    Raises:
        StoreError: the key is no Unicode text.
    """
    text = to_text(id if id.start is None else Id(id.key, float(id.start)))
    try:
        encoded = text.encode()
    except UnicodeEncodeError as error:
        raise StoreError(f"the key {text!r} is not Unicode that JSON can hold: {error}") from error
    if not encoded or len(encoded) > _ID_BYTES or encoded.startswith(b"#"):
        return f"#{sha256(encoded).hexdigest()}"
    return text


def order_term(key: Key) -> str:
    """A term of its own for each key that sorts as keys do: numbers, then strings. Strings that are alike in their
    first 8,000 characters sort at random."""
    if isinstance(key, int):
        return f"0{key + (1 << 63):016x}"
    if len(key) < _TERM_CHARACTERS:
        return f"1{key}"
    return f"1{key[:_TERM_CHARACTERS]}{sha256(key.encode()).hexdigest()}"


def named(id: Id) -> str:
    """A record in a sentence, not longer than one can read."""
    text = str(id.key) if id.start is None else f"{id.key}@{id.start:g}"
    text = text.encode("utf-8", "backslashreplace").decode()  # a terminal could not show half of a pair
    return text if len(text) <= 200 else f"{text[:200]}... ({len(text)} characters)"


def sliced(index: Index, rows: Iterable[Row], limit: int) -> Iterator[list[tuple[Row, bytes]]]:
    """The rows with their documents, in parts for one request each, of at most ``limit`` bytes.

    Raises:
        StoreError: a document alone is larger than that.
    """
    part: list[tuple[Row, bytes]] = []
    size, most = 0, min(_PART_BYTES, limit // 2)
    for row in rows:
        document = index.document(row)
        if len(document) + _LINE_BYTES > limit:
            raise StoreError(f"the view {index.view.name}: the record {named(row.id)} has {len(document):,} bytes, and"
                             f" the server takes {limit:,} in a request: raise its http.max_content_length, or keep"
                             f" less in the record")
        if part and (len(part) == PART or size + len(document) > most):
            yield part
            part, size = [], 0
        part.append((row, document))
        size += len(document) + _LINE_BYTES
    if part:
        yield part


def _date(seconds: float | None) -> str | None:
    """As people and Kibana read it; None outside of the years 1 to 9999, where ISO 8601 has no plain form."""
    if seconds is None:
        return None
    try:
        return (_EPOCH + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except OverflowError:
        return None
