"""How much each node gets, and that it does not swing."""
from __future__ import annotations

from drtc.batch import Lane
from drtc.coordinator.balance import LEAST, Pace, balance
from drtc.coordinator.dispatch import Dispatch, Task, _Lane

from .test_dispatch import batch, stored


def looks(nodes: dict[str, Pace], rates: dict[str, float], count: int, idle: tuple[str, ...] = ()) -> list[bool]:
    return [balance(nodes, rates, {name: name not in idle for name in nodes}) for _ in range(count)]


def shares(nodes: dict[str, Pace]) -> dict[str, float]:
    return {name: node.share for name, node in nodes.items()}


def test_a_slow_node_gets_less_step_by_step_but_never_nothing() -> None:
    nodes = {"a": Pace(), "b": Pace(), "c": Pace()}
    rates = {"a": 100.0, "b": 90.0, "c": 10.0}
    looks(nodes, rates, 4)  # the first look has nothing to compare with
    assert shares(nodes) == {"a": 1.0, "b": 1.0, "c": 0.5}
    looks(nodes, rates, 100)
    assert shares(nodes) == {"a": 1.0, "b": 1.0, "c": LEAST}


def test_one_slow_look_or_two_change_nothing() -> None:
    nodes = {"a": Pace(), "b": Pace()}
    for _ in range(20):
        looks(nodes, {"a": 100.0, "b": 100.0}, 6)
        looks(nodes, {"a": 100.0, "b": 30.0}, 2)
    assert shares(nodes) == {"a": 1.0, "b": 1.0}


def test_a_node_that_others_wait_for_is_slow_though_they_have_nothing_left() -> None:
    nodes = {"a": Pace(), "b": Pace()}
    looks(nodes, {"a": 100.0, "b": 30.0}, 4, idle=("a",))
    assert shares(nodes) == {"a": 1.0, "b": 0.5}


def test_it_recovers_slowly_and_by_being_idle_too() -> None:
    nodes = {"a": Pace(), "b": Pace()}
    nodes["b"].share = 0.25
    looks(nodes, {"a": 100.0, "b": 95.0}, 10)
    assert shares(nodes)["b"] == 0.5
    looks(nodes, {"a": 100.0, "b": 0.0}, 10, idle=("b",))
    assert shares(nodes)["b"] == 1.0


def test_between_slow_and_good_nothing_moves() -> None:
    nodes = {"a": Pace(), "b": Pace()}
    nodes["b"].share = 0.5
    assert not any(looks(nodes, {"a": 100.0, "b": 65.0}, 200))


def test_a_node_at_half_speed_does_not_flap() -> None:
    """Its pace lies about the border: its share may sink, and does not swing."""
    nodes = {"a": Pace(), "b": Pace()}
    changes = []
    for number in range(600):
        before = shares(nodes)["b"]
        balance(nodes, {"a": 100.0, "b": 45.0 if number % 2 else 62.0}, {"a": True, "b": True})
        if shares(nodes)["b"] != before:
            changes.append(shares(nodes)["b"] > before)
    assert not any(changes), "it never rises at this pace"
    assert len(changes) <= 4


def test_a_node_that_keeps_up_with_less_and_not_with_more_is_tried_ever_more_seldom() -> None:
    """With half a share it has nothing left over; with a whole one it is slow."""
    nodes = {"a": Pace(), "b": Pace()}
    changes = []
    for number in range(3600):
        before = shares(nodes)["b"]
        alone = before < 1.0
        balance(nodes, {"a": 100.0, "b": 40.0}, {"a": True, "b": not alone})
        if shares(nodes)["b"] != before:
            changes.append(number)
    assert len(changes) < 30, "once in a quarter of a minute would be 240 and more"
    assert changes[-1] - changes[-2] > 300 or changes[-2] - changes[-3] > 300


def test_a_dispatch_gives_a_slow_node_fewer_lanes() -> None:
    """Two nodes; one of them answers a tenth of what the other does."""
    dispatch = Dispatch(10)
    for name in ("a", "b"):
        dispatch.node_joined(name, 1.0, 5, 10_000)
    seqs = dict.fromkeys((f"p{lane}" for lane in range(200)), 0)
    hands: dict[str, list[Task]] = {"a": [], "b": []}
    for look in range(60):
        for partition, seq in seqs.items():
            dispatch.accept(1, batch(seq, partition))
            seqs[partition] = seq + 1
        for turn in range(50):
            for task in dispatch.next():
                hands[task.node].append(task)
            for name in ("a", "b") if turn % 10 == 0 else ("a",):
                for task in hands[name]:
                    dispatch.answered(name, task.number, stored(task))
                hands[name].clear()
        for task in dispatch.next():
            hands[task.node].append(task)
        dispatch.look(1.0)
        if dispatch.nodes()["b"]["share"] < 1.0:
            break
    assert dispatch.nodes()["b"]["share"] == 0.5
    assert dispatch.nodes()["a"]["share"] == 1.0
    owners = [dispatch._place(Lane(f"q{lane}", 0), _Lane()) for lane in range(1000)]
    assert 0.28 < owners.count("b") / 1000 < 0.39, "a third: half a share of one and a half"


def test_a_draining_node_gets_nothing_new_and_its_answers_count() -> None:
    dispatch = Dispatch(10)
    dispatch.node_joined("a", 1.0, 9, 1000)
    dispatch.accept(1, batch(0))
    [task] = dispatch.next()
    dispatch.node_joined("b", 1e-9, 9, 1000)
    dispatch.node_draining("a")
    dispatch.accept(1, batch(1))
    assert not list(dispatch.next()), "the lane moves when nothing of it is under way"
    assert dispatch.answered("a", task.number, stored(task))
    assert [task.node for task in dispatch.next()] == ["b"]
