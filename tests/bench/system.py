"""drtc as a user runs it: an INI file, ``python -m drtc run``, results in SQLite or another store; and what that run
came to."""
from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Sequence

from drtc.compute.records import Layout
from drtc.job import Job, describe
from drtc.stores.base import Row

from ..contract.backends import BACKENDS, Backend
from ..services import Servers
from . import jobs
from .processes import Cost, Watched, cpu_of, drtc_role
from .streams import Campaigns, CampaignTruth, ProfileTruth, write_table

SQLITE = {"type": "sqlite", "path": "results.db"}
Sections = Mapping[str, Mapping[str, object]]
STAT_SECONDS = 0.01
ASK_SECONDS = 1.0


@dataclass
class Ran:
    """A run that has ended."""

    cost: Cost
    first: float  # epoch seconds: a partition was assigned, so nothing had been read before
    last: float  # the last write to SQLite's file; the same as ``answered`` where the store is another
    answered: float  # the collector, which had heard "stored" of everything and committed it, left
    stages: dict[str, float]  # seconds that workers spent in each stage, as they told last
    log: str


class Run:
    """``python -m drtc run`` in a directory of its own. Log lines are JSON objects, for this module to read."""

    def __init__(self, directory: Path, package: Path, sections: Sections, until_end: bool = True,
                 apart: Sequence[int] = (), sets: Sequence[str] = ()) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.results = directory / SQLITE["path"]
        self.log = directory / "log"
        self.ini = directory / "bench.ini"
        shutil.copy(Path(__file__).with_name("jobs.py"), directory)
        self.ini.write_text(ini({"store": SQLITE, **sections,
                                 "cluster": {"log": "json", **sections.get("cluster", {})}}))
        self._last_write = 0.0
        self._stages: dict[str, float] = {}
        self._over = threading.Event()
        command = [sys.executable, "-m", "drtc", "run", "-c", str(self.ini), *["--until-end"] * until_end,
                   *(word for each in sets for word in ("--set", each))]
        self.watched = Watched(command, directory, {"PYTHONPATH": str(package)}, self.log, apart, drtc_role)
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._look, self._ask)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Lets it drain, as Ctrl-C would."""
        self.watched.signal(signal.SIGTERM)

    def wait(self, timeout: float) -> Ran:
        """Waits for its end.

        Raises:
            TimeoutError: it takes too long; it has been killed. RuntimeError: it failed, with the end of its log.
        """
        try:
            cost = self.watched.wait(timeout)
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join()
        log = self.log.read_text("utf-8", "replace")
        if cost.code:
            raise RuntimeError(f"drtc run ended with {cost.code}:\n{log[-2000:]}")
        answered = self._logged("the collector stops") or cost.ended
        return Ran(cost, self.assigned() or cost.began, self._last_write or answered, answered, self._stages, log)

    def assigned(self) -> float | None:
        """When the first partition was assigned to the collector, epoch seconds; None while none is."""
        return self._logged("partition assigned")

    def _logged(self, words: str) -> float | None:
        """The time of the first log line with these words, epoch seconds."""
        for line in self.log.read_text("utf-8", "replace").splitlines():
            if f'"{words}"' in line:
                return datetime.fromisoformat(json.loads(line)["time"]).timestamp()
        return None

    def _look(self) -> None:
        """Every commit writes to the write-ahead log, which is gone when the store is closed."""
        path = f"{self.results}-wal"
        while not self._over.wait(STAT_SECONDS):
            try:
                self._last_write = max(self._last_write, os.stat(path).st_mtime)
            except FileNotFoundError:
                continue

    def _ask(self) -> None:
        """Keeps what the roles say of their work; the last word is up to a second and a half old."""
        from drtc.config import load
        from drtc.errors import DrtcError
        from drtc.observe.status import Watch

        watch = Watch(load(self.ini))
        while not self._over.wait(ASK_SECONDS):
            try:
                status = asyncio.run(watch.ask())
            except (DrtcError, OSError, asyncio.TimeoutError):
                continue
            for report in status["members"]:
                if report["role"] == "compute" and report["seconds"]:
                    self._stages = report["seconds"]


def ini(sections: Sections) -> str:
    """The text of an INI file."""
    return "\n".join(f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in section.items())
                     for name, section in sections.items())


def campaigns_sections(address: str, topic: str, group: str, route: str) -> dict[str, dict[str, object]]:
    """The campaigns job over a topic; all that is not said here is as drtc has it by default."""
    return {
        "job": {"class": "jobs:CampaignViews"}, "job.options": {"campaigns": "campaigns.json"},
        "source": {"type": "kafka", "brokers": address, "topic": topic, "group": group},
        "collector": {"route": route},
    }


def write_campaigns(campaigns: Campaigns, directory: Path) -> Path:
    """The table that the campaigns job is given at start."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "campaigns.json"
    write_table(campaigns, path)
    return path


def read_campaigns(results: Path) -> CampaignTruth:
    """What the campaigns job has stored."""
    return {(key, int(start)): views for key, start, views in
            _rows(results, "SELECT key, window_start, views FROM campaign_views_v1")}


def read_profiles(results: Path) -> ProfileTruth:
    """What the profile job has stored."""
    return {key: (views or 0, collects or 0, json.loads(recent)) for key, views, collects, recent in
            _rows(results, "SELECT key, views, collects, recent FROM profile_v1")}


@dataclass(frozen=True)
class Place:
    """A store of the contract suite that a run writes into."""

    backend: Backend

    @property
    def pids(self) -> list[int]:
        """Its server, as far as it is one process of ours."""
        try:
            return [self.backend.server.pid] if self.backend.server is not None else []
        except AssertionError:
            return []

    @property
    def cpu(self) -> float:
        """CPU seconds of its server so far."""
        return sum(map(cpu_of, self.pids))

    def campaigns(self) -> CampaignTruth:
        """What the campaigns job has stored, as its own ``scan`` gives it."""
        return {(str(row.id.key), int(row.id.start or 0)): row.values[0] for row in self._rows(jobs.CampaignViews)}

    def profiles(self) -> ProfileTruth:
        """What the profile job has stored."""
        return {str(row.id.key): (row.values[0] or 0, row.values[1] or 0, row.values[2])
                for row in self._rows(jobs.Profile)}

    def profile_saves(self) -> int:
        """How many times a record was saved: every save adds one to its version."""
        return sum(row.version for row in self._rows(jobs.Profile))

    def _rows(self, job: type[Job]) -> Iterator[Row]:
        view = Layout(describe(job), 1).view
        store = self.backend.open()
        try:
            store.prepare(view)
            yield from store.scan(view)
        finally:
            store.close()


@contextmanager
def place(name: str, directory: Path, servers: Servers) -> Iterator[Place]:
    """An empty store for a run in this directory.

    Raises:
        Absent: it cannot be had here.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with BACKENDS[name](directory, servers) as backend:
        yield Place(backend)


def saves(results: Path, table: str) -> int:
    """How many times a record was saved: every save adds one to its version."""
    return int(_rows(results, f"SELECT SUM(drtc_version) FROM {table}")[0][0])


def _rows(results: Path, query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(f"file:{results}?mode=ro", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def await_true(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Looks until it holds; TimeoutError if it does not within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.005)
