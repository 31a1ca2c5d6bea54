"""A fourth coordinator joins three while events flow: about a quarter of the slots move to it, the others stay where
they are, and nothing is lost, doubled, overtaken or read again."""
from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import pytest

from drtc.cluster.rendezvous import owner

from ..bench import steps
from ..bench.roles import Roles
from .running import ROOT

SLOTS, FILES = 192, 2
BACKLOG, PIECE = 4_000, 500  # events that wait, so that every slot has something in hand; written at a time
SLEEP = 0.0005  # seconds of work for each event
PATIENCE = 60.0  # seconds; on a machine with little else to do it takes three altogether

Seen = dict[int, Counter[str]]  # for each slot, at which coordinators it was seen, and how often


class Flood:
    """Keeps a backlog in the files, and looks where the slots are meanwhile."""

    def __init__(self, roles: Roles) -> None:
        self._roles = roles
        self.written = 0

    def write(self, events: int) -> None:
        lines: list[list[str]] = [[] for _ in range(FILES)]
        for number in range(self.written, self.written + events):
            lines[steps.partition_of(number, FILES)].append(steps.line(number))
        for number, each in enumerate(lines):
            with open(self._roles.directory / f"part-{number}.csv", "a") as file:
                file.write("".join(each))
        self.written += events

    def look(self, seen: Seen) -> None:
        """One look at the store and at the coordinators."""
        records = steps.read(self._roles.results)
        assert steps.disordered(records) == []
        while self.written - steps.counted(records) < BACKLOG:
            self.write(PIECE)
        for member in self._roles.look():
            if member["role"] == "coordinator":
                for lane in member["lanes"]:
                    seen[int(lane.rpartition("#")[2])][member["node"]] += 1

    def all_counted(self) -> bool:
        return steps.counted(steps.read(self._roles.results)) >= self.written


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_fourth_coordinator_takes_a_quarter_of_the_slots_and_nothing_is_lost(tmp_path: Path) -> None:
    names = [f"coordinator-{number}" for number in range(1, 5)]
    three, four = ([owner(f"slot {slot}", dict.fromkeys(names[:count], 1.0)) for slot in range(SLOTS)]
                   for count in (3, 4))
    with Roles(tmp_path, ROOT, {
        "job.options": {"sleep": SLEEP},
        "source": {"type": "files", "path": "part-*.csv", "follow": "yes", "rescan": 0.2, "chunk_bytes": "4K"},
        "collector": {"route": "csv:0", "slots": SLOTS, "batch_bytes": "1K"},
        "coordinator": {"batch_bytes": "2K"},  # most of a lane waits there: who moved it too soon would overtake
        "compute": {"workers": 1},
    }) as roles:
        roles.add("coordinator", 3)
        roles.add("compute", 2)
        roles.await_ready(workers=1)
        collector, = roles.add("collector")
        for name in names[:3]:  # before there is anything to read, or the first of them would be given everything
            collector.await_words(f"link up node={name}")
        flood = Flood(roles)
        before: Seen = defaultdict(Counter)

        def seen_by_three() -> bool:
            flood.look(before)
            return len(before) == SLOTS

        roles.await_true(seen_by_three, PATIENCE, "every slot has something in hand")

        roles.add("coordinator")
        collector.await_words("link up node=coordinator-4")
        while_moving: Seen = defaultdict(Counter)
        last: dict[int, str] = {}

        def seen_by_four() -> bool:
            now: Seen = defaultdict(Counter)
            flood.look(now)
            for slot, places in now.items():
                while_moving[slot] += places
                last[slot], = places if len(places) == 1 else [""]  # "": something of it is in two places
            return [last.get(slot) for slot in range(SLOTS)] == four

        roles.await_true(seen_by_four, PATIENCE, "every slot is where rendezvous hashing puts it")
        roles.await_true(flood.all_counted, PATIENCE, "everything is counted")
        roles.drain()

        assert {slot: set(places) for slot, places in before.items()} == {slot: {str(three[slot])}
                                                                          for slot in range(SLOTS)}
        moved = {slot for slot in range(SLOTS) if while_moving[slot].keys() - before[slot].keys()}
        assert {str(four[slot]) for slot in moved} == {"coordinator-4"}
        assert len(moved) == sum(one != other for one, other in zip(three, four))
        assert 0.15 <= len(moved) / SLOTS <= 0.35, f"{len(moved)} of {SLOTS} slots moved"
        assert steps.read(roles.results) == steps.truth(flood.written)
        assert roles.letters() == []
        assert "reading again" not in collector.said, collector.said
