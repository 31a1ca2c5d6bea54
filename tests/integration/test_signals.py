"""Ctrl-C and SIGTERM in the middle of the work: a drain and exit code 0; a second one ends at once. Nothing is lost."""
from __future__ import annotations

import re
import signal
from pathlib import Path

import psutil
import pytest

from ..services import Kafka
from .gated import Gated, Stream, family
from .running import Process, until

EVENTS, SEED = 18_000, 5

pytestmark = pytest.mark.slow


@pytest.fixture
def stream(kafka: Kafka, tmp_path: Path, request: pytest.FixtureRequest) -> Stream:
    stream = Stream(request.param, kafka, tmp_path, SEED, EVENTS)
    stream.write()
    return stream


@pytest.mark.parametrize(("stream", "route", "number"), [
    ("kafka", "partition", signal.SIGINT), ("kafka", "key", signal.SIGTERM),
    ("files", "partition", signal.SIGTERM), ("files", "csv:0", signal.SIGINT)], indirect=["stream"])
def test_a_signal_drains(stream: Stream, route: str, number: signal.Signals, tmp_path: Path) -> None:
    with Gated(tmp_path, stream, route=route) as cluster:
        cluster.drain_at(EVENTS // 2, ends=number)
        said = cluster.processes[-1].said
        stored = re.search(r"drtc: ([\d,]+) events stored in", said)
        assert stored is not None and "Traceback" not in said, said
        assert int(stored[1].replace(",", "")) == cluster.events()
        cluster.finish()


@pytest.mark.parametrize("stream", ["files"], indirect=True)
def test_a_bounded_run_that_is_stopped_has_not_reached_its_end(stream: Stream, tmp_path: Path) -> None:
    """A script that goes on after success is not to go on."""
    with Gated(tmp_path, stream) as cluster:
        cluster.close_gate(EVENTS // 2)
        run = cluster.start("run", "--until-end")
        cluster.await_gate(run)
        run.send(signal.SIGINT)
        run.await_words("collector draining")
        cluster.open_gate()
        assert run.wait() == 130, run.said
        assert "drtc: stopped before the end of the source: " in run.said, run.said
        cluster.check_part()
        cluster.finish()


@pytest.mark.parametrize(("stream", "route", "first", "second"), [
    ("kafka", "key", signal.SIGINT, signal.SIGINT), ("files", "csv:0", signal.SIGTERM, signal.SIGTERM),
    ("kafka", "partition", signal.SIGTERM, signal.SIGINT)], indirect=["stream"])
def test_a_second_signal_ends_at_once(stream: Stream, route: str, first: signal.Signals, second: signal.Signals,
                                      tmp_path: Path) -> None:
    """The gate stays closed: the drain would last until its patience is over."""
    with Gated(tmp_path, stream, route=route) as cluster:
        cluster.close_gate(EVENTS // 2)
        run = cluster.start("run")
        cluster.await_gate(run)
        everybody = family(run)
        run.send(first)
        run.await_words("collector draining")
        run.send(second)
        assert run.wait(10) == 130, run.said
        assert not psutil.wait_procs(everybody, 10)[1]
        assert "supervisor gone" not in run.said and "Traceback" not in run.said, run.said
        cluster.open_gate()
        cluster.check_part()
        cluster.finish()


@pytest.mark.parametrize(("stream", "role", "number"), [
    ("kafka", "coordinator", signal.SIGTERM), ("kafka", "compute", signal.SIGTERM),
    ("kafka", "collector", signal.SIGINT)], indirect=["stream"])
def test_a_role_that_is_told_to_stop_takes_nothing_with_it(stream: Stream, role: str, number: signal.Signals,
                                                           tmp_path: Path) -> None:
    """The others go on and take up its successor; the collector, alone in its group, is started again."""
    with Gated(tmp_path, stream, route="key") as cluster:
        cluster.close_gate(EVENTS // 2)
        roles = {name: start(cluster, name) for name in ("coordinator", "compute", "collector")}
        cluster.await_gate(roles["compute"])
        roles[role].send(number)
        roles[role].await_words("draining")
        cluster.open_gate()
        assert roles[role].wait() == 0, roles[role].said
        assert all(other.popen.poll() is None for name, other in roles.items() if name != role)
        roles[role] = start(cluster, role)
        assert roles["collector"].wait() == 0, roles["collector"].said
        cluster.check_all()
        for name in ("compute", "coordinator"):
            roles[name].send(number)
        assert [roles[name].wait() for name in ("compute", "coordinator")] == [0, 0]
        assert not any("Traceback" in process.said for process in cluster.processes)


def start(cluster: Gated, role: str) -> Process:
    return cluster.start(role, "--name", f"{role}-1", *(["--until-end"] if role == "collector" else []))


@pytest.mark.parametrize(("stream", "role"), [
    ("files", "coordinator"), ("files", "collector"),
    pytest.param("files", "compute", marks=pytest.mark.long)], indirect=["stream"])
def test_a_role_of_a_run_that_is_told_to_stop_stops_the_run(stream: Stream, role: str, tmp_path: Path) -> None:
    """Without its compute node the run's drain lasts as long as a drain may."""
    with Gated(tmp_path, stream, route="csv:0") as cluster:
        cluster.close_gate(EVENTS // 2)
        run = cluster.start("run")
        cluster.await_gate(run)
        psutil.Process(until(lambda: cluster.report(role).get("pid"), f"{role} is there")).terminate()
        run.await_words(f"{role} draining")
        cluster.open_gate()
        assert run.wait(60) == 0, run.said
        cluster.finish()
