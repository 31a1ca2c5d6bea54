"""``profile``: light_drtc's own example, lines of a file into almost as many records: the store is measured."""
from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path
from typing import Mapping, Sequence

from ..services import Servers
from .report import Report, middle, spread
from .staging import package
from .streams import Actions, ProfileTruth
from .system import Ran, Run, place, read_profiles, saves

LONGEST = 600.0  # seconds of one run
LEAST = 200_000  # lines a second, into SQLite
LEAST_ELSEWHERE = 60_000  # lines/s into another store


def run(lines: int, rounds: int, routes: Sequence[str], plain: bool, into: Sequence[str], sets: Sequence[str]) -> int:
    """Runs every variant ``rounds`` times, alternating."""
    report = Report("profile", {"lines": lines, "rounds": rounds, "routes": list(routes), "plain": plain,
                                "stores": list(into), "set": list(sets)})
    variants = [(route, compiled, store) for compiled in ([True, False] if plain else [True]) for route in routes
                for store in ("", *into)]
    with tempfile.TemporaryDirectory(prefix="drtc-bench-") as directory, closing(Servers()) as servers:
        bench = Bench(report, servers, lines, Path(directory), sets)
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", flush=True)
            for route, compiled, store in variants:
                bench.drtc(Path(directory) / f"run-{len(report.document['runs'])}", route, compiled, store)
    rows = []
    for name in dict.fromkeys(each["system"] for each in report.document["runs"]):
        runs = [each for each in report.document["runs"] if each["system"] == name]
        speeds = [each["per_second"] for each in runs]
        roles = [middle([each["by_role"].get(role, 0.0) for each in runs])
                 for role in ("collector", "coordinator", "compute", "worker")]
        rows.append([name, middle(speeds), spread(speeds), middle([each["cpu_us"] for each in runs]), *roles,
                     *(middle([each[name] for each in runs])
                       for name in ("server_us", "saves_per_line", "saves_per_second", "mb")),
                     all(each["right"] for each in runs)])
    report.table(f"lines/s from the first line read to the last record stored ({len(bench.truth):,} records)",
                 ["system", "lines/s", "spread", "CPU us/line", "collector", "coordinator", "node", "workers",
                  "the store's server", "saves/line", "saves/s", "MB", "right"], rows)
    for row in rows:
        least = LEAST_ELSEWHERE if "into" in str(row[0]) else LEAST
        report.aim(f"{row[0]}: at least {least:,} lines/s", row[1] >= least, f"{row[1]:,.0f}")
    return report.close()


class Bench:
    """One file, and the runs over it."""

    def __init__(self, report: Report, servers: Servers, lines: int, directory: Path, sets: Sequence[str]) -> None:
        self._report, self._servers, self._lines, self._sets = report, servers, lines, sets
        self._source = directory / "actions.csv"
        actions = Actions(lines)
        actions.write(self._source)
        self.truth = actions.truth()

    def drtc(self, directory: Path, route: str, compiled: bool, store: str) -> None:
        """A run into SQLite, or into another store, whose end is the collector's word: "stored" of everything."""
        name = f"route={route}{'' if compiled else ', not compiled'}{f', into {store}' if store else ''}"
        sections: dict[str, Mapping[str, object]] = {
            "job": {"class": "jobs:Profile"}, "collector": {"route": route},
            "source": {"type": "files", "path": self._source}}
        if not store:
            ran = Run(directory, package(compiled), sections, sets=self._sets).wait(LONGEST)
            results = directory / "results.db"
            self._note(name, ran, read_profiles(results), saves(results, "profile_v1"))
            return
        with place(store, directory, self._servers) as into:
            sections["store"] = into.backend.section
            ran = Run(directory, package(compiled), sections, apart=into.pids, sets=self._sets).wait(LONGEST)
            cpu = into.cpu
            self._note(name, ran, into.profiles(), into.profile_saves(), cpu)

    def _note(self, name: str, ran: Ran, found: ProfileTruth, saved: int, server: float = 0.0) -> None:
        right = self._report.check(name, found, self.truth)
        took, per_line = ran.last - ran.first, 1e6 / self._lines
        self._report.run(
            system=name, per_second=self._lines / took, cpu_us=ran.cost.cpu * per_line, seconds=took,
            seconds_from_start=ran.last - ran.cost.began, mb=ran.cost.peak / 2 ** 20, right=right,
            elsewhere=ran.cost.elsewhere, stage_seconds=ran.stages, server_us=server * per_line,
            saves_per_line=saved / self._lines, saves_per_second=saved / took,
            by_role={role: cpu * per_line for role, cpu in ran.cost.by_role.items()})
