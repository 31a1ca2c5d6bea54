"""Ids where a database knows only text or bytes, and the order of rows where a database has none.

An id's text: a string as it is; an integer in digits; a string of such digits, or one that begins with a quotation
mark, between quotation marks. In a windowed view the window's start follows behind ``@``: ``ad-7@1700000000``.
"""
from __future__ import annotations

import re
from itertools import islice
from typing import Callable, Iterable, Iterator, Sequence

from .base import Id, Key, Row

_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
BUNCH = 1000  # rows loaded at a time


def to_text(id: Id) -> str:
    """The id as text; no two ids have the same."""
    key = key_text(id.key)
    return key if id.start is None else f"{key}@{_number(id.start)}"


def from_text(text: str, windowed: bool) -> Id:
    """The id that ``to_text`` made this of."""
    if windowed:
        key, _, start = text.rpartition("@")
        return Id(text_key(key), float(start))
    return Id(text_key(text))


def key_text(key: Key) -> str:
    """The key as text; no two keys have the same."""
    if isinstance(key, int):
        return str(key)
    return f'"{key}"' if key.startswith('"') or _INTEGER.fullmatch(key) else key


def text_key(text: str) -> Key:
    """The key that ``key_text`` made this of."""
    if text.startswith('"'):
        return text[1:-1]
    return int(text) if _INTEGER.fullmatch(text) else text


def order(id: Id) -> tuple[bool, Key, float]:
    """Sorts ids as ``Store.scan`` has to give them: integers before strings, then by the window's start."""
    return isinstance(id.key, str), id.key, id.start or 0.0


def shares(row: Row, begin: float, end: float) -> bool:
    """Whether the row's window shares an instant with ``[begin, end)``, or contains it where both are the same."""
    if row.id.start is None or row.end is None:
        return False
    return row.end > begin and (row.id.start < end or row.id.start <= begin)


def in_order(ids: Iterable[Id], load: Callable[[Sequence[Id]], dict[Id, Row]], key: Key | None = None,
             during: tuple[float, float] | None = None, limit: int | None = None) -> Iterator[Row]:
    """``Store.scan`` for a store that has no order: of all ``ids`` (memory for these, not for the rows) the rows that
    are asked for, loaded a bunch at a time. Rows that are gone meanwhile are passed over."""
    wanted = sorted((id for id in ids if key is None or id.key == key), key=order)
    if during is not None:
        wanted = [id for id in wanted if id.start is not None and (id.start < during[1] or id.start <= during[0])]
    return islice(_loaded(wanted, load, during), limit)


def _loaded(ids: list[Id], load: Callable[[Sequence[Id]], dict[Id, Row]],
            during: tuple[float, float] | None) -> Iterator[Row]:
    for at in range(0, len(ids), BUNCH):
        bunch = ids[at:at + BUNCH]
        found = load(bunch)
        for id in bunch:
            if id in found and (during is None or shares(found[id], *during)):
                yield found[id]


def _number(start: float) -> str:
    start = float(start)  # a caller may hold whole seconds
    return str(int(start)) if start.is_integer() else repr(start)
