"""``memory``: the store takes nothing for a minute while the source has more to give than all budgets hold."""
from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Sequence

from ..services import Kafka
from .broker import load
from .report import Report
from .staging import package
from .streams import Campaigns
from .system import Run, await_true, campaigns_sections, read_campaigns, write_campaigns

ROLES = ("collector", "coordinator", "compute", "worker")
LOOK_SECONDS = 0.2
PATIENCE = 600.0
MB = 1 << 20
#: what a role may take beyond its idle size and its budget: fetched answers and frames under way, allocator's slack
ALLOWANCE = 64


def run(events: int, seconds: int, budget: int, route: str, sets: Sequence[str]) -> int:
    """Locks the database, starts drtc on a full topic, looks at its memory, unlocks, and checks the answer."""
    report = Report("memory", {"events": events, "seconds": seconds, "budget": budget, "route": route,
                               "set": list(sets)})
    with tempfile.TemporaryDirectory(prefix="drtc-bench-") as directory, Kafka() as kafka:
        place = Path(directory)
        campaigns = Campaigns(events)
        write_campaigns(campaigns, place)
        print(f"loading {events:,} events", flush=True)
        topic = load(kafka, campaigns)
        empty = kafka.create_topic(kafka.fresh("empty"), 2)
        apart = [] if os.environ.get(Kafka.variable()) else [kafka.pid]
        memory: dict[str, dict[str, object]] = {"coordinator": {"memory_bytes": f"{budget}M"},
                                                "compute": {"memory_bytes": f"{budget}M"}}

        idle = _idle(place, campaigns_sections(kafka.address, empty, kafka.fresh("bench"), route), memory)
        sections = campaigns_sections(kafka.address, topic, kafka.fresh("bench"), route) | memory
        sections["collector"]["memory_bytes"] = f"{budget}M"
        (place / "results.db").unlink(missing_ok=True)
        drtc = Run(place, package(True), sections, apart=apart, sets=sets)
        looks = []
        try:
            await_true(lambda: _stored(drtc.results) > 0, 60, "the first result")
            lock = _lock(drtc.results)
            began = time.monotonic()
            print(f"the store is locked for {seconds} s", flush=True)
            while time.monotonic() - began < seconds:
                looks.append((time.monotonic() - began, drtc.watched.resident()))
                time.sleep(LOOK_SECONDS)
            stored = _stored(drtc.results)
            lock.execute("ROLLBACK")
            lock.close()
        except BaseException:
            drtc.watched.kill()
            raise
        ran = drtc.wait(PATIENCE)
        right = report.check("memory", read_campaigns(drtc.results), campaigns.truth())
    rows = []
    for role in ROLES:
        peak = max(each.get(role, 0) for _, each in looks) / MB
        late = [each.get(role, 0) / MB for at, each in looks if at > seconds / 2]
        after = ran.cost.peak_by_role.get(role, 0) / MB
        extra = budget if role != "worker" else 0
        rows.append([role, idle.get(role, 0) / MB, extra, peak, max(late) - late[0], after,
                     peak <= idle.get(role, 0) / MB + extra + ALLOWANCE])
    report.run(right=right, views_stored_before=stored, seconds_to_exit=ran.cost.ended - ran.cost.began,
               looks=[(at, each) for at, each in looks[::5]])
    report.table(f"MB resident while the store was locked for {seconds} s ({events * 244 / MB:,.0f} MB waiting)",
                 ["role", "idle", "budget", "most", "growth in the second half", "most in the whole run", "bounded"],
                 rows)
    for row in rows:
        report.aim(f"{row[0]} stays within its idle size, its budget and {ALLOWANCE} MB", bool(row[6]),
                   f"{row[3]:.0f} MB")
    return report.close()


def _idle(place: Path, sections: dict[str, dict[str, object]], memory: dict[str, dict[str, object]]) -> dict[str, int]:
    """What each role takes when there is nothing to do."""
    drtc = Run(place, package(True), sections | memory, until_end=False)
    try:
        await_true(lambda: drtc.assigned() is not None, 60, "drtc run is ready")
        time.sleep(2)
        return drtc.watched.resident()
    finally:
        drtc.stop()
        drtc.wait(60)


def _lock(results: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(results, isolation_level=None, timeout=30)
    connection.execute("BEGIN EXCLUSIVE")
    return connection


def _stored(results: Path) -> int:
    if not results.exists():
        return 0
    connection = sqlite3.connect(f"file:{results}?mode=ro", uri=True)
    try:
        return int(connection.execute("SELECT COALESCE(SUM(views), 0) FROM campaign_views_v1").fetchone()[0])
    except sqlite3.OperationalError:
        return 0  # no table yet
    finally:
        connection.close()
