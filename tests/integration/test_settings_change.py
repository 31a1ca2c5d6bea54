"""Another route or number of slots moves lanes: refused after an unclean end, exact after a drain. What moves no lane
is accepted at any time."""
from __future__ import annotations

from pathlib import Path

import pytest

from ..services import Kafka
from .gated import Gated, Stream

EVENTS, SEED = 24_000, 4
OTHERS = {
    "more": ("compute.workers=4", "collector.batch_bytes=1M", "collector.memory_bytes=8M",
             "coordinator.batch_bytes=1M", "coordinator.memory_bytes=8M", "compute.memory_bytes=8M"),
    "less": ("compute.workers=1", "collector.batch_bytes=300", "coordinator.batch_bytes=1", "compute.fork_bytes=0",
             "compute.cache_records=1"),
}

pytestmark = pytest.mark.slow


@pytest.fixture
def stream(kafka: Kafka, tmp_path: Path, request: pytest.FixtureRequest) -> Stream:
    return Stream(request.param, kafka, tmp_path, SEED, EVENTS)


def cluster_of(directory: Path, stream: Stream, route: str) -> Gated:
    """With hardly a commit: what was counted lies beyond the committed offset, and is not to be counted again."""
    return Gated(directory, stream, route=route, commit=60)


def sets(*values: str) -> list[str]:
    return [word for value in values for word in ("--set", value)]


def lanes(route: str, slots: int) -> list[str]:
    return sets(f"collector.route={route}", f"collector.slots={slots}")


def check_refused(cluster: Gated, old: str, route: str, slots: int) -> None:
    before = cluster.content()
    code, said = cluster.run(*lanes(route, slots))
    assert code == 4, said
    assert (f"was read with route={old} and slots=4 and not drained: start once more with route={old} and slots=4, let "
            f"it drain, then change to route={route} and slots={slots}") in said
    assert cluster.content() == before


@pytest.mark.parametrize(("stream", "old", "new"), [
    ("kafka", "partition", "key"), ("kafka", "key", "partition"), ("files", "partition", "csv:0")],
    indirect=["stream"])
def test_after_a_kill_other_lanes_are_refused_until_a_drain(stream: Stream, old: str, new: str, tmp_path: Path) -> None:
    half = EVENTS // 2
    stream.write(half)
    with cluster_of(tmp_path, stream, old) as cluster:
        cluster.die_at(half // 2)
        for route, slots in ((new, 4), (old, 7), (new, 7)):
            check_refused(cluster, old, route, slots)
        # Who was killed may have counted anything that was there then: it is not drained before all that is read
        cluster.drain_at(half * 3 // 4)
        check_refused(cluster, old, new, 7)

        def more() -> None:
            cluster.await_events(half)
            stream.write()

        cluster.drain_at(half * 3 // 2, meanwhile=more)
        cluster.finish(*lanes(new, 7))
        cluster.finish(*lanes(old, 4))  # the end of a bounded run is a drain too


@pytest.mark.parametrize(("stream", "old", "new"), [
    ("kafka", "key", "partition"), ("files", "csv:0", "partition")], indirect=["stream"])
def test_after_a_drain_other_lanes_are_right_at_once(stream: Stream, old: str, new: str, tmp_path: Path) -> None:
    stream.write()
    with cluster_of(tmp_path, stream, old) as cluster:
        cluster.drain_at(EVENTS // 4)
        cluster.drain_at(EVENTS // 2, *lanes(new, 4))
        cluster.drain_at(EVENTS * 3 // 4, *lanes(new, 7))
        cluster.finish(*lanes(old, 1))


@pytest.mark.parametrize(("stream", "route", "other"), [
    ("kafka", "partition", "more"), ("kafka", "key", "less"), ("files", "partition", "less"),
    ("files", "csv:0", "more")], indirect=["stream"])
def test_workers_and_sizes_change_at_any_time(stream: Stream, route: str, other: str, tmp_path: Path) -> None:
    stream.write()
    with cluster_of(tmp_path, stream, route) as cluster:
        cluster.die_at(EVENTS // 2)
        cluster.finish(*sets(*OTHERS[other]))


@pytest.mark.parametrize(("stream", "route"), [("kafka", "key"), ("files", "csv:0")], indirect=["stream"])
def test_a_run_that_has_finished_finds_nothing_new(stream: Stream, route: str, tmp_path: Path) -> None:
    stream.write()
    with cluster_of(tmp_path, stream, route) as cluster:
        cluster.finish()
        before = cluster.content()
        code, said = cluster.run()
        assert code == 0 and "drtc: nothing new to store" in said, said
        assert cluster.content() == before
