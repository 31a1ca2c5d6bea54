"""The contract of the queue on disk (drtc/overflow/base.py): one suite, run against every type in both modes."""
from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Iterator

import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import (RuleBasedStateMachine, initialize, invariant, precondition, rule,
                                 run_state_machine_as_test)

from drtc.errors import Damaged, QueueError, QueueFull
from drtc.overflow.base import Overflow

from .queues import ALL, MIB, Queue, item, label


@pytest.fixture(params=ALL, ids=[label(*each) for each in ALL])
def queue(request: pytest.FixtureRequest, tmp_path: Path) -> Queue:
    kind, durable = request.param
    return Queue(kind, durable, tmp_path)


@pytest.fixture
def opened(queue: Queue) -> Iterator[Overflow]:
    found = queue.open()
    yield found
    found.close()


# --- order and content ---

def test_what_was_appended_is_read_in_order(opened: Overflow) -> None:
    assert (opened.depth, opened.bytes, opened.damaged, opened.pending()) == (0, 0, 0, [])
    items = [b"", b"a", item(1), bytearray(item(2, 70_000)), memoryview(item(3, 300_000)), b"\x80\x04N."]
    first = opened.append(items[:2])
    numbers = first + opened.append(items[2:])
    assert numbers == sorted(set(numbers)) and opened.pending() == numbers
    assert [opened.read(number) for number in numbers] == [bytes(each) for each in items]
    assert [opened.read(number) for number in reversed(numbers)] == [bytes(each) for each in reversed(items)]
    assert opened.depth == 6 and opened.bytes == sum(map(len, items))
    assert all(type(opened.read(number)) is bytes for number in numbers)


def test_nothing_appended_is_nothing(opened: Overflow) -> None:
    assert opened.append([]) == [] and opened.depth == 0


def test_bytes_of_an_array_are_its_own_bytes(opened: Overflow) -> None:
    import array

    numbers = array.array("I", range(100))
    number, = opened.append([memoryview(numbers)])
    assert opened.bytes == 400 and opened.read(number) == numbers.tobytes()


def test_reading_leaves_an_item_in_the_queue_and_discarding_takes_it(opened: Overflow) -> None:
    a, b, c = opened.append([b"a", b"bb", b"ccc"])
    assert opened.read(b) == opened.read(b) == b"bb"
    opened.discard([b])
    assert opened.pending() == [a, c] and (opened.depth, opened.bytes) == (2, 4)
    opened.discard([b, c, c + 1000])
    opened.discard([])
    assert opened.pending() == [a] and opened.bytes == 1
    for gone in (b, c, c + 1000):
        with pytest.raises(QueueError, match="is not in the queue") as refused:
            opened.read(gone)
        assert not isinstance(refused.value, Damaged)
    assert opened.damaged == 0


@pytest.mark.parametrize("wrong", ["text", 5, None, object(), [b"a"]])
def test_only_bytes_are_taken(opened: Overflow, wrong: object) -> None:
    with pytest.raises(TypeError):
        opened.append([b"a", wrong])  # type: ignore[list-item]
    assert opened.depth == 0


def test_large_items_are_in_the_database(queue: Queue, opened: Overflow) -> None:
    items = [item(number, 5 * MIB) for number in range(3)]
    numbers = opened.append(items)
    assert [opened.read(number) for number in numbers] == items
    files = {path.name for path in queue.file.parent.rglob("*")}
    assert files - {f"{queue.file.name}-journal"} == {queue.file.name}


def test_another_thread_may_go_on(opened: Overflow) -> None:
    from concurrent.futures import ThreadPoolExecutor

    numbers = []
    for _ in range(3):
        with ThreadPoolExecutor(1) as pool:
            numbers += pool.submit(opened.append, [b"a", b"b"]).result()
            assert pool.submit(opened.read, numbers[-1]).result() == b"b"
    assert opened.pending() == numbers


# --- restart ---

def test_a_cache_is_empty_after_a_restart_and_a_durable_queue_is_not(queue: Queue) -> None:
    first = queue.open()
    numbers = first.append([item(number) for number in range(10)])
    first.discard([numbers[0], numbers[4]])
    first.close()
    first.close()
    again = queue.open()
    left = numbers[1:4] + numbers[5:] if queue.durable else []
    assert again.pending() == left and again.depth == len(left) and again.bytes == 1000 * len(left)
    assert again.gaps() == [] and again.damaged == 0
    assert [again.read(number) for number in left] == [item(numbers.index(number)) for number in left]
    new, = again.append([b"new"])
    assert new > numbers[-1]
    again.close()


def test_a_number_never_comes_again(queue: Queue) -> None:
    seen = []
    for _ in range(4):
        opened = queue.open()
        seen += opened.append([b"a", b"b", b"c"])
        opened.discard(seen)
        opened.close()
    assert seen == sorted(set(seen))


def test_a_closed_cache_leaves_nothing_on_disk(queue: Queue, opened: Overflow) -> None:
    opened.append([item(1, MIB)])
    opened.close()
    left = sum(path.stat().st_size for path in queue.root.rglob("*") if path.is_file())
    assert left > MIB if queue.durable else left < 100


