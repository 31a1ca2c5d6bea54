"""``start``: how long ``import drtc`` takes, and from starting ``drtc run`` to the first result."""
from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .report import Report, middle, spread
from .staging import package
from .streams import Actions
from .system import Run, Sections, await_true

OPTIONAL = ("kafka", "crc32c", "datasketches", "lz4", "snappy", "zstandard", "uvloop", "rich", "setproctitle", "numpy")
LINES = 1_000
IMPORT = "import time; began = time.perf_counter(); import drtc; print(time.perf_counter() - began)"
LOADED = "import json, sys, drtc; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"


def run(rounds: int) -> int:
    """Each measured ``rounds`` times; the medians count."""
    report = Report("start", {"rounds": rounds})
    staged = package(True)
    loaded = set(json.loads(_python(staged, LOADED))) & set(OPTIONAL)
    imports = [float(_python(staged, IMPORT)) for _ in range(rounds)]
    first: list[float] = []
    with tempfile.TemporaryDirectory(prefix="drtc-bench-") as directory:
        source = Path(directory) / "actions.csv"
        actions = Actions(LINES)
        actions.write(source)
        for number in range(rounds):
            sections: Sections = {"job": {"class": "jobs:Profile"},
                                  "source": {"type": "files", "path": source, "follow": "yes"}}
            drtc = Run(Path(directory) / str(number), staged, sections, until_end=False)
            try:
                await_true(lambda: _visible(drtc.results) > 0, 30, "the first result")
                first.append(time.time() - drtc.watched.began)
                await_true(lambda: _visible(drtc.results) == LINES, 30, "all results")
            finally:
                drtc.stop()
                drtc.wait(60)
            report.run(import_seconds=imports[number], first_result_seconds=first[-1])
    report.table("seconds", ["what", "median", "spread"],
                 [["import drtc", middle(imports), spread(imports, ".3f")],
                  ["drtc run to the first result", middle(first), spread(first, ".2f")]])
    report.aim("import drtc under 0.15 s", middle(imports) < 0.15, f"{middle(imports):.3f} s")
    report.aim("import drtc loads no optional package", not loaded, ", ".join(sorted(loaded)) or "none")
    report.aim("the first result under 2 s", middle(first) < 2, f"{middle(first):.2f} s")
    return report.close()


def _python(staged: Path, code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], cwd=staged, capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": str(staged)}).stdout


def _visible(results: Path) -> int:
    """How many lines are counted in the store."""
    if not results.exists():
        return 0
    connection = sqlite3.connect(f"file:{results}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT SUM(views) + SUM(collects) FROM profile_v1").fetchone()[0] or 0)
    except sqlite3.OperationalError:
        return 0  # no table yet
    finally:
        connection.close()
