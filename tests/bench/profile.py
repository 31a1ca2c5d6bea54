"""``profile``: light_drtc's own example, lines of a file into almost as many records: the store is measured."""
from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Sequence

from .report import Report, middle, spread
from .staging import package
from .streams import Actions
from .system import Run, Sections, read_profiles, saves

LONGEST = 600.0  # seconds of one run
LEAST = 200_000  # lines a second


def run(lines: int, rounds: int, routes: Sequence[str], plain: bool, sets: Sequence[str]) -> int:
    """Runs every variant ``rounds`` times, alternating."""
    report = Report("profile", {"lines": lines, "rounds": rounds, "routes": list(routes), "plain": plain,
                                "set": list(sets)})
    variants = [(route, compiled) for compiled in ([True, False] if plain else [True]) for route in routes]
    with tempfile.TemporaryDirectory(prefix="drtc-bench-") as directory:
        source = Path(directory) / "actions.csv"
        actions = Actions(lines)
        actions.write(source)
        truth = actions.truth()
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", flush=True)
            for route, compiled in variants:
                place = Path(directory) / f"{route.replace(':', '-')}-{compiled}-{number}"
                sections: Sections = {"job": {"class": "jobs:Profile"}, "collector": {"route": route},
                                      "source": {"type": "files", "path": source}}
                ran = Run(place, package(compiled), sections, sets=sets).wait(LONGEST)
                name = f"route={route}{'' if compiled else ', not compiled'}"
                right = report.check(name, read_profiles(place / "results.db"), truth)
                took = ran.last - ran.first
                report.run(
                    system=name, per_second=lines / took, cpu_us=ran.cost.cpu / lines * 1e6, seconds=took,
                    seconds_from_start=ran.last - ran.cost.began, mb=ran.cost.peak / 2 ** 20, right=right,
                    elsewhere=ran.cost.elsewhere, stage_seconds=ran.stages,
                    saves_per_line=saves(place / "results.db", "profile_v1") / lines,
                    by_role={role: cpu / lines * 1e6 for role, cpu in ran.cost.by_role.items()})
    rows = []
    for name in dict.fromkeys(each["system"] for each in report.document["runs"]):
        runs = [each for each in report.document["runs"] if each["system"] == name]
        speeds = [each["per_second"] for each in runs]
        roles = [middle([each["by_role"].get(role, 0.0) for each in runs])
                 for role in ("collector", "coordinator", "compute", "worker")]
        rows.append([name, middle(speeds), spread(speeds), middle([each["cpu_us"] for each in runs]), *roles,
                     *(middle([each[name] for each in runs]) for name in ("saves_per_line", "mb")),
                     all(each["right"] for each in runs)])
    report.table(f"lines/s from the first line read to the last record stored ({len(truth):,} records)",
                 ["system", "lines/s", "spread", "CPU us/line", "collector", "coordinator", "node",
                  "workers", "saves/line", "MB", "right"], rows)
    for row in rows:
        report.aim(f"{row[0]}: at least {LEAST:,} lines/s", row[1] >= LEAST, f"{row[1]:,.0f}")
    return report.close()
