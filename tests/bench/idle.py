"""``idle``: what members that have nothing to do cost the others: by the second, and for each event.

One real collector, coordinator and compute node, and more and more nodes that only register, beat and answer
(``peers``: one process holds all of them). Their names are chosen so that rendezvous hashing gives them no lane. First
nothing flows, which is the cost of a member by the second; then events do, as fast as they can, which is the cost of
an event in company.
"""
from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Sequence
from zlib import crc32

from ..services import ZooKeeper
from ..services.base import free_port
from . import steps
from .report import Report, middle
from .roles import Roles, Sections, least_squares
from .staging import package

PARTITIONS, SLOTS = 4, 16
WEIGHT = 1.0  # of a real node with one worker, as it tells its coordinators
PATIENCE = 180.0
FLAT = 1.1  # times the cost of an event with one node
PAPER = 1_000  # nodes


class Case:
    """One real node and ``nodes - 1`` idle ones."""

    def __init__(self, directory: Path, nodes: int, zookeeper: str, membership: str, compiled: bool,
                 sets: Sequence[str]) -> None:
        directory.mkdir()
        self.nodes = nodes
        cluster: dict[str, Any] = {"membership": membership}
        if zookeeper:
            cluster["zookeeper"] = zookeeper
        self._listen: dict[str, list[str]] = {"coordinator": [], "compute": []}
        if membership == "static":
            first, *others = (f"127.0.0.1:{port}" for port in ports(nodes + 1))
            cluster |= {"coordinators": first, "computes": ", ".join(others)}
            self._listen = {"coordinator": ["--listen", first], "compute": ["--listen", others[0]]}
        sections: Sections = {
            "cluster": cluster,
            "source": {"type": "files", "path": "part-*.csv", "follow": "yes", "rescan": 0.2},
            "collector": {"slots": SLOTS}, "compute": {"workers": 1},
        }
        self._copy = package(compiled)
        self.roles = Roles(directory, self._copy, sections, sets)
        self._directory = directory
        self._heard = directory / "heard.json"
        self._idle: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        roles = self.roles
        roles.add("coordinator", 1, *self._listen["coordinator"])
        roles.add("compute", 1, *self._listen["compute"])
        if self.nodes > 1:
            self._start_idle()
        roles.await_ready(workers=1)
        collector, = roles.add("collector")
        collector.await_words("link up node=coordinator-1")
        roles.await_true(self._all_linked, PATIENCE, f"{self.nodes} nodes are linked", every=0.1)

    def _start_idle(self) -> None:
        lanes = [f"{name}#{crc32(name.encode()) % SLOTS}"
                 for name in (f"part-{number}.csv" for number in range(PARTITIONS))]
        from .peers import names

        chosen = self._directory / "names.json"
        chosen.write_text(json.dumps(names(self.nodes - 1, lanes, "compute-1", WEIGHT)))
        command = [sys.executable, "-m", "tests.bench.peers", str(self.roles.ini), str(chosen), str(self._heard)]
        with open(self._directory / "peers.log", "wb") as log:
            self._idle = subprocess.Popen(command, cwd=self._directory, env=self.roles.environ, stdout=log, stderr=log)

    def _all_linked(self) -> bool:
        if self._idle is not None and self._idle.poll() is not None:
            raise RuntimeError((self._directory / "peers.log").read_text()[-2000:])
        return any(len(each["nodes"]) == self.nodes for each in self.roles.look() if each["role"] == "coordinator")

    def heard(self) -> dict[str, int]:
        """What the idle nodes have heard, up to half a second ago."""
        if self._idle is None:
            return {"events": 0, "beats": 0, "beat_bytes": 0}
        while True:
            try:
                found: dict[str, int] = json.loads(self._heard.read_text())
                return found
            except (FileNotFoundError, ValueError):
                time.sleep(0.01)  # being written

    def spent(self, seconds: float) -> tuple[dict[str, float], dict[str, float]]:
        """CPU seconds by role, and what was heard, by the second, while nothing flows."""
        cpu, heard, began = self.roles.cpu(), self.heard(), time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - began
        now, later = self.roles.cpu(), self.heard()
        return ({role: (now[role] - cpu[role]) / took for role in now},
                {name: (later[name] - heard[name]) / took for name in later})

    def flow(self, events: int) -> tuple[dict[str, float], float]:
        """Lets so many events be read as fast as it goes: CPU seconds by role, and seconds, until all are counted."""
        aside = self._directory / "aside"
        aside.mkdir()
        steps.write(aside, events, PARTITIONS)
        cpu, began = self.roles.cpu(), time.monotonic()
        for path in aside.iterdir():
            path.rename(self._directory / path.name)
        self.roles.await_true(lambda: self._counted() >= events, PATIENCE, "every event is counted", every=0.2)
        took = time.monotonic() - began
        now = self.roles.cpu()
        return {role: now[role] - cpu[role] for role in now}, took

    def _counted(self) -> int:
        return steps.counted(steps.read(self.roles.results)) + self.heard()["events"]  # idle nodes should get none

    def close(self) -> None:
        if self._idle is not None:
            self._idle.terminate()
            self._idle.wait(PATIENCE)


