"""More than the coordinator's memory holds waits on disk, in order; what the disk loses is read again."""
from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any, Iterator

import psutil
import pytest

from ..chaos.roles import send
from ..services import Kafka
from .gated import Gated, Stream, family
from .running import Process, until

EVENTS = 30_000
BURST = 400_000  # bytes; the coordinator's memory is a fraction of it
DISK = ["--set", "coordinator.disk_bytes=50M", "--set", "coordinator.memory_bytes=128K",
        "--set", "collector.memory_bytes=64K"]

pytestmark = pytest.mark.slow


@pytest.fixture(params=["sqlite", "diskcache"])
def cluster(request: pytest.FixtureRequest, kafka: Kafka, tmp_path: Path) -> Iterator[Gated]:
    stream = Stream("files", kafka, tmp_path, 5, EVENTS)
    stream.write()
    with Gated(tmp_path, stream) as found:
        found.kind = request.param  # type: ignore[attr-defined]
        yield found


def fill(cluster: Gated, *more: str) -> Process:
    """A run whose workers stand at a gate while the source goes on: until the burst lies on disk."""
    cluster.close_gate(3000)
    kind = cluster.kind  # type: ignore[attr-defined]
    run = cluster.start("run", *DISK, "--set", f"coordinator.overflow={kind}", *more)
    cluster.await_gate(run)
    until(lambda: coordinator(cluster).get("disk", 0) > BURST, "the burst lies on disk")
    assert coordinator(cluster)["memory"] <= 128 * 1024 + 64 * 1024, "memory stays within its budget and a share"
    return run


def coordinator(cluster: Gated) -> dict[str, Any]:
    """What it reports; {} where it does not run. Whatever the exit status: a cluster at a gate is stalled."""
    done = subprocess.run(cluster.argv("status", "--format", "json"), capture_output=True, text=True,
                          env=cluster.environ, timeout=60)
    members = json.loads(done.stdout)["members"] if done.stdout else []
    return next((member for member in members if member["role"] == "coordinator"), {})


def finish(cluster: Gated, run: Process) -> None:
    cluster.open_gate()
    cluster.await_events(EVENTS)
    run.send(signal.SIGTERM)
    assert run.wait() == 0, run.said
    cluster.check_all()


def test_a_burst_is_kept_on_disk_and_drains_in_order(cluster: Gated) -> None:
    run = fill(cluster)
    finish(cluster, run)
    assert "reading again" not in run.said


def test_a_coordinator_that_dies_with_a_full_disk_loses_nothing(cluster: Gated) -> None:
    run = fill(cluster)
    victim = next(each for each in family(run) if "coordinator-1" in each.cmdline())
    send(victim.pid, signal.SIGKILL)
    psutil.wait_procs([victim], 10)
    run.await_words("reading again")
    until(lambda: coordinator(cluster).get("disk", 0) > BURST, "the burst lies on disk again")
    finish(cluster, run)


@pytest.mark.parametrize("cluster", ["diskcache"], indirect=True)  # sqlite has so little still in memory
def test_files_that_do_not_work_any_more_are_made_anew(cluster: Gated) -> None:
    run = fill(cluster)
    for path in (cluster.directory / ".drtc" / "overflow").rglob("*.db"):
        os.truncate(path, path.stat().st_size // 2)
    cluster.close_gate(6000)  # a little of it comes back, is damaged, and is sent again
    run.await_words("overflow made anew")
    until(lambda: coordinator(cluster).get("disk", 0) > BURST // 2, "what is sent again lies on disk")
    finish(cluster, run)
    assert "reading again" in run.said


@pytest.mark.parametrize("cluster", ["diskcache"], indirect=True)  # sqlite lets nobody else at its file
def test_what_is_damaged_on_disk_is_read_again(cluster: Gated) -> None:
    run = fill(cluster)
    (path,) = (cluster.directory / ".drtc" / "overflow").rglob("cache.db")
    with closing(sqlite3.connect(path, timeout=30)) as files, files:
        assert files.execute("UPDATE Cache SET value = substr(value, 1, 100) WHERE rowid % 3 = 0").rowcount > 10
    finish(cluster, run)
    assert "batch lost on disk" in run.said and "reading again" in run.said