def test_room_is_given_back_when_the_queue_is_empty(queue: Queue, opened: Overflow) -> None:
    numbers = opened.append([item(number, MIB) for number in range(24)])
    assert queue.file.stat().st_size > 24 * MIB
    opened.discard(numbers)
    assert queue.file.stat().st_size < MIB
    number, = opened.append([b"a"])
    assert opened.read(number) == b"a"


def test_room_is_used_again(queue: Queue, opened: Overflow) -> None:
    numbers = opened.append([item(number, MIB) for number in range(8)])
    for number in range(40):
        opened.discard([numbers.pop(0)])
        numbers += opened.append([item(number, MIB)])
    assert queue.file.stat().st_size < 10 * MIB and opened.depth == 8


# --- limits ---

def test_the_budget_is_kept_and_nothing_is_evicted(queue: Queue) -> None:
    opened = queue.open(disk_bytes=MIB)
    numbers = [opened.append([item(number, 128 << 10)])[0] for number in range(8)]
    assert opened.bytes == MIB
    with pytest.raises(QueueFull, match=r"disk_bytes = 1048576 are in use") as full:
        opened.append([b"x"])
    assert full.value.retryable
    opened.discard(numbers[:1])
    with pytest.raises(QueueFull):
        opened.append([item(9, 64 << 10), item(10, 65 << 10)])
    assert opened.pending() == numbers[1:], "all or none"
    numbers += opened.append([item(9, 64 << 10), item(10, 64 << 10)])
    assert [opened.read(number) for number in numbers[1:8]] == [item(number, 128 << 10) for number in range(1, 8)]
    opened.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "drtc-test", place], capture_output=True,
                             text=True)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)  # even where a test that failed has it open


