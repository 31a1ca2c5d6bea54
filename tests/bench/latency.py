"""``latency``: a steady light load; from the producer's clock to the record visible in the store.

A campaign's events are all in one partition, and a partition's events are stored in order: so the sum of a partition's
counts in the store says which of its events are visible, and each event is timed, not a sample. The store is looked
at every 2 ms by another connection, which therefore is the resolution.
"""
from __future__ import annotations

import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Sequence

import numpy as np

from ..services import Kafka
from .campaigns import ROOT
from .report import Report, quantile
from .staging import package
from .streams import PARTITIONS, Campaigns
from .system import Run, await_true, campaigns_sections, read_campaigns, write_campaigns

LOOK_SECONDS = 0.002
WARM_UP = 10  # seconds at the beginning that do not count: a broker that has just started is slow itself
PATIENCE = 60.0
AIMS = {0.5: 20.0, 0.99: 100.0}  # milliseconds


class Sight:
    """Looks at the store: at which time how many views of each partition were visible."""

    def __init__(self, results: Path, campaigns: Campaigns) -> None:
        self._connection = sqlite3.connect(f"file:{results}?mode=ro", uri=True, isolation_level=None)
        self._partition = {name: campaigns.partition_of(name) for name in set(campaigns.table().values())}
        self._version = -1
        self.times: list[float] = []
        self.visible: list[list[int]] = []

    def look(self) -> None:
        version, = self._connection.execute("PRAGMA data_version").fetchone()
        if version == self._version:
            return  # nobody has written
        self._version = version
        counts = [0] * PARTITIONS
        for key, views in self._connection.execute("SELECT key, SUM(views) FROM campaign_views_v1 GROUP BY key"):
            counts[self._partition[key]] += views
        self.times.append(time.time())
        self.visible.append(counts)

    def close(self) -> None:
        self._connection.close()


def run(rate: int, seconds: int, route: str, sets: Sequence[str]) -> int:
    """One run of ``seconds``, after a warm-up."""
    report = Report("latency", {"rate": rate, "seconds": seconds, "route": route, "set": list(sets)})
    events = rate * (seconds + WARM_UP)
    campaigns = Campaigns(events, apart=True)
    with tempfile.TemporaryDirectory(prefix="drtc-bench-") as directory, Kafka() as kafka:
        place = Path(directory)
        write_campaigns(campaigns, place)
        topic = kafka.create_topic(kafka.fresh("ads"), PARTITIONS)
        sections = campaigns_sections(kafka.address, topic, kafka.fresh("bench"), route)
        drtc = Run(place, package(True), sections, until_end=False, apart=[kafka.pid], sets=sets)
        try:
            await_true(lambda: drtc.assigned() is not None and drtc.results.exists(), PATIENCE, "drtc run is ready")
            produced = place / "produced"
            sight = _watch(drtc, campaigns, [kafka.address, topic, str(events), str(rate), str(produced)])
        finally:
            drtc.stop()
            ran = drtc.wait(PATIENCE)
        right = report.check("latency", read_campaigns(drtc.results), campaigns.truth())
        at, waits = delays(campaigns, np.fromfile(produced), sight, rate * WARM_UP)
        by_second = [float(np.median(waits[at.astype(int) == second])) for second in np.unique(at.astype(int))]
        waits = np.sort(waits).tolist()
        figures = {f"p{100 * q:g}_ms": quantile(waits, q) for q in (0.5, 0.9, 0.99, 0.999)}
        report.run(system=f"drtc, route={route}", timed=len(waits), **figures, most_ms=waits[-1], right=right,
                   cpu_us=ran.cost.cpu / events * 1e6, mb=ran.cost.peak / 2 ** 20, elsewhere=ran.cost.elsewhere,
                   commits=len(sight.times), by_second=by_second, by_role=ran.cost.by_role, stage_seconds=ran.stages)
    report.table(f"milliseconds from produced to visible, {rate:,} events/s for {seconds} s",
                 ["system", *(name.removesuffix("_ms") for name in figures), "most", "right"],
                 [[f"drtc, route={route}", *figures.values(), waits[-1], right]])
    for q, most in AIMS.items():
        report.aim(f"p{100 * q:g} under {most:g} ms", quantile(waits, q) < most, f"{quantile(waits, q):.1f} ms")
    return report.close()


def _watch(drtc: Run, campaigns: Campaigns, arguments: list[str]) -> Sight:
    """Produces, and looks until everything is visible (or nothing has moved for a while)."""
    expected = int(campaigns.viewed.sum())
    producer = subprocess.Popen([sys.executable, "-m", "tests.bench.pace", *arguments], cwd=ROOT)
    sight: Any = None
    try:
        moved = time.monotonic()
        while sum(sight.visible[-1]) < expected if sight and sight.visible else True:
            before = len(sight.times) if sight else 0
            try:
                sight = sight or Sight(drtc.results, campaigns)
                sight.look()
            except sqlite3.OperationalError:
                pass  # the table is not there yet
            if producer.poll() is None or (sight and len(sight.times) > before):
                moved = time.monotonic()
            elif time.monotonic() - moved > PATIENCE:
                break
            time.sleep(LOOK_SECONDS)
        producer.wait(PATIENCE)
    finally:
        producer.kill()
        producer.wait()
    sight.close()
    found: Sight = sight
    return found


def delays(campaigns: Campaigns, produced: Any, sight: Sight, skip: int) -> tuple[Any, Any]:
    """Of every view past the first ``skip`` events: when it was produced, in seconds from the first, and after how
    many milliseconds it was visible (infinite: never). Two columns."""
    ats = []
    waits = []
    times = np.append(np.array(sight.times), np.inf)
    for partition in range(PARTITIONS):
        places = np.arange(partition, campaigns.events, PARTITIONS)
        places = places[campaigns.viewed[places]]
        visible = np.maximum.accumulate(np.array([each[partition] for each in sight.visible]))
        seen = times[np.searchsorted(visible, np.arange(1, len(places) + 1))]
        waits.append((seen - produced[places])[places >= skip] * 1000)
        ats.append((produced[places] - produced[0])[places >= skip])
    return np.concatenate(ats), np.concatenate(waits)
