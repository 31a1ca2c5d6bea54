"""The files source in processes that are killed with -9 while a log grows and is rotated: every line once."""
from __future__ import annotations

import multiprocessing
import os
import random
import sqlite3
import time
from pathlib import Path

import pytest

from drtc.encodings import unpack
from drtc.sources import SourceContext, make_source
from drtc.sources.base import Listener, Position
from drtc.sources.files import FilesSettings
from drtc.stores.offsets import Offsets
from drtc.stores.sqlite import SQLiteSettings

SPAWN = multiprocessing.get_context("spawn")
LINES = 30_000
SECONDS = 60.0


class Ours(Listener):
    """Takes whatever is assigned."""

    def assigned(self, positions: object) -> None:
        pass

    revoked = lost = assigned


def collect(base: Path) -> None:
    """A collector and a store in one: each line is kept once, by its place, as fences would see to it."""
    results = sqlite3.connect(base / "lines.db", isolation_level=None, timeout=SECONDS)
    results.execute("PRAGMA journal_mode = WAL")
    results.execute("CREATE TABLE IF NOT EXISTS lines (partition, at, line, PRIMARY KEY (partition, at))")
    settings = FilesSettings(path="app.log*", follow=True, poll=0.005, rescan=0.05, rotated=0.3, chunk_bytes=4096)
    offsets = Offsets.later(SQLiteSettings(path="offsets.db"), base, "v")
    source = make_source(settings, SourceContext(base, "v", offsets, bounded=False))
    source.open(Ours(), print)
    stored: dict[str, Position] = {}
    while True:
        for chunk in source.read(0.05):
            messages = unpack(chunk.encoding, chunk.payload, chunk.first, chunk.last)
            assert not messages.damaged
            results.execute("BEGIN")
            results.executemany("INSERT OR IGNORE INTO lines VALUES (?, ?, ?)", (
                (chunk.partition, offset, value) for offset, value in zip(messages.offsets, messages.values)))
            results.execute("COMMIT")
            stored[chunk.partition] = Position(chunk.last + 1, "route=partition;slots=16")
        source.commit(stored)


def kept(base: Path) -> list[bytes]:
    if not (base / "lines.db").exists():
        return []
    results = sqlite3.connect(base / "lines.db", timeout=SECONDS)
    try:
        return [line for line, in results.execute("SELECT line FROM lines")]
    except sqlite3.OperationalError:
        return []  # the table is not there yet
    finally:
        results.close()


@pytest.mark.timeout(150)
def test_kill_9_amid_growth_and_rotation(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    log = tmp_path / "app.log"
    process = SPAWN.Process(target=collect, args=(tmp_path,))
    process.start()
    written = 0
    while written < LINES:
        with open(log, "ab", buffering=0) as file:
            for _ in range(chance.randint(1, 40)):
                some = chance.randint(1, 40)
                file.write(b"".join(b"line %06d\n" % n for n in range(written, written + some)))
                written += some
        act = chance.random()
        if act < 0.08:
            process.kill()
            process.join()
            process = SPAWN.Process(target=collect, args=(tmp_path,))
            process.start()
        if act > 0.9:
            for n in range(60, 0, -1):
                if (tmp_path / f"app.log.{n}").exists():
                    os.rename(tmp_path / f"app.log.{n}", tmp_path / f"app.log.{n + 1}")
            os.rename(log, tmp_path / "app.log.1")
        time.sleep(chance.uniform(0, 0.2))
    deadline = time.monotonic() + SECONDS
    try:
        while len(kept(tmp_path)) < written and time.monotonic() < deadline:
            assert process.is_alive()
            time.sleep(0.05)
    finally:
        process.kill()
        process.join()
    assert sorted(kept(tmp_path)) == [b"line %06d" % n for n in range(written)]
