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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Iterable, Mapping

from drtc.errors import NotDrained

from .roles import RoleProcess, ini, send, workers
from .truth import Account, Verdict, judge, records, rows

HEARTBEAT, TIMEOUT = 0.2, 1.0  # seconds; [cluster], so short that a stop of STOP_SECONDS is longer than both
STOP_SECONDS = 2.0


class Failed(AssertionError):
    """A trial that did not come to its end: it hung, or a role ended with an error."""


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

    def sections(self, source: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
        return {
            "job": {"class": "tests.chaos.job:Tally"},
            "cluster": {"heartbeat": HEARTBEAT, "timeout": TIMEOUT},
            "source": source,
            "collector": {"route": self.route, "slots": self.slots, "batch_bytes": self.batch_bytes,
                          "commit": self.commit, "memory_bytes": "1M"},
            "coordinator": {"batch_bytes": self.batch_bytes, "memory_bytes": "1M"},
            # a worker that is killed for fun is not the event's fault, however often that happens
            "compute": {"workers": self.workers, "fork_bytes": 0, "worker_kills": 1000, "memory_bytes": "1M"},
            "store": {"type": "sqlite", "path": "results.db", "synchronous": "normal"},
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
class Seat:
    """A role's name in the cluster, and the process that has it now."""

    role: str
    name: str
    process: RoleProcess | None = None
    done: bool = False  # a collector that has ended with 0
    begun: int = 0

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.code is None


@dataclass
class Outcome:
    verdict: Verdict
    met: Counter[str]  # what happened: "kill worker", "stop collector", "worker:save:after" ...
    missed: list[str]  # faults at points that no process got to
    seconds: float


@dataclass
class Trial:
    """``faults`` are those of inject/sitecustomize.py; ``broken`` is its DRTC_CHAOS_BREAK."""

    directory: Path
    shape: Shape
    source: Mapping[str, Any]
    truth: Mapping[str, Account]
    faults: Iterable[str] = ()
    storm: Storm | None = None
    broken: str = ""
    second_collector: bool = False  # from the start
    deadline: float = 90.0  # seconds
    seats: list[Seat] = field(default_factory=list)
    met: Counter[str] = field(default_factory=Counter)
    _stopped: dict[int, float] = field(default_factory=dict)  # process id -> when it goes on
    _seen: set[str] = field(default_factory=set)

    def run(self) -> Outcome:
        """Lives through it.

        Raises:
            Failed: with the last words of every role.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "marks").mkdir(exist_ok=True)
        ini(self.directory / "job.ini", self.shape.sections(self.source))
        for number in range(1, self.shape.coordinators + 1):
            self.seats.append(Seat("coordinator", f"coordinator-{number}"))
        for number in range(1, self.shape.computes + 1):
            self.seats.append(Seat("compute", f"compute-{number}"))
        for number in range(1, 3 if self.second_collector else 2):
            self.seats.append(Seat("collector", f"collector-{number}"))
        began = time.monotonic()
        try:
            self._live(began + self.deadline)
            took = time.monotonic() - began
            verdict = judge(records(self.directory / "results.db"), dict(self.truth))
            dead = rows(self.directory / "results.db", "SELECT key, error FROM tally_v1_dead")
            if dead:
                verdict.wrong.append(f"dead letters: {dead[:3]}")
            if verdict.right:
                self._run_again()
            self._end()
        finally:
            self._bury()
        missed = [fault for fault in self.faults if fault not in self._seen]
        return Outcome(verdict, self.met, missed, took)

    # --- living ---

    def _live(self, deadline: float) -> None:
        for seat in self.seats:
            self._start(seat)
        if self.storm is not None:
            self.storm.start(time.monotonic())
        while not all(seat.done for seat in self.seats if seat.role == "collector"):
            now = time.monotonic()
            if now > deadline:
                raise Failed(f"not done after {self.deadline:g} s\n{self._last_words()}")
            self._look_after(now)
            self._notice_marks(now)
            if self.storm is not None:
                role = self.storm.next(now)
                if role is not None:
                    self._strike(role, now, self.storm)
            self._wake(now)
            time.sleep(0.01)
        self._wake(float("inf"))

    def _look_after(self, now: float) -> None:
        for seat in self.seats:
            if seat.process is None or seat.alive or seat.done:
                continue
            if seat.process.code == 0 and seat.role == "collector":
                seat.done = True
            elif seat.process.code == -signal.SIGKILL:
                self._start(seat)
            elif seat.process.code == NotDrained.exit_code and seat.role == "collector":
                self.met["not drained"] += 1  # a group in mid-rebalance took no last commit: what it covers comes again
                self._start(seat)
            else:
                raise Failed(f"{seat.name} ended with {seat.process.code}\n{self._last_words()}")

    def _start(self, seat: Seat, sound: bool = False) -> None:
        """``sound``: without faults."""
        seat.begun += 1
        arguments = [seat.role, "-c", str(self.directory / "job.ini"), "--name", seat.name]
        if seat.role == "collector":
            arguments.append("--until-end")
            if self.source["type"] == "kafka":
                arguments += ["--set", f"source.member={seat.name}"]
        env = {"DRTC_CHAOS_MARKS": str(self.directory / "marks"), "DRTC_CHAOS_BREAK": self.broken,
               "DRTC_CHAOS": "" if sound else ",".join(self.faults)}
        seat.process = RoleProcess(arguments, self.directory / f"{seat.name}.log", env)

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
            self.met[":".join(fault.split(":")[:3])] += 1
            if fault.endswith(":stop"):
                self._stands_still(int(text), fault.partition(":")[0], now)

    def _stands_still(self, pid: int, role: str, now: float) -> None:
        self._stopped[pid] = now + STOP_SECONDS
        self.met[f"stop {role}"] += 1
        if role == "collector" and not any(seat.name == "collector-2" for seat in self.seats):
            second = Seat("collector", "collector-2")
            self.seats.append(second)
            self._start(second)

    def _strike(self, role: str, now: float, storm: Storm) -> None:
        seats = [seat for seat in self.seats if seat.alive and seat.role == ("compute" if role == "worker" else role)]
        if not seats:
            return
        seat = storm.dice.choice(seats)
        assert seat.process is not None
        pids = workers(seat.process.pid) if role == "worker" else [seat.process.pid]
        if not pids:
            return
        pid = storm.dice.choice(pids)
        if storm.dice.random() < storm.stops:
            send(pid, signal.SIGSTOP)
            self._stands_still(pid, role, now)
        else:
            self._stopped.pop(pid, None)
            send(pid, signal.SIGKILL)
            self.met[f"kill {role}"] += 1

    def _wake(self, now: float) -> None:
        for pid in [pid for pid, when in self._stopped.items() if when <= now]:
            del self._stopped[pid]
            send(pid, signal.SIGCONT)

    # --- the end ---

    def _run_again(self) -> None:
        """A bounded run that has finished finds nothing new and changes nothing."""
        everything = "SELECT * FROM tally_v1 ORDER BY key"
        before = rows(self.directory / "results.db", everything)
        again = next(seat for seat in self.seats if seat.role == "collector")
        self._start(again, sound=True)
        assert again.process is not None
        deadline = time.monotonic() + 20
        while again.alive:
            if time.monotonic() > deadline:
                raise Failed(f"run again, {again.name} does not end\n{self._last_words()}")
            self._look_after(time.monotonic())
            time.sleep(0.01)
        if again.process.code != 0 or rows(self.directory / "results.db", everything) != before:
            raise Failed(f"run again, {again.name} ended with {again.process.code} or changed records\n"
                         f"{self._last_words()}")

    def _end(self) -> None:
        """The others drain and end with 0 when they are told to."""
        for role in ("coordinator", "compute"):
            for seat in self.seats:
                if seat.role == role and seat.alive:
                    assert seat.process is not None
                    seat.process.end(20)
                    if seat.process.code not in (0, -signal.SIGKILL) or (seat.process.code and not self.faults):
                        raise Failed(f"told to stop, {seat.name} ended with {seat.process.code}\n{self._last_words()}")
        for log in self.directory.glob("co[mo]*.log"):  # a collector's is told by its exit code
            if "drain cut short" in log.read_text("utf-8", "replace"):
                raise Failed(f"{log.stem} could not drain, and gave up\n{self._last_words()}")

    def _bury(self) -> None:
        for pid in self._stopped:
            send(pid, signal.SIGCONT)
        for seat in self.seats:
            if seat.process is not None and seat.alive:
                seat.process.kill()

    def _last_words(self) -> str:
        words = [f"happened: {dict(self.met)}, in {self.directory}"]
        for seat in self.seats:
            if seat.process is not None:
                state = "running" if seat.alive else f"ended with {seat.process.code}"
                words.append(f"--- {seat.name}, {state}, started {seat.begun} times\n{seat.process.tail(12)}")
        return "\n".join(words)


def kafka_source(address: str, topic: str, group: str) -> dict[str, Any]:
    """A ``[source]`` that reads a little at a time, and whose zombies lose their partitions within a stop's time."""
    return {"type": "kafka", "brokers": address, "topic": topic, "group": group, "session_timeout": TIMEOUT,
            "fetch_bytes": "16K", "partition_fetch_bytes": "8K"}


def files_source(pattern: Path) -> dict[str, Any]:
    return {"type": "files", "path": os.fspath(pattern), "chunk_bytes": "4K", "max_line_bytes": "64K"}
