from __future__ import annotations

import csv
import io
from typing import Any, Callable

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import drtc
from drtc.codecs.base import Codec
from drtc.errors import JobError
from drtc.examples.flights import COLUMNS, Flight


class Action(drtc.Event):
    device: str
    doc: str
    type: str
    timestamp: float


class Mixed(drtc.Event):
    name: str
    count: int | None
    note: str | None
    seen: bool


ACTION = Action("dev1", "doc2", "view", 17.5)


def refusal(decode: Callable[[Any], Any], value: Any) -> str:
    with pytest.raises(Exception) as caught:
        decode(value)
    return str(caught.value)


@pytest.mark.parametrize("codec, value, event", [
    (drtc.json(Action), b'{"device": "dev1", "doc": "doc2", "type": "view", "timestamp": 17.5, "more": 1}', ACTION),
    (drtc.json(), b'{"a": [1, null, "x"]}', {"a": [1, None, "x"]}),
    (drtc.json(dict[str, int]), b'{"a": 1}', {"a": 1}),
    (drtc.msgpack(Action), msgspec.msgpack.encode(ACTION), ACTION),
    (drtc.msgpack(), msgpack.packb({"a": [1, None, b"x"]}), {"a": [1, None, b"x"]}),
    (drtc.csv(Action), b"dev1,doc2,view,17.5", ACTION),
    (drtc.text(), "größer".encode(), "größer"),
    (drtc.text(), b"", ""),
])
def test_a_message_becomes_an_event(codec: Codec, value: bytes, event: Any) -> None:
    assert codec.decode(value) == event
    assert codec.decode(memoryview(value)) == event  # type: ignore[arg-type]  # taken as well
    assert codec.decode_many([value, value]) == [event, event]
    assert codec.decode_many([]) == []


@pytest.mark.parametrize("codec, fields", [
    (drtc.json(Action), ("device", "doc", "type", "timestamp")), (drtc.csv(Action), Action.__struct_fields__),
    (drtc.json(), None), (drtc.json(dict), None), (drtc.text(), ()),
])
def test_fields_that_are_known_beforehand(codec: Codec, fields: Any) -> None:
    assert codec.fields == fields


CODECS = [drtc.json(Action), drtc.json(), drtc.msgpack(Action), drtc.msgpack(), drtc.csv(Action), drtc.text()]


@pytest.mark.parametrize("codec", CODECS, ids=repr)
def test_invalid_utf8_is_refused(codec: Codec) -> None:
    raw = b'{"device": "\xff", "doc": "", "type": "", "timestamp": 0}'
    if "msgpack" in repr(codec):
        raw = b"\x84\xa6device\xa1\xff\xa3doc\xa0\xa4type\xa0\xa9timestamp\x00"
    if "csv" in repr(codec):
        raw = b"\xff,doc,view,1"
    assert "utf-8" in refusal(codec.decode, raw).lower()
    with pytest.raises(ValueError):
        codec.decode_many([raw])


@pytest.mark.parametrize("codec", CODECS, ids=repr)
def test_a_message_without_a_body_is_refused(codec: Codec) -> None:
    with pytest.raises(TypeError):
        codec.decode_many([None])  # type: ignore[list-item]


@pytest.mark.parametrize("codec", CODECS, ids=repr)
@given(st.binary(max_size=40))
def test_garbage_is_a_value_error_of_one_line_or_an_event(codec: Codec, value: bytes) -> None:
    try:
        codec.decode(value)
    except ValueError as error:
        assert str(error)


@pytest.mark.parametrize("codec, value, sentence", [
    (drtc.json(Action), b'{"device": 5}', "Expected `str`, got `int` - at `$.device`"),
    (drtc.csv(Action), b"dev1,doc2", "2 columns where 4 are expected (device, doc, type, timestamp)"),
    (drtc.csv(Action), b"dev1,doc2,view,17,more", "5 columns where 4 are expected (device, doc, type, timestamp)"),
    (drtc.csv(Action), b"", "1 column where 4 are expected (device, doc, type, timestamp)"),
    (drtc.csv(Action), b"dev1,doc2,view,noon", "column timestamp: Expected float, got str 'noon'"),
    (drtc.csv(Action), b"dev1,doc2,view,1_000", "column timestamp: Expected float, got str '1_000'"),
    (drtc.csv(Action), b"dev1,doc2,view,\xff", "not UTF-8: invalid start byte at byte 15"),
    (drtc.csv(Action), b'dev1,"doc2,view,1', "not a CSV line: unexpected end of data"),
    (drtc.csv(Action), b'dev1,"doc2"x,view,1', "not a CSV line: ',' expected after '\"'"),
    (drtc.csv(Action), b"dev1,doc2,view,1\ndev2,doc2,view,1", "not a CSV line: new-line character seen"),
    (drtc.csv(Mixed), b"a,,,", "column seen: Expected bool, got str ''"),
    (drtc.csv(Flight, columns=COLUMNS), b"2013,1", "2 columns where 19 are expected (year, month, day, dep_time, "
                                                   "sched_dep_time, dep_delay, arr_time, …)"),
    (drtc.text(), b"a\xff", "not UTF-8: invalid start byte at byte 1"),
])
def test_a_refusal_says_what_is_wrong(codec: Codec, value: bytes, sentence: str) -> None:
    assert sentence in refusal(codec.decode, value)
    good = b"dev0,doc0,view,0"
    with pytest.raises(ValueError):
        codec.decode_many([good, value, good])


