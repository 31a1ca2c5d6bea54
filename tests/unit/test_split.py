"""Routing: the id that is found in a message's bytes, the slot that it hashes to, and the chunks that come of it."""
from __future__ import annotations

import csv
import io
import json
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drtc.batch import Chunk
from drtc.collector.route import parse_route
from drtc.collector.split import CSV, JSON, KEY, MESSAGE, csv_id, json_id, split
from drtc.encodings import unpack
from drtc.encodings.kafka import pack
from drtc.encodings.messages import pack as pack_messages
from drtc.errors import ConfigError

PLAIN_TEXT = st.text(st.characters(codec="utf-8", exclude_characters='\\"', exclude_categories=("Cc", "Cs")))


@pytest.mark.parametrize(("value", "id"), [
    (b'{"user_id":"u1","x":2}', b"u1"),
    (b'{ "x" : 1 , "user_id" : "u1" }', b"u1"),
    (b'{"user_id":\t\r\n"u1"}', b"u1"),
    (b'{"user_id":17,"x":2}', b"17"),
    (b'{"user_id": -1.5e3 }', b"-1.5e3"),
    (b'{"user_id":null}', b"null"),
    (b'{"user_id":true\n}', b"true"),
    (b'{"user_id":""}', b""),
    (rb'{"user_id":"a\"b\\","x":"y"}', rb"a\"b\\"),
    (b'{"name":"user_id","user_id":"u1"}', b"u1"),  # a value, then a name
    (b'{"my_user_id":"no","user_id":"u1"}', b"u1"),
    (b'{"a":{"user_id":"inner"},"user_id":"outer"}', b"inner"),
    (b'{"user":"u1"}', b""),
    (b'{"user_id"', b""),
    (b'{"user_id":', b""),
    (b'{"user_id":"cut', b"cut"),
    (b'{"user_id":17', b"17"),
    (b'["user_id"]', b""),
    (b"not json at all", b""),
    (b"", b""),
])
def test_json_id(value: bytes, id: bytes) -> None:
    assert json_id(value, b'"user_id"') == id


