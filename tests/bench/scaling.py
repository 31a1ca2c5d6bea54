"""``scaling``: throughput against compute nodes and coordinators, where every event costs a fixed time.

The Job sleeps, so that two processors are enough for many nodes. Each run has so many events that every node would be
busy for the same time if the work were dealt evenly; it is over when the last node is.

A busy machine makes sleeps longer, in one run more than in another, so that plain ratios of speeds may say anything.
Each worker therefore measures how long it slept: ``asleep`` is the part of the run that the nodes slept for events,
which is throughput divided by what so many nodes could do at most with sleeps of that length. ``of linear`` compares it
with that of the fewest nodes. ``balance`` is the mean of the nodes' events divided by the greatest: whoever keeps
lanes where they are cannot do better than that.
"""
from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, Sequence

from . import steps
from .report import Report, middle
from .roles import Roles, Sections, assigned
from .staging import package

PARTITIONS = 4
WITHIN = 0.9  # of linear


class Case:
    """One number of nodes and of coordinators."""

    def __init__(self, coordinators: int, nodes: int, slots: int, sleep: float, seconds: float) -> None:
        self.coordinators, self.nodes, self.slots = coordinators, nodes, slots
        self.sleep, self.seconds = sleep, seconds
        self.events = round(seconds * nodes / sleep)

    def sections(self) -> Sections:
        return {
            "job.options": {"sleep": self.sleep},
            "cluster": {"log": "json"},
            "source": {"type": "files", "path": "part-*.csv"},
            "collector": {"route": "csv:0", "slots": self.slots},
            "compute": {"workers": 1},
        }

    def run(self, report: Report, directory: Path, compiled: bool, sets: Sequence[str]) -> dict[str, Any]:
        """Runs it, checks the answer, and notes the measurement."""
        directory.mkdir()
        steps.write(directory, self.events, PARTITIONS)
        with Roles(directory, package(compiled), self.sections(), sets) as roles:
            roles.add("coordinator", self.coordinators)
            roles.add("compute", self.nodes)
            roles.await_ready(workers=1)
            collector, = roles.add("collector", 1, "--until-end")
            writes = [0.0]

            def ended() -> bool:
                writes[0] = max(writes[0], _written(roles.results))
                return collector.popen.poll() is not None

            roles.await_true(ended, 60 + 5 * self.seconds, "the collector is done", every=0.01)
            began = assigned(collector)
            assert began is not None
            cpu = roles.cpu()
            roles.drain()
        found = steps.read(roles.results)
        name = f"{self.coordinators} coordinators, {self.nodes} nodes"
        right = report.check(name, found, steps.truth(self.events))
        slept = steps.slept(directory)
        dealt = [events for events, _ in slept] + [0] * (self.nodes - len(slept))
        took = writes[0] - began
        measured: dict[str, Any] = {
            "coordinators": self.coordinators, "nodes": self.nodes, "events": self.events, "seconds": took,
            "per_second": self.events / took, "balance": self.events / self.nodes / max(dealt),
            "slept": sum(seconds for _, seconds in slept) / self.nodes / took,
            "busiest_slept": max(seconds for _, seconds in slept) / took, "right": right,
            "cpu_by_role": cpu, "dealt": dealt,
        }
        report.run(**measured)
        return measured


def _written(results: Path) -> float:
    """When something was committed last; the write-ahead log is gone once the store is closed."""
    try:
        return os.stat(f"{results}-wal").st_mtime
    except FileNotFoundError:
        return 0.0


def run(nodes: Sequence[int], coordinators: Sequence[int], sleep: float, seconds: float, slots: int, rounds: int,
        compiled: bool, sets: Sequence[str]) -> int:
    """Runs every pair ``rounds`` times."""
    report = Report("scaling", {"nodes": list(nodes), "coordinators": list(coordinators), "sleep": sleep,
                                "seconds": seconds, "slots": slots, "partitions": PARTITIONS, "rounds": rounds,
                                "set": list(sets)})
    cases = [Case(each, many, slots, sleep, seconds) for each in coordinators for many in nodes]
    runs: dict[tuple[int, int], list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory(prefix="drtc-bench-") as directory:
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", flush=True)
            for case in cases:
                place = Path(directory) / f"{number}-{case.coordinators}-{case.nodes}"
                runs.setdefault((case.coordinators, case.nodes), []).append(
                    case.run(report, place, compiled, sets))
    rows: list[list[Any]] = []
    for (many, count), each in runs.items():
        speed, one = (middle([run["per_second"] for run in runs[many, of]]) for of in (count, min(nodes)))
        asleep, alone = (middle([run["slept"] for run in runs[many, of]]) for of in (count, min(nodes)))
        balance, busiest = (middle([run[name] for run in each]) for name in ("balance", "busiest_slept"))
        rows.append([many, count, speed, speed / one * min(nodes), asleep, asleep / alone, balance,
                     asleep / alone / balance, busiest, all(run["right"] for run in each)])
    report.table(f"events/s where each costs {1000 * sleep:g} ms; {PARTITIONS * slots} lanes",
                 ["coordinators", "nodes", "events/s", "speed-up", "asleep", "of linear", "balance",
                  "of linear / balance", "busiest asleep", "right"], rows)
    for many, count, _, _, _, share, balance, *_ in rows:
        report.aim(f"{many} coordinators, {count} nodes: at least {WITHIN:g} of linear", share >= WITHIN,
                   f"{share:.2f} (balance {balance:.2f})")
    return report.close()
