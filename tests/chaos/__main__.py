"""``python -m tests.chaos``: trials without end, or until ``--minutes`` are over; ends with 1 and keeps the directory
of the first trial whose records differ from the truth. ``--only`` narrows the roles that are struck.

``python -m tests.chaos --report docs/reliability.md``: every fault of the chaos table ``--runs`` times, and the page.
``--only`` narrows the faults, then nothing is written but to the terminal; ``--minute`` shortens what lasts a minute,
and all time-outs with it. With ``--minute 12`` and five runs it takes about 25 minutes. Ends with 1 where anything was
lost or counted twice, or could not be tried.
"""
from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

from ..services import Kafka
from ..services.zookeeper import ZooKeeper
from .crew import Failed
from .life import Times
from .report import FAULTS, Plan, page
from .scenarios import ROLES, Input, forever, told


def main() -> int:
    asked = _asked()
    directory = Path(tempfile.mkdtemp(prefix="drtc-chaos-"))
    complete = _report(asked, directory) if asked.report else _forever(asked, directory)
    if complete:
        shutil.rmtree(directory)
    return 0 if complete else 1


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10 ** 6))
    parser.add_argument("--only", default="", help="the roles, or the faults, separated by commas")
    trials = parser.add_argument_group("trials without end")
    trials.add_argument("--events", type=int, default=1_000_000, help="of each trial (default: a million)")
    trials.add_argument("--partitions", type=int, default=3)
    trials.add_argument("--minutes", type=float, default=10.0)
    report = parser.add_argument_group("the chaos table")
    report.add_argument("--report", type=Path, metavar="FILE")
    report.add_argument("--runs", type=int, default=5, help="of each fault (default: 5)")
    report.add_argument("--minute", type=float, default=60.0, metavar="SECONDS", help="how long a minute is")
    report.add_argument("--rate", type=int, default=2000, help="events a second (default: 2000)")
    report.add_argument("--without-zookeeper", action="store_true", help="local membership, without its faults")
    asked = parser.parse_args()
    names = [fault.name for fault in FAULTS] if asked.report else list(ROLES)
    asked.only = asked.only.split(",") if asked.only else names
    if unknown := set(asked.only) - set(names):
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    return asked


def _report(asked: argparse.Namespace, directory: Path) -> bool:
    plan = Plan(Times(asked.minute), asked.seed, asked.runs, asked.rate)
    faults = [fault for fault in FAULTS if fault.name in asked.only
              and not (asked.without_zookeeper and fault.name.startswith("zookeeper"))]
    print(f"chaos: --seed {plan.seed} --runs {plan.runs} --minute {asked.minute:g}, in {directory}", flush=True)
    with Kafka() as kafka, nullcontext() if asked.without_zookeeper else ZooKeeper() as zookeeper:
        rows = plan.rows(faults, directory, kafka, zookeeper, lambda line: print(line, flush=True))
    text = page(rows, plan)
    print(text)
    if len(faults) == len(FAULTS):
        asked.report.write_text(text)
    return all(row.right for row in rows)


def _forever(asked: argparse.Namespace, directory: Path) -> bool:
    print(f"chaos: --seed {asked.seed} --events {asked.events} --partitions {asked.partitions}", flush=True)
    deadline = time.monotonic() + 60 * asked.minutes
    with Kafka() as kafka:
        given = Input(kafka, directory / "events", asked.seed, asked.events, asked.partitions)
        for name, trial in forever(given, asked.seed, directory, tuple(asked.only)):
            if time.monotonic() > deadline:
                break
            try:
                outcome = trial.run()
            except Failed as failure:
                print(f"{name}: FAILED (seed {asked.seed}): {failure}")
                return False
            print(told(name, outcome), flush=True)
            if not outcome.verdict.right:
                print(f"FAILED (seed {asked.seed}): see {trial.directory}")
                return False
            shutil.rmtree(trial.directory)
    return True


sys.exit(main())
