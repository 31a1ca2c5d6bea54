"""Texts of settings and the values they stand for."""
from __future__ import annotations

from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drtc.values import Address, Bytes, Natural, Positive, Seconds, describe, parse, show

GOOD = [
    ("256M", Bytes, 256 * 1024 ** 2), ("20G", Bytes, 20 * 1024 ** 3), ("1.5k", Bytes, 1536), ("64 KiB", Bytes, 65536),
    ("1000", Bytes, 1000), ("1TB", Bytes, 1024 ** 4), ("0", Bytes, 0), ("7b", Bytes, 7),
    ("5", Seconds, 5.0), ("5s", Seconds, 5.0), ("2min", Seconds, 120.0), ("100ms", Seconds, 0.1), (".5", Seconds, 0.5),
    ("1h", Seconds, 3600.0), ("7 d", Seconds, 604800.0), ("250us", Seconds, 0.00025), ("5s", float, 5.0),
    ("yes", bool, True), ("Off", bool, False), ("TRUE", bool, True), ("0", bool, False),
    ("3", int, 3), ("-3", int, -3), ("3", Positive, 3), ("0", Natural, 0),
    ("localhost:9092", Address, Address("localhost", 9092)), ("[::1]:80", Address, Address("::1", 80)),
    ("a:1, b:2\nc:3", tuple[Address, ...], (Address("a", 1), Address("b", 2), Address("c", 3))),
    ("", tuple[str, ...], ()), ("x,,y", list[str], ["x", "y"]), ("a b", str, "a b"), ("", str, ""),
    ("text", Literal["text", "json"], "text"), ("", int | None, None), ("4", int | None, 4),
]
BAD = [
    ("big", Bytes, "must be a size such as 64K, 256M or 20G, not 'big'"), ("-1M", Bytes, "must be a size"),
    ("1X", Bytes, "must be a size"), ("", Bytes, "must be a size"), ("5 years", Seconds, "must be a duration"),
    ("nan", Seconds, "must be a duration"), ("inf", float, "must be a duration"), ("-1", Seconds, "must be a duration"),
    ("maybe", bool, "must be yes or no, not 'maybe'"), ("four", int, "must be a whole number, not 'four'"),
    ("1.5", int, "must be a whole number"), ("0", Positive, "must be a whole number, at least 1, not '0'"),
    ("-1", Natural, "at least 0"), ("localhost", Address, "must be an address host:port, not 'localhost'"),
    (":80", Address, "must be an address"), ("a:b", Address, "must be an address"), ("::1:80", Address, "host:port"),
    ("a:65536", Address, "must be an address"), ("a:٣", Address, "must be an address"),
    ("a:1, b", tuple[Address, ...], "must be an address host:port, or several separated by commas"),
    ("xml", Literal["text", "json"], "must be text or json, not 'xml'"),
]


@pytest.mark.parametrize("text, hint, value", GOOD)
def test_a_text_is_read_as_its_type(text: str, hint: Any, value: Any) -> None:
    assert parse(text, hint) == value
    assert type(parse(text, hint)) is type(value)


@pytest.mark.parametrize("text, hint, value", GOOD)
def test_a_value_is_shown_as_a_text_that_means_it(text: str, hint: Any, value: Any) -> None:
    assert parse(show(value, hint), hint) == value


@pytest.mark.parametrize("text, hint, sentence", BAD)
def test_a_wrong_text_is_refused_in_words(text: str, hint: Any, sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(text, hint)
    assert sentence in str(caught.value)


@given(st.integers(0, 2 ** 50))
def test_every_size_survives_being_shown(size: int) -> None:
    assert parse(show(size, Bytes), Bytes) == size


@given(st.text())
def test_no_text_does_worse_than_a_sentence(text: str) -> None:
    for hint in (Bytes, Seconds, bool, int, Positive, Address, tuple[Address, ...], Literal["a"], str, int | None):
        try:
            parse(text, hint)
        except ValueError as error:
            assert str(error).startswith(f"must be {describe(hint)}, not ")
