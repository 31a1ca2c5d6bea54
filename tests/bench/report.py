"""What a benchmark says: a table for people, a JSON file under ``results/``, and WRONG for a wrong answer."""
from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Mapping, Sequence

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("kafka-python", "confluent-kafka", "msgspec", "msgpack", "uvloop", "crc32c", "datasketches")


class Report:
    """Collects the measurements of one benchmark. ``runs`` are raw; whatever is derived can be derived again."""

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self.name = name
        self.right = True
        self.document: dict[str, Any] = {
            "benchmark": name, "at": datetime.now(UTC).isoformat(timespec="seconds"), "command": sys.argv[1:],
            "options": dict(options), "machine": machine(), "versions": versions(), "runs": [],
        }

    def run(self, **values: Any) -> None:
        """Notes one measurement and says it in a line."""
        self.document["runs"].append(values)
        shown = (f"{key}={_short(value)}" for key, value in values.items() if not isinstance(value, (dict, list)))
        print(f"  {time.strftime('%H:%M:%S')}", *shown, flush=True)

    def check(self, what: str, found: Mapping[Any, Any], truth: Mapping[Any, Any]) -> bool:
        """Compares an answer with the truth; a difference is said at once, and ends the benchmark with 1."""
        wrong = sorted(repr(key) for key in {*found, *truth} if found.get(key) != truth.get(key))
        if wrong:
            self.right = False
            print(f"WRONG: {what}: {len(wrong)} of {len(truth)} records differ, such as {wrong[0]}", flush=True)
        return not wrong

    def table(self, title: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Prints a table, and keeps it."""
        cells = [[_short(cell) for cell in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(heads, *cells)]
        print(f"\n{title}")
        for row in [heads, ["-" * width for width in widths], *cells]:
            first, *others = (cell.ljust(width) if not at else cell.rjust(width)
                              for at, (cell, width) in enumerate(zip(row, widths)))
            print("  ".join([first, *others]).rstrip())
        self.document.setdefault("tables", {})[title] = {"heads": list(heads), "rows": [list(row) for row in rows]}

    def aim(self, what: str, met: bool, figure: str) -> None:
        """Says whether an aim is met. Machines are noisy: missing one does not fail the benchmark."""
        print(f"{'met   ' if met else 'MISSED'}  {what}: {figure}")
        self.document.setdefault("aims", []).append({"aim": what, "met": met, "figure": figure})

    def close(self) -> int:
        """Writes the JSON file; returns the exit code."""
        self.document["right"] = self.right
        RESULTS.mkdir(exist_ok=True)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        path = RESULTS / f"{self.name}-{stamp}.json"
        path.write_text(json.dumps(self.document, indent=1, default=str) + "\n")
        print(f"\n{'every answer was right' if self.right else 'WRONG ANSWERS'}; {path}")
        return 0 if self.right else 1


def machine() -> dict[str, Any]:
    """Where this runs."""
    models = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
              if line.startswith("model name")]
    return {"cores": len(os.sched_getaffinity(0)), "cpu": models[0] if models else platform.machine(),
            "memory_mb": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20,
            "system": platform.platform(), "load_before": os.getloadavg()}


def versions() -> dict[str, str]:
    """Of Python, drtc and what it stands on."""
    import sqlite3

    import drtc

    found = {"python": platform.python_version(), "drtc": drtc.__version__, "sqlite": sqlite3.sqlite_version}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def middle(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values) if values else float("nan")


def spread(values: Sequence[float], form: str = ",.0f") -> str:
    """From the least to the greatest."""
    return f"{min(values):{form}} to {max(values):{form}}" if values else ""


def quantile(values: Sequence[float], q: float) -> float:
    """The least value that at least the part ``q`` of the sorted values does not exceed."""
    return values[min(len(values) - 1, max(0, -(-int(len(values) * q * 1e6) // 1_000_000) - 1))]


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 1 else f"{value:.2f}"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:,}" if isinstance(value, int) else str(value)