def ports(count: int) -> set[int]:
    """So many free ones, all different."""
    found: set[int] = set()
    while len(found) < count:
        found.add(free_port())
    return found


def measure(case: Case, report: Report, events: int, seconds: float) -> dict[str, Any]:
    """Starts it, lets it stand, lets events flow, checks the answer."""
    with case.roles as roles:
        try:
            case.start()
            time.sleep(2)  # what starting costs is over
            idle, heard = case.spent(seconds)
            resident = roles.resident()
            cpu, took = case.flow(events)
            roles.drain()
        finally:
            case.close()
    dealt = case.heard()["events"]
    name = f"{case.nodes} nodes"
    found = steps.read(roles.results)
    right = report.check(name, found, steps.truth(events))  # what was dealt to an idle node is missing
    measured: dict[str, Any] = {
        "nodes": case.nodes, "events": events, "seconds": took, "dealt_to_idle_nodes": dealt, "right": right,
        "idle_cpu_ms": {role: 1000 * each for role, each in idle.items()}, "heard": heard,
        "cpu_us": {role: 1e6 * each / events for role, each in cpu.items()},
        "mb": {role: each / 2 ** 20 for role, each in resident.items()},
    }
    report.run(**measured, coordinator_idle_ms=measured["idle_cpu_ms"]["coordinator"],
               coordinator_us=measured["cpu_us"]["coordinator"])
    return measured


def run(nodes: Sequence[int], membership: str, events: int, seconds: float, rounds: int, compiled: bool,
        sets: Sequence[str]) -> int:
    """Every number of nodes ``rounds`` times, alternating; medians, and the line through them on paper."""
    report = Report("idle", {"nodes": list(nodes), "membership": membership, "events": events, "seconds": seconds,
                             "rounds": rounds, "set": list(sets)})
    runs: dict[int, list[dict[str, Any]]] = {}
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="drtc-bench-"))
        server = stack.enter_context(ZooKeeper()) if membership == "zookeeper" else None
        for number in range(rounds):
            for count in nodes:
                zookeeper = f"{server.address}{server.chroot()}" if server is not None else ""
                case = Case(Path(directory) / f"{number}-{count}", count, zookeeper, membership, compiled, sets)
                runs.setdefault(count, []).append(measure(case, report, events, seconds))

    def of(count: int, kind: str, role: str) -> float:
        return middle([each[kind].get(role, 0.0) for each in runs[count]])

    rows: list[list[object]] = []
    for count, each in runs.items():
        beats, size = (middle([run["heard"][kind] for run in each]) for kind in ("beats", "beat_bytes"))
        rows.append([count, of(count, "idle_cpu_ms", "coordinator"), of(count, "idle_cpu_ms", "collector"),
                     of(count, "idle_cpu_ms", "compute"), of(count, "mb", "coordinator"),
                     beats / max(1, count - 1), size / max(1.0, beats),
                     *(of(count, "cpu_us", role) for role in ("coordinator", "collector", "compute", "worker")),
                     middle([sum(run["cpu_us"].values()) for run in each]), all(run["right"] for run in each)])
    report.table(f"membership {membership}: CPU ms each second with nothing to do, and CPU us for each of {events:,} "
                 "events", [
                     "nodes", "coordinator ms/s", "collector ms/s", "node ms/s", "coordinator MB", "beats/s to a node",
                     "bytes/beat", "coordinator us", "collector us", "node us", "worker us", "all us", "right"], rows)
    few, most = min(nodes), max(nodes)
    one, many = (middle([sum(run["cpu_us"].values()) for run in runs[count]]) for count in (few, most))
    report.aim(f"an event costs no more with {most} nodes than with {few}", many <= FLAT * one,
               f"{many:.2f} us, {many / one:.2f} times as much")
    if len(nodes) > 1:
        base, each_one = least_squares({count: of(count, "idle_cpu_ms", "coordinator") for count in nodes})
        print(f"a line through the coordinator's idle cost: {base:.2f} + {each_one:.3f} n ms each second, which is "
              f"{base + PAPER * each_one:.0f} ms at {PAPER:,} nodes, on paper")
        report.document["line"] = {"base_ms": base, "each_ms": each_one}
    return report.close()
