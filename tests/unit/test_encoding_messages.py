"""The encoding ``messages``: packing and unpacking agree, documents join, any range can be asked, garbage is damage."""
from __future__ import annotations

import tracemalloc

import msgpack
import pytest
from hypothesis import given, strategies as st

from drtc.encodings import Messages, messages, unpack

EVERYTHING = (0, 2**63)

batches = st.dictionaries(st.integers(0, 2**62), st.none() | st.binary(max_size=20), max_size=30).map(
    lambda found: (sorted(found), [found[offset] for offset in sorted(found)]))


@given(batches)
def test_what_was_packed_comes_out(batch: tuple[list[int], list[bytes | None]]) -> None:
    assert unpack("messages", messages.pack(*batch), *EVERYTHING) == Messages(*batch, [])


def framed(document: bytes) -> bytes:
    return len(document).to_bytes(4, "big") + document


def test_a_batch_of_very_many_messages() -> None:
    offsets = list(range(0, 200_000, 2))
    values: list[bytes | None] = [b"%d" % offset for offset in offsets]
    assert messages.unpack(messages.pack(offsets, values), *EVERYTHING) == Messages(offsets, values, [])


@given(st.lists(batches, max_size=4))
def test_joined_payloads_hold_the_messages_of_each(parts: list[tuple[list[int], list[bytes | None]]]) -> None:
    joined = memoryview(b"".join(messages.pack(*part) for part in parts))
    assert messages.unpack(joined, *EVERYTHING) == Messages(sum((p[0] for p in parts), []),
                                                            sum((p[1] for p in parts), []), [])


@given(batches, st.lists(st.integers(0, 2**62), max_size=4).map(sorted))
def test_any_split_of_the_range_gives_each_message_once(batch: tuple[list[int], list[bytes | None]],
                                                        borders: list[int]) -> None:
    payload = messages.pack(*batch)
    parts = [messages.unpack(payload, low, high - 1) for low, high in zip([0, *borders], [*borders, 2**62 + 1])]
    assert [o for part in parts for o in part.offsets] == batch[0]
    assert [v for part in parts for v in part.values] == batch[1]


@pytest.mark.parametrize("document", [
    5, None, [], [[1]], [[1], [b"a"], []], [[1], [b"a", b"b"]], [[1], ["text"]], [[1], [5]], [[1.0], [b"a"]],
    [[True], [b"a"]], [[2, 1], [b"a", b"b"]], [["1"], [b"a"]], {"a": 1}, [[1], [[b"a"]]],
    [[1], [msgpack.ExtType(1, b"a")]],
])
def test_a_document_of_another_shape_is_damage(document: object) -> None:
    good, bad = messages.pack([3], [b"good"]), framed(msgpack.packb(document))
    got = messages.unpack(good + bad, 0, 9)
    assert got[:2] == ([3], [b"good"])
    assert [(d.first, d.last, d.raw) for d in got.damaged] == [(0, 9, bad)]


def test_a_forged_list_header_allocates_little() -> None:
    for bomb in (b"\x92\x90\xdd\xff\xff\xff\xff" + b"\xdd\x7f\xff\xff\xff" * 1000,
                 b"\x92\xdd\x7f\xff\xff\xff\x01", b"\x92\x91\x01\x91\xc6\xff\xff\xff\xffa", b"\x91" * 100_000):
        tracemalloc.start()
        assert messages.unpack(framed(bomb), 0, 9).damaged[0].raw == framed(bomb)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
        tracemalloc.stop()
    assert messages.unpack(b"\xff\xff\xff\xff\x92\x90\x90", 0, 9).damaged, "a length beyond the payload"


@given(st.binary(max_size=80))
def test_garbage_never_raises(garbage: bytes) -> None:
    got = messages.unpack(messages.pack([1, 2], [b"a", None]) + garbage, 0, 2**63)
    assert got.offsets[:2] == [1, 2]


@given(batches, st.data())
def test_a_truncated_payload_loses_nothing_silently(batch: tuple[list[int], list[bytes | None]],
                                                    data: st.DataObject) -> None:
    payload = messages.pack(*batch)
    size = data.draw(st.integers(0, len(payload)))
    got = messages.unpack(payload[:size], *EVERYTHING)
    assert b"".join(damage.raw for damage in got.damaged) == (payload[:size] if size < len(payload) else b"")
