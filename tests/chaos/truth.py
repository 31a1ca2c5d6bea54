"""The events of a chaos run, made from a seed, and what their records must be: computed here, not by drtc."""
from __future__ import annotations

import json
import random
import sqlite3
from collections import defaultdict, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

from .job import GROUPS, RECENT


class Account(NamedTuple):
    """What a record shows. The amounts are large and random: a doubled event cannot make up for a lost one."""

    events: int
    total: int
    recent: list[int]


@dataclass
class Events:
    """``lines`` holds a list of (key, line) for each source partition; a key's events are all in one, in order."""

    lines: list[list[tuple[bytes, bytes]]]
    truth: dict[str, Account]

    @property
    def count(self) -> int:
        return sum(map(len, self.lines))


def make(seed: int, events: int, partitions: int, keys: int = 300) -> Events:
    """The same events for the same arguments."""
    dice = random.Random(seed)
    names = [f"key {number}" for number in range(keys)]
    homes = [crc32(name.encode()) % partitions for name in names]
    lines: list[list[tuple[bytes, bytes]]] = [[] for _ in range(partitions)]
    counts: dict[str, int] = defaultdict(int)
    totals: dict[str, int] = defaultdict(int)
    recents: dict[str, deque[int]] = defaultdict(lambda: deque(maxlen=RECENT))
    for number in range(events):
        at = int(keys * dice.random() ** 2)  # some keys are met much more often than others
        name = names[at]
        amount = dice.getrandbits(32)
        lines[homes[at]].append((name.encode(), b"%s,%d,%d" % (name.encode(), number, amount)))
        recents[name].append(number)
        for key in (name, f"group {number % GROUPS}"):
            counts[key] += 1
            totals[key] += amount
    return Events(lines, {key: Account(counts[key], totals[key], list(recents.get(key, ()))) for key in counts})


@dataclass
class Verdict:
    """How the store differs from the truth: names of records."""

    doubled: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)  # right in number, wrong in content or order

    @property
    def right(self) -> bool:
        return not (self.doubled or self.lost or self.wrong)

    def __str__(self) -> str:
        if self.right:
            return "every record equals the truth"
        parts = [f"{len(names)} records {what} (such as {names[0]})" for what, names in (
            ("with events counted twice", self.doubled), ("with events lost", self.lost),
            ("with wrong content", self.wrong)) if names]
        return ", ".join(parts)


def judge(found: dict[str, Account], truth: dict[str, Account]) -> Verdict:
    """Every record, those that should not be there included."""
    verdict = Verdict()
    for key in sorted({*found, *truth}):
        have, due = found.get(key), truth.get(key)
        if have == due:
            continue
        if have is None or (due is not None and have.events < due.events):
            verdict.lost.append(f"{key!r}: {have} instead of {due}")
        elif due is None or have.events > due.events:
            verdict.doubled.append(f"{key!r}: {have} instead of {due}")
        else:
            verdict.wrong.append(f"{key!r}: {have} instead of {due}")
    return verdict


def records(database: Path, view: str = "tally_v1") -> dict[str, Account]:
    """What stands in the SQLite store, read without drtc. Nothing where nothing was stored yet."""
    return {key: Account(events, total, json.loads(recent))
            for key, events, total, recent in rows(database, f"SELECT key, events, total, recent FROM {view}")}


def rows(database: Path, sql: str) -> list[tuple[Any, ...]]:
    """The answer of a database that others may be writing; none where the table is not there."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)
    try:
        return connection.execute(sql).fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return []
        raise
    finally:
        connection.close()
