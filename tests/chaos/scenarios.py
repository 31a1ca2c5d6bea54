"""The trials of the suite: which clusters, which faults, which input. ``test_kill`` and ``python -m tests.chaos`` run
the same ones; all that is random comes from the seed."""
from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Iterator, Mapping

from ..services import Kafka
from .inject.chaos_points import EDGES, POINTS
from .trial import Outcome, Shape, Storm, Trial, files_source, kafka_source
from .truth import Events, make

ROLES = tuple(POINTS)
ROUTES = {"kafka": ("partition", "key"), "files": ("partition", "csv:0")}


@dataclass
class Input:
    """Events as a Kafka topic and as files, made once; every trial reads them in a group and a view of its own."""

    kafka: Kafka
    directory: Path
    seed: int
    events: int
    partitions: int = 2
    made: Events = field(init=False)
    _topic: str = ""

    def __post_init__(self) -> None:
        self.made = make(self.seed, self.events, self.partitions)

    def source(self, kind: str) -> Mapping[str, Any]:
        return self._of_kafka() if kind == "kafka" else self._of_files()

    def _of_kafka(self) -> Mapping[str, Any]:
        if not self._topic:
            topic = self.kafka.create_topic(self.kafka.fresh("chaos"), self.partitions)
            for partition, lines in enumerate(self.made.lines):
                self.kafka.produce(topic, lines, partition, config={"batch.num.messages": 200})
            self._topic = topic
        return kafka_source(self.kafka.address, self._topic, self.kafka.fresh("chaos"))

    def _of_files(self) -> Mapping[str, Any]:
        self.directory.mkdir(parents=True, exist_ok=True)
        for number, lines in enumerate(self.made.lines):
            path = self.directory / f"part-{number}.csv"
            if not path.exists():
                path.write_bytes(b"".join(line + b"\n" for _, line in lines))
        return files_source(self.directory / "part-*.csv")


def kills(role: str, dice: random.Random) -> list[str]:
    """A kill at every point of the role, before and after, early in the life of a process: in random order."""
    return [f"{role}:{point}:{edge}:{dice.randint(1, 6)}" for point in POINTS[role] for edge in EDGES]


def sooner(faults: list[str]) -> list[str]:
    """Faults that nobody lived long enough to meet, at the first time that anybody gets to their points."""
    return [f"{fault.rpartition(':')[0]}:1" for fault in faults]


def stops(role: str, dice: random.Random) -> list[str]:
    """A stop at three of the role's points, longer than every timeout, and on."""
    places = [(point, edge) for point in POINTS[role] for edge in EDGES]
    return [f"{role}:{point}:{edge}:{dice.randint(2, 6)}:stop" for point, edge in dice.sample(places, 3)]


def pair(role: str) -> Shape:
    """Two coordinators or nodes where one of them is to stand still: somebody has to take its work."""
    return Shape(coordinators=2 if role == "coordinator" else 1, computes=2 if role in ("compute", "worker") else 1)


def storm(seed: int, seconds: float, every: float, roles: tuple[str, ...] = ROLES) -> Storm:
    return Storm(random.Random(seed), seconds, every, roles)


def forever(given: Input, seed: int, directory: Path, roles: tuple[str, ...]) -> Iterator[tuple[str, Trial]]:
    """Trials without end for the long run: a random cluster, points or a storm, on every source and route in turn."""
    number = 0
    while True:
        dice = random.Random(f"{seed} {number}")
        kind = ("kafka", "files")[number % 2]
        route = ROUTES[kind][number // 2 % 2]
        shape = Shape(route, dice.choice([1, 4, 16]), dice.choice([1, 2]), dice.choice([1, 2]), dice.choice([1, 2, 4]),
                      dice.choice(["1", "4K", "64K", "1M"]), dice.choice([0.05, 0.3, 1.0]))
        faults = [fault for role in roles for fault in dice.choice([kills, stops])(role, dice)]
        faults = dice.sample(faults, min(len(faults), 12))
        trial = Trial(directory / f"trial-{number}", shape, given.source(kind), given.made.truth, faults,
                      storm(dice.getrandbits(32), dice.uniform(5, 60), dice.choice([0.2, 0.5, 2.0]), roles),
                      second_collector=dice.random() < 0.3, deadline=900)
        yield f"{number}: {kind} {shape}", trial
        number += 1


def told(name: str, outcome: Outcome) -> str:
    """One line about a trial that has come to its end."""
    happened = ", ".join(f"{what} {count}" for what, count in sorted(outcome.met.items()) if " " in what)
    points = sum(count for what, count in outcome.met.items() if ":" in what)
    return (f"{name}: {outcome.verdict} ({outcome.seconds:.0f} s; faults at points {points}"
            f"{', ' + happened if happened else ''})")
