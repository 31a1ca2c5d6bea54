"""Record batches: made by kafka-python's own builder, taken apart by ours; damaged in every way we can think of."""
from __future__ import annotations

import gzip
from typing import Any, Sequence

import pytest
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

from drtc.batch import Payload
from drtc.encodings import Messages, compression, kafka, unpack
from drtc.encodings.kafka import Span, magic, pack, scan, unpack_keyed

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
EVERYTHING = (-2**63, 2**63)
CONTROL = 0x20

# kafka-python's, as it is imported
pytestmark = pytest.mark.filterwarnings("ignore:(read|open)_text is deprecated")

Record = tuple[int, bytes | None, bytes | None]  # offset, key, value


def built(records: Sequence[Record], codec: int = 0, headers: Sequence[tuple[str, bytes]] = (),
          form: int = 2) -> bytes:
    """One record batch as kafka-python writes it."""
    from kafka.record import MemoryRecordsBuilder

    base = records[0][0]
    builder = MemoryRecordsBuilder(form, codec, 1 << 30)
    for offset, key, value in records:
        builder.skip(offset - base - builder.next_offset())
        builder.append(1_700_000_000_000 + offset % 1000, key, value, list(headers))
    builder.close()
    return base.to_bytes(8, "big", signed=True) + bytes(builder.buffer())[8:]


def plain(count: int, base: int = 0) -> list[Record]:
    return [(base + number, None, b"value %d" % number) for number in range(count)]


def resealed(batch: bytes, **changes: Any) -> bytes:
    """The batch with bytes changed (by place) and its checksum made right again."""
    raw = bytearray(batch)
    for place, value in changes.items():
        raw[int(place[1:])] = value
    raw[17:21] = crc32c(bytes(raw[21:])).to_bytes(4, "big")
    return bytes(raw)


def contents(messages: Messages) -> list[tuple[int, bytes | None]]:
    return list(zip(messages.offsets, messages.values, strict=True))


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_every_compression_with_keys_headers_and_tombstones(codec: int) -> None:
    records: list[Record] = [(7, b"k", b"v"), (8, None, b""), (9, b"", None), (10, b"k" * 200, b"v" * 300),
                             (11, None, b"w" * 20_000), (12, b"l" * 70_000, b"x" * 3_000_000)]
    payload = built(records, codec, headers=[("trace", b"id"), ("empty", b"")])
    messages, keys = unpack_keyed(payload, *EVERYTHING)
    assert messages.damaged == []
    assert [*zip(messages.offsets, keys, messages.values)] == records
    assert unpack("kafka", payload, *EVERYTHING) == messages


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_batches_one_behind_the_other_in_any_buffer(wrap: type) -> None:
    batches = [built(plain(3, 10 * number), codec) for number, codec in enumerate(CODECS.values())]
    payload: Payload = wrap(b"".join(batches))
    messages = kafka.unpack(payload, *EVERYTHING)
    assert messages.offsets == [10 * number + each for number in range(5) for each in range(3)]
    assert {type(value) for value in messages.values} == {bytes}


def test_raw_snappy_and_several_gzip_members() -> None:
    import snappy

    whole = built(plain(50))
    for codec, body in ((2, snappy.compress(whole[61:])),
                        (1, gzip.compress(whole[61:100]) + gzip.compress(whole[100:]))):
        head = bytearray(whole[:61])
        head[8:12] = (49 + len(body)).to_bytes(4, "big")
        payload = resealed(bytes(head) + body, _22=codec)
        assert contents(kafka.unpack(payload, *EVERYTHING)) == [(at, value) for at, _, value in plain(50)]


@given(st.lists(st.tuples(st.integers(1, 1000), st.none() | st.binary(max_size=20),
                          st.none() | st.binary(max_size=300)), min_size=1, max_size=40),
       st.integers(0, 2**62), st.sampled_from(sorted(CODECS.values())), st.data())
@settings(max_examples=100, deadline=None)
def test_any_range_of_any_batch(steps: list[Record], base: int, codec: int, data: st.DataObject) -> None:
    """Offsets grow with gaps, as after compaction; what is asked for is what comes, with its keys."""
    records = []
    for step, key, value in steps:
        records.append((base, key, value))
        base += step
    payload = built(records, codec)
    offsets = [offset for offset, _, _ in records]
    first = data.draw(st.sampled_from(offsets) | st.integers(records[0][0] - 5, base + 5))
    last = data.draw(st.sampled_from(offsets) | st.integers(records[0][0] - 5, base + 5))
    messages, keys = unpack_keyed(payload, first, last)
    assert [*zip(messages.offsets, keys, messages.values)] == [each for each in records if first <= each[0] <= last]
    assert messages.damaged == []
    assert kafka.unpack(payload, first, last) == messages


