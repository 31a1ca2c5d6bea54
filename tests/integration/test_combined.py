"""``drtc collector --with-coordinator``: both in one process, over the same sockets as always, with the same ends."""
from __future__ import annotations

import signal
from pathlib import Path
from typing import Iterator

import pytest

from .crowd import EVENTS, Crowd
from .running import Process, until

pytestmark = pytest.mark.slow


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[Crowd]:
    with Crowd(tmp_path) as crowd:
        crowd.start_role("compute", "n1")
        yield crowd


def start_pair(crowd: Crowd, *others: str) -> Process:
    return crowd.start_role("collector", "c1", "--with-coordinator", *others)


def members(crowd: Crowd) -> set[str]:
    return {f"{member['role']}/{member['node']}" for member in crowd.status()["members"]}


def test_a_bounded_pair_ends_by_itself(crowd: Crowd) -> None:
    pair = start_pair(crowd, "--until-end")
    crowd.await_stored(500)
    until(lambda: members(crowd) == {"collector/c1", "coordinator/c1-coordinator", "compute/n1"}, "all are there")
    crowd.finish(pair)
    assert "coordinator draining node=c1-coordinator after=c1" in pair.said
    assert "reading again" not in pair.said and "Traceback" not in pair.said


def test_a_signal_drains_the_collector_and_then_the_coordinator(crowd: Crowd) -> None:
    pair = start_pair(crowd)
    crowd.await_stored(1000)
    pair.send(signal.SIGTERM)
    assert pair.wait() == 0, pair.said
    first, *_, last = (line for line in pair.said.splitlines() if " draining " in line)
    assert "collector draining node=c1 signal=SIGTERM" in first
    assert "coordinator draining node=c1-coordinator after=c1" in last
    assert crowd.stored() < EVENTS
    crowd.finish(start_pair(crowd, "--until-end"))
    assert "reading again" not in pair.said


def test_the_coordinator_of_a_pair_may_be_drained_alone(crowd: Crowd) -> None:
    crowd.start_role("coordinator", "a2")
    pair = start_pair(crowd, "--until-end")
    crowd.await_stored(1000)
    assert "coordinator/c1-coordinator has left" in crowd.ask("drain", "c1-coordinator")
    assert pair.popen.poll() is None, "the collector goes on with the other coordinator"
    crowd.finish(pair)
    assert "reading again" not in pair.said


def test_who_drains_the_collector_of_a_pair_ends_both(crowd: Crowd) -> None:
    pair = start_pair(crowd)
    crowd.await_stored(500)
    assert "collector/c1 has left" in crowd.ask("drain", "c1")
    assert pair.wait() == 0, pair.said


def test_a_second_signal_ends_both_at_once(crowd: Crowd) -> None:
    pair = start_pair(crowd)
    crowd.await_stored(500)
    crowd.roles["n1"].send(signal.SIGSTOP)  # so that the drain cannot end
    pair.send(signal.SIGINT)
    pair.await_words("collector draining")
    pair.send(signal.SIGINT)
    assert pair.wait(10) == 130, pair.said
    crowd.roles["n1"].send(signal.SIGCONT)


def test_one_that_fails_ends_the_other_with_its_exit_code(crowd: Crowd) -> None:
    taken = crowd.start_role("coordinator", "a1").await_words(r"listening .*address=(\S+)")[1]
    pair = start_pair(crowd, "--set", f"coordinator.listen={taken}")
    assert pair.wait() == 7, pair.said
    assert f"drtc: cannot listen on {taken}" in pair.said and "Traceback" not in pair.said
    for path in crowd.directory.glob("part-*.csv"):
        path.unlink()
    pair = start_pair(crowd, "--until-end")
    assert pair.wait() == 4, pair.said
    assert "Traceback" not in pair.said
