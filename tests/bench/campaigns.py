"""``campaigns``: the Yahoo streaming benchmark beside the loops that one would write by hand, alternating."""
from __future__ import annotations

import json
import os
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any, Callable, Sequence

from ..services import Kafka, Servers
from .broker import load
from .processes import Cost, Watched
from .report import Report, middle, spread
from .staging import package
from .streams import PARTITIONS, Campaigns, CampaignTruth
from .system import Place, Ran, Run, Sections, campaigns_sections, place, read_campaigns, write_campaigns

ROOT = Path(__file__).parents[2]
LONGEST = 900.0  # seconds of one run
OF_SQLITE = 0.8  # of its rate: the least that another store should reach

HAND, HAND_TWO, HAND_PYTHON = "hand-written, confluent-kafka", "the same in two processes", "hand-written, kafka-python"

#: CPU microseconds per event that DESIGN.md section 10 allows, by (route is partition, compiled)
BUDGET = {
    (True, True): {"collector": 0.7, "coordinator": 0.2, "compute": 0.2, "worker": 0.85, "all": 1.9},
    (True, False): {"collector": 0.75, "coordinator": 0.2, "compute": 0.2, "worker": 1.5, "all": 2.6},
    (False, True): {"collector": 1.25, "coordinator": 0.2, "compute": 0.3, "worker": 0.85, "all": 2.6},
    (False, False): {},
}
STAGES = ("unpack", "decode", "map", "fold", "pack", "merge")


class Bench:
    """One loaded topic, and everything that may be run over it."""

    def __init__(self, report: Report, kafka: Kafka, servers: Servers, events: int, directory: Path,
                 sets: Sequence[str] = ()) -> None:
        self.report = report
        self.kafka = kafka
        self.servers = servers
        self.events = events
        self.directory = directory
        self.sets = sets
        campaigns = Campaigns(events)
        self.table = write_campaigns(campaigns, directory)
        self.truth = campaigns.truth()
        self.topic = load(kafka, campaigns)
        self._number = 0

    def drtc(self, name: str, route: str, compiled: bool, store: str = "") -> None:
        """A run into SQLite, or into another store."""
        self._number += 1
        directory = self.directory / f"run-{self._number}"
        directory.mkdir()
        (directory / self.table.name).symlink_to(self.table)
        sections = campaigns_sections(self.kafka.address, self.topic, self.kafka.fresh("bench"), route)
        if not store:
            ran = self._ran(directory, compiled, sections)
            right = self.report.check(name, read_campaigns(directory / "results.db"), self.truth)
            self._note(name, ran.cost, ran.first, ran.last, right, ran)
            return
        with place(store, directory, self.servers) as into:
            ran = self._ran(directory, compiled, {**sections, "store": into.backend.section}, into)
            cpu = into.cpu
            right = self.report.check(name, into.campaigns(), self.truth)
        self._note(name, ran.cost, ran.first, ran.last, right, ran, cpu)

    def _ran(self, directory: Path, compiled: bool, sections: Sections, into: Place | None = None) -> Ran:
        apart = [*self._broker(), *(into.pids if into is not None else ())]
        return Run(directory, package(compiled), sections, apart=apart, sets=self.sets).wait(LONGEST)

    def hand(self, name: str, client: str, processes: int) -> None:
        shares: list[list[int]] = [[] for _ in range(processes)]
        for partition in range(PARTITIONS):
            shares[partition % processes].append(partition)
        ends = self.kafka.ends(self.topic)
        running = []
        for number, share in enumerate(shares):
            output = self.directory / f"hand-{number}"
            command = [sys.executable, "-m", "tests.bench.hand", client, self.kafka.address, self.topic,
                       str(self.table), str(sum(ends[partition] for partition in share)), *map(str, share)]
            running.append((Watched(command, ROOT, output=output, apart=self._broker()), output))
        costs = [watched.wait(LONGEST) for watched, _ in running]
        said = [json.loads(output.read_text().splitlines()[-1]) for _, output in running]
        counts: CampaignTruth = {}
        for campaign, window, views in (each for one in said for each in one["counts"]):
            counts[campaign, window] = counts.get((campaign, window), 0) + views
        right = self.report.check(name, counts, self.truth)
        self._note(name, together(costs), min(one["first"] for one in said), max(one["last"] for one in said), right)

    def _broker(self) -> list[int]:
        return [] if os.environ.get(Kafka.variable()) else [self.kafka.pid]

    def _note(self, name: str, cost: Cost, first: float, last: float, right: bool, ran: Ran | None = None,
              server: float = 0.0) -> None:
        per_event = 1e6 / self.events
        self.report.run(
            system=name, per_second=self.events / (last - first), cpu_us=cost.cpu * per_event, seconds=last - first,
            seconds_from_start=last - cost.began, seconds_to_exit=cost.ended - cost.began, mb=cost.peak / 2 ** 20,
            right=right, elsewhere=cost.elsewhere,
            per_second_answered=self.events / (ran.answered - first) if ran else 0.0, server_us=server * per_event,
            by_role={role: cpu * per_event for role, cpu in cost.by_role.items()},
            by_role_running={role: cpu * per_event for role, cpu in cost.since(first).items()},
            mb_by_role={role: peak / 2 ** 20 for role, peak in cost.peak_by_role.items()},
            stage_seconds=ran.stages if ran else {},
        )