@given(st.dictionaries(PLAIN_TEXT, PLAIN_TEXT | st.integers() | st.booleans() | st.none(), max_size=5),
       st.text() | st.integers() | st.none(), st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")]))
@settings(max_examples=200, deadline=None)
def test_json_id_is_the_text_of_the_value(others: dict[str, Any], wanted: Any, separators: tuple[str, str]) -> None:
    others.pop("the id", None)
    text = json.dumps(wanted)
    value = json.dumps({**others, "the id": wanted}, separators=separators).encode()
    assert json_id(value, b'"the id"') == (text[1:-1] if isinstance(wanted, str) else text).encode()


@pytest.mark.parametrize(("value", "column", "id"), [
    (b"a,b,c", 0, b"a"), (b"a,b,c", 1, b"b"), (b"a,b,c", 2, b"c"), (b"a,b,c", 3, b""),
    (b"a,b,c\r\n", 2, b"c"), (b"a,,c", 1, b""), (b",", 1, b""), (b"", 0, b""), (b"", 1, b""),
    (b'"a,b",c', 0, b"a,b"), (b'"a,b",c', 1, b"c"), (b'"say ""x"", y",c', 1, b"c"), (b'"",c', 0, b""),
    (b'"open,c', 0, b"open,c"), (b'"open,c', 1, b""), (b'a,"b"', 1, b"b"), (b'"a"junk,b', 1, b"b"),
])
def test_csv_id(value: bytes, column: int, id: bytes) -> None:
    assert csv_id(value, column) == id


@given(st.lists(st.text(st.sampled_from('ab,"é ')), min_size=1, max_size=5))
@settings(max_examples=200, deadline=None)
def test_csv_id_finds_what_a_csv_writer_wrote(fields: list[str]) -> None:
    line = io.StringIO()
    csv.writer(line).writerow(fields)
    for column, text in enumerate(fields):
        assert csv_id(line.getvalue().encode(), column) == text.replace('"', '""').encode()


@given(st.binary(max_size=60), st.integers(0, 5))
@settings(max_examples=200, deadline=None)
def test_arbitrary_bytes_have_some_id(value: bytes, column: int) -> None:
    for text in (value, b'"f"' + value, b'{"f":' + value, b'{"f":"' + value):
        assert isinstance(json_id(text, b'"f"'), bytes)
        assert isinstance(csv_id(text, column), bytes)


def test_the_hash_stays_as_it_is_for_ever() -> None:
    """Another hash would give lanes other events, and fences would let them be counted twice."""
    values: list[bytes | None] = [b"user-%d" % number for number in range(12)]
    slots = [0] * 12
    for slot, (offsets, _) in enumerate(split(MESSAGE, b"", 0, 16, list(range(12)), values, ())):
        for offset in offsets:
            slots[offset] = slot
    assert slots == [crc32(value or b"") % 16 for value in values]
    assert slots == [2, 4, 14, 8, 11, 13, 7, 1, 0, 6, 10, 12]
    assert parse_route("partition").slot_of_partition("ads-0@3fR2kq", 16) == 6


def test_every_way_to_an_id() -> None:
    offsets, values, keys = [5, 6, 9], [b'{"id":"x"},1', None, b'{"id":"y"},2'], [b"k", b"l", None]

    def slots_of(kind: int, field: bytes = b"", column: int = 0) -> dict[int, int]:
        dealt = split(kind, field, column, 7, offsets, values, keys)
        return {offset: slot for slot, (where, _) in enumerate(dealt) for offset in where}

    nothing = crc32(b"") % 7
    assert slots_of(KEY) == {5: crc32(b"k") % 7, 6: crc32(b"l") % 7, 9: nothing}
    assert slots_of(JSON, b'"id"') == {5: crc32(b"x") % 7, 6: nothing, 9: crc32(b"y") % 7}
    assert slots_of(CSV, column=1) == {5: crc32(b"1") % 7, 6: nothing, 9: crc32(b"2") % 7}
    assert slots_of(MESSAGE) == {5: crc32(values[0] or b"") % 7, 6: nothing, 9: crc32(values[2] or b"") % 7}


@pytest.mark.parametrize(("text", "note"), [
    ("partition", "partition"), ("key", "key"), ("message", "message"), ("json:user_id", "json:user_id"),
    ("json:ünïcode", "json:ünïcode"), ("csv:0", "csv:0"), ("csv:07", "csv:7")])
def test_routes(text: str, note: str) -> None:
    route = parse_route(text)
    assert route.note == note
    assert route.whole == (text == "partition")


@pytest.mark.parametrize(("text", "sentence"), [
    ("user", "'user' is not a route: use partition, key, message, json:FIELD or csv:COLUMN"),
    ("", "'' is not a route"), ("json", "'json' is not a route"), ("key:a", "'key:a' is not a route"),
    ("json:", "json: is followed by a field's name as it stands in the text, as in json:user_id"),
    ('json:a"b', "json: is followed by"), ("json:a b", "json: is followed by"),
    ("csv:", "csv: is followed by a column's number, from 0, as in csv:0"), ("csv:-1", "csv: is followed by"),
    ("csv:first", "csv: is followed by"), ("csv:99999", "csv: is followed by"), ("csv:²", "csv: is followed by")])
def test_what_is_not_a_route(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_route(text)
    assert sentence in str(raised.value)


def test_a_whole_partition_is_passed_on_as_it_is() -> None:
    chunk = Chunk("ads-3", 0, 9, 10, "kafka", b"whatever")
    route = parse_route("partition")
    assert route.split(chunk, 16) == [(route.slot_of_partition("ads-3", 16), chunk)]


def test_keys_are_needed_for_the_route_key() -> None:
    with pytest.raises(ConfigError, match="key needs messages that have a key"):
        parse_route("key").split(Chunk("f", 0, 9, 1, "messages", pack_messages([0], [b"v"])), 4)


MESSAGES = st.lists(st.tuples(st.integers(1, 5), st.sampled_from([b"a", b"b", b"c", b"d", None])), max_size=12)


@given(st.lists(st.tuples(MESSAGES, st.booleans()), min_size=1, max_size=5), st.integers(1, 5),
       st.sampled_from(["key", "message"]), st.data())
@settings(max_examples=200, deadline=None)
def test_nothing_is_lost_doubled_or_out_of_order(stretches: list[tuple[list[tuple[int, bytes | None]], bool]],
                                                 slots: int, word: str, data: st.DataObject) -> None:
    """Also where stretches of the chunk are damaged: a worker that unpacks all the parts finds what one finds that
    unpacks the whole, and in each lane offsets only grow."""
    payload, offset = b"", 0
    for messages, broken in stretches:
        offsets, values = [], []
        for step, value in messages:
            offset += step
            offsets.append(offset)
            values.append(value)
        batch = pack(offsets, values, values)
        payload += batch[:-1] + b"\xff" if broken and batch else batch
    first = data.draw(st.integers(0, offset))
    last = data.draw(st.integers(first, offset + 3))
    whole = unpack("kafka", payload, first, last)
    found: list[tuple[int, bytes | None]] = []
    raws: list[bytes] = []
    passed: dict[int, int] = {}
    for slot, part in parse_route(word).split(Chunk("p", first, last, 0, "kafka", payload), slots):
        assert passed.get(slot, -1) < part.first <= part.last <= last
        passed[slot] = part.last
        inside = unpack(part.encoding, part.payload, part.first, part.last)
        assert all(crc32(value or b"") % slots == slot for value in inside.values)
        assert part.count == len(inside.values)
        if inside.values:
            assert (part.first, part.last) == (inside.offsets[0], inside.offsets[-1])
        found += zip(inside.offsets, inside.values)
        assert all((damage.first, damage.last) == (part.first, part.last) for damage in inside.damaged)
        raws += [damage.raw for damage in inside.damaged]
    assert sorted(found, key=lambda each: each[0]) == [*zip(whole.offsets, whole.values)]
    assert raws == [damage.raw for damage in whole.damaged]
