"""The roles of a cluster under test: who has which seat, who is killed, who stands still, who is started again."""
from __future__ import annotations

import random
import signal
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Mapping

from drtc.errors import NotDrained

from .roles import RoleProcess, send, workers

DRAIN_SECONDS = 20.0  # for a role that is told to stop


class Failed(AssertionError):
    """A trial that did not come to its end: it hung, or a role ended with an error."""


@dataclass
class Seat:
    """A role's name in the cluster, and the process that has it now. ``options`` go to its command line."""

    role: str
    name: str
    options: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    process: RoleProcess | None = None
    done: bool = False  # it has ended with 0 and is not started again
    begun: int = 0

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.code is None

    @property
    def running(self) -> RoleProcess:
        """Its process. Only of a seat that was started."""
        assert self.process is not None, f"{self.name} was never started"
        return self.process


@dataclass
class Crew:
    """Processes on one INI file; ``env`` is everybody's. ``met`` counts what happens: "kill worker", "not drained"."""

    directory: Path
    ini: Path
    env: Mapping[str, str] = field(default_factory=dict)
    again: tuple[int, ...] = ()  # exit codes with which a role is simply started again
    seats: list[Seat] = field(default_factory=list)
    met: Counter[str] = field(default_factory=Counter)
    _stopped: dict[int, float] = field(default_factory=dict)  # process id -> when it goes on

    def of(self, role: str) -> list[Seat]:
        """The seats of a role; a worker's are its node's."""
        return [seat for seat in self.seats if seat.role == ("compute" if role == "worker" else role)]

    def start(self, seat: Seat, env: Mapping[str, str] | None = None) -> None:
        seat.begun += 1
        arguments = [seat.role, "-c", str(self.ini), "--name", seat.name, *seat.options]
        seat.process = RoleProcess(arguments, self.log(seat), {**self.env, **seat.env, **(env or {})})

    def log(self, seat: Seat) -> Path:
        return self.directory / f"{seat.name}.log"

    def look_after(self) -> None:
        """Starts again whoever was killed.

        Raises:
            Failed: somebody ended with an error.
        """
        for seat in self.seats:
            if seat.process is None or seat.alive or seat.done:
                continue
            code = seat.process.code
            if code == 0 and "--until-end" in seat.options:
                seat.done = True
            elif code == -signal.SIGKILL or code in self.again:
                self.start(seat)
            elif code == NotDrained.exit_code and seat.role == "collector":
                self.met["not drained"] += 1  # a group in mid-rebalance took no last commit: what it covers comes again
                self.start(seat)
            else:
                raise Failed(f"{seat.name} ended with {code}\n{self.last_words()}")

    # --- faults ---

    def victim(self, role: str, dice: random.Random) -> tuple[Seat, int] | None:
        """Somebody who lives, and the process id; of a worker, its node's seat. None where there is nobody now."""
        seats = [seat for seat in self.of(role) if seat.alive]
        if not seats:
            return None
        seat = dice.choice(seats)
        pids = workers(seat.running.pid) if role == "worker" else [seat.running.pid]
        return (seat, dice.choice(pids)) if pids else None

    def kill(self, pid: int, role: str) -> None:
        self._stopped.pop(pid, None)
        send(pid, signal.SIGKILL)
        self.met[f"kill {role}"] += 1

    def stands_still(self, pid: int, role: str, until: float) -> None:
        """Somebody was stopped, and goes on at this time (``wake``)."""
        self._stopped[pid] = until
        self.met[f"stop {role}"] += 1

    def wake(self, now: float) -> None:
        for pid in [pid for pid, when in self._stopped.items() if when <= now]:
            del self._stopped[pid]
            send(pid, signal.SIGCONT)

    # --- the end ---

    def end(self, *roles: str, killed: bool) -> None:
        """These roles drain and end with 0 when they are told to. ``killed``: some of them may be dead already."""
        for seat in [seat for role in roles for seat in self.of(role) if seat.alive]:
            process = seat.running
            process.end(DRAIN_SECONDS)
            if process.code not in (0, -signal.SIGKILL) or (process.code and not killed):
                raise Failed(f"told to stop, {seat.name} ended with {process.code}\n{self.last_words()}")
        for log in self.directory.glob("co[mo]*.log"):  # a collector's is told by its exit code
            if "drain cut short" in log.read_text("utf-8", "replace"):
                raise Failed(f"{log.stem} could not drain, and gave up\n{self.last_words()}")

    def bury(self) -> None:
        """Kills whoever is left."""
        for pid in self._stopped:
            send(pid, signal.SIGCONT)
        for seat in self.seats:
            if seat.alive:
                seat.running.kill()

    def last_words(self) -> str:
        words = [f"happened: {dict(self.met)}, in {self.directory}"]
        for seat in self.seats:
            if seat.process is not None:
                state = "running" if seat.alive else f"ended with {seat.process.code}"
                words.append(f"--- {seat.name}, {state}, started {seat.begun} times\n{seat.process.tail(12)}")
        return "\n".join(words)
