"""Damaged queues on disk: nothing wrong is ever delivered, nothing that is gone is passed over in silence."""
from __future__ import annotations

import logging
import os
import pickle
import random
from pathlib import Path

import pytest

from drtc.errors import Damaged, QueueError
from drtc.overflow import NAMES

from .queues import MIB, Queue, item

SEEDS = range(25)


@pytest.fixture(params=sorted(NAMES))
def queue(request: pytest.FixtureRequest, tmp_path: Path) -> Queue:
    return Queue(request.param, True, tmp_path)


def filled(queue: Queue, count: int, size: int = 40_000) -> list[int]:
    """The numbers of so many items in a closed queue."""
    opened = queue.open()
    numbers = opened.append([item(serial, size) for serial in range(count)])
    opened.close()
    return numbers


def flip(path: Path, at: int) -> None:
    with open(path, "r+b", buffering=0) as file:
        byte, = os.pread(file.fileno(), 1, at)
        os.pwrite(file.fileno(), bytes([byte ^ 0x10]), at)


def test_a_changed_item_is_set_aside_and_the_others_are_delivered(
        queue: Queue, caplog: pytest.LogCaptureFixture) -> None:
    numbers = filled(queue, 8)
    flip(queue.file, queue.file.read_bytes().index(item(3)) + 7_000)
    opened = queue.open()
    assert opened.pending() == numbers
    with pytest.raises(Damaged, match=f"item {numbers[3]} is damaged: its checksum is wrong; it was set aside"):
        opened.read(numbers[3])
    assert "item damaged, set aside" in caplog.text
    left = numbers[:3] + numbers[4:]
    assert (opened.damaged, opened.depth, opened.bytes) == (1, 7, 7 * 40_000) and opened.pending() == left
    with pytest.raises(Damaged):
        opened.read(numbers[3])
    assert opened.damaged == 1, "counted once"
    assert len((queue.root / f"damaged/{numbers[3]}.item").read_bytes()) > 40_000
    assert "checksum" in (queue.root / f"damaged/{numbers[3]}.reason").read_text()
    opened.discard(numbers[:2])
    opened.close()

    opened = queue.open()  # it does not come again, and is no gap
    assert opened.pending() == left[2:] and opened.gaps() == [] and opened.damaged == 0
    assert [opened.read(number) for number in left[2:]] == [item(serial, 40_000) for serial in (2, 4, 5, 6, 7)]
    opened.discard(left)
    opened.append([b"new"])
    opened.close()
    opened = queue.open()
    assert opened.depth == 1 and opened.gaps() == []
    opened.close()


def test_a_changed_item_of_an_open_cache_is_set_aside(queue: Queue) -> None:
    opened = queue.open(durable=False)
    numbers = opened.append([item(serial, MIB) for serial in range(24)])  # more than SQLite keeps in memory
    flip(queue.file, queue.file.read_bytes().index(item(3)) + 7_000)
    with pytest.raises(Damaged, match="checksum"):
        opened.read(numbers[3])
    assert opened.damaged == 1
    for serial in [*range(3), *range(4, 24)]:
        assert opened.read(numbers[serial]) == item(serial, MIB)
    opened.discard(numbers)
    new, = opened.append([b"new"])
    assert opened.pending() == [new] and opened.read(new) == b"new"
    opened.close()


def test_an_item_in_anothers_place_is_seen(queue: Queue) -> None:
    a, b, c = filled(queue, 3, 1000)
    queue.run("UPDATE Cache SET value = (SELECT value FROM Cache WHERE key = ?) WHERE key = ?",
              "UPDATE items SET item = (SELECT item FROM items WHERE number = ?) WHERE number = ?", c, b)
    opened = queue.open()
    with pytest.raises(Damaged, match=f"item {c} is in its place"):
        opened.read(b)
    assert opened.read(a) == item(0) and opened.read(c) == item(2)
    opened.close()


@pytest.mark.parametrize("size", [5, 16, 600])
def test_a_truncated_item_is_seen(queue: Queue, size: int) -> None:
    _, b, _ = filled(queue, 3, 1000)
    queue.run("UPDATE Cache SET value = substr(value, 1, ?) WHERE key = ?",
              "UPDATE items SET item = substr(item, 1, ?) WHERE number = ?", size, b)
    opened = queue.open()
    with pytest.raises(Damaged, match="checksum|truncated"):
        opened.read(b)
    opened.discard(opened.pending())
    assert (opened.depth, opened.bytes) == (0, 0)
    opened.close()


