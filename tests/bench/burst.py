"""``burst``: many times the rate that the nodes sustain, for a minute; the coordinator's disk takes it, and drains.

The Job sleeps, so that the sustainable rate is known: workers divided by seconds of sleep. Lines are written into
growing files; the resident memory of every role is looked at all the time, and what is on disk. At every look each
record must be the beginning of its key's events (``steps``), so nothing overtakes, in memory or on disk. After the
burst the nodes drain for a while at the same rate; then the Job sleeps less, so as not to take ten minutes more.
"""
from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any, Callable, NamedTuple, Sequence


from . import steps
from .report import Report
from .roles import Roles, Sections
from .staging import package

PARTITIONS, SLOTS = 4, 16
STEADY = 0.5  # of the sustainable rate, before the burst
PIECE_SECONDS, LOOK_SECONDS = 0.05, 1.0
MB = 1 << 20
ROLES = ("collector", "coordinator", "compute", "worker")
#: what a role may still grow by in the second half of the burst: headers of what is on disk, allocator's slack
GROWTH_MB = 32


class Plan(NamedTuple):
    """How hard it is pushed."""

    seconds: float
    factor: float
    sleep: float
    nodes: int
    coordinators: int
    filler: int  # bytes of each line that nobody looks at
    memory: int  # MB that each role may hold
    disk: int  # MB
    relief: float

    @property
    def sustainable(self) -> float:
        """Events a second, at most."""
        return self.nodes / self.sleep

    @property
    def line_bytes(self) -> int:
        return len(steps.line(1_000_000, "x" * self.filler))

    def sections(self) -> Sections:
        budget = {"memory_bytes": f"{self.memory}M"}
        return {
            "job.options": {"sleep": self.sleep},
            "source": {"type": "files", "path": "part-*.csv", "follow": "yes", "rescan": 0.2},
            "collector": {"route": "csv:0", "slots": SLOTS, "batch_bytes": "64K", **budget},
            "coordinator": {"batch_bytes": "256K", "disk_bytes": f"{self.disk}M", "directory": "overflow", **budget},
            "compute": {"workers": 1, **budget},
        }


class Look(NamedTuple):
    """What is seen at one moment."""

    at: float  # seconds since the burst began
    written: int  # events
    counted: int
    queued: float  # MB that the coordinators have, in memory and on disk
    disk: float  # MB of it on disk, as they say
    files: float  # MB of the files of the overflow
    resident: dict[str, float]  # MB by role