def test_a_full_disk_refuses_and_reads_and_discards_go_on(queue: Queue, small_disk: Path) -> None:
    queue = Queue(queue.kind, queue.durable, small_disk)
    opened = queue.open()
    kept: dict[int, int] = {}
    serial = 0
    for size in (256 << 10, 16 << 10, 4096, 64):  # to the last byte
        with pytest.raises(QueueFull, match="the disk is full") as full:
            while True:
                number, = opened.append([item(serial, size)])
                kept[number] = serial
                serial += 1
        assert full.value.retryable and opened.pending() == list(kept)
    ballast = small_disk / "ballast"  # what is left goes to others
    with open(ballast, "wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(bytes(512))
    for turn in range(3):
        for number in list(kept)[: len(kept) // 2]:
            assert opened.read(number)[:4] == item(kept.pop(number))[:4]
            opened.discard([number])
        assert opened.pending() == list(kept)
        new, = opened.append([item(serial, 4096)])  # there is room again
        kept[new] = serial
        serial += 1
    opened.close()
    if queue.durable:
        opened = queue.open()
        assert opened.pending() == list(kept) and opened.gaps() == [] and opened.damaged == 0
        assert all(opened.read(number)[:4] == item(serial)[:4] for number, serial in kept.items())
        opened.close()


# --- the directory ---

def test_the_directory_is_private(queue: Queue, opened: Overflow) -> None:
    assert stat.S_IMODE(queue.root.stat().st_mode) == 0o700


def test_a_directory_that_others_may_read_is_refused(queue: Queue) -> None:
    queue.root.mkdir(parents=True)
    queue.root.chmod(0o755)
    with pytest.raises(QueueError, match="others may read or write this directory: chmod 700"):
        queue.open()


def test_a_second_owner_is_refused(queue: Queue, opened: Overflow) -> None:
    number, = opened.append([b"a"])
    with pytest.raises(QueueError, match=f"process {os.getpid()} uses this queue"):
        queue.open()
    code = ("import sys; from pathlib import Path; from tests.contract.queues import Queue\n"
            f"Queue({queue.kind!r}, {queue.durable}, Path({str(queue.base)!r})).open()")
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60,
                           cwd=Path(__file__).parents[2])
    assert other.returncode == 1 and f"process {os.getpid()} uses this queue" in other.stderr
    assert opened.read(number) == b"a"
    opened.close()
    queue.open().close()


def test_queues_of_other_names_are_others(queue: Queue, opened: Overflow) -> None:
    number, = opened.append([b"mine"])
    for name in ("coordinator-2", "../x", "a/b", ".", "..", "ü" * 20):
        other = queue.open(name=name)
        assert other.depth == 0
        other.append([b"theirs"])
        other.close()
    assert opened.read(number) == b"mine"
    assert {path.parent for path in queue.base.rglob("mode")} == {path for path in (queue.base / "overflow").iterdir()}


def test_caches_of_dead_owners_are_removed_and_nothing_else(queue: Queue, opened: Overflow) -> None:
    parent = queue.root.parent
    for name, mode in (("dead", "cache"), ("journal", "durable"), ("stranger", "other")):
        files = parent / name / "queue"
        files.mkdir(parents=True)
        (files / "x").write_text("x")
        (parent / name / "mode").write_text(mode)
    kept = opened.append([b"a"])
    queue.open(name="third", durable=False).close()
    assert not (parent / "dead").exists()
    assert (parent / "journal/queue/x").exists() and (parent / "stranger/queue/x").exists()
    assert opened.pending() == kept and opened.read(kept[0]) == b"a"


def test_owners_that_open_at_once_do_not_sweep_one_another_away(queue: Queue) -> None:
    def again_and_again(name: str) -> None:
        for _ in range(20):
            queue.open(name=name, durable=False).close()

    with ThreadPoolExecutor(4) as threads:
        for owner in [threads.submit(again_and_again, f"coordinator-{number}") for number in range(4)]:
            owner.result()


def test_a_durable_queue_is_not_emptied_by_mistake(queue: Queue) -> None:
    opened = queue.open(durable=True)
    number, = opened.append([b"kept"])
    opened.close()
    with pytest.raises(QueueError, match="this is a durable queue, which must not be emptied"):
        queue.open(durable=False)
    (queue.root / "mode").unlink()
    for durable in (True, False):
        with pytest.raises(QueueError, match="must not be emptied"):
            queue.open(durable=durable)
    (queue.root / "mode").write_text("durable\n")
    opened = queue.open(durable=True)
    assert opened.read(number) == b"kept"
    opened.close()


def test_what_cannot_be_a_directory_is_one_sentence(queue: Queue) -> None:
    (queue.base / "overflow").write_text("a file")
    with pytest.raises(QueueError, match="the queue cannot lie here: .*: set another directory") as refused:
        queue.open()
    assert "\n" not in str(refused.value)


def test_a_half_made_queue_is_made_again(queue: Queue) -> None:
    queue.open().close()
    if (queue.root / "queue").exists():
        os.rename(queue.root / "queue", queue.root / "queue.new")
    else:
        (queue.root / "queue.new").mkdir()
    opened = queue.open()
    assert opened.pending() == [] and opened.append([b"a"])
    opened.close()


def test_a_file_that_was_removed_in_use_is_said(queue: Queue, opened: Overflow) -> None:
    opened.append([b"a"])
    queue.file.unlink()
    with pytest.raises(QueueError, match="was removed or replaced while it was in use"):
        opened.append([b"b"])


# --- anything that may happen ---

class Machine(RuleBasedStateMachine):
    """The queue beside a dict."""

    queue: Queue

    @initialize()
    def begin(self) -> None:
        import tempfile

        self.directory = tempfile.TemporaryDirectory()
        self.place = Queue(self.queue.kind, self.queue.durable, Path(self.directory.name), disk_bytes=40_000)
        self.opened = self.place.open()
        self.truth: dict[int, bytes] = {}
        self.last = 0
        self.serial = 0

    @rule(sizes=st.lists(st.sampled_from([0, 1, 100, 5_000, 20_000]), max_size=4))
    def append(self, sizes: list[int]) -> None:
        items = [item(self.serial + at, size) for at, size in enumerate(sizes)]
        self.serial += len(items)
        if sum(map(len, self.truth.values())) + sum(sizes) > 40_000:
            with pytest.raises(QueueFull):
                self.opened.append(items)
            return
        numbers = self.opened.append(items)
        assert all(a < b for a, b in zip([self.last, *numbers], numbers))
        self.last = max([self.last, *numbers])
        self.truth |= dict(zip(numbers, items))

    @rule(chosen=st.sets(st.integers(0, 12), max_size=6))
    def discard(self, chosen: set[int]) -> None:
        numbers = [number for at, number in enumerate(self.truth) if at in chosen]
        self.opened.discard(numbers)
        for number in numbers:
            del self.truth[number]

    @precondition(lambda self: self.truth)
    @rule(at=st.integers(0, 100))
    def read(self, at: int) -> None:
        number = list(self.truth)[at % len(self.truth)]
        assert self.opened.read(number) == self.truth[number]

    @rule()
    def restart(self) -> None:
        self.opened.close()
        self.opened = self.place.open()
        assert self.opened.gaps() == []
        if not self.queue.durable:
            self.truth.clear()

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "opened"):
            assert self.opened.pending() == list(self.truth) and self.opened.depth == len(self.truth)
            assert self.opened.bytes == sum(map(len, self.truth.values())) and self.opened.damaged == 0

    def teardown(self) -> None:
        if hasattr(self, "opened"):
            self.opened.close()
            self.directory.cleanup()


def test_any_history_agrees_with_a_dict(queue: Queue) -> None:
    machine = type("Machine", (Machine,), {"queue": queue})
    run_state_machine_as_test(machine, settings=settings(
        max_examples=6 if queue.durable else 15, stateful_step_count=15, deadline=None,
        suppress_health_check=list(HealthCheck)))


def test_a_warning_is_repeated_while_something_lies_set_aside(queue: Queue, caplog: pytest.LogCaptureFixture) -> None:
    queue.open().close()
    (queue.root / "damaged").mkdir()
    (queue.root / "damaged/7.item").write_bytes(b"x")
    with caplog.at_level(logging.WARNING, "drtc.overflow"):
        queue.open().close()
    assert "damaged before" in caplog.text
