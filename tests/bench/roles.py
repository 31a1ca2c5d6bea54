"""drtc's roles as an operator starts them, each a process of its own: how many, when they are ready, what they cost."""
from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Sequence

import psutil

from drtc.config import load
from drtc.errors import DrtcError
from drtc.observe.status import Watch

from ..integration.running import ROOT, Cluster, Process
from .system import await_true

Sections = dict[str, dict[str, Any]]
READY_SECONDS = 60.0
DRAIN_SECONDS = 60.0


class Roles(Cluster):
    """A cluster in a directory. ``package`` is where the copy of drtc stands that is measured (staging.package)."""

    def __init__(self, directory: Path, package: Path, sections: Sections, sets: Sequence[str] = ()) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        common: Sections = {"job": {"class": "tests.bench.steps:Steps"},
                            "store": {"type": "sqlite", "path": "results.db", "synchronous": "normal"}}
        super().__init__(directory, "", {**common, **sections},
                         {"PYTHONPATH": os.pathsep.join([str(package), str(ROOT)])})
        self.results = directory / "results.db"
        self.roles: dict[str, list[Process]] = {}
        self._sets = [word for each in sets for word in ("--set", each)]

    def __enter__(self) -> Roles:
        super().__enter__()
        return self

    def add(self, role: str, count: int = 1, *arguments: str) -> list[Process]:
        """Starts so many more of a role: ``collector-1``, ``collector-2`` ..."""
        there = self.roles.setdefault(role, [])
        for number in range(len(there) + 1, len(there) + 1 + count):
            there.append(self.start(role, "--name", f"{role}-{number}", *arguments, *self._sets, cwd=self.directory))
        return there[-count:]

    def await_ready(self, workers: int) -> None:
        """Until every coordinator is linked with every compute node, and these have so many workers each.

        Raises:
            RuntimeError: a role has ended. TimeoutError: they take too long.
        """
        wanted = {f"compute-{number + 1}" for number in range(len(self.roles["compute"]))}

        def ready() -> bool:
            self.check()
            members = self.look()
            coordinators = [each for each in members if each["role"] == "coordinator"]
            nodes = [each for each in members if each["role"] == "compute" and each["node"] in wanted]
            return (len(coordinators) == len(self.roles["coordinator"])
                    and all(wanted <= each.get("nodes", {}).keys() for each in coordinators)
                    and len(nodes) == len(wanted) and all(each.get("workers") == workers for each in nodes))

        await_true(ready, READY_SECONDS, "all roles are ready")

    def look(self) -> list[dict[str, Any]]:
        """What each member says of itself now; [] while no coordinator answers."""
        try:
            members: list[dict[str, Any]] = asyncio.run(Watch(load(self.ini)).ask())["members"]
            return members
        except (DrtcError, OSError, asyncio.TimeoutError):
            return []

    def check(self) -> None:
        """Raises RuntimeError, with its last words, where a role has ended with an error."""
        for process in self.processes:
            if process.popen.poll():
                raise RuntimeError(f"{_words(process)} ended with {process.popen.returncode}:\n{process.said[-2000:]}")

    def await_true(self, condition: Callable[[], bool], seconds: float, what: str, every: float = 0.02) -> None:
        """Looks until it holds, while all roles are well.

        Raises:
            TimeoutError: it does not within ``seconds``. RuntimeError: a role has ended with an error.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: not within {seconds:g} s; the end of each log:\n{self._last_words()}")
            time.sleep(every)

    def _last_words(self) -> str:
        return "\n".join(f"--- {_words(each)}\n{each.said[-800:]}" for each in self.processes)

    def drain(self) -> None:
        """Stops everybody, those at the source first; every role must end with 0."""
        for role in ("collector", "coordinator", "compute"):
            running = [each for each in self.roles.get(role, ()) if each.popen.poll() is None]
            for process in running:
                process.send(signal.SIGTERM)
            for process in running:
                process.wait(DRAIN_SECONDS)
        self.check()

    # --- what they cost ---

    def cpu(self) -> dict[str, float]:
        """CPU seconds of every process of each role until now, workers apart."""
        found: dict[str, float] = {}
        for role, process in self._family():
            times = process.cpu_times()
            found[role] = found.get(role, 0.0) + times.user + times.system
        return found

    def resident(self) -> dict[str, int]:
        """Bytes resident now, by role, workers apart."""
        found: dict[str, int] = {}
        for role, process in self._family():
            found[role] = found.get(role, 0) + process.memory_info().rss
        return found

    def _family(self) -> Iterator[tuple[str, psutil.Process]]:
        for role, processes in self.roles.items():
            for each in processes:
                try:
                    top = psutil.Process(each.pid)
                    yield role, top
                    for child in top.children(recursive=True):
                        yield ("worker" if child.ppid() != each.pid else "forkserver"), child
                except psutil.NoSuchProcess:
                    continue


def _words(process: Process) -> str:
    args = process.popen.args
    assert isinstance(args, list)
    return " ".join(map(str, args[2:]))


def assigned(collector: Process) -> float | None:
    """When the first partition was assigned, epoch seconds, of a collector that logs JSON."""
    import json
    from datetime import datetime

    for line in collector.said.splitlines():
        if '"partition assigned"' in line:
            return datetime.fromisoformat(json.loads(line)["time"]).timestamp()
    return None


def least_squares(points: Mapping[float, float]) -> tuple[float, float]:
    """``a, b`` of the line ``a + b x`` through the points."""
    from statistics import linear_regression

    slope, base = linear_regression(list(points), list(points.values()))
    return base, slope
