"""The encoding ``lines``: positions are exact, pieces join, any range can be asked for, garbage never raises."""
from __future__ import annotations

from hypothesis import given, strategies as st

from drtc.encodings import Damage, Messages, lines, unpack

EVERYTHING = (0, 2**63)


def truth(start: int, content: bytes) -> list[tuple[int, bytes]]:
    """Byte by byte, as slowly and plainly as can be."""
    found, line, begin = [], bytearray(), start
    for at, byte in enumerate(content + b"\n", start):
        if byte != ord("\n"):
            line.append(byte)
            continue
        text = bytes(line[:-1]) if line[-1:] == b"\r" else bytes(line)
        if text:
            found.append((begin, text))
        line, begin = bytearray(), at + 1
    return found


def pairs(messages: Messages) -> list[tuple[int, bytes | None]]:
    assert len(messages.offsets) == len(messages.values)
    return list(zip(messages.offsets, messages.values))


PARTS = [b"a", b"bc", b"\n", b"\r\n", b"\r", b"\n\n", b"\x00", b"\xff", b"\x0b\x1c", b","]
text = st.lists(st.sampled_from(PARTS)).map(b"".join)


@given(st.integers(0, 2**62), text)
def test_lines_and_positions_are_those_of_the_file(start: int, content: bytes) -> None:
    assert pairs(lines.unpack(lines.pack(start, content), *EVERYTHING)) == truth(start, content)


def test_an_example_that_can_be_read() -> None:
    got = unpack("lines", lines.pack(100, b"one\r\n\ntwo\n three\rx\nlast"), *EVERYTHING)
    assert got == Messages([100, 106, 110, 119], [b"one", b"two", b" three\rx", b"last"], [])


@given(st.lists(text, max_size=5), st.integers(0, 1000))
def test_joined_pieces_hold_the_messages_of_each(chunks: list[bytes], gap: int) -> None:
    start, joined, expected = 7, b"", []
    for chunk in chunks:
        joined += lines.pack(start, chunk)
        expected += truth(start, chunk)
        start += len(chunk) + gap
    assert pairs(lines.unpack(memoryview(joined), *EVERYTHING)) == expected


@given(st.lists(st.tuples(st.booleans(), text), max_size=4), st.data())
def test_any_split_of_the_range_gives_each_message_once(chunks: list[tuple[bool, bytes]], data: st.DataObject) -> None:
    start, joined = 50, b""
    for cut, chunk in chunks:
        joined += (lines.pack_cut if cut else lines.pack)(start, chunk)
        start += len(chunk)
    whole = lines.unpack(joined, 50, start)
    borders = sorted(data.draw(st.lists(st.integers(50, start), max_size=4)))
    parts = [lines.unpack(joined, low, high - 1) for low, high in zip([50, *borders], [*borders, start + 1])]
    assert whole == Messages([o for part in parts for o in part.offsets], [v for part in parts for v in part.values],
                             [d for part in parts for d in part.damaged])


def test_a_piece_of_a_line_too_long_is_damage_with_its_place() -> None:
    payload = lines.pack(0, b"a\n") + lines.pack_cut(2, b"bbb") + lines.pack(5, b"c\n")
    offsets, values, damaged = lines.unpack(payload, *EVERYTHING)
    assert (offsets, values) == ([0, 5], [b"a", b"c"])
    assert damaged == [Damage(2, 4, b"bbb", damaged[0].error)]
    assert "longer than max_line_bytes" in damaged[0].error


@given(st.binary(max_size=60))
def test_garbage_is_damage_and_never_lost(garbage: bytes) -> None:
    good = lines.pack(0, b"a\nb\n")
    offsets, _, damaged = lines.unpack(good + garbage, 0, 3)
    assert offsets[:2] == [0, 2]
    if garbage and garbage[:1] not in b"LX":
        assert damaged == [Damage(0, 3, garbage, damaged[0].error)]


def test_a_piece_of_an_unknown_kind_is_damage() -> None:
    other = b"Q" + lines.pack(0, b"a\n")[1:]
    assert lines.unpack(other, 0, 9) == Messages([], [], [Damage(0, 9, other, "15 bytes at byte 0 of the batch are not "
                                                                              "a piece of a file")])


@given(st.integers(0, 40))
def test_a_truncated_payload_gives_what_is_whole_and_the_rest_as_damage(size: int) -> None:
    payload = (lines.pack(0, b"a\nb\n") + lines.pack(4, b"ccc\n"))[:size]
    offsets, _, damaged = lines.unpack(payload, 0, 7)
    whole = [(0, []), (17, [0, 2]), (34, [0, 2, 4])]
    end, expected = max(entry for entry in whole if entry[0] <= size)
    assert offsets == expected
    assert b"".join(damage.raw for damage in damaged) == payload[end:]
