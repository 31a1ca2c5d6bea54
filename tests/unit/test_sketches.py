from __future__ import annotations

import math
import random
import sys
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import drtc
from drtc.aggregates import Aggregate
from drtc.errors import JobError

from .laws import check_laws, folded, merged, refuses, refuses_one

WORDS = st.integers(0, 60).map(lambda number: f"word {number}")
CASES: list[tuple[Aggregate, st.SearchStrategy[Any]]] = [
    (drtc.Distinct(), WORDS | st.integers(-2 ** 63, 2 ** 63 - 1) | st.text(max_size=3)),
    (drtc.TopK(3), WORDS | st.text(max_size=2)),
    (drtc.TopK(3, int), st.integers(-5, 12)),
    (drtc.Quantiles(), st.integers(-1000, 1000) | st.floats(allow_nan=False, allow_infinity=False)),
]


@pytest.mark.parametrize("aggregate, values", CASES, ids=[repr(aggregate) for aggregate, _ in CASES])
def test_every_sketch_is_mergeable_and_exact_while_small(aggregate: Aggregate, values: st.SearchStrategy[Any]) -> None:
    @settings(max_examples=30)
    @given(st.lists(st.lists(values, max_size=25), min_size=1, max_size=5), st.randoms(use_true_random=False))
    def laws(parts: list[list[Any]], pick: random.Random) -> None:
        check_laws(aggregate, parts, pick)

    laws()


@given(st.lists(WORDS | st.integers(0, 9), max_size=60))
def test_distinct_counts(values: list[Any]) -> None:
    assert drtc.Distinct().show(drtc.Distinct().fold(values)) == len(set(values))


@given(st.lists(WORDS, max_size=100))
def test_the_most_frequent_come_first_and_equals_in_order(values: list[str]) -> None:
    best = sorted(Counter(values).items(), key=lambda pair: (-pair[1], pair[0]))[:4]
    assert drtc.TopK(4).show(drtc.TopK(4).fold(values)) == [list(pair) for pair in best]


def test_whole_numbers_stay_numbers_and_order_as_such() -> None:
    top = drtc.TopK(3, int)
    assert top.show(top.fold([10, 9, 10, 9, 100])) == [[9, 2], [10, 2], [100, 1]]


@given(st.lists(st.integers(-100, 100), min_size=1, max_size=256))
def test_quantiles_are_nearest_ranks(values: list[int]) -> None:
    quantiles = drtc.Quantiles(at=(0, 0.25, 0.5, 0.999, 1))
    ordered = sorted(values)
    ranks = {"p0": 0, "p25": 0.25, "p50": 0.5, "p99.9": 0.999, "p100": 1}
    assert quantiles.show(quantiles.fold(values)) == {
        name: ordered[max(0, math.ceil(rank * len(values)) - 1)] for name, rank in ranks.items()}


@pytest.mark.parametrize("seed", range(3))
def test_exact_up_to_the_documented_sizes_in_any_parts(seed: int) -> None:
    pick = random.Random(seed)

    def shown(aggregate: Aggregate, values: list[Any]) -> Any:
        cuts = sorted(pick.sample(range(len(values)), 5))
        parts = [values[a:b] for a, b in zip([0, *cuts], [*cuts, len(values)])]
        return aggregate.show(merged(aggregate, folded(aggregate, parts), pick))

    numbers = pick.sample(range(10 ** 6), 256)
    assert shown(drtc.Quantiles(at=(0.5,)), numbers) == {"p50": sorted(numbers)[127]}
    words = [f"word {number}" for number in range(768)]
    assert shown(drtc.TopK(768), words * 2) == sorted([word, 2] for word in words)
    assert shown(drtc.TopK(5), words + words[:5] * 3) == sorted([word, 4] for word in words[:5])
    wide = [f"word {number}" for number in range(8 * 200)]
    assert shown(drtc.TopK(200), wide + wide[:200]) == sorted([word, 2] for word in wide[:200])
    assert shown(drtc.Distinct(), [f"user {number}" for number in range(392)]) == 392


def test_the_documented_errors_hold_beyond() -> None:
    pick = random.Random(7)
    values = [f"user {pick.randrange(50_000)}" for _ in range(60_000)] + ["often"] * 3000 + ["less"] * 2000
    parts = [values[i::7] for i in range(7)]
    distinct = drtc.Distinct()
    true = len(set(values))
    assert distinct.show(merged(distinct, folded(distinct, parts), pick)) == pytest.approx(true, rel=4 * 0.017)
    top = drtc.TopK(2)
    (first, most), (second, fewer) = top.show(merged(top, folded(top, parts), pick))
    assert (first, second) == ("often", "less")
    assert 3000 <= most <= 3000 + 0.0035 * len(values)
    assert 2000 <= fewer <= 2000 + 0.0035 * len(values)


def test_quantiles_are_within_their_error_beyond() -> None:
    quantiles = drtc.Quantiles(at=(0.1, 0.5, 0.9))
    numbers = list(range(50_000))
    random.Random(3).shuffle(numbers)
    parts = [numbers[i::5] for i in range(5)]
    shown = quantiles.show(merged(quantiles, folded(quantiles, parts), random.Random(1)))
    for name, rank in (("p10", 0.1), ("p50", 0.5), ("p90", 0.9)):
        assert shown[name] / 50_000 == pytest.approx(rank, abs=4 * 0.011)


@pytest.mark.parametrize("aggregate, shown, kind", [
    (drtc.Distinct(), 0, "integer"), (drtc.TopK(3), [], "json"),
    (drtc.Quantiles(), {"p50": None, "p90": None, "p99": None}, "json"),
])
def test_a_field_that_was_never_yielded(aggregate: Aggregate, shown: Any, kind: str) -> None:
    assert (aggregate.show(aggregate.zero()), aggregate.kind) == (shown, kind)
    assert aggregate.show(aggregate.fold([])) == shown


@pytest.mark.parametrize("aggregate", [case for case, _ in CASES], ids=repr)
@given(st.lists(st.sampled_from([1, 1.5, True, "x", None, "\ud800", 2 ** 63, math.nan, math.inf, b"x", [1]])))
def test_what_is_refused_at_once_is_refused_one_by_one(aggregate: Aggregate, values: list[Any]) -> None:
    assert bool(refuses(aggregate, values)) == bool(refuses_one(aggregate, values))


def test_distinct_does_not_depend_on_the_process() -> None:
    """A sketch in its estimating phase depends on the order of its values, so that order must not be a set's."""
    distinct = drtc.Distinct()
    values = [f"user {number}" for number in range(5000)]
    in_order = distinct.zero()
    for value in values:
        in_order.update(value)
    assert distinct.pack(distinct.fold(values)) == distinct.pack(in_order)


def test_without_the_library_the_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasketches", None)
    with pytest.raises(JobError, match=r"Distinct needs Apache DataSketches: pip install 'drtc\[sketches\]'"):
        drtc.Distinct()


@pytest.mark.parametrize("make", [
    lambda: drtc.TopK(0), lambda: drtc.TopK(3, float), lambda: drtc.Quantiles(()), lambda: drtc.Quantiles((50,)),
])
def test_a_wrong_declaration_is_a_job_error(make: Any) -> None:
    with pytest.raises(JobError):
        make()
