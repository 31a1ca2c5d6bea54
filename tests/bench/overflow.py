"""``overflow``: the ladder of the queue on disk, each type in each mode, beside the disk alone."""
from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Iterator, TypeVar

from drtc.overflow import NAMES, open_overflow

from .report import Report, middle, spread

Thing = TypeVar("Thing")
KiB, MiB = 1 << 10, 1 << 20
SIZES = (4 * KiB, 32 * KiB, 256 * KiB, MiB, 4 * MiB)
MOST = 400  # items of one run
ROOM = 1 << 40  # bytes, more than is ever written
DISK = "write + fsync"


def run(rounds: int, megabytes: int, group: int, directory: str | None) -> int:
    """Writes all of a run, then drains it in order, by calls of ``group`` items; medians of ``rounds``."""
    report = Report("overflow", {"rounds": rounds, "megabytes": megabytes, "group": group})
    systems = [(kind, mode) for mode in ("cache", "durable") for kind in sorted(NAMES)]
    measured: dict[tuple[int, str, str], list[dict[str, float]]] = {}
    for size in SIZES:
        items = [os.urandom(32) + bytes(size - 32) for _ in range(max(group, min(MOST, (megabytes << 20) // size)))]
        for turn in range(rounds):
            for kind, mode in [*systems[turn % 4:], *systems[:turn % 4], (DISK, "durable")]:
                with tempfile.TemporaryDirectory(prefix="drtc-bench-", dir=directory) as place:
                    times = (_disk(place, items) if kind == DISK else
                             _queue(report, kind, Path(place), mode == "durable", items, group))
                each = {what: seconds / len(items) * 1e3 for what, seconds in times.items()}
                measured.setdefault((size, kind, mode), []).append(each)
                report.run(type=kind, mode=mode, size=size, items=len(items), group=group,
                           **{f"{what}_ms": value for what, value in each.items()})
    rows = []
    for (size, kind, mode), runs in measured.items():
        for what in sorted({*runs[0]} - {"cpu"}, reverse=True):
            values = [each[what] for each in runs]
            rows.append([_named(size), mode, kind, what, middle(values), spread(values, ".3f"),
                         size / MiB / middle(values) * 1e3, _cpu(runs) if what == "drain" else ""])
    report.table("milliseconds an item", ["item", "mode", "type", "what", "median", "spread", "MiB/s", "CPU, both"],
                 rows)
    for size in SIZES:
        for mode in ("cache", "durable"):
            for what in ("write", "drain"):
                slow, fast = (middle([each[what] for each in measured[size, kind, mode]]) for kind in sorted(NAMES))
                report.aim(f"{_named(size)} {mode} {what}: diskcache at most twice as slow as sqlite",
                           slow <= 2 * fast, f"{slow / fast:.2f}")
    return report.close()


def _queue(report: Report, kind: str, place: Path, durable: bool, items: list[bytes],
           group: int) -> dict[str, float]:
    """Seconds for writing and for draining all; CPU seconds for both."""
    queue = open_overflow(kind, place, ROOM, durable, "bench")
    cpu = time.process_time()
    began = time.perf_counter()
    numbers = [number for each in _groups(items, group) for number in queue.append(each)]
    written = time.perf_counter()
    found = {}
    for some in _groups(numbers, group):
        for number in some:
            found[number] = queue.read(number)
        queue.discard(some)
    drained = time.perf_counter()
    cpu = time.process_time() - cpu
    report.check(f"{kind} {len(items[0])}", found, dict(zip(numbers, items)))
    report.check(f"{kind} left", {"depth": queue.depth, "damaged": queue.damaged}, {"depth": 0, "damaged": 0})
    queue.close()
    return {"write": written - began, "drain": drained - written, "cpu": cpu}


def _groups(things: list[Thing], size: int) -> Iterator[list[Thing]]:
    return (things[at:at + size] for at in range(0, len(things), size))


def _disk(place: str, items: list[bytes]) -> dict[str, float]:
    """What the disk takes for the same bytes, each forced out before the next."""
    began = time.perf_counter()
    with open(Path(place) / "file", "wb", buffering=0) as file:
        for item in items:
            file.write(item)
            os.fdatasync(file.fileno())
    return {"write": time.perf_counter() - began}


def _cpu(runs: list[dict[str, float]]) -> float:
    return middle([each["cpu"] for each in runs])


def _named(size: int) -> str:
    return f"{size // MiB} MiB" if size >= MiB else f"{size // KiB} KiB"
