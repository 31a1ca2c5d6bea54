"""Messages that are single CSV lines."""
from __future__ import annotations

import csv as reader
import re
from inspect import signature
from itertools import starmap
from operator import itemgetter
from types import GenericAlias
from typing import Any, Iterable, Sequence, get_args

import msgspec

from ..errors import JobError
from .base import Codec

Row = Sequence["str | None"]


class Csv(Codec):
    """Lines whose columns become the fields of an Event, in its order or picked by name from ``columns``.

    A line must have exactly the columns that are expected. Fields may be quoted as RFC 4180 says; a stray quote or
    a quoted line break is an error or part of the one message, never of its neighbor.
    """

    def __init__(self, event: type[msgspec.Struct], columns: Sequence[str] | None, delimiter: str, null: str) -> None:
        infos = _infos(event, delimiter)
        self.event = event
        self.fields = tuple(info.name for info in infos)
        self._names = [info.encode_name for info in infos]
        self._columns = list(columns) if columns is not None else self._names
        self._delimiter = delimiter
        self._null = null
        self._optional = frozenset(i for i, info in enumerate(infos) if type(None) in get_args(info.type))
        self._types = GenericAlias(tuple, tuple(info.type for info in infos))
        self._table = GenericAlias(list, self._types)
        self._picks = _picks(event, self._names, self._columns)
        self._last = max(self._picks) + 1 if self._picks else -1  # no line is split further than that

    def decode(self, value: bytes) -> Any:
        try:
            text = str(value, "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"not UTF-8: {error.reason} at byte {error.start}") from error
        row = self._nulled(self._rows([text], text))[0]
        try:
            fields = msgspec.convert(row, self._types, strict=False)
        except msgspec.ValidationError as error:
            raise ValueError(self._sentence(error, row)) from error
        return self.event(*fields)

    def decode_many(self, values: Sequence[bytes]) -> list[Any]:
        text = b"\n".join(values).decode()
        lines = text.split("\n")
        if len(lines) != len(values):
            return super().decode_many(values)  # a message holds a line break, or there is none at all
        rows = self._nulled(self._rows(lines, text))
        return list(starmap(self.event, msgspec.convert(rows, self._table, strict=False)))

    def _rows(self, lines: list[str], text: str) -> list[Row]:
        """For each line of the text the columns that are fields; raises where a line has too few or too many, or
        where an open quote would let it swallow the next."""
        delimiter = self._delimiter
        if '"' not in text and "\r" not in text and len(lines) == text.count("\n") + 1:
            self._check_widths({line.count(delimiter) + 1 for line in lines})
            return self._picked(line.split(delimiter, self._last) for line in lines)
        try:
            rows = [row or [""] for row in reader.reader(lines, delimiter=delimiter, strict=True)]
        except reader.Error as error:
            raise ValueError(f"not a CSV line: {error}") from error
        if len(rows) != len(lines):
            raise ValueError("not a CSV line: a quote is not closed")
        self._check_widths({len(row) for row in rows})
        return self._picked(rows)

    def _check_widths(self, widths: set[int]) -> None:
        expected = len(self._columns)
        if widths != {expected}:
            width = min(widths - {expected})
            raise ValueError(f"{width} column{'s' if width > 1 else ''} where {expected} are expected "
                             f"({_listed(self._columns)})")

    def _picked(self, rows: Iterable[list[str]]) -> list[Row]:
        if self._picks is None:
            return list(rows)
        if len(self._picks) == 1:
            return [[row[self._picks[0]]] for row in rows]
        return list(map(itemgetter(*self._picks), rows))

    def _nulled(self, rows: list[Row]) -> list[Row]:
        """The rows with None where an optional field has the text that stands for nothing."""
        null, optional = self._null, self._optional
        if not optional:
            return rows
        return [
            [None if text == null and i in optional else text for i, text in enumerate(row)] if null in row else row
            for row in rows
        ]

    def _sentence(self, error: msgspec.ValidationError, row: Row) -> str:
        found = re.search(r"^(.*) - at `\$\[(\d+)\]", str(error))
        if found is None:
            return str(error)
        number = int(found[2])
        return f"column {self._names[number]}: {found[1].replace('`', '')} {row[number]!r:.60}"

    def __repr__(self) -> str:
        return f"drtc.csv({self.event.__name__})"


def csv(event: type[msgspec.Struct], columns: Iterable[str] | None = None, delimiter: str = ",",
        null: str = "") -> Codec:
    """Decodes single CSV lines into ``event``, a subclass of drtc.Event; numbers and booleans are converted.

    Args:
        event: its fields are the columns, in their order.
        columns: the names of all columns of the line, where the event has only some of them, or in another order.
        delimiter: one character.
        null: the text that stands for nothing; a field that may be None becomes None where it is met.
    """
    return Csv(event, None if columns is None else list(columns), delimiter, null)


def _infos(event: Any, delimiter: str) -> tuple[msgspec.structs.FieldInfo, ...]:
    if not (isinstance(event, type) and issubclass(event, msgspec.Struct)):
        raise JobError(f"drtc.csv({event!r:.60}): give it a subclass of drtc.Event, whose fields name the columns")
    if len(delimiter) != 1:
        raise JobError(f"drtc.csv({event.__name__}): the delimiter must be one character, not {delimiter!r}")
    infos = msgspec.structs.fields(event)
    if not infos:
        raise JobError(f"drtc.csv({event.__name__}): {event.__name__} declares no fields")
    if any(each.kind is each.KEYWORD_ONLY for each in signature(event).parameters.values()):
        raise JobError(f"drtc.csv({event.__name__}): {event.__name__} must not be kw_only, columns come by position")
    return infos


def _picks(event: type, names: list[str], columns: list[str]) -> list[int] | None:
    """Where in a line the fields stand; None where the line is just the fields."""
    if columns == names:
        return None
    if len({*columns}) < len(columns):
        raise JobError(f"drtc.csv({event.__name__}): columns names {_first_twice(columns)!r} twice")
    missing = [name for name in names if name not in columns]
    if missing:
        raise JobError(f"drtc.csv({event.__name__}): {event.__name__}.{missing[0]} is none of the columns "
                       f"({_listed(columns)})")
    return [columns.index(name) for name in names]


def _first_twice(columns: list[str]) -> str:
    return next(name for i, name in enumerate(columns) if name in columns[:i])


def _listed(columns: list[str]) -> str:
    return ", ".join(columns if len(columns) <= 8 else [*columns[:7], "…"])
