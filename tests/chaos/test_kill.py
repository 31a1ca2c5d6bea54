"""Exact under kill -9: every record equals the truth, whatever is killed or stands still, and whenever.

The seed is printed; ``DRTC_SEED=N`` repeats a run as far as the machine's own timing lets it. The long form is
``python -m tests.chaos``, or this file with DRTC_LONG=1.
"""
from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Iterator

import pytest

from ..services import Kafka
from . import scenarios
from .scenarios import ROLES, ROUTES, Input
from .trial import Outcome, Shape, Trial

SEED = int(os.environ.get("DRTC_SEED") or random.SystemRandom().randrange(10 ** 6))
LONG = os.environ.get("DRTC_LONG") == "1"
WAYS = [(kind, route) for kind, routes in ROUTES.items() for route in routes]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def given(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Input]:
    """What the trials read that die at points: enough to get to every point again after each death."""
    yield Input(kafka, tmp_path_factory.mktemp("chaos"), SEED, 30_000)


@pytest.fixture
def dice(request: pytest.FixtureRequest) -> random.Random:
    print(f"DRTC_SEED={SEED}")
    return random.Random(f"{SEED} {request.node.name}")


def live(trial: Trial) -> Outcome:
    outcome = trial.run()
    print(scenarios.told(trial.directory.name, outcome))
    assert outcome.verdict.right, outcome.verdict
    return outcome


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize(("kind", "route"), WAYS)
def test_killed_at_every_point(kind: str, route: str, role: str, given: Input, dice: random.Random,
                               tmp_path: Path) -> None:
    faults = scenarios.kills(role, dice)
    for attempt in range(3):
        trial = Trial(tmp_path / f"trial-{attempt}", Shape(route), given.source(kind), given.made.truth, faults)
        faults = scenarios.sooner(live(trial).missed)  # the input was at its end before anybody got to these
        if not faults:
            return
    pytest.fail(f"nobody got to these points: {faults}")


@pytest.mark.parametrize("role", ROLES)
def test_a_zombie_returns(role: str, given: Input, dice: random.Random, tmp_path: Path) -> None:
    kind, route = dice.choice(WAYS)
    print(kind, route)
    live(Trial(tmp_path / "trial", replace(scenarios.pair(role), route=route), given.source(kind), given.made.truth,
               scenarios.stops(role, dice)))


@pytest.mark.parametrize(("kind", "route"), WAYS)
def test_a_second_collector(kind: str, route: str, given: Input, dice: random.Random, tmp_path: Path) -> None:
    """Of files both read everything; of Kafka they share, and take over from each other when one dies."""
    faults = [f"collector:{point}:after:{dice.randint(2, 6)}" for point in ("send", "answer", "commit")]
    live(Trial(tmp_path / "trial", Shape(route), given.source(kind), given.made.truth, faults, second_collector=True))


def test_a_storm_over_a_million_events(kafka: Kafka, dice: random.Random, tmp_path: Path) -> None:
    """Everything at once, at random times, while a million events flow."""
    events = Input(kafka, tmp_path / "events", SEED, 1_000_000)
    shape = Shape("key", coordinators=2, computes=2, batch_bytes="32K")
    outcome = live(Trial(tmp_path / "trial", shape, events.source("kafka"), events.made.truth,
                         storm=scenarios.storm(SEED, 300 if LONG else 30, 0.5), deadline=580))
    assert sum(outcome.met.values()) >= 10, "that was no storm"


def test_without_the_fence_events_count_twice(given: Input, dice: random.Random, tmp_path: Path) -> None:
    """The suite can fail: what it is to notice, it notices."""
    trial = Trial(tmp_path / "trial", Shape("key"), given.source("kafka"), given.made.truth,
                  [f"collector:answer:before:{dice.randint(20, 40)}"], broken="fence")
    outcome = trial.run()
    assert outcome.verdict.doubled and not outcome.verdict.lost, outcome.verdict


def test_with_early_commits_events_are_lost(given: Input, dice: random.Random, tmp_path: Path) -> None:
    faults = [f"compute:accept:before:{dice.randint(3, 9)}:stop", f"collector:commit:after:{dice.randint(15, 30)}"]
    outcome = Trial(tmp_path / "trial", Shape("key", commit=0.01), given.source("kafka"), given.made.truth, faults,
                    broken="commits").run()
    assert outcome.verdict.lost and not outcome.verdict.doubled, outcome.verdict
