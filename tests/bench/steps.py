"""Numbered events and a Job that sleeps: what the benchmarks of scaling, bursts and idle nodes run.

The Job sleeps for each event, so that the number of workers and not that of processors decides how fast it is. A key's
events are ``key``, ``key + KEYS``, ``key + 2 KEYS`` ...: whoever looks at a record, at whatever moment, can tell from
its count alone what its sum and its last number must be, if its events were counted once each and in order.
"""
from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Any, Iterator, Mapping, NamedTuple

import drtc

KEYS = 2_000
LOOK_SECONDS = 0.2


class Step(drtc.Event):
    key: str
    number: int
    filler: str


class Steps(drtc.Job):
    """``[job.options] sleep``: seconds for each event, until a file named ``pace`` beside the INI file says others.

    A worker that ends well leaves a file ``slept-PID``: how many events it has mapped, and how long it slept.
    """

    decode = drtc.csv(Step)

    events = drtc.Count()
    total = drtc.Sum(int)
    latest = drtc.Last(int)

    def open(self, context: drtc.Context) -> None:
        self._sleep = float(context.options.get("sleep", 0))
        self._pace = context.base / "pace"
        self._next_look = 0.0
        self._left = context.base / f"slept-{os.getpid()}"
        self._events, self._slept = 0, 0.0

    def close(self) -> None:
        self._left.write_text(f"{self._events} {self._slept}")

    def map(self, step: Step) -> Iterator[tuple[str, dict[str, Any]]]:
        now = time.monotonic()
        if now > self._next_look:
            self._next_look = now + LOOK_SECONDS
            if self._pace.exists():
                self._sleep = float(self._pace.read_text())
        if self._sleep:
            time.sleep(self._sleep)
        self._events += 1
        self._slept += time.monotonic() - now
        yield step.key, {"events": 1, "total": step.number, "latest": step.number}


class Account(NamedTuple):
    """A record as it is in the store."""

    events: int
    total: int
    latest: int


def line(number: int, filler: str = "") -> str:
    """An event, as a line of a file."""
    return f"{number % KEYS},{number},{filler}\n"


def partition_of(number: int, partitions: int) -> int:
    """A key's events are all in one partition, or there would be no order to be checked."""
    return number % KEYS % partitions


def write(directory: Path, events: int, partitions: int, filler: str = "") -> Path:
    """Writes the events into files, one for each source partition; returns the pattern that matches them."""
    files = [open(directory / f"part-{number}.csv", "w") for number in range(partitions)]
    for number in range(events):
        files[partition_of(number, partitions)].write(line(number, filler))
    for file in files:
        file.close()
    return directory / "part-*.csv"


def due(key: int, events: int) -> Account:
    """What a key's record must be once so many of its events are counted."""
    return Account(events, key * events + KEYS * events * (events - 1) // 2, key + KEYS * (events - 1))


def truth(events: int) -> dict[str, Account]:
    """Every record, once so many events have been counted."""
    return {str(key): due(key, (events - key + KEYS - 1) // KEYS) for key in range(min(events, KEYS))}


def read(results: Path) -> dict[str, Account]:
    """What is stored at this moment, which is consistent; {} before anything is."""
    if not results.exists():
        return {}
    connection = sqlite3.connect(f"file:{results}?mode=ro", uri=True, timeout=30)
    try:
        rows = connection.execute("SELECT key, events, total, latest FROM steps_v1").fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return {}
        raise
    finally:
        connection.close()
    return {key: Account(*account) for key, *account in rows}


def disordered(records: Mapping[str, Account]) -> list[str]:
    """The keys whose record is not the beginning of their events: one was left out, doubled or overtaken."""
    return [key for key, account in records.items() if account != due(int(key), account.events)]


def slept(directory: Path) -> list[tuple[int, float]]:
    """Of each worker that has ended: events that it mapped, and seconds that it slept for them."""
    return [(int(events), float(seconds)) for events, seconds in
            (path.read_text().split() for path in directory.glob("slept-*"))]


def counted(records: Mapping[str, Account]) -> int:
    """How many events are in the records."""
    return sum(account.events for account in records.values())