class Burst:
    """Writes, and looks at everything meanwhile."""

    def __init__(self, plan: Plan, roles: Roles) -> None:
        self._plan, self._roles = plan, roles
        self._files = [open(roles.directory / f"part-{number}.csv", "w") for number in range(PARTITIONS)]
        self._filler = "x" * plan.filler
        self._began = time.monotonic()
        self._next_look = 0.0
        self.written = 0
        self.looks: list[Look] = []
        self.disordered: list[str] = []

    def begin(self) -> None:
        """From now on times are those of the burst."""
        shift = time.monotonic() - self._began
        self.looks = [each._replace(at=each.at - shift) for each in self.looks]
        self._began += shift

    def write(self, rate: float, seconds: float) -> None:
        """Writes at a steady rate."""
        began, before = time.monotonic(), self.written
        while (spent := time.monotonic() - began) < seconds:
            self._append(before + int(rate * spent))
            self.look()
            time.sleep(PIECE_SECONDS)
        self._append(before + round(rate * seconds))

    def _append(self, until: int) -> None:
        for number in range(self.written, until):
            self._files[steps.partition_of(number, PARTITIONS)].write(steps.line(number, self._filler))
        self.written = max(self.written, until)
        for file in self._files:
            file.flush()

    def watch(self, over: Callable[[], bool], seconds: float) -> None:
        """Only looks."""
        deadline = time.monotonic() + seconds
        while not over() and time.monotonic() < deadline:
            self.look()
            time.sleep(PIECE_SECONDS)

    @property
    def counted(self) -> int:
        return self.looks[-1].counted if self.looks else 0

    def look(self) -> None:
        """Looks, if it is time."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_SECONDS
        self._roles.check()
        records = steps.read(self._roles.results)
        self.disordered += steps.disordered(records)
        queued = disk = 0
        for member in self._roles.look():
            if member["role"] == "coordinator":
                queued, disk = queued + member["depth"], disk + member.get("disk", 0)
        files = sum(each.stat().st_size for each in (self._roles.directory / "overflow").rglob("*") if each.is_file())
        self.looks.append(Look(now - self._began, self.written, steps.counted(records), queued / MB, disk / MB,
                               files / MB, {role: size / MB for role, size in self._roles.resident().items()}))

    def close(self) -> None:
        for file in self._files:
            file.close()


def run(plan: Plan, compiled: bool, sets: Sequence[str]) -> int:
    """Steady, burst, drain; the answer is checked all the time and at the end."""
    report = Report("burst", {**plan._asdict(), "set": list(sets)})
    with tempfile.TemporaryDirectory(prefix="drtc-bench-") as directory:
        place = Path(directory)
        with Roles(place, package(compiled), plan.sections(), sets) as roles:
            roles.add("coordinator", plan.coordinators)
            roles.add("compute", plan.nodes)
            roles.await_ready(workers=1)
            collector, = roles.add("collector")
            for number in range(plan.coordinators):
                collector.await_words(f"link up node=coordinator-{number + 1}")
            burst = Burst(plan, roles)
            try:
                ended = _live(plan, roles, burst, place)
            finally:
                burst.close()
            letters = len(roles.letters())
            roles.drain()
        right = report.check("burst", steps.read(roles.results), steps.truth(burst.written))
        again = collector.said.count("reading again")
    if letters or burst.disordered:
        report.right = right = False
        print(f"WRONG: {letters} dead letters; {len(burst.disordered)} records out of order")
    _tell(plan, report, burst, ended, again, right)
    return report.close()


def _live(plan: Plan, roles: Roles, burst: Burst, place: Path) -> float:
    """Returns when everything was counted, in seconds since the burst began."""
    burst.write(plan.sustainable * STEADY, max(5.0, plan.seconds / 6))
    burst.begin()
    print(f"{plan.factor:g} times the sustainable {plan.sustainable:,.0f} events/s for {plan.seconds:g} s", flush=True)
    burst.write(plan.sustainable * plan.factor, plan.seconds)
    print("draining", flush=True)
    burst.watch(lambda: burst.counted >= burst.written, plan.seconds / 2)
    (place / "pace").write_text(str(plan.sleep / plan.relief))
    longest = 60 + 3 * burst.written / (plan.sustainable * plan.relief)
    burst.watch(lambda: burst.counted >= burst.written, longest)
    if burst.counted < burst.written:
        raise TimeoutError(f"{burst.counted} of {burst.written} events are counted: not drained in {longest:.0f} s")
    ended = burst.looks[-1].at
    burst.watch(lambda: False, 3 * LOOK_SECONDS)
    return ended


def _tell(plan: Plan, report: Report, burst: Burst, ended: float, again: int, right: bool) -> None:
    half, full = plan.seconds / 2, plan.seconds
    phases = {"steady": (float("-inf"), 0.0), "burst, first half": (0.0, half), "burst, second half": (half, full),
              "drain": (full, float("inf"))}
    rows: list[list[Any]] = []
    for phase, (begin, end) in phases.items():
        looks = [each for each in burst.looks if begin <= each.at < end]
        took = looks[-1].at - looks[0].at
        rows.append([phase, (looks[-1].written - looks[0].written) / took,
                     (looks[-1].counted - looks[0].counted) / took, max(each.queued for each in looks),
                     max(each.disk for each in looks), max(each.files for each in looks),
                     *(max(each.resident.get(role, 0.0) for each in looks) for role in ROLES)])
    report.run(written=burst.written, seconds_to_drained=ended, sustainable=plan.sustainable, read_again=again,
               disordered=len(burst.disordered), right=right, looks=[each._asdict() for each in burst.looks])
    report.table(f"a burst of {plan.factor:g} times {plan.sustainable:,.0f} events/s of {plan.line_bytes} bytes for "
                 f"{full:g} s; all counted after {ended:.0f} s", [
                     "phase", "written/s", "counted/s", "MB queued", "MB on disk", "MB of files",
                     *(f"{role} MB" for role in ROLES)], rows)
    peak = max((each for each in burst.looks if each.at < full + LOOK_SECONDS), key=lambda each: each.at)
    behind = (peak.written - peak.counted) * plan.line_bytes / MB
    report.aim("what the nodes could not take is with the coordinators, not waiting in the source",
               peak.queued >= 0.9 * behind, f"{peak.queued:.0f} MB of {behind:.0f} MB at the end of the burst")
    report.aim("most of it is on disk", peak.disk >= peak.queued / 2, f"{peak.disk:.0f} MB")
    first, second = rows[1], rows[2]
    for number, role in enumerate(ROLES, 6):
        grown = second[number] - first[number]
        report.aim(f"{role} grows by less than {GROWTH_MB} MB in the second half of the burst", grown < GROWTH_MB,
                   f"{grown:+.0f} MB")
    report.aim("the disk is free again", burst.looks[-1].disk == 0, f"{burst.looks[-1].disk:.1f} MB")
    report.aim("nothing was read again", again == 0, f"{again} times")
