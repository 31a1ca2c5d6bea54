"""One view as an Aerospike set: a bin for each column, and rows to and from records.

What a person should know of the bins stands in the set ``drtc_views``. Three things about the client decide how values
are kept: it cuts strings at a NUL, it ends the process at a key that is not Unicode, and a bin without a value is none.
"""
from __future__ import annotations

import re
from hashlib import sha1
from math import floor
from typing import Any, Mapping, Sequence

import msgspec

from ..errors import StoreError
from .base import Column, Id, Key, Row, View
from .ids import from_text, to_text

BIN_LENGTH = 15
SET_LENGTH = 63
VERSION, STATE = "drtc_version", "drtc_state"
KEY, START, END = "key", "window_start", "window_end"  # of a windowed view: what the record's key says, as bins
_INTEGERS = range(-2**63, 2**63)
_CONDITIONS = 10_000  # as many versions have their condition at hand

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def short(name: str) -> str:
    """The bin's name of a column: itself up to 15 characters, else its first ten and four that tell it from others.
    The same on every machine and in every version."""
    if len(name) <= BIN_LENGTH:
        return name
    return f"{name[:10]}_{sha1(name.encode()).hexdigest()[:4]}"


def bins_of(view: View) -> list[str]:
    """The bin of each column.

    Raises:
        StoreError: two columns would share one, or the set's name is too long.
    """
    bins: dict[str, Column] = {}
    for column in view.columns:
        twin = bins.setdefault(short(column.name), column)
        if twin is not column:
            raise StoreError(f"the fields {twin.name} and {column.name} of the view {view.name} would share the bin"
                             f" {short(column.name)}, since Aerospike's names have at most {BIN_LENGTH} characters:"
                             " rename one")
    return list(bins)


def lasts(view: View) -> bool:
    """Whether its records never expire: those of companions, without which the results' fences mean nothing."""
    return re.search(r"_v[0-9]+$", view.name) is None


