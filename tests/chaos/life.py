"""A cluster under a steady stream of events, struck again and again: two collectors, three coordinators, three nodes.

A fault strikes, lasts and is healed; the run is over when throughput is back and nothing has piled up any more. Each
run's events have keys of their own, so that at the end of the cluster's life every run is judged for itself.
"""
from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Mapping, NamedTuple, Sequence

from drtc.errors import ClusterError

from ..services import Kafka
from ..services.base import free_port
from ..services.zookeeper import ZooKeeper
from . import course
from .asking import Asking
from .crew import Crew, Failed, Seat
from .fault import Fault, Stage
from .meter import Meter
from .proxy import Proxies
from .roles import ROOT, ini
from .stream import Stream
from .tmpfs import mount, refusal, unmount
from .truth import Account, Tally, judge, records, rows, tally

COLLECTORS, COORDINATORS, COMPUTES = 2, 3, 3
PARTITIONS, SLOTS = 4, 16
PATIENCE = 90.0  # seconds; for what takes a few on a quiet machine


@dataclass(frozen=True)
class Times:
    """How long a life's faults and time-outs are, seconds. With a minute of 60 the time-outs are drtc's defaults."""

    minute: float = 60.0

    @property
    def stop(self) -> float:
        """SIGSTOP: half a minute."""
        return self.minute / 2

    @property
    def heartbeat(self) -> float:
        return self.minute / 30

    @property
    def timeout(self) -> float:
        return self.minute / 6

    @property
    def session(self) -> float:
        """Of ZooKeeper and of Kafka's group; a ZooKeeper session is never shorter than two of its ticks."""
        return max(1.0, self.minute / 6)


class Run(NamedTuple):
    """What one stroke of a fault did."""

    fault: str
    events: Tally
    watched: bool  # whether somebody has to notice
    noticed: float | None  # seconds from the stroke; None: by nobody
    back: float  # seconds from the stroke to throughput; 0: no dip
    backlog: int  # events


@dataclass
class _Struck:
    fault: Fault
    family: str
    at: float
    sign: str
    until: float = 0.0


