"""Frames and messages: what is malformed is refused by a WireError, whatever it is."""
from __future__ import annotations

import struct
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from drtc.batch import Counts, Header, Stored
from drtc.encodings import unpack
from drtc.errors import WireError
from drtc.wire.frames import (
    HEAD, MAGIC, MAX_HEADER, MAX_REPORT, VERSION, cut, encode, legible, parse_head, parse_header, sign_of_life)
from drtc.wire.messages import (
    ENCODINGS, KINDS, NONCE_BYTES, SAYS, Answer, Batches, Beat, Challenge, Hello, Message, Window)

MOST = 1 << 20
HEADER = Header("p", 3, "s.1", 0, 10, 19, 10, "lines", 100)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-2 ** 63, 2 ** 64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4), max_leaves=20)


def read(frame: bytes) -> Message:
    kind, header, _ = parse_head(frame[:HEAD.size], MOST)
    return parse_header(kind, frame[HEAD.size:HEAD.size + header])


def head(kind: int = 5, header: int = 0, payload: int = 0, magic: bytes = MAGIC, version: int = VERSION) -> bytes:
    return HEAD.pack(magic, version, kind, 0, header, payload)


@pytest.mark.parametrize("message", [
    Challenge(b"n" * NONCE_BYTES, "0.1.0"),
    Hello("drtc", "collector", "c-1", "v_v1", "0.1.0", b"n" * NONCE_BYTES, b""),
    Batches(7, [HEADER, msgspec.structs.replace(HEADER, slot=4, watermark=1.5)]),
    Answer(7, [Stored("p", 3, "s.1", 0, 19, None, Counts(10, 1))]),
    Beat({"role": "compute", "pids": [1, 2], "seconds": {"map": 0.5}, "partitions": {"p": {"offset": 1, "end": None}}}),
])
def test_a_message_comes_back_as_it_was(message: Message) -> None:
    assert read(encode(message, [b"abc", b"d"])) == message
    assert parse_head(encode(message, [b"abc", b"d"]), MOST)[2] == 4


def test_another_version_is_told_what_to_do() -> None:
    with pytest.raises(WireError, match="speaks version 2 of the protocol, this drtc version 1: run the same drtc"):
        parse_head(head(version=2), MOST)