@given(st.lists(st.tuples(st.integers(1, 2**20), st.none() | st.binary(max_size=200),
                          st.none() | st.binary(max_size=20_000)), max_size=20))
@settings(max_examples=50, deadline=None)
def test_what_pack_packs_is_unpacked_by_both(steps: list[Record]) -> None:
    from kafka.record import MemoryRecords

    offset = 0
    offsets = [offset := offset + step for step, _, _ in steps]
    keys = [key for _, key, _ in steps]
    values = [value for _, _, value in steps]
    payload = pack(offsets, keys, values)
    messages, found = unpack_keyed(payload, *EVERYTHING)
    assert (messages, found) == (Messages(offsets, values, []), keys)
    assert all(batch.validate_crc() for batch in MemoryRecords(payload))
    theirs = [record for batch in MemoryRecords(payload) for record in batch]
    assert [(each.offset, each.key, each.value) for each in theirs] == [*zip(offsets, keys, values)]


def test_control_batches_hold_no_messages() -> None:
    marker = resealed(built([(3, b"\0\0\0\1", b"\0\0\0\0\0\0")]), _22=CONTROL)
    payload = built(plain(3)) + marker + built(plain(2, 4))
    assert kafka.unpack(payload, *EVERYTHING).offsets == [0, 1, 2, 4, 5]
    assert kafka.unpack(payload, *EVERYTHING).damaged == []


def test_a_batch_that_compaction_has_emptied() -> None:
    empty = bytearray(built(plain(3)))[:61]
    empty[8:12] = (49).to_bytes(4, "big")
    empty[57:61] = bytes(4)
    assert kafka.unpack(resealed(bytes(empty)) + built(plain(1, 3)), *EVERYTHING).offsets == [3]


@pytest.mark.parametrize(("broken", "reason"), [
    (lambda batch: batch[:-1] + bytes([batch[-1] ^ 1]), "whose checksum is wrong"),
    (lambda batch: batch[:25] + b"\x7f" + batch[26:], "whose checksum is wrong"),  # the last offset's delta
    (lambda batch: resealed(batch, _22=5), "compression 5 is not known"),
    (lambda batch: resealed(batch, _22=1), "is not gzip"),
    (lambda batch: resealed(batch, _22=2), "is not snappy"),
    (lambda batch: resealed(batch, _22=3), "is not lz4"),
    (lambda batch: resealed(batch, _22=4), "is not zstd"),
    (lambda batch: resealed(batch, _60=4), "does not hold the 4 records"),
    (lambda batch: resealed(batch, _60=2), "does not hold the 2 records"),
    (lambda batch: resealed(batch, _57=255), "records that it says"),
    (lambda batch: resealed(batch, _61=3), "does not hold the 3 records"),
    (lambda batch: resealed(batch, _66=18), "does not hold the 3 records"),  # a value that reaches into the next record
    (lambda batch: resealed(batch, _65=14), "does not hold the 3 records"),  # a key that leaves no room for a value
    (lambda batch: resealed(batch, _16=1), "of format 1, not 2"),
])
def test_a_damaged_batch_is_returned_whole_and_the_next_is_read(broken: Any, reason: str) -> None:
    before, bad, after = built(plain(3, 10)), broken(built(plain(3, 20))), built(plain(3, 30))
    messages = kafka.unpack(before + bad + after, *EVERYTHING)
    assert messages.offsets == [10, 11, 12, 30, 31, 32]
    (damage,) = messages.damaged
    assert (damage.first, damage.last, damage.raw) == (20, 29, bad)
    assert reason in damage.error
    alone = kafka.unpack(bad, 21, 25)  # as it comes back, in a chunk of its own
    assert [(each.first, each.last, each.raw) for each in alone.damaged] == [(21, 25, bad)]
    assert kafka.unpack(before + bad + after, 30, 99).damaged == []
    assert kafka.unpack(before + bad + after, 0, 19).damaged == []


def test_offsets_that_do_not_ascend_are_damage() -> None:
    batch = built([(0, None, b"value 0"), (5, None, b"value 1"), (9, None, b"value 2")])
    assert kafka.unpack(batch, *EVERYTHING).offsets == [0, 5, 9]
    (damage,) = kafka.unpack(resealed(batch, _78=0), *EVERYTHING).damaged
    assert "does not hold the 3 records" in damage.error


@pytest.mark.parametrize("keep", [1, 60, 61, 80])
def test_a_batch_that_is_cut_short(keep: int) -> None:
    whole, cut = built(plain(3, 10)), built(plain(3, 20))[:keep]
    messages = kafka.unpack(whole + cut, 10, 25)
    assert messages.offsets == [10, 11, 12]
    (damage,) = messages.damaged
    assert damage.raw == cut
    assert 10 <= damage.first <= damage.last == 25


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_a_decompression_bomb_is_damage(codec: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "LIMIT", 100_000)
    fair = built([(0, None, bytes(90_000))], codec)
    bomb = built([(1, None, bytes(5_000_000))], codec)
    messages = kafka.unpack(fair + bomb, *EVERYTHING)
    assert messages.offsets == [0]
    assert [damage.error for damage in messages.damaged] == [
        "a record batch that cannot be read: unpacks to more than 100000 bytes"]


