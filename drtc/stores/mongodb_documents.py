"""One view as MongoDB documents: rows to and from them, and the statements of a save. Needs pymongo."""
from __future__ import annotations

import math
from typing import Any, Mapping

import msgspec
from bson.datetime_ms import DatetimeMS
from pymongo import InsertOne, UpdateOne

from .base import Id, Key, Row, View

_TEXT = "drtc_json"  # the one field of what stands for a JSON value that is kept as text
# An update that finds no document with its version would insert one, but under another _id than the one it asked for:
# the server refuses that, so that everyone that was not updated has an error of its own (66, ImmutableField)
_NEVER = {"_id": False}
_LEAST, _MOST = -2 ** 63, 2 ** 63 - 1

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

Document = dict[str, Any]
Statement = InsertOne[Document] | UpdateOne


class Documents:
    """Plain views have the key as ``_id``, windowed ones ``{key, start}``: these sort as ``Store.scan`` has to.

    ``whole``: whether the server takes names of fields with dots in them, and lists within lists.
    """

    def __init__(self, view: View, whole: bool) -> None:
        self._windowed = view.windowed
        self._whole = whole
        self._names = [column.name for column in view.columns]
        self._json = [column.name for column in view.columns if column.kind == "json"]
        #: what is kept about the view, to be compared
        self.columns: list[Document] = [{"name": column.name, "kind": column.kind} for column in view.columns]
        #: fields that ``row`` does not need
        self.unread = {"window_start": False} if view.windowed else None

    def id(self, id: Id) -> Any:
        return {"key": id.key, "start": id.start} if self._windowed else id.key

    def statement(self, row: Row) -> Statement:
        """Saves the row, or fails with an error of its own: 11000 or 66 where its version had moved."""
        fields = self._fields(row)
        if row.version == 0:
            return InsertOne({"_id": self.id(row.id), **fields})
        return UpdateOne({"_id": self.id(row.id), "drtc_version": row.version},
                         {"$set": fields, "$setOnInsert": _NEVER}, upsert=True)

    def document(self, row: Row) -> Document:
        """The row as it lies in the collection once it is saved."""
        return {"_id": self.id(row.id), **self._fields(row)}

    def row(self, found: Mapping[str, Any]) -> Row:
        id, end = Id(found["_id"]), None
        if self._windowed:
            id = Id(found["_id"]["key"], float(found["_id"]["start"]))
            end = found.get("drtc_end")
            if end is None and found["window_end"] is not None:
                end = int(found["window_end"]) / 1000
        values = [found.get(name) for name in self._names]
        if self._json:
            values = [_decode(value[_TEXT]) if type(value) is dict and value.keys() == {_TEXT} and name in self._json
                      else value for name, value in zip(self._names, values)]
        return Row(id, end, found["drtc_version"], tuple(values), found["drtc_state"])

    def condition(self, key: Key | None, during: tuple[float, float] | None) -> Document:
        """Finds all rows that ``Store.scan`` asks for, and perhaps others whose windows are near."""
        wanted: Document = {}
        if key is not None and self._windowed:  # the bounds of a range of _id, so that its index is used
            wanted["_id"] = {"$gte": {"key": key, "start": -math.inf}, "$lte": {"key": key, "start": math.inf}}
        elif key is not None:
            wanted["_id"] = key
        if during is not None:  # dates are rounded
            wanted["window_end"] = {"$gte": _date(during[0], math.floor)}
            wanted["window_start"] = {"$lte": _date(max(during), math.ceil)}
        return wanted

    def _fields(self, row: Row) -> Document:
        fields: Document = {}
        if self._windowed:
            assert row.id.start is not None
            fields["window_start"] = _date(row.id.start)
            fields["window_end"] = None if row.end is None else _date(row.end)
        fields.update(zip(self._names, row.values))
        for name in self._json:
            if not _fits(fields[name], self._whole):
                fields[name] = {_TEXT: _encode(fields[name]).decode()}
        fields["drtc_version"] = row.next
        fields["drtc_state"] = row.hidden
        if row.end is not None and int(fields["window_end"]) / 1000 != row.end:
            fields["drtc_end"] = row.end  # a date has milliseconds
        return fields


def _fits(value: Any, whole: bool) -> bool:
    """Whether it can be (part of) a document as it is."""
    kind = type(value)
    if kind is dict:
        return (all("\0" not in name and name[:1] != "$" and name != _TEXT and (whole or "." not in name)
                    for name in value) and all(_fits(each, whole) for each in value.values()))
    if kind is list:
        return all(_fits(each, whole) if type(each) is dict else type(each) is not list or whole and _fits(each, whole)
                   for each in value)
    return True


def _date(seconds: float, whole: Any = round) -> DatetimeMS:
    scaled = seconds * 1000
    return DatetimeMS(_MOST if scaled >= _MOST else _LEAST if scaled <= _LEAST else whole(scaled))
