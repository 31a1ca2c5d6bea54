"""Faults of processes: killed, standing still, told to stop, with a wrong clock."""
from __future__ import annotations

import random
import re
import signal
from typing import TYPE_CHECKING

from .asking import OVERDUE
from .fault import Fault
from .roles import send

if TYPE_CHECKING:
    from .life import Life, Times

ROLES = {"collector": "a collector", "coordinator": "a coordinator", "compute": "a compute node", "worker": "a worker"}
CLOCK_SECONDS = 3600.0


def lost(role: str, name: str) -> str:
    """What the others log when they miss somebody."""
    return {
        "collector": rf"collector lost .*collector={name}\b",
        "coordinator": rf"(link lost .*node={name}\b|coordinator lost .*coordinator={name}\b)",
        "compute": rf"link lost .*node={name}\b",
        "worker": r"worker died",
    }[role]


class Nothing(Fault):
    """What the figures are when all is well."""

    name = "nothing"
    told = "nothing, for comparison"

    def lasts(self, times: Times) -> float:
        return 3.0

    def strike(self, life: Life, dice: random.Random) -> str:
        return ""


class Kill(Fault):
    def __init__(self, role: str) -> None:
        self.role = role
        self.name = f"kill-{role}"
        self.told = f"kill -9 of {ROLES[role]}"

    def strike(self, life: Life, dice: random.Random) -> str:
        victim = life.crew.victim(self.role, dice)
        assert victim is not None, f"no {self.role} is alive"
        seat, pid = victim
        life.crew.kill(pid, self.role)
        return lost(self.role, seat.name)


class Stop(Fault):
    def __init__(self, role: str) -> None:
        self.role = role
        self.name = f"stop-{role}"
        self.told = f"SIGSTOP of {ROLES[role]} for {{stop:g}} s"
        self.asks = role == "worker"  # its node keeps it: it may just as well be mapping for long
        self._pid = 0

    def lasts(self, times: Times) -> float:
        return times.stop

    def strike(self, life: Life, dice: random.Random) -> str:
        victim = life.crew.victim(self.role, dice)
        assert victim is not None, f"no {self.role} is alive"
        seat, self._pid = victim
        send(self._pid, signal.SIGSTOP)
        life.crew.stands_still(self._pid, self.role, 0.0)
        return OVERDUE if self.asks else lost(self.role, seat.name)

    def heal(self, life: Life) -> None:
        life.crew.wake(0.0)


class Rolling(Fault):
    """Everybody in turn drains, ends, and is started again; the next one when it works again."""

    name = "rolling-restart"
    told = "rolling restart of everything by SIGTERM"

    def strike(self, life: Life, dice: random.Random) -> str:
        seats = list(life.crew.seats)
        dice.shuffle(seats)
        for seat in seats:
            begun = len(life.meter.heard)
            seat.done = True  # it is meant to end
            seat.running.signal(signal.SIGTERM)
            life.until(lambda: not seat.alive, f"{seat.name} drains and ends")
            assert seat.running.code == 0, f"told to stop, {seat.name} ended with {seat.running.code}"
            seat.done = False
            life.crew.start(seat)
            ready = re.compile("partition assigned|link up" if seat.role == "collector" else " listening ")
            life.until(lambda: any(line.who == seat.name and ready.search(line.line)
                                   for line in life.meter.heard[begun:]), f"{seat.name} is there again")
        return ""


class Clock(Fault):
    """A role's wall clock is an hour off, then right again: of a collector, a coordinator and a node, each its way."""

    name = "clock"
    told = "clocks of a collector, a coordinator and a node jump by an hour, and back after {timeout:g} s"

    def lasts(self, times: Times) -> float:
        return times.timeout

    def strike(self, life: Life, dice: random.Random) -> str:
        for role in ("collector", "coordinator", "compute"):
            seat = dice.choice(life.crew.of(role))
            shift = dice.choice([-CLOCK_SECONDS, CLOCK_SECONDS])
            (life.clocks / seat.name).write_text(str(shift))
        return ""

    def heal(self, life: Life) -> None:
        for clock in life.clocks.iterdir():
            clock.write_text("0")


FAULTS: list[Fault] = [Nothing(), *(Kill(role) for role in ROLES), *(Stop(role) for role in ROLES), Rolling(), Clock()]