@dataclass
class Life:
    """``strike`` any number of times between ``begin`` and ``end``; ``close`` in every case."""

    directory: Path
    stage: Stage
    times: Times
    seed: int
    kafka: Kafka
    zookeeper: ZooKeeper | None  # None: local membership, for faults that do without it
    rate: int = 2000  # events a second
    window: float = course.WINDOW  # seconds over which throughput is measured
    crew: Crew = field(init=False)
    proxies: Proxies = field(init=False)
    stream: Stream = field(init=False)
    meter: Meter = field(init=False)
    clocks: Path = field(init=False)
    _struck: list[_Struck] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True)
        self.clocks = self.directory / "clocks"
        self.clocks.mkdir()
        self.cluster = f"chaos-{random.SystemRandom().getrandbits(40):010x}"
        topic = self.kafka.create_topic(self.kafka.fresh("chaos"), PARTITIONS)
        # a ZooKeeper name outlives its owner by a session, as a supervisor that starts a role again has to know
        self.crew = Crew(self.directory, self.directory / "job.ini", again=(ClusterError.exit_code,))
        self.proxies = Proxies()
        self.stream = Stream(self.kafka, topic, PARTITIONS, self.rate, self.seed)
        self.meter = Meter(self.directory, self.stream)
        ini(self.crew.ini, self._sections(topic))

    @property
    def store(self) -> Path:
        return self.directory / "results.db"

    # --- the beginning ---

    def _sections(self, topic: str) -> Mapping[str, Mapping[str, Any]]:
        times = self.times
        common: dict[str, Mapping[str, Any]] = {
            "job": {"class": "tests.chaos.job:Tally"},
            "cluster": {"name": self.cluster, "heartbeat": times.heartbeat, "timeout": times.timeout, **self._seats()},
            "source": {"type": "kafka", "brokers": self.kafka.address, "topic": topic, "group": self.cluster,
                       "session_timeout": times.session},
            "collector": {"route": "key", "slots": SLOTS, "commit": 0.2},
            # a worker that is killed for fun is not the event's fault, however often that happens
            "compute": {"workers": 2, "worker_kills": 1000},
            "store": {"type": "sqlite", "path": "results.db", "synchronous": "normal", "busy_seconds": 1},
        }
        special = self.stage.settings(self.directory)
        return {name: {**common.get(name, {}), **special.get(name, {})} for name in {**common, **special}}

    def _seats(self) -> dict[str, Any]:
        """Fills the seats; the ``[cluster]`` settings by which they find each other."""
        addresses: dict[str, list[str]] = {"coordinator": [], "compute": []}
        for role, count in (("coordinator", COORDINATORS), ("compute", COMPUTES), ("collector", COLLECTORS)):
            for number in range(1, count + 1):
                seat = Seat(role, f"{role}-{number}", env={"DRTC_CHAOS_CLOCK": str(self.clocks / f"{role}-{number}")})
                if role == "collector":
                    seat.options = ("--set", f"source.member={seat.name}")
                elif self.stage.proxied:
                    port = free_port()
                    seat.options = ("--listen", f"127.0.0.1:{port}")
                    proxy = self.proxies.add(seat.name, port, random.Random(f"{self.seed} {seat.name}"))
                    addresses[role].append(f"127.0.0.1:{proxy.port}")
                self.crew.seats.append(seat)
        if self.stage.proxied:
            return {"membership": "static", "coordinators": ", ".join(addresses["coordinator"]),
                    "computes": ", ".join(addresses["compute"])}
        if self.zookeeper is None:
            return {"membership": "local"}
        return {"membership": "zookeeper", "zookeeper": self.zookeeper.address,
                "zookeeper_timeout": self.times.session}

    def begin(self) -> None:
        """Starts everything; returns when events flow."""
        if self.stage.tmpfs:
            (self.directory / self.stage.tmpfs).mkdir()
            if not refusal():
                mount(self.directory / self.stage.tmpfs)
        for seat in self.crew.seats:
            self.crew.start(seat)
        self.stream.start()
        self.meter.start()
        self.until(self.steady, "events flow")

    # --- one run ---

    def strike(self, fault: Fault, number: int) -> None:
        """One run: returns when its fault is healed and throughput is back."""
        dice = random.Random(f"{self.seed} {fault.name} {number}")
        self.until(self.steady, "throughput before a fault")
        self.stream.family = f"{fault.name} {number}"
        self.wait(0.5)
        self.meter.asking = Asking(self.crew.ini, self.meter.heard) if fault.asks else None
        struck = _Struck(fault, self.stream.family, time.monotonic(), "")
        self._struck.append(struck)
        try:
            struck.sign = fault.strike(self, dice)
            self.wait(fault.lasts(self.times))
        finally:
            fault.heal(self)
        self.wait(self.window)
        self.until(self.steady, f"throughput after {fault.name}")
        struck.until = time.monotonic()
        self.meter.asking = None

    def steady(self) -> bool:
        return course.steady(self.meter.samples[-200:], self.rate, self.window)

    def wait(self, seconds: float) -> None:
        """Looks after the cluster for so long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.crew.look_after()
            time.sleep(0.02)

    def until(self, look: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
        """Looks after the cluster until ``look`` is true.

        Raises:
            Failed: it does not become true.
        """
        deadline = time.monotonic() + patience
        while not look():
            if time.monotonic() > deadline:
                raise Failed(f"not within {patience:g} s: {what}\n{self.crew.last_words()}\n{self._status()}")
            self.wait(0.1)

    def _status(self) -> str:
        """What ``drtc status`` says, for whoever looks for the reason."""
        command = [sys.executable, "-m", "drtc", "status", "-c", os.fspath(self.crew.ini), "--format", "json"]
        try:
            done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, timeout=20)
        except subprocess.TimeoutExpired:
            return "drtc status does not answer"
        return done.stdout

    # --- the end ---

    def end(self) -> list[Run]:
        """Ends the stream and the roles, and judges.

        Raises:
            Failed: a record differs from the truth otherwise than by events lost or doubled, or a role fails.
        """
        truth = self.stream.close()
        try:
            self.until(lambda: self.meter.samples[-1].stored >= self.stream.sent, "everything is stored", 60)
        except Failed:
            pass  # the judge says what is missing
        self.wait(0.5)  # for what would come twice
        self.crew.end("collector", "coordinator", "compute", killed=True)
        self.meter.close()
        found = records(self.store)
        runs = [self._judged(struck, found, truth) for struck in self._struck]
        verdict = judge(found, truth)
        dead = rows(self.store, "SELECT key, error FROM tally_v1_dead")
        if dead:
            verdict.wrong.append(f"dead letters: {dead[:3]}")
        if verdict.wrong or not verdict.right and not any(run.events.lost or run.events.doubled for run in runs):
            raise Failed(f"{verdict}, in {self.directory}")
        return runs

    def _judged(self, struck: _Struck, found: dict[str, Account], truth: dict[str, Account]) -> Run:
        samples = [sample for sample in self.meter.samples if struck.at - 2 * self.window < sample.at <= struck.until]
        heard = [line for line in self.meter.heard if struck.at <= line.at <= struck.until]
        back = course.back(samples, self.rate, struck.at, self.window)
        assert back is not None, "a run ends when throughput is there"
        return Run(struck.fault.name, tally(found, truth, struck.family), bool(struck.sign),
                   course.noticed(heard, struck.sign, struck.at) if struck.sign else None, back,
                   course.backlog(samples, struck.at))

    def close(self) -> None:
        """Kills what is left."""
        self.meter.close()
        self.crew.bury()
        self.stream.close()
        self.proxies.close()
        if self.stage.tmpfs and not refusal():
            unmount(self.directory / self.stage.tmpfs)


def live(life: Life, faults: Sequence[Fault], runs: int, said: Callable[[str], None]) -> list[Run]:
    """One life with each of the faults so many times."""
    try:
        life.begin()
        for fault in faults:
            for number in range(runs):
                said(f"{fault.name} {number} (seed {life.seed})")
                life.strike(fault, number)
        return life.end()
    finally:
        life.close()
