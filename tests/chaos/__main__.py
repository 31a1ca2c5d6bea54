"""``python -m tests.chaos [--seed N] [--events N] [--minutes M] [--only ROLE,...]``: trials without end, or until the
time is over; ends with 1 and keeps the directory of the first trial whose records differ from the truth."""
from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from ..services import Kafka
from .scenarios import ROLES, Input, forever, told
from .trial import Failed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10 ** 6))
    parser.add_argument("--events", type=int, default=1_000_000, help="of each trial (default: a million)")
    parser.add_argument("--partitions", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--only", default=",".join(ROLES), help="the roles that are struck, separated by commas")
    asked = parser.parse_args()
    roles = tuple(asked.only.split(","))
    if set(roles) - set(ROLES):
        parser.error(f"--only: the roles are {', '.join(ROLES)}")
    print(f"chaos: --seed {asked.seed} --events {asked.events} --partitions {asked.partitions}", flush=True)
    directory = Path(tempfile.mkdtemp(prefix="drtc-chaos-"))
    deadline = time.monotonic() + 60 * asked.minutes
    with Kafka() as kafka:
        given = Input(kafka, directory / "events", asked.seed, asked.events, asked.partitions)
        for name, trial in forever(given, asked.seed, directory, roles):
            if time.monotonic() > deadline:
                break
            try:
                outcome = trial.run()
            except Failed as failure:
                print(f"{name}: FAILED (seed {asked.seed}): {failure}")
                return 1
            print(told(name, outcome), flush=True)
            if not outcome.verdict.right:
                print(f"FAILED (seed {asked.seed}): see {trial.directory}")
                return 1
            shutil.rmtree(trial.directory)
    shutil.rmtree(directory)
    return 0


sys.exit(main())
