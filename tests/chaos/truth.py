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

from drtc.stores.base import Store, View

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


#: after so many events a run of so many in each partition that yield nothing: whole batches of them are done at once,
#: before those that they stand behind are stored
QUIET_EVERY, QUIET_RUN, QUIET = 3000, 1000, b"quiet"


class Maker:
    """Makes events one by one, the same for the same arguments, and keeps account of what their records must be."""

    def __init__(self, seed: int, partitions: int, keys: int = 300, groups: int = GROUPS) -> None:
        self.made = 0
        self._dice = random.Random(seed)
        self._partitions = partitions
        self._keys = keys
        self._groups = groups
        self._counts: dict[str, int] = defaultdict(int)
        self._totals: dict[str, int] = defaultdict(int)
        self._recents: dict[str, deque[int]] = defaultdict(lambda: deque(maxlen=RECENT))

    def make(self, family: str = "key") -> tuple[int, bytes, bytes]:
        """The next event: its partition, key and line. The key is ``family`` and a number."""
        number = self.made
        self.made += 1
        name = f"{family} {int(self._keys * self._dice.random() ** 2)}"  # some are met much more often than others
        amount = self._dice.getrandbits(32)
        key = name.encode()
        self._recents[name].append(number)
        for record in (name, f"group {number % self._groups}"):
            self._counts[record] += 1
            self._totals[record] += amount
        return crc32(key) % self._partitions, key, b"%s,%d,%d" % (key, number, amount)

    @property
    def truth(self) -> dict[str, Account]:
        return {key: Account(self._counts[key], self._totals[key], list(self._recents.get(key, ())))
                for key in self._counts}


def make(seed: int, events: int, partitions: int, keys: int = 300, groups: int = GROUPS,
         quiet: bytes = QUIET) -> Events:
    """The same events for the same arguments. ``quiet``: the key of what yields nothing; a long one makes bulk."""
    maker = Maker(seed, partitions, keys, groups)
    lines: list[list[tuple[bytes, bytes]]] = [[] for _ in range(partitions)]
    for number in range(events):
        partition, key, line = maker.make()
        lines[partition].append((key, line))
        if number % QUIET_EVERY == QUIET_EVERY - 1:
            for share in lines:
                share += [(quiet, quiet + b",-1,0")] * QUIET_RUN
    return Events(lines, maker.truth)


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


class Tally(NamedTuple):
    """Events of a family of keys: what was sent, what is stored, and how these differ."""

    sent: int = 0
    stored: int = 0
    lost: int = 0
    doubled: int = 0


def tally(found: dict[str, Account], truth: dict[str, Account], family: str) -> Tally:
    """Counts the events of one family. Every key's are counted for themselves: a loss here does not make up for
    a double there."""
    keys = {key for key in {*found, *truth} if key.rpartition(" ")[0] == family}
    pairs = [(truth[key].events if key in truth else 0, found[key].events if key in found else 0) for key in keys]
    return Tally(sum(due for due, _ in pairs), sum(have for _, have in pairs),
                 sum(max(0, due - have) for due, have in pairs), sum(max(0, have - due) for due, have in pairs))


def stored(store: Store, view: View) -> dict[str, Account]:
    """What stands in a store of any kind, through its own ``scan``. Nothing where nothing was stored yet."""
    store.prepare(view)
    return {str(row.id.key): Account(*row.values) for row in store.scan(view)}


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