@given(st.lists(st.tuples(st.text(), st.none() | st.integers(-2 ** 63, 2 ** 63 - 1),
                          st.none() | st.text(min_size=1), st.booleans()), max_size=8),
       st.sampled_from([",", ";", "\t"]))
def test_csv_reads_back_what_csv_wrote(rows: list[tuple[Any, ...]], delimiter: str) -> None:
    """Text may hold quotes, delimiters and line breaks: a message is one row, whatever is in it."""
    codec = drtc.csv(Mixed, delimiter=delimiter)
    values = []
    for name, count, note, seen in rows:
        line = io.StringIO()
        csv.writer(line, delimiter=delimiter).writerow([name, count, note, str(seen).lower()])
        values.append(line.getvalue().removesuffix("\r\n").encode())
    events = [Mixed(*row) for row in rows]
    assert codec.decode_many(values) == events
    assert list(map(codec.decode, values)) == events


@given(st.lists(st.text(alphabet='a1,"\n\r é', max_size=9), max_size=5))
def test_csv_takes_many_as_it_takes_each(texts: list[str]) -> None:
    codec = drtc.csv(Pair)
    values = [text.encode() for text in texts]
    try:
        one_by_one: Any = list(map(codec.decode, values))
    except ValueError:
        one_by_one = None
    try:
        together: Any = codec.decode_many(values)
    except ValueError:
        together = None
    assert together == one_by_one


class Pair(drtc.Event):
    left: str
    right: str | None


def test_an_unclosed_quote_does_not_swallow_its_neighbor() -> None:
    codec = drtc.csv(Pair)
    assert "unexpected end of data" in refusal(codec.decode, b'"a')
    with pytest.raises(ValueError):
        codec.decode_many([b'"a', b'b",c'])
    values = [b'"a,1",b', b"c,d\r", b'"x\ny",']
    assert codec.decode_many(values) == [Pair("a,1", "b"), Pair("c", "d"), Pair("x\ny", None)]


def test_csv_picks_named_columns_and_reads_what_stands_for_nothing() -> None:
    class Some(drtc.Event):
        total: int | None
        name: str = ""

    codec = drtc.csv(Some, columns=["name", "unused", "total"], null="NA")
    values = [b"a,x,5", b"NA,NA,NA", b'"b,c",,-1']
    events = [Some(5, "a"), Some(None, "NA"), Some(-1, "b,c")]
    assert codec.decode_many(values) == list(map(codec.decode, values)) == events
    assert "column total: Expected int | null, got str ''" in refusal(codec.decode, b"a,,")

    class One(drtc.Event):
        total: float

    one = drtc.csv(One, columns=["name", "total", "rest"])
    assert one.decode_many([b"a,1,x", b"b,2.5,y"]) == [One(1.0), One(2.5)]
    for line in (b"a,1", b"a,1,x,", b'"a",1', b'"a",1,x,'):
        assert "where 3 are expected (name, total, rest)" in refusal(one.decode, line)
        with pytest.raises(ValueError):
            one.decode_many([b"a,1,x", line])


def test_a_renamed_field_is_the_column_of_its_name_in_the_file() -> None:
    class Renamed(drtc.Event, rename={"kind": "type"}):
        kind: str

    codec = drtc.csv(Renamed, columns=["id", "type"])
    assert codec.fields == ("kind",)
    assert codec.decode(b"1,x") == Renamed("x")


@pytest.mark.parametrize("make, sentence", [
    (lambda: drtc.csv(dict), "give it a subclass of drtc.Event"),
    (lambda: drtc.csv(drtc.Event), "Event declares no fields"),
    (lambda: drtc.csv(Action, delimiter="::"), "the delimiter must be one character, not '::'"),
    (lambda: drtc.csv(Action, columns=["device", "doc", "type"]), "Action.timestamp is none of the columns (device, d"),
    (lambda: drtc.csv(Pair, columns=["left", "right", "left"]), "columns names 'left' twice"),
    (lambda: drtc.json(Wrong), "drtc.json(Wrong): "),
])
def test_a_wrong_declaration_is_one_sentence(make: Any, sentence: str) -> None:
    with pytest.raises(JobError) as caught:
        make()
    assert sentence in str(caught.value)


class Wrong(drtc.Event):
    field: int | str | list[int] | list[str]


def test_keyword_only_events_have_no_positions() -> None:
    class Named(drtc.Event, kw_only=True):
        a: int

    with pytest.raises(JobError, match="must not be kw_only"):
        drtc.csv(Named)


def test_a_format_of_ones_own() -> None:
    class Hex(Codec):
        def decode(self, value: bytes) -> int:
            return int(value, 16)

    assert Hex().decode_many([b"a", b"ff"]) == [10, 255]
    assert Hex().fields is None