@pytest.mark.parametrize("gone", [0, 2, 4])
def test_a_row_that_has_gone_is_a_gap(queue: Queue, gone: int, caplog: pytest.LogCaptureFixture) -> None:
    numbers = filled(queue, 5, 1000)
    queue.run("DELETE FROM Cache WHERE key = ?", "DELETE FROM items WHERE number = ?", numbers[gone])
    opened = queue.open()
    assert opened.gaps() == [(numbers[gone], numbers[gone])] and "items missing" in caplog.text
    assert opened.pending() == [number for number in numbers if number != numbers[gone]]
    new, = opened.append([b"new"])
    assert new > numbers[-1]
    opened.close()


def test_discarded_items_are_no_gaps(queue: Queue) -> None:
    numbers = filled(queue, 6, 1000)
    for chosen in ([1, 4], [2], [0]):
        opened = queue.open()
        opened.discard([numbers[at] for at in chosen])
        opened.close()
        opened = queue.open()
        assert opened.gaps() == []
        opened.close()
    opened = queue.open()
    assert opened.pending() == [numbers[3], numbers[5]]
    opened.close()


def test_a_row_that_goes_while_it_is_open_is_damaged(tmp_path: Path) -> None:
    queue = Queue("diskcache", False, tmp_path)  # sqlite's file is locked: nobody else can
    opened = queue.open()
    a, b = opened.append([b"a", b"b"])
    queue.run("DELETE FROM Cache WHERE key = ?", "", a)
    with pytest.raises(Damaged, match="it is missing"):
        opened.read(a)
    assert opened.read(b) == b"b" and opened.pending() == [b] and opened.damaged == 1
    opened.close()


@pytest.mark.parametrize("part", [0, 0.3, 0.9])
def test_truncated_files_are_set_aside_aloud(queue: Queue, part: float, caplog: pytest.LogCaptureFixture) -> None:
    numbers = filled(queue, 20)
    os.truncate(queue.file, int(queue.file.stat().st_size * part))
    size = queue.file.stat().st_size
    with pytest.raises(QueueError, match="the durable queue is damaged .* and was set aside as .* start again"):
        queue.open()
    assert "queue damaged, set aside" in caplog.text
    kept, = queue.root.glob("damaged-*")
    assert (kept / queue.file.name).stat().st_size >= size * 0.9
    caplog.clear()
    opened = queue.open()
    assert opened.pending() == [] and "damaged before" in caplog.text
    new, = opened.append([b"new"])
    assert new > numbers[-1], "not even then does a number come again"
    opened.close()


def test_files_that_have_gone_are_said(queue: Queue) -> None:
    filled(queue, 3)
    queue.file.unlink()
    with pytest.raises(QueueError, match="damaged"):
        queue.open()
    queue.open().close()


def test_nothing_is_mapped(queue: Queue) -> None:
    """An error of the disk under a mapped file would end the process with SIGBUS."""
    opened = queue.open()
    numbers = opened.append([item(serial, MIB) for serial in range(12)])
    for number in numbers:
        opened.read(number)
        assert str(queue.file.parent) not in Path("/proc/self/maps").read_text()
    opened.close()


