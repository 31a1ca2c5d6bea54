"""The promise itself: whatever happens in whatever order, each event counts once.

The decision objects of all roles are driven through arbitrary interleavings of delivery, duplication, crash, zombies,
re-cut replay and reordering between lanes. Each break below shows that the test can fail.
"""
from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drtc.compute import merge
from drtc.wire.parting import Parting

from .world import PARTITIONS, World


def live(dice: random.Random, steps: int, slots: int) -> World:
    world = World(dice, slots)
    world.store.trouble = 0.1
    for _ in range(steps):
        world.step(faults=True)
    world.settle()
    return world


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2 ** 32), st.sampled_from([1, 2, 3]), st.integers(50, 600))
def test_every_event_counts_once(seed: int, slots: int, steps: int) -> None:
    world = live(random.Random(seed), steps, slots)
    assert {key: record["events"] for key, record in world.results().items()} == world.truth()
    if slots == 1:  # a partition is one lane: its order holds
        for partition in PARTITIONS:
            assert world.results()[partition]["last"] == [event["n"] for event in world.events(partition)][-3:]
    poisoned = sum(value == b"no json" for messages in world.messages.values() for _, value in messages)
    assert len(world.dead()) == poisoned


def wrong(seeds: range, steps: int = 400) -> tuple[int, int]:
    """How many of these lives ended with events counted twice, and with events lost."""
    twice = lost = 0
    for seed in seeds:
        world = live(random.Random(seed), steps, 2)
        truth = world.truth()
        found = {key: record["events"] for key, record in world.results().items()}
        twice += any(found.get(key, 0) > count for key, count in truth.items())
        lost += any(found.get(key, 0) < count for key, count in truth.items())
    return twice, lost


def test_without_the_fence_events_count_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "fence_verdict", lambda *_: "new")
    assert wrong(range(5))[0] > 0


def test_with_early_commits_events_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    from drtc.collector.flow import Flow

    monkeypatch.setattr(Flow, "frontiers", lambda self: {n: p.position for n, p in self._partitions.items()})
    assert wrong(range(5))[1] > 0


def test_with_batches_sent_again_out_of_order_events_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    from drtc.coordinator.dispatch import Dispatch

    put_back = Dispatch._put_back
    monkeypatch.setattr(Dispatch, "_put_back", lambda self, entries: put_back(self, [*entries[1:], *entries[:1]]))
    assert wrong(range(40), 500)[1] > 0


def test_members_that_drain_leave_nothing_to_be_read_or_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The world asserts it as each of them leaves; the break: not to wait for what is on its way."""
    assert sum(live(random.Random(seed), 400, 2).left for seed in range(5)) > 5
    monkeypatch.setattr(Parting, "over", property(lambda parting: parting._begun))
    with pytest.raises(AssertionError):
        wrong(range(40))


def test_with_answers_that_overtake_events_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer speaks for all that its lane sent before; a task that yields nothing is done before them."""
    from drtc.compute.tasks import Task, Tasks

    done = Tasks.done

    def overtake(self: Tasks, task: Task) -> list[Task]:
        if not task.open:
            for lane in task.lanes:
                queue = self._lanes[lane]
                queue.remove(task)
                queue.appendleft(task)
        return done(self, task)

    monkeypatch.setattr(Tasks, "done", overtake)
    assert wrong(range(60), 300)[1] > 0
