"""What a value that a Job yields may be, so that every store, msgpack and JSON can hold it.

Types are compared exactly: a subclass (an enum, a numpy number) would come back from a store as something else.
Each check passes whole lists at C speed and looks at single values only to name the one that does not fit.
"""
from __future__ import annotations

from math import isfinite
from typing import Any, Collection

LEAST, MOST = -2 ** 63, 2 ** 63 - 1  # whole numbers of 64 bits
FEW = 8  # values, up to which a plain loop is quicker
DEPTH = 32  # lists and dicts within each other
WHOLE: frozenset[type] = frozenset({int})
NUMBERS: frozenset[type] = frozenset({int, float})
BOOL: frozenset[type] = frozenset({bool})


def check_numbers(who: object, values: Collection[Any], types: frozenset[type]) -> None:
    """Numbers must have 64 bits if they are whole, and be finite: one NaN would poison a sum for good.

    Raises:
        TypeError, ValueError: one sentence about the first value that does not fit; ``who`` refuses it.
    """
    if len(values) > FEW and {*map(type, values)} <= types:
        if min(values) >= LEAST and max(values) <= MOST and isfinite(sum(values)):
            return
    for value in values:
        if type(value) not in types:
            raise TypeError(f"{who!r} takes {_wanted(types)}, not {named(value)}")
        if not LEAST <= value <= MOST:
            _check_number(who, value)


def check_text(who: object, values: Collection[Any]) -> None:
    """Texts must be valid Unicode: half a surrogate pair cannot be stored. Raises as ``check_numbers``."""
    if len(values) > FEW and {*map(type, values)} == {str} and "".join(values).isascii():
        return
    for value in values:
        if type(value) is not str:
            raise TypeError(f"{who!r} takes text, not {named(value)}")
        if not value.isascii():
            _check_unicode(who, value)


def check_either(who: object, values: Collection[Any], types: frozenset[type]) -> None:
    """Each value must be a text or such a number. Raises as ``check_numbers``."""
    texts = [value for value in values if type(value) is str]
    if len(texts) == len(values):
        check_text(who, texts)
        return
    for value in values:
        if type(value) is str:
            check_text(who, [value])
        elif type(value) in types:
            _check_number(who, value)
        else:
            raise TypeError(f"{who!r} takes text and {_wanted(types)}, not {named(value)}")


def check_plain(who: object, value: Any, depth: int = DEPTH) -> None:
    """A value must be text, a number, a boolean, None, or a list or dict of these. Raises as ``check_numbers``."""
    kind = type(value)
    if kind is str:
        _check_unicode(who, value)
    elif kind is int or kind is float:
        _check_number(who, value)
    elif kind is list or kind is dict:
        if not depth:
            raise ValueError(f"{who!r} takes lists and dicts that are nested at most {DEPTH} deep")
        if kind is dict:
            check_text(who, value)
        for each in value.values() if kind is dict else value:
            check_plain(who, each, depth - 1)
    elif kind is not bool and value is not None:
        raise TypeError(f"{who!r} takes text, numbers, booleans, None, lists and dicts, not {named(value)}")


def named(value: Any) -> str:
    """A value as a sentence shows it, with its type."""
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return "None" if value is None else f"{name} {value!r:.60}"


def _wanted(types: frozenset[type]) -> str:
    return "numbers" if float in types else "whole numbers"


def _check_number(who: object, value: float) -> None:
    if type(value) is float:
        if not isfinite(value):
            raise ValueError(f"{who!r} takes finite numbers, not {value}")
    elif not LEAST <= value <= MOST:
        raise ValueError(f"{who!r} takes whole numbers of 64 bits, not one of {int(value).bit_length()} bits")


def _check_unicode(who: object, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{who!r} takes valid Unicode, not {value!r:.60}") from error