def test_files_truncated_in_use_end_nothing(queue: Queue) -> None:
    for durable in (False, True):
        opened = queue.open(durable=durable, name=f"durable-{durable}")
        numbers = opened.append([item(serial, MIB) for serial in range(24)])
        os.truncate(next(queue.root.parent.glob(f"durable-{durable}/queue/*.db")), 4 * MIB)
        whole = 0
        for serial, number in enumerate(numbers):
            try:
                assert opened.read(number) == item(serial, MIB)
                whole += 1
            except QueueError:
                pass
        assert whole < 24 and opened.damaged > 0
        opened.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_byte_is_changed_nothing_wrong_is_delivered(queue: Queue, seed: int) -> None:
    chance = random.Random(seed)
    sizes = [chance.choice([10, 3_000, 40_000]) for _ in range(12)]
    opened = queue.open()
    numbers = opened.append([item(serial, size) for serial, size in enumerate(sizes)])
    opened.discard([numbers[5]])
    opened.close()
    whole = queue.file.stat().st_size
    at = chance.choice([chance.randrange(100), chance.randrange(whole), chance.randrange(whole // 16384) * 16384])
    flip(queue.file, at)
    try:
        opened = queue.open()
    except QueueError as error:
        assert "set aside" in str(error), f"seed {seed}, byte {at}: {error}"
        return
    told = {number for first, last in opened.gaps() for number in range(first, last + 1)}
    for serial, number in enumerate(numbers):
        if number not in opened.pending():
            assert serial == 5 or number in told, f"seed {seed}, byte {at}: item {serial} has gone in silence"
            continue
        try:
            assert opened.read(number) == item(serial, sizes[serial]), f"seed {seed}, byte {at}"
        except Damaged:
            pass
    opened.close()


# --- nothing is unpickled ---

class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("column", ["value", "file", "key"])
def test_a_planted_pickle_is_never_unpickled(tmp_path: Path, column: str) -> None:
    queue = Queue("diskcache", True, tmp_path)
    a, b, c = filled(queue, 3, 1000)
    sprung = tmp_path / "sprung"
    trap = pickle.dumps(Trap(sprung))
    if column == "value":
        queue.run("UPDATE Cache SET mode = 4, value = ? WHERE key = ?", "", trap, b)
    elif column == "file":
        (queue.file.parent / "trap.val").write_bytes(trap)
        queue.run("UPDATE Cache SET mode = 4, value = NULL, filename = 'trap.val' WHERE key = ?", "", b)
    else:
        queue.run("UPDATE Cache SET key = ?, raw = 0 WHERE key = ?", "", trap, b)
    if column == "key":
        with pytest.raises(QueueError, match="a key that is no plain number"):
            queue.open()
    else:
        opened = queue.open()
        with pytest.raises(Damaged, match="it is not plain bytes, and is not unpickled"):
            opened.read(b)
        assert opened.read(a) == item(0) and opened.read(c) == item(2)
        opened.discard([a, c])
        opened.close()
    assert not sprung.exists()
    pickle.loads(trap)
    assert sprung.exists(), "the trap is one"


def test_text_in_the_place_of_bytes_is_refused(queue: Queue) -> None:
    a, b = filled(queue, 2, 1000)
    queue.run("UPDATE Cache SET value = 'text' WHERE key = ?", "UPDATE items SET item = 'text' WHERE number = ?", a)
    opened = queue.open()
    with pytest.raises(Damaged, match="plain bytes|of type str"):
        opened.read(a)
    assert opened.read(b) == item(1)
    opened.close()


def test_planted_settings_are_refused(tmp_path: Path) -> None:
    queue = Queue("diskcache", True, tmp_path)
    filled(queue, 2)
    queue.run("INSERT INTO Settings VALUES ('transact', 'x')", "")
    with pytest.raises(QueueError, match="settings that diskcache does not know"):
        queue.open()


def test_an_eviction_that_was_planted_is_put_right(tmp_path: Path) -> None:
    queue = Queue("diskcache", True, tmp_path)
    numbers = filled(queue, 30)
    for key, value in (("eviction_policy", "least-recently-stored"), ("cull_limit", 10), ("size_limit", 1000)):
        queue.run("UPDATE Settings SET value = ? WHERE key = ?", "", value, key)
    opened = queue.open()
    numbers += opened.append([item(serial, 40_000) for serial in range(30, 60)])
    assert [opened.read(number) for number in numbers] == [item(serial, 40_000) for serial in range(60)]
    opened.close()


def test_a_full_disk_loses_only_the_copy(queue: Queue, monkeypatch: pytest.MonkeyPatch,
                                         caplog: pytest.LogCaptureFixture) -> None:
    numbers = filled(queue, 3)
    flip(queue.file, queue.file.read_bytes().index(item(1)) + 7_000)
    (queue.root / "damaged").write_text("in the way")
    opened = queue.open()
    with caplog.at_level(logging.ERROR, "drtc.overflow"), pytest.raises(Damaged):
        opened.read(numbers[1])
    assert "damaged item not copied" in caplog.text and opened.pending() == [numbers[0], numbers[2]]
    opened.close()