def together(costs: Sequence[Cost]) -> Cost:
    """The cost of processes that ran side by side."""
    first = costs[0]
    return Cost(0, min(cost.began for cost in costs), max(cost.ended for cost in costs),
                sum(cost.cpu for cost in costs), {"loop": sum(sum(cost.by_role.values()) for cost in costs)},
                [], sum(cost.peak for cost in costs), {"loop": sum(cost.peak for cost in costs)},
                max(0.0, first.elsewhere - sum(cost.cpu / (cost.ended - cost.began) for cost in costs[1:])))


def drtc_name(route: str, compiled: bool, store: str = "") -> str:
    return f"drtc, route={route}{'' if compiled else ', not compiled'}" + (f", into {store}" if store else "")


def run(events: int, rounds: int, routes: Sequence[str], plain: bool, peers: bool, into: Sequence[str],
        sets: Sequence[str]) -> int:
    """Runs every system ``rounds`` times, one after the other, and reports medians and ratios within a round."""
    report = Report("campaigns", {"events": events, "rounds": rounds, "routes": list(routes), "plain": plain,
                                  "stores": list(into), "set": list(sets)})
    variants = [(route, compiled) for compiled in ([True, False] if plain else [True]) for route in routes]
    for compiled in {compiled for _, compiled in variants}:
        package(compiled)
    with tempfile.TemporaryDirectory(prefix="drtc-bench-") as directory, Kafka() as kafka, \
            closing(Servers()) as servers:
        print(f"loading {events:,} events", flush=True)
        bench = Bench(report, kafka, servers, events, Path(directory), sets)
        systems: list[tuple[str, Callable[[], None]]] = []
        if peers:
            systems += [(HAND, lambda: bench.hand(HAND, "confluent-kafka", 1)),
                        (HAND_TWO, lambda: bench.hand(HAND_TWO, "confluent-kafka", 2)),
                        (HAND_PYTHON, lambda: bench.hand(HAND_PYTHON, "kafka-python", 1))]
        for route, compiled in variants:
            systems += [(drtc_name(route, compiled, store), _drtc(bench, route, compiled, store))
                        for store in ("", *into)]
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", flush=True)
            for _, measure in systems:
                measure()
    runs = {name: [each for each in report.document["runs"] if each["system"] == name] for name, _ in systems}
    _speeds(report, runs)
    for route, compiled in variants:
        _stages(report, route, compiled, runs[drtc_name(route, compiled)])
    if peers:
        _aims(report, runs, variants)
    if into:
        _stores(report, runs, variants, into)
    return report.close()


def _drtc(bench: Bench, route: str, compiled: bool, store: str) -> Callable[[], None]:
    return lambda: bench.drtc(drtc_name(route, compiled, store), route, compiled, store)


def ratio(runs: dict[str, list[dict[str, Any]]], name: str, other: str, speed: str = "per_second") -> float:
    """How much faster ``name`` was than ``other``: the median over the rounds, since a round's runs are neighbors."""
    return middle([one[speed] / two[speed] for one, two in zip(runs[name], runs.get(other, []))])


