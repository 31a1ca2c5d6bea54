from __future__ import annotations

import enum
import math
import random
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import drtc
from drtc.aggregates import Aggregate
from drtc.errors import JobError

from .laws import check_laws, packed, refuses, refuses_one, unpacked

INT64 = st.integers(-2 ** 63, 2 ** 63 - 1)
QUARTERS = st.integers(-2 ** 40, 2 ** 40).map(lambda number: number / 4)  # floats whose sums are exact
SMALL = st.integers(-3, 12)
TEXT = st.text(max_size=5)
PLAIN = st.recursive(st.none() | st.booleans() | INT64 | QUARTERS | TEXT,
                     lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=5)

CASES: list[tuple[Aggregate, st.SearchStrategy[Any]]] = [
    (drtc.Count(), INT64 | st.booleans()),
    (drtc.Sum(), SMALL | QUARTERS | st.booleans()),
    (drtc.Sum(int), INT64 | st.booleans()),
    (drtc.Sum(float), QUARTERS),
    (drtc.Mean(), INT64 | st.booleans()),
    (drtc.Mean(), QUARTERS),
    (drtc.Min(), INT64 | st.floats(allow_nan=False, allow_infinity=False)),
    (drtc.Max(), INT64 | st.floats(allow_nan=False, allow_infinity=False)),
    (drtc.Min(int), INT64),
    (drtc.Max(str), TEXT),
    (drtc.First(), PLAIN),
    (drtc.Last(), PLAIN),
    (drtc.First(str), TEXT),
    (drtc.Last(int), INT64),
    (drtc.Recent(1), PLAIN),
    (drtc.Recent(4), PLAIN),
    (drtc.Set(3), SMALL | TEXT | QUARTERS),
    (drtc.Set(100), SMALL | TEXT),
    (drtc.Histogram([0]), SMALL),
    (drtc.Histogram([-1, 2.5, 10]), SMALL | QUARTERS),
]


class Color(enum.IntEnum):
    RED = 1


class Shade(str, enum.Enum):
    DARK = "dark"


JUNK: list[Any] = [
    None, "x", "", b"x", 1, 0, -1, True, 1.5, -0.0, math.nan, math.inf, -math.inf, 2 ** 63, -2 ** 63 - 1, 10 ** 400,
    "\ud800", (1, 2), {1, 2}, [1, [2, "a"]], [math.nan], {"a": 1}, {1: 2}, {"\ud800": 1}, [(1,)], 1j, object(),
    Decimal(1), Fraction(1, 2), Color.RED, Shade.DARK, datetime(2020, 1, 1), 1e308, 2 ** 63 - 1,
]


@pytest.mark.parametrize("aggregate, values", CASES, ids=[repr(aggregate) for aggregate, _ in CASES])
def test_every_aggregate_is_mergeable(aggregate: Aggregate, values: st.SearchStrategy[Any]) -> None:
    @settings(max_examples=40)
    @given(st.lists(st.lists(values, max_size=12), min_size=1, max_size=5), st.randoms(use_true_random=False))
    def laws(parts: list[list[Any]], pick: random.Random) -> None:
        check_laws(aggregate, parts, pick)

    laws()


@pytest.mark.parametrize("aggregate", list({repr(each): each for each, _ in CASES}.values()), ids=repr)
def test_what_is_refused_at_once_is_refused_one_by_one(aggregate: Aggregate) -> None:
    @settings(max_examples=40)
    @given(st.lists(st.sampled_from(JUNK), max_size=4), st.sampled_from([[], [1] * 20, [1.5] * 20, ["x"] * 20]))
    def agree(junk: list[Any], padding: list[Any]) -> None:
        values = padding + junk
        assert refuses(aggregate, values) == refuses_one(aggregate, values)

    agree()


@pytest.mark.parametrize("aggregate", list({repr(each): each for each, _ in CASES}.values()), ids=repr)
def test_a_refusal_is_the_same_for_few_and_many(aggregate: Aggregate) -> None:
    for values in [JUNK, *([each] * 20 for each in JUNK), *([1.5] * 9 + [each, 1.5] for each in JUNK)]:
        assert refuses(aggregate, values) == next(filter(None, (refuses(aggregate, [value]) for value in values)), "")


