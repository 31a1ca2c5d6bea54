"""Queues on disk whose owner is killed by ``kill -9`` in the middle of anything: items are conserved."""
from __future__ import annotations

import os
import random
import signal
import sqlite3
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from drtc.errors import QueueFull

from .queues import ALL, Queue, item, label

ROUNDS = 8
_SERIAL = struct.Struct(">q")


def content(serial: int) -> bytes:
    return _SERIAL.pack(serial) + item(serial, 1_700 * serial % 90_000)


def torment(queue: Queue, first: int, seed: int, fuse: int) -> None:
    """Appends, reads and discards for ever, and says a line before and after each change of the queue.

    With a fuse it kills itself as SQLite is about to begin that statement, counted from the start.
    """
    chance = random.Random(seed)
    if fuse:
        light(fuse)
    opened = queue.open()
    serial = first
    say("open")
    while True:
        batch = range(serial, serial + chance.randrange(1, 6))
        serial = batch.stop
        say("append", *batch)
        try:
            numbers = opened.append([content(each) for each in batch])
        except QueueFull:
            say("refused", *batch)
        else:
            say("appended", *batch, *numbers)
        waiting = opened.pending()
        chosen = chance.sample(waiting, min(len(waiting), chance.randrange(7)))
        for number in chosen:
            opened.read(number)
        say("discard", *chosen)
        opened.discard(chosen)
        say("discarded", *chosen)


def light(fuse: int) -> None:
    connect = sqlite3.connect
    left = iter(range(fuse))

    def burn(statement: str) -> None:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    def connected(*arguments: Any, **others: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **others)
        connection.set_trace_callback(burn)
        return connection

    sqlite3.connect = connected  # type: ignore[assignment]


def say(*words: object) -> None:
    os.write(1, f"{' '.join(map(str, words))}\n".encode())


class Truth:
    """What must be there, from the lines of one child that was killed."""

    def __init__(self) -> None:
        self.certain: dict[int, int] = {}  # number to serial
        self.asked: set[int] = set()  # serials of an append that was not answered
        self.leaving: set[int] = set()  # numbers of a discard that was not answered
        self.seen = 0  # the next serial

    def hear(self, line: str) -> None:
        word, *rest = line.split()
        values = [int(each) for each in rest]
        if word == "append":
            self.asked = set(values)
            self.seen = max(values) + 1
        elif word in ("appended", "refused"):
            if word == "appended":
                half = len(values) // 2
                self.certain |= dict(zip(values[half:], values[:half]))
            self.asked = set()
        elif word == "discard":
            self.leaving = set(values)
        elif word == "discarded":
            for number in values:
                self.certain.pop(number, None)
            self.leaving = set()


@pytest.mark.slow
@pytest.mark.parametrize("kind, durable", ALL, ids=[label(*each) for each in ALL])
def test_items_are_conserved_over_kills(kind: str, durable: bool, tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance = random.Random(seed)
    queue = Queue(kind, durable, tmp_path, disk_bytes=4 << 20)
    truth = Truth()
    greatest = 0
    for turn in range(ROUNDS):
        fuse = chance.randrange(30, 600) if turn % 2 else 0
        lines = killed(queue, truth.seen, chance.randrange(1, 120), chance.randrange(1 << 30), fuse)
        for line in lines:
            truth.hear(line)
        opened = queue.open()
        there = {number: _SERIAL.unpack_from(opened.read(number))[0] for number in opened.pending()}
        for number, serial in there.items():
            assert opened.read(number) == content(serial)
        assert opened.gaps() == [] and opened.damaged == 0
        if durable:
            certain = {number: serial for number, serial in truth.certain.items() if number not in truth.leaving}
            assert certain.items() <= there.items(), "an item that was acknowledged has gone"
            extra = {serial for number, serial in there.items() if number not in truth.certain}
            assert extra in (set(), truth.asked), "of an append that was not answered: all or nothing"
            left = truth.leaving & there.keys()
            assert left in (set(), truth.leaving), "of a discard that was not answered: all or nothing"
            assert list(there.values()) == sorted(there.values()), "in order, and none twice"
        else:
            assert there == {}
        number, = opened.append([content(truth.seen)])
        assert number > max(greatest, *truth.certain, *there, 0)
        greatest = number
        truth.certain = {**there, number: truth.seen}
        truth.seen += 1
        truth.asked, truth.leaving = set(), set()
        opened.close()
        if not durable:
            truth.certain = {}


def killed(queue: Queue, first: int, count: int, seed: int, fuse: int) -> list[str]:
    """All that a child said: it had said so many lines and begun to change something, or its fuse had burnt down."""
    code = ("from pathlib import Path; from tests.contract.queues import Queue\n"
            "from tests.contract.test_overflow_torture import torment\n"
            f"torment(Queue({queue.kind!r}, {queue.durable}, Path({str(queue.base)!r}), {queue.disk_bytes}), "
            f"{first}, {seed}, {fuse})")
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True,
                             cwd=Path(__file__).parents[2])
    assert child.stdout is not None
    with child, child.stdout:
        lines = []
        for line in child.stdout:
            lines.append(line)
            if not fuse and len(lines) >= count and line.startswith(("append ", "discard ")):
                child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL, "the child failed by itself"
    return [line for line in lines if line.endswith("\n")]
