"""Rendezvous hashing: everybody has its share by weight, and who comes or goes moves its own share only."""
from __future__ import annotations

import math
from collections import Counter
from typing import Mapping

import pytest
from hypothesis import given, settings, strategies as st

from drtc.cluster.rendezvous import owner

THINGS = 10_000
SLOTS = [f"slot {number}" for number in range(THINGS)]
LANES = [f"events-{number // 64}#{number % 64}" for number in range(THINGS)]

names = st.text(min_size=1, max_size=12)
clusters = st.dictionaries(names, st.floats(0.1, 100), min_size=1, max_size=8)
things = st.lists(st.text(max_size=12), max_size=30, unique=True)


def placed(things: list[str], weights: Mapping[str, float]) -> dict[str, str]:
    found = {thing: owner(thing, weights) for thing in things}
    assert None not in found.values()
    return {thing: str(name) for thing, name in found.items()}


def moved(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """The things that changed hands: from whom, to whom."""
    return {thing: (before[thing], after[thing]) for thing in before if before[thing] != after[thing]}


def even(count: int) -> dict[str, float]:
    return {f"coordinator-{number}": 1.0 for number in range(1, count + 1)}


def near(share: float, due: float) -> bool:
    """Within four standard deviations of what so many fair draws give; the hash is fixed, so this never flickers."""
    return abs(share - due) <= 4 * math.sqrt(due * (1 - due) / THINGS)


# --- laws that hold for every cluster ---

@settings(max_examples=150, deadline=None)
@given(clusters, things, names, st.floats(0.1, 100))
def test_what_moves_when_one_comes_goes_to_it(cluster: dict[str, float], things: list[str], name: str,
                                              weight: float) -> None:
    before = {key: value for key, value in cluster.items() if key != name}
    if before:
        changes = moved(placed(things, before), placed(things, {**before, name: weight}))
        assert {to for _, to in changes.values()} <= {name}


@settings(max_examples=150, deadline=None)
@given(clusters, things, st.data())
def test_what_moves_when_one_goes_was_its_own(cluster: dict[str, float], things: list[str],
                                              data: st.DataObject) -> None:
    gone = data.draw(st.sampled_from(sorted(cluster)))
    after = {key: value for key, value in cluster.items() if key != gone}
    if after:
        before = placed(things, cluster)
        assert moved(before, placed(things, after)).keys() == {thing for thing in things if before[thing] == gone}


@settings(max_examples=150, deadline=None)
@given(clusters, things, st.data(), st.floats(1.01, 50))
def test_who_weighs_more_only_gains(cluster: dict[str, float], things: list[str], data: st.DataObject,
                                    factor: float) -> None:
    name = data.draw(st.sampled_from(sorted(cluster)))
    heavier = {**cluster, name: cluster[name] * factor}
    assert {to for _, to in moved(placed(things, cluster), placed(things, heavier)).values()} <= {name}


@settings(max_examples=150, deadline=None)
@given(clusters, things, st.randoms(use_true_random=False), st.floats(0.01, 100))
def test_neither_order_nor_unit_of_the_weights_matters(cluster: dict[str, float], things: list[str], dice: object,
                                                       unit: float) -> None:
    shuffled = sorted(cluster, key=lambda name: dice.random())  # type: ignore[attr-defined]
    other = {name: cluster[name] for name in shuffled}
    assert placed(things, other) == placed(things, cluster)
    scaled = placed(things, {name: weight * 2 ** round(math.log2(unit)) for name, weight in cluster.items()})
    assert scaled == placed(things, cluster)  # by a power of two, which rounds nothing


def test_with_nobody_there_is_no_owner() -> None:
    assert owner("slot 1", {}) is None


def test_places_are_the_same_on_every_machine_and_in_every_version() -> None:
    """Roles of two versions must agree, as while a cluster is updated: these are for ever."""
    weights = {"a": 1.0, "b": 1.0, "c": 2.0}
    assert [owner(f"slot {number}", weights) for number in range(12)] == list("cbaaacbcccca")
    assert [owner(f"events-0#{number}", weights) for number in range(12)] == list("bacbbcccbbcc")


# --- shares, measured ---

@pytest.mark.parametrize("things", [SLOTS, LANES], ids=["slots", "lanes"])
@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_everybody_has_about_the_same(things: list[str], count: int) -> None:
    shares = Counter(placed(things, even(count)).values())
    assert all(near(shares[name] / THINGS, 1 / count) for name in even(count)), shares


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_one_that_comes_takes_its_share_from_all_alike(count: int) -> None:
    before, after = placed(SLOTS, even(count)), placed(SLOTS, even(count + 1))
    changes = moved(before, after)
    new = f"coordinator-{count + 1}"
    assert {to for _, to in changes.values()} == {new}
    assert near(len(changes) / THINGS, 1 / (count + 1)), len(changes)
    losses = Counter(lost for lost, _ in changes.values())
    assert all(near(losses[name] / THINGS, 1 / (count * (count + 1))) for name in even(count)), losses


def test_the_fourth_of_four_takes_a_quarter() -> None:
    assert len(moved(placed(SLOTS, even(3)), placed(SLOTS, even(4)))) == pytest.approx(THINGS / 4, rel=0.04)


def test_what_one_leaves_is_shared_by_all_that_stay() -> None:
    changes = moved(placed(SLOTS, even(4)), placed(SLOTS, even(3)))
    gains = Counter(to for _, to in changes.values())
    assert {lost for lost, _ in changes.values()} == {"coordinator-4"}
    assert all(near(gains[name] / THINGS, 1 / 12) for name in even(3)), gains


def test_one_that_comes_back_has_what_it_had() -> None:
    weights = even(4)
    before = placed(SLOTS, weights)
    weights["coordinator-2"] = weights.pop("coordinator-2")
    assert moved(before, placed(SLOTS, weights)) == {}


def test_shares_are_as_the_weights() -> None:
    weights = {"small": 1.0, "middle": 2.0, "large": 5.0}
    shares = Counter(placed(LANES, weights).values())
    assert all(near(shares[name] / THINGS, weight / 8) for name, weight in weights.items()), shares


def test_one_that_is_slow_loses_to_all_by_their_weight() -> None:
    """Its weight goes down to a quarter: what it loses goes to the others, and nothing else moves."""
    before = {"a": 4.0, "b": 4.0, "c": 8.0}
    changes = moved(placed(LANES, before), placed(LANES, {**before, "a": 1.0}))
    assert {lost for lost, _ in changes.values()} == {"a"}
    assert near(len(changes) / THINGS, 4 / 16 - 1 / 13), len(changes)
    gains = Counter(to for _, to in changes.values())
    assert gains["c"] / gains["b"] == pytest.approx(2, rel=0.15)