def test_offsets_at_the_ends_of_the_scale() -> None:
    top = pack([2**63 - 2, 2**63 - 1], [None, None], [b"a", b"b"])
    assert kafka.unpack(top, 0, 2**80).offsets == [2**63 - 2, 2**63 - 1]
    beyond = top[:8].replace(b"\xfe", b"\xff") + top[8:]  # its second message would lie past 64 bits
    assert kafka.unpack(beyond, -2**80, 2**80).offsets == [2**63 - 1, 2**63]
    bottom = (-2**63).to_bytes(8, "big", signed=True) + top[8:]
    assert kafka.unpack(bottom, -2**80, 2**80).offsets == [-2**63, -2**63 + 1]
    assert kafka.unpack(bottom, 5, 3) == Messages([], [], [])


@given(st.binary(max_size=300), st.integers(-2**70, 2**70), st.integers(-2**70, 2**70))
@settings(max_examples=200, deadline=None)
def test_arbitrary_bytes_raise_nothing(payload: bytes, first: int, last: int) -> None:
    messages = kafka.unpack(payload, first, last)
    if 0 < len(payload) < 8 and first <= last:
        assert messages.damaged
    scan(payload)
    magic(payload, 0)


BATCHES = st.lists(st.tuples(st.sampled_from(sorted(CODECS.values())), st.integers(1, 30)), min_size=1, max_size=4)


@given(BATCHES, st.data())
@settings(max_examples=200, deadline=None)
def test_flipped_bytes_never_give_a_false_value(shape: list[tuple[int, int]], data: st.DataObject) -> None:
    payload = bytearray(b"".join(built(plain(count, 100 * at), codec) for at, (codec, count) in enumerate(shape)))
    for place in data.draw(st.lists(st.integers(0, len(payload) - 1), min_size=1, max_size=5)):
        payload[place] ^= data.draw(st.integers(1, 255))
    messages, keys = unpack_keyed(bytes(payload), *EVERYTHING)
    assert set(messages.values) <= {value for _, _, value in plain(30)}
    assert len(messages.offsets) == len(messages.values) == len(keys)


@given(st.sampled_from(sorted(CODECS.values())), st.data())
@settings(max_examples=300, deadline=None)
def test_a_batch_changed_under_a_right_checksum_raises_nothing(codec: int, data: st.DataObject) -> None:
    records: list[Record] = [(0, b"key", b"value"), (1, None, b"v" * 200), (5, b"k" * 70, None)]
    batch = bytearray(built(records, codec))
    for place in data.draw(st.lists(st.integers(21, len(batch) - 1), min_size=1, max_size=4)):
        batch[place] = data.draw(st.integers(0, 255) | st.sampled_from([0, 1, 127, 128, 255]))
    payload = resealed(bytes(batch))
    for first, last in (EVERYTHING, (1, 4)):
        messages, keys = unpack_keyed(payload, first, last)
        assert len(messages.offsets) == len(messages.values) == len(keys)
        assert messages.offsets == sorted(messages.offsets)
        assert all(first <= offset <= last for offset in messages.offsets)
        assert not (messages.damaged and messages.values)


def test_scan_tells_the_heads_and_stops_where_they_end() -> None:
    batches = [built(plain(3, 10)), built(plain(2, 13), 4), built(plain(1, 99))]
    payload = b"".join(batches)
    ends = [len(batches[0]), len(batches[0]) + len(batches[1]), len(payload)]
    heads = [Span(0, ends[0], 10, 12, 3, -1, False, False), Span(ends[0], ends[1], 13, 14, 2, -1, False, False),
             Span(ends[1], ends[2], 99, 99, 1, -1, False, False)]
    assert scan(payload) == heads
    assert scan(payload[:-1]) == heads[:2]
    assert scan(payload, ends[0]) == heads[1:]
    assert scan(payload[:30]) == []


def test_scan_stops_before_an_older_format() -> None:
    new, old = built(plain(3)), built(plain(3), form=1)
    assert len(scan(new + old)) == 1
    assert magic(new + old, len(new)) == 1
    assert magic(new + old[:20], len(new)) == magic(new, len(new)) == magic(b"", 0) == -1


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from drtc.errors import SourceError

    compression.require()
    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.setitem(sys.modules, "lz4.frame", None)
    with pytest.raises(SourceError, match=r"needs lz4, zstandard: pip install 'drtc\[kafka\]'"):
        compression.require()
    with pytest.raises(ImportError):
        kafka.unpack(resealed(built(plain(1)), _22=4), *EVERYTHING)