def _speeds(report: Report, runs: dict[str, list[dict[str, Any]]]) -> None:
    rows = []
    for name, each in runs.items():
        speeds, cpus = [one["per_second"] for one in each], [one["cpu_us"] for one in each]
        rows.append([name, middle(speeds), spread(speeds), middle(cpus), spread(cpus, ".2f"),
                     middle([one["seconds_from_start"] for one in each]), middle([one["mb"] for one in each]),
                     all(one["right"] for one in each),
                     *(f"{ratio(runs, name, other):.2f}" if other in runs else "" for other in (HAND, HAND_TWO,
                                                                                                HAND_PYTHON)),
                     f"{middle([one['elsewhere'] for one in each]):.2f}"])
    report.table("events/s from the first message read to the last result stored (medians)",
                 ["system", "events/s", "spread", "CPU us/event", "spread", "s from start", "MB", "right",
                  "/hand", "/hand x2", "/kafka-python", "busy elsewhere"], rows)


def _stages(report: Report, route: str, compiled: bool, runs: list[dict[str, Any]]) -> None:
    """CPU by role is the kernel's; "running" leaves out what was spent before the first partition was assigned.
    Within the workers it is dealt out as their own clocks say; in the collector its threads tell the stages apart."""
    running, whole = ({name: middle([one[kind].get(name, 0.0) for one in runs]) for name in runs[0]["by_role"]}
                      for kind in ("by_role_running", "by_role"))
    budget = BUDGET.get((route == "partition", compiled), {})
    rows: list[list[object]] = []

    def row(title: str, *names: str, allowed: str = "") -> None:
        rows.append([title, *(sum(each.get(name, 0.0) for name in names) for each in (running, whole)),
                     budget.get(allowed, "")])

    row("collector", "collector", allowed="collector")
    row("  read (kafka-python's threads)", *(f"collector/{thread}" for thread in range(2, 9)))
    row("  route (the reader's thread)", "collector/1")
    row("  pack and send (the loop)", "collector/0")
    row("coordinator", "coordinator", allowed="coordinator")
    row("compute node: deal and hand over", "compute", allowed="compute")
    row("workers", "worker", allowed="worker")
    told = [one["stage_seconds"] for one in runs if one["stage_seconds"]]
    for stage in STAGES:
        part = middle([one.get(stage, 0.0) / sum(one.values()) for one in told])
        title = {"fold": "join (fold by key)", "merge": "save (fence, merge, SQLite)"}.get(stage, stage)
        rows.append([f"  {title}", part * running["worker"], "", ""])
    row("supervisor, forkserver", "supervisor", "forkserver")
    rows.append(["all", sum(cpu for name, cpu in running.items() if "/" not in name),
                 middle([one["cpu_us"] for one in runs]), budget.get("all", "")])
    report.table(f"CPU us/event by stage, {drtc_name(route, compiled)}",
                 ["stage", "running", "with start and end", "DESIGN.md 10"], rows)


def _stores(report: Report, runs: dict[str, list[dict[str, Any]]], variants: Sequence[tuple[str, bool]],
            into: Sequence[str]) -> None:
    """The end is the collector's word in all of them, SQLite too: when it had heard "stored" of everything."""
    rows: list[list[object]] = []
    print()
    for route, compiled in variants:
        base = drtc_name(route, compiled)
        for store in ("", *into):
            name = drtc_name(route, compiled, store)
            speeds = [one["per_second_answered"] for one in runs[name]]
            found = ratio(runs, name, base, "per_second_answered")
            rows.append([name, middle(speeds), spread(speeds), middle([one["cpu_us"] for one in runs[name]]),
                         middle([one["server_us"] for one in runs[name]]), found,
                         all(one["right"] for one in runs[name])])
            if store:
                report.aim(f"{name}: at least {OF_SQLITE} of its rate into SQLite", found >= OF_SQLITE, f"{found:.2f}")
    report.table("events/s from the first message read to everything answered as stored",
                 ["system", "events/s", "spread", "CPU us/event", "the store's server", "/sqlite", "right"], rows)


def _aims(report: Report, runs: dict[str, list[dict[str, Any]]], variants: Sequence[tuple[str, bool]]) -> None:
    print()
    for route, compiled in variants:
        name = drtc_name(route, compiled)
        least = (1.1 if compiled else 0.8) if route == "partition" else 0.8
        if compiled or route == "partition":
            found = ratio(runs, name, HAND)
            report.aim(f"{name}: at least {least} of the confluent-kafka loop", found >= least, f"{found:.2f}")
        if compiled and route == "partition":
            found = ratio(runs, name, HAND_PYTHON)
            report.aim(f"{name}: at least 5 times the kafka-python loop", found >= 5, f"{found:.2f}")
            cpu = middle([one["cpu_us"] for one in runs[name]])
            report.aim(f"{name}: at most 2.3 us of CPU per event", cpu <= 2.3, f"{cpu:.2f}")