@pytest.mark.parametrize("aggregate, value, sentence", [
    (drtc.Count(), "x", "Count() takes whole numbers, not str 'x'"),
    (drtc.Count(), 1.5, "Count() takes whole numbers, not float 1.5"),
    (drtc.Sum(), None, "Sum() takes numbers, not None"),
    (drtc.Sum(), math.nan, "Sum() takes finite numbers, not nan"),
    (drtc.Sum(int), 2 ** 63, "Sum(int) takes whole numbers of 64 bits, not one of 64 bits"),
    (drtc.Max(), True, "Max() takes numbers, not bool True"),
    (drtc.Min(str), 5, "Min(str) takes text, not int 5"),
    (drtc.Mean(), Decimal(1), "Mean() takes numbers, not decimal.Decimal Decimal('1')"),
    (drtc.Recent(3), (1, 2), "Recent(3) takes text, numbers, booleans, None, lists and dicts, not tuple (1, 2)"),
    (drtc.First(str), "\ud800", "First(str) takes valid Unicode, not '\\ud800'"),
    (drtc.Last(), {1: 2}, "Last() takes text, not int 1"),
    (drtc.Set(3), None, "Set(3) takes text and numbers, not None"),
])
def test_a_refusal_says_what_was_wanted_and_what_came(aggregate: Aggregate, value: Any, sentence: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        aggregate.add(aggregate.zero(), value)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("aggregate, values, shown", [
    (drtc.Count(), [1, 1, True, False, 5, -2], 6),
    (drtc.Sum(), [1, 2.5, True], 4.5),
    (drtc.Mean(), [1, 2, 6], 3.0),
    (drtc.Mean(), [True, False, False, False], 0.25),
    (drtc.Min(), [3, 1.5, 2], 1.5),
    (drtc.Max(str), ["a", "c", "b"], "c"),
    (drtc.First(), [None, 1], None),
    (drtc.Last(), [1, [2]], [2]),
    (drtc.Recent(2), ["a", "b", "c"], ["b", "c"]),
    (drtc.Set(3), ["b", "a", "b"], ["a", "b"]),
    (drtc.Set(3), ["b", 2, "a", 10, "c"], [2, 10, "a", "…"]),
    (drtc.Histogram([0, 15.5]), [-1, 0, 15, 15.5, 99], {"<0": 1, "0..15.5": 2, ">=15.5": 2}),
])
def test_what_is_shown(aggregate: Aggregate, values: list[Any], shown: Any) -> None:
    assert aggregate.show(aggregate.fold(values)) == shown


@pytest.mark.parametrize("aggregate, shown, kind", [
    (drtc.Count(), 0, "integer"), (drtc.Sum(), 0, "real"), (drtc.Sum(int), 0, "integer"), (drtc.Min(), None, "real"),
    (drtc.Max(int), None, "integer"), (drtc.Max(str), None, "text"), (drtc.Mean(), None, "real"),
    (drtc.First(), None, "json"), (drtc.Last(float), None, "real"), (drtc.Set(1), [], "json"),
    (drtc.Recent(1), [], "json"), (drtc.Histogram([1]), {"<1": 0, ">=1": 0}, "json"),
])
def test_a_field_that_was_never_yielded(aggregate: Aggregate, shown: Any, kind: str) -> None:
    assert (aggregate.show(aggregate.zero()), aggregate.kind) == (shown, kind)
    assert aggregate.fold([]) == aggregate.zero()


@pytest.mark.parametrize("aggregate", [drtc.Count(), drtc.Sum(), drtc.Mean()], ids=repr)
def test_sums_past_64_bits_stay_exact(aggregate: Aggregate) -> None:
    most = 2 ** 63 - 1
    state = aggregate.fold([most] * 9)
    state = unpacked(aggregate, packed(aggregate, state))
    assert aggregate.show(state) == pytest.approx(float(most if isinstance(aggregate, drtc.Mean) else 9 * most))
    state = aggregate.merge(state, aggregate.fold([-most] * 9 + [9 + 9]))
    assert aggregate.show(state) == (18 / 19 if isinstance(aggregate, drtc.Mean) else 18)


def test_a_sum_of_floats_is_the_same_but_for_its_last_digits() -> None:
    values = [0.1] * 1000
    parts = [drtc.Sum().fold(values[i:i + 7]) for i in range(0, 1000, 7)]
    total = parts[0]
    for part in parts[1:]:
        total = drtc.Sum().merge(total, part)
    assert drtc.Sum().show(total) == pytest.approx(100)


@pytest.mark.parametrize("make, sentence", [
    (lambda: drtc.Recent(0), "Recent(0): n must be a whole number of at least 1"),
    (lambda: drtc.Set(-1), "Set(-1): limit must be a whole number of at least 1"),
    (lambda: drtc.Recent(True), "Recent(True): n must be"),
    (lambda: drtc.Histogram([]), "the bounds must be numbers that rise"),
    (lambda: drtc.Histogram([1, 1]), "the bounds must be numbers that rise"),
    (lambda: drtc.Histogram(["a"]), "the bounds must be numbers that rise"),
    (lambda: drtc.Sum(str), "must be one of int, float, or left out"),
    (lambda: drtc.Last(list), "must be one of int, float, str, or left out"),
])
def test_a_wrong_declaration_is_one_sentence(make: Any, sentence: str) -> None:
    with pytest.raises(JobError) as caught:
        make()
    assert sentence in str(caught.value)


def test_nesting_has_an_end() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert refuses(drtc.First(), [endless]) == "First() takes lists and dicts that are nested at most 32 deep"