class AerospikeSet:
    """How one view's rows are written, conditions and all. ``ttl`` in seconds; 0: they never expire."""

    def __init__(self, view: View, namespace: str, name: str, ttl: int) -> None:
        import aerospike
        from aerospike_helpers.batch.records import Write

        if len(name) > SET_LENGTH:
            raise StoreError(f"the view {view.name} needs the set {name}, and Aerospike's names have at most"
                             f" {SET_LENGTH} characters: shorten [job] name or [store] prefix")
        self.view = view
        self.name = name
        self.bins = bins_of(view)
        self._namespace = namespace
        self._text = [at for at, column in enumerate(view.columns) if column.kind == "text"]
        self._json = [at for at, column in enumerate(view.columns) if column.kind == "json"]
        self._record = Write
        self._write = aerospike.OPERATOR_WRITE
        same = {"key": aerospike.POLICY_KEY_SEND,
                "ttl": ttl if ttl and not lasts(view) else aerospike.TTL_NEVER_EXPIRE}
        self._create = {**same, "exists": aerospike.POLICY_EXISTS_CREATE}
        self._replace = {**same, "exists": aerospike.POLICY_EXISTS_REPLACE}
        self._conditions: dict[int, dict[str, Any]] = {0: self._create}

    def key(self, id: Id) -> tuple[str, str, Any]:
        """The record's key: the row's own, or of a windowed view the text of ``ids``. No two ids have the same."""
        key = id.key if id.start is None else to_text(Id(id.key, float(id.start)))
        if isinstance(key, str):
            if not key.isascii():
                key.encode()  # raises UnicodeEncodeError where the client would end the process
            if "\0" in key:
                return self._namespace, self.name, bytearray(key.encode())
        return self._namespace, self.name, key

    def id(self, key: Any) -> Id:
        """The id whose record has this key."""
        if isinstance(key, (bytes, bytearray)):
            key = key.decode()
        return from_text(key, True) if self.view.windowed else Id(key)

    def write(self, row: Row) -> Any:
        """The record for a batch: nothing is there (version 0), or what is there still has the row's version."""
        write = self._write
        operations = [{"op": write, "bin": bin, "val": value}
                      for bin, value in zip(self.bins, self._values(row)) if value is not None]
        if self.view.windowed:
            operations += self._window(row)
        operations.append({"op": write, "bin": VERSION, "val": row.next})
        operations.append({"op": write, "bin": STATE, "val": bytes(row.hidden)})
        return self._record(self.key(row.id), operations, policy=self._conditions.get(row.version)
                            or self._condition(row.version))

    def row(self, id: Id, bins: Mapping[str, Any]) -> Row:
        values: list[Any] = [bins.get(bin) for bin in self.bins]
        for at in self._text:
            if isinstance(values[at], bytes):
                values[at] = values[at].decode()
        for at in self._json:
            if isinstance(values[at], bytes):
                values[at] = _decode(values[at])
        if VERSION not in bins or STATE not in bins:
            raise StoreError(f"set {self.name}: the record {id} was not written by drtc ({VERSION} is missing): remove"
                             " it")
        end = bins.get(END) if self.view.windowed else None
        return Row(id, None if end is None else float(end), bins[VERSION], tuple(values), bins[STATE])

    def only(self, key: Key | None, during: tuple[float, float] | None) -> dict[str, Any]:
        """The policy of a query that leaves out most of what is not asked for; the exact test is the caller's."""
        from aerospike_helpers.expressions import And, Eq, FloatBin, GT, IntBin, Or, StrBin

        wanted = []
        if isinstance(key, int):
            wanted.append(Eq(IntBin(KEY), key))
        elif key is not None and "\0" not in key:
            wanted.append(Eq(StrBin(KEY), key))
        if during is not None and abs(during[0]) < 2**62:
            wanted.append(Or(GT(IntBin(END), floor(during[0])), GT(FloatBin(END), float(during[0]))))
        if not wanted:
            return {}
        return {"expressions": (wanted[0] if len(wanted) == 1 else And(*wanted)).compile()}

    def flaw(self, row: Row) -> str:
        """Why a record cannot be kept, as the end of a sentence; empty where nothing is wrong with it."""
        if isinstance(row.id.key, int) and row.id.key not in _INTEGERS:
            return "its key is a number of more than 64 bits"
        for column, value in zip(self.view.columns, row.values):
            found = _flaw(value)
            if found:
                return f"{column.name} holds {found}"
        return ""

    def _condition(self, version: int) -> dict[str, Any]:
        from aerospike_helpers.expressions import Eq, IntBin

        if len(self._conditions) > _CONDITIONS:
            self._conditions = {0: self._create}
        # Not the record's generation: that has 16 bits, and begins anew when a record is restored from a backup
        found = self._conditions[version] = {**self._replace, "expressions": Eq(IntBin(VERSION), version).compile()}
        return found

    def _values(self, row: Row) -> Sequence[Any]:
        values = row.values
        for at in self._text:
            value = values[at]
            if value is not None and "\0" in value:
                values = (*values[:at], value.encode(), *values[at + 1:])
        for at in self._json:
            value = values[at]
            if value is not None and b"\\u0000" in (text := _encode(value)):
                values = (*values[:at], text, *values[at + 1:])
        return values

    def _window(self, row: Row) -> list[dict[str, Any]]:
        key, start = row.id
        found = [(KEY, key.encode() if isinstance(key, str) and "\0" in key else key), (START, _whole(start)),
                 (END, _whole(row.end))]
        return [{"op": self._write, "bin": bin, "val": value} for bin, value in found if value is not None]


def _whole(seconds: float | None) -> float | int | None:
    """Whole seconds as an integer: only integers can have an index."""
    if seconds is None or not float(seconds).is_integer() or int(seconds) not in _INTEGERS:
        return seconds
    return int(seconds)


def _flaw(value: Any) -> str:
    if isinstance(value, int) and value not in _INTEGERS:
        return "a number of more than 64 bits"
    if isinstance(value, str) and not _is_unicode(value):
        return "text that is not Unicode"
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        return next(filter(None, map(_flaw, value)), "")
    if value is None or isinstance(value, (int, float, str, bytes)):
        return ""
    return f"a {type(value).__name__}, which Aerospike has not"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
