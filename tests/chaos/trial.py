"""One life of a small cluster: roles as separate processes, faults, restarts, and the truth at its end.

The collector runs ``--until-end`` again and again until it ends by itself with 0. Whatever is killed is started again;
whatever stands still goes on later, when others have taken its work: a zombie.
"""
from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterable, Mapping

from drtc.commands.results import Results, companions, opened
from drtc.config import load
from drtc.errors import ClusterError
from drtc.observe.status import fetch
from drtc.stores import make_store
from drtc.stores.base import Row

from .crew import Crew, Failed, Seat
from .roles import ini, send
from .truth import Account, Verdict, judge, records, stored

SQLITE: Mapping[str, str] = {"type": "sqlite", "path": "results.db", "synchronous": "normal"}
HEARTBEAT, TIMEOUT = 0.2, 1.0  # seconds; [cluster], so short that a stop of STOP_SECONDS is longer than both
STOP_SECONDS = 2.0


@dataclass(frozen=True)
class Shape:
    """How a trial's cluster is built."""

    route: str = "partition"
    slots: int = 4
    coordinators: int = 1
    computes: int = 1
    workers: int = 2
    batch_bytes: str = "4K"
    commit: float = 0.1
    job: str = "Tally"  # a class of job.py
    version: int = 1  # of the Job: another one is another view, where a store outlives the trial
    store: Mapping[str, str] = field(default_factory=lambda: SQLITE)  # [store]

    def sections(self, source: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
        return {
            "job": {"class": f"tests.chaos.job:{self.job}", "version": self.version},
            "cluster": {"heartbeat": HEARTBEAT, "timeout": TIMEOUT},
            "source": source,
            "collector": {"route": self.route, "slots": self.slots, "batch_bytes": self.batch_bytes,
                          "commit": self.commit, "memory_bytes": "1M"},
            "coordinator": {"batch_bytes": self.batch_bytes, "memory_bytes": "1M"},
            # a worker that is killed for fun is not the event's fault, however often that happens
            "compute": {"workers": self.workers, "fork_bytes": 0, "worker_kills": 1000, "memory_bytes": "1M"},
            "store": self.store,
        }


@dataclass
class Storm:
    """Faults at random times: a kill or a stop of any role, a second collector. Ends after ``seconds``."""

    dice: random.Random
    seconds: float
    every: float = 0.5  # seconds, on average
    roles: tuple[str, ...] = ("collector", "coordinator", "compute", "worker")
    stops: float = 0.2  # the share of stops
    due: float = 0.0
    until: float = 0.0

    def start(self, now: float) -> None:
        self.until = now + self.seconds
        self.due = now + self.dice.expovariate(1 / self.every)

    def next(self, now: float) -> str | None:
        """A role to be struck now."""
        if now > self.until or now < self.due:
            return None
        self.due = now + self.dice.expovariate(1 / self.every)
        return self.dice.choice(self.roles)


@dataclass
class Outcome:
    verdict: Verdict
    met: Counter[str]  # what happened: "kill worker", "stop collector", "worker:save:after" ...
    missed: list[str]  # faults at points that no process got to
    seconds: float
    handled: Mapping[str, int]  # messages that each compute node there at the end has had


@dataclass
class Trial:
    """``faults`` are those of inject/sitecustomize.py; ``broken`` is its DRTC_CHAOS_BREAK. ``beside`` is called all
    the while the trial lives, with the time."""

    directory: Path
    shape: Shape
    source: Mapping[str, Any]
    truth: Mapping[str, Account]
    faults: Iterable[str] = ()
    storm: Storm | None = None
    broken: str = ""
    beside: Callable[[float], None] = lambda now: None
    second_collector: bool = False  # from the start
    deadline: float = 90.0  # seconds
    _seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        env = {"DRTC_CHAOS_MARKS": str(self.directory / "marks"), "DRTC_CHAOS_BREAK": self.broken,
               "DRTC_CHAOS": ",".join(self.faults)}
        self.crew = Crew(self.directory, self.directory / "job.ini", env)

    def run(self) -> Outcome:
        """Lives through it.

        Raises:
            Failed: with the last words of every role.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "marks").mkdir(exist_ok=True)
        ini(self.crew.ini, self.shape.sections(self.source))
        cls = type(make_store(load(self.crew.ini).store, self.directory))
        self.crew.env = {**self.crew.env, "DRTC_CHAOS_STORE": f"{cls.__module__}:{cls.__qualname__}"}
        seats = self.crew.seats
        for number in range(1, self.shape.coordinators + 1):
            seats.append(Seat("coordinator", f"coordinator-{number}"))
        for number in range(1, self.shape.computes + 1):
            seats.append(Seat("compute", f"compute-{number}"))
        for number in range(1, 3 if self.second_collector else 2):
            seats.append(self._collector(number))
        began = time.monotonic()
        try:
            self._live(began + self.deadline)
            took = time.monotonic() - began
            verdict = self._verdict()
            handled = self._handled()
            if verdict.right:
                self._run_again()
            self.crew.end("coordinator", "compute", killed=bool(self.faults))
        finally:
            self.crew.bury()
        missed = [fault for fault in self.faults if fault not in self._seen]
        return Outcome(verdict, self.crew.met, missed, took, handled)

    def results(self) -> AbstractContextManager[Results]:
        """The trial's store, open, and the Job's view, once ``run`` has begun."""
        return opened(load(self.crew.ini))

    def _collector(self, number: int) -> Seat:
        name = f"collector-{number}"
        member = ("--set", f"source.member={name}") if self.source["type"] == "kafka" else ()
        return Seat("collector", name, ("--until-end", *member))

    # --- living ---

    def _live(self, deadline: float) -> None:
        crew = self.crew
        for seat in crew.seats:
            crew.start(seat)
        if self.storm is not None:
            self.storm.start(time.monotonic())
        while not all(seat.done for seat in crew.of("collector")):
            now = time.monotonic()
            if now > deadline:
                raise Failed(f"not done after {self.deadline:g} s\n{crew.last_words()}")
            crew.look_after()
            self._notice_marks(now)
            self.beside(now)
            if self.storm is not None:
                role = self.storm.next(now)
                if role is not None:
                    self._strike(role, now, self.storm)
            crew.wake(now)
            time.sleep(0.01)
        crew.wake(float("inf"))

    def _notice_marks(self, now: float) -> None:
        """Faults at points leave a mark with the process id; one that stands still has to be woken later."""
        for fault in self.faults:
            mark = self.directory / "marks" / fault.replace(":", "-")
            if fault in self._seen or not mark.exists():
                continue
            text = mark.read_text()
            if not text:
                continue  # being written
            self._seen.add(fault)
            self.crew.met[":".join(fault.split(":")[:3])] += 1
            if fault.endswith(":stop"):
                self._stands_still(int(text), fault.partition(":")[0], now)

    def _stands_still(self, pid: int, role: str, now: float) -> None:
        crew = self.crew
        crew.stands_still(pid, role, now + STOP_SECONDS)
        if role == "collector" and len(crew.of("collector")) == 1:
            second = self._collector(2)
            crew.seats.append(second)
            crew.start(second)

    def _strike(self, role: str, now: float, storm: Storm) -> None:
        victim = self.crew.victim(role, storm.dice)
        if victim is None:
            return
        _, pid = victim
        if storm.dice.random() < storm.stops:
            send(pid, signal.SIGSTOP)
            self._stands_still(pid, role, now)
        else:
            self.crew.kill(pid, role)

    # --- the end ---

    def _verdict(self) -> Verdict:
        """SQLite is read without drtc; what its store says must be the same."""
        with self.results() as (store, view):
            found = stored(store, view)
            dead = companions(view)["dead letter"]
            store.prepare(dead)
            letters = list(store.scan(dead, limit=3))
        if self.shape.store["type"] == "sqlite":
            raw = records(self.directory / self.shape.store["path"], view.name)
            verdict = judge(raw, dict(self.truth))
            if found != raw:
                verdict.wrong.append("scan shows other records than stand in the file")
        else:
            verdict = judge(found, dict(self.truth))
        if letters:
            verdict.wrong.append(f"dead letters: {letters}")
        return verdict

    def _handled(self) -> dict[str, int]:
        try:
            members = fetch(load(self.crew.ini))["members"]
        except ClusterError:
            return {}  # nobody is there to be asked: the storm has just struck
        return {report["node"]: report["handled"] for report in members if report["role"] == "compute"}

    def _rows(self) -> list[Row]:
        """The view to the last byte: versions and fences too."""
        with self.results() as (store, view):
            return list(store.scan(view))

    def _run_again(self) -> None:
        """A bounded run that has finished finds nothing new and changes nothing."""
        crew = self.crew
        before = self._rows()
        again = crew.of("collector")[0]
        crew.start(again, {"DRTC_CHAOS": ""})
        deadline = time.monotonic() + 20
        while again.alive:
            if time.monotonic() > deadline:
                raise Failed(f"run again, {again.name} does not end\n{crew.last_words()}")
            crew.look_after()
            time.sleep(0.01)
        if again.running.code != 0 or self._rows() != before:
            raise Failed(f"run again, {again.name} ended with {again.running.code} or changed records\n"
                         f"{crew.last_words()}")


def kafka_source(address: str, topic: str, group: str) -> dict[str, Any]:
    """A ``[source]`` that reads a little at a time, and whose zombies lose their partitions within a stop's time."""
    return {"type": "kafka", "brokers": address, "topic": topic, "group": group, "session_timeout": TIMEOUT,
            "fetch_bytes": "16K", "partition_fetch_bytes": "8K"}


def files_source(pattern: Path) -> dict[str, Any]:
    return {"type": "files", "path": os.fspath(pattern), "chunk_bytes": "4K", "max_line_bytes": "64K"}
