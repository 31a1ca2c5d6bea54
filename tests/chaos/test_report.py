"""The chaos table in short: every fault once, against real Kafka and ZooKeeper, with time-outs of a second.

Faults of a kind of cluster share one life. The seed is printed; ``DRTC_SEED=N`` repeats a run as far as the machine's
own timing lets it. The figures, and five runs of each, are ``python -m tests.chaos --report docs/reliability.md``.
"""
from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from ..services import Kafka
from ..services.zookeeper import ZooKeeper
from .fault import LINKS, WHOLE, Stage
from .faults_disk import OVERFLOW
from .life import Life, Run, Times, live
from .report import FAULTS, Plan, Row, page
from .truth import Tally

SEED = int(os.environ.get("DRTC_SEED") or random.SystemRandom().randrange(10 ** 6))
SHORT = Times(6.0)

pytestmark = [pytest.mark.slow]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("stage", [WHOLE, LINKS, OVERFLOW], ids=lambda stage: stage.name)
def test_every_fault_once(stage: Stage, kafka: Kafka, zookeeper: ZooKeeper, tmp_path: Path) -> None:
    print(f"DRTC_SEED={SEED}")
    faults = [fault for fault in FAULTS if fault.stage is stage and not fault.absent()]
    life = Life(tmp_path / "life", stage, SHORT, SEED, kafka, zookeeper, rate=1000, window=1.0)
    runs = live(life, faults, 1, print)
    for fault, run in zip(faults, runs, strict=True):
        print(run)
        assert run.events.sent == run.events.stored and not run.events.lost and not run.events.doubled, run
        assert run.noticed is not None or not run.watched, f"nobody noticed {fault.name}"


def test_every_fault_can_be_tried_here() -> None:
    """A skip that names those that cannot."""
    missing = [f"ABSENT: {fault.name}: {fault.absent()}" for fault in FAULTS if fault.absent()]
    if missing:
        pytest.skip("; ".join(missing))


def test_the_page_shows_what_came_of_it() -> None:
    plan = Plan(Times(12.0), 7, 2, 2000)
    kill, stop, links = FAULTS[1], FAULTS[5], FAULTS[-1]
    rows = [Row(kill, [Run(kill.name, Tally(1000, 1000, 0, 0), True, 0.25, 1.5, 70),
                       Run(kill.name, Tally(1000, 999, 1, 0), True, 0.75, 2.5, 80)]),
            Row(stop, [Run(stop.name, Tally(500, 501, 0, 1), True, None, 3.0, 90)]),
            Row(links, missing="ABSENT: no such thing")]
    lines = [line for line in page(rows, plan).splitlines() if line.startswith("| ")]
    assert "| 2 | 2,000 | 1,999 | 1 | 0 | 0.5 / 0.8 | 2.0 / 2.5 | 80 |" in lines[1]
    assert "for 6 s" in lines[2] and "| 1 never | 3.0 / 3.0 | 90 |" in lines[2]
    assert "ABSENT: no such thing" in lines[3]
    assert [row.right for row in rows] == [False, False, False]
    assert Row(kill, [Run(kill.name, Tally(1, 1, 0, 0), True, 0.1, 0.0, 1)]).right