@pytest.mark.parametrize("garbage", [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", bytes(16), b"\xff" * 16], ids=["http", "zeros", "ones"])
def test_what_is_no_frame_is_called_so(garbage: bytes) -> None:
    with pytest.raises(WireError, match="something else speaks on this port"):
        parse_head(garbage, MOST)


@pytest.mark.parametrize("record", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\x15\x03\x03\x00\x02\x02\x28"])
def test_tls_where_none_is_spoken_is_told_what_to_do(record: bytes) -> None:
    with pytest.raises(WireError, match="the peer speaks TLS and this side does not: set .cluster. tls_certificate"):
        parse_head(record + bytes(HEAD.size), MOST)


@given(st.text(max_size=400))
def test_a_peer_s_words_are_shown_short_and_without_what_a_terminal_obeys(words: str) -> None:
    assert legible(words).isprintable() and len(legible(words)) <= 304
    assert legible(words) == words or not words.isprintable() or len(words) > 300


def test_what_is_wrong_with_a_lane_does_not_spoil_a_log() -> None:
    raw = msgspec.msgpack.encode([1, [msgspec.structs.replace(HEADER, size=-1, partition="\x9b2J\n" * 100_000)]])
    with pytest.raises(WireError) as caught:
        parse_header(5, raw)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


def test_sizes_are_refused_by_the_head_alone() -> None:
    assert parse_head(head(header=MAX_HEADER, payload=MOST), MOST) == (5, MAX_HEADER, MOST)
    assert parse_head(head(kind=8, header=MAX_REPORT), MOST) == (8, MAX_REPORT, 0)
    with pytest.raises(WireError, match="at most 1048576 are taken"):
        parse_head(head(payload=MOST + 1), MOST)
    with pytest.raises(WireError, match=f"at most {MAX_HEADER} are taken"):
        parse_head(head(header=MAX_HEADER + 1), MOST)
    with pytest.raises(WireError, match="at most 4096 are taken"):
        parse_head(head(header=4097), MOST, 4096)
    with pytest.raises(WireError, match=f"Beat frame with a header of .* at most {MAX_REPORT} are taken"):
        parse_head(head(kind=8, header=MAX_REPORT + 1), MOST)
    with pytest.raises(WireError, match="Hello frame with a header of .* at most 4096 are taken"):
        parse_head(head(kind=2, header=4097), MOST)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(WireError, match="unknown kind 99"):
        parse_head(head(kind=99), MOST)


@given(st.binary(min_size=HEAD.size, max_size=HEAD.size) | st.builds(
    lambda *parts: struct.pack(">4sBBHII", MAGIC, *parts), st.integers(0, 2), st.integers(0, 50),
    st.integers(0, 9), st.integers(0, 2 ** 32 - 1), st.integers(0, 2 ** 32 - 1)))
def test_any_head_is_a_frame_within_the_limits_or_refused(raw: bytes) -> None:
    try:
        kind, header, payload = parse_head(raw, MOST)
    except WireError:
        return
    assert kind in KINDS and header <= MAX_HEADER and payload <= MOST


@given(st.sampled_from(sorted(KINDS)), st.binary(max_size=80) | plain.map(msgpack.packb))
@example(5, b"\x92\x01\xdd\xff\xff\xff\xff")  # a list of 4 billion, of which nothing follows
@example(8, b"\x91\x81\xa1a" + b"\x91" * 100_000)  # deeper than any stack
@example(8, b"\x91\x81\xa1a" + b"\x91" * 900 + b"\xc0")
@example(10, b"\x91\x81\xa1a" + b"\x91" * 100_000 + b"\xc0")
@example(4, b"\x91\xa2\xff\xff")  # no UTF-8
@example(5, b"")
def test_any_header_is_its_message_or_refused(kind: int, raw: bytes) -> None:
    try:
        message = parse_header(kind, raw)
    except WireError as error:
        assert KINDS[kind].__name__ in str(error)
    else:
        assert type(message) is KINDS[kind]


@given(plain)
def test_what_a_peer_reports_can_always_be_passed_on(report: Any) -> None:
    try:
        heard = parse_header(8, msgpack.packb([report]))
    except WireError:
        return
    assert read(encode(heard)) == heard or "nan" in str(heard)


def test_a_report_is_three_deep_at_most() -> None:
    assert parse_header(8, msgpack.packb([{"a": {"b": {"c": 1}}}]))
    with pytest.raises(WireError, match="a Beat frame is malformed"):
        parse_header(8, msgpack.packb([{"a": {"b": {"c": {"d": 1}}}}]))


def test_a_report_of_very_many_partitions_still_fits_a_frame() -> None:
    few = {"role": "collector", "partitions": {f"p{number}": {"offset": number} for number in range(1000)}}
    assert sign_of_life(few).report == few
    many = {"role": "collector", "partitions": {f"p{number}": {"offset": number} for number in range(100_000)}}
    assert sign_of_life(many).report["role"] == "collector" and len(encode(sign_of_life(many))) < 1000


@pytest.mark.parametrize("wrong", [
    {"size": -1}, {"slot": -1}, {"seq": -1}, {"first": -1}, {"count": -1}, {"first": 20}, {"encoding": "pickle"}])
def test_a_batch_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    raw = msgspec.msgpack.encode([1, [msgspec.structs.replace(HEADER, **wrong)]])
    with pytest.raises(WireError, match="a Batches frame is malformed: .*lane p#"):
        parse_header(5, raw)


def test_a_lane_stands_only_once_in_a_frame() -> None:
    with pytest.raises(WireError, match="a lane stands twice"):
        parse_header(5, msgspec.msgpack.encode([1, [HEADER, msgspec.structs.replace(HEADER, seq=1)]]))


@pytest.mark.parametrize("name", ["two\nlines", "a line\n", "\x1b[2J", "\x9b2J", "\u2028", "x" * 251])
def test_a_name_that_would_spoil_a_log_is_refused(name: str) -> None:
    hello = Hello("drtc", "collector", name, "v", "0", b"n" * NONCE_BYTES, b"")
    with pytest.raises(WireError, match="a Hello frame is malformed"):
        read(encode(hello))


def test_a_nonce_has_its_length() -> None:
    with pytest.raises(WireError, match="a Challenge frame is malformed"):
        read(encode(Challenge(b"short", "0")))


def test_a_window_is_not_negative() -> None:
    with pytest.raises(WireError, match="a Window frame is malformed"):
        read(encode(Window(-1)))


def test_every_encoding_of_the_protocol_can_be_taken_apart() -> None:
    for encoding in ENCODINGS:
        assert unpack(encoding, b"", 0, 1).offsets == []


def test_who_may_say_what_names_real_roles_and_frames() -> None:
    assert set(SAYS) == {"collector", "coordinator", "compute", "status"}
    assert all(frames <= set(KINDS.values()) for frames in SAYS.values())


@given(st.binary(max_size=40), st.lists(st.integers(-3, 45), max_size=6))
@example(b"abc", [-1, 4])
@example(b"abc", [4, -1])
def test_parts_add_up_or_are_refused(payload: bytes, sizes: list[int]) -> None:
    fits = sum(sizes) == len(payload) and all(size >= 0 for size in sizes)
    try:
        parts = cut(payload, sizes)
    except WireError:
        assert not fits
    else:
        assert fits and [len(part) for part in parts] == sizes and b"".join(parts) == payload
