from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import drtc
from drtc.errors import JobError
from drtc.windows import Window

TIMES = st.floats(-62_135_596_800, 253_402_300_800, exclude_max=True) | st.integers(-10 ** 10, 10 ** 10)
MILLIS = st.integers(1, 10 ** 9)
LENGTHS = st.sampled_from([0.001, 0.1, 0.25, 0.3, 1, 7, 10, 60, 3600, 86400, 604800]) | MILLIS.map(lambda ms: ms / 1000)


def contains(window: Window, index: int, time: float) -> bool:
    start, end = window.bounds(index)
    return start <= time < end


@given(LENGTHS, TIMES)
@example(0.1, 0.3)
@example(0.1, 1700000000.3)
@example(0.141, 802616588.8529999)  # a hair before a border that the division alone passes
@example(0.3, -0.3)
@example(10, -1e-20)
@example(10, math.nextafter(20, 0))
@example(0.001, math.nextafter(253_402_300_800, 0))
def test_a_tumbling_window_contains_its_times(seconds: float, time: float) -> None:
    window = drtc.Tumbling(seconds=seconds)
    index = window.index(time)
    assert contains(window, index, time)
    assert window.indexes(time) == (index,)
    assert not contains(window, index - 1, time) and not contains(window, index + 1, time)


@given(LENGTHS, st.integers(-10 ** 9, 10 ** 9))
def test_borders_do_not_drift(seconds: float, number: int) -> None:
    window = drtc.Tumbling(seconds=seconds)
    start, end = window.bounds(number)
    assert window.bounds(number + 1)[0] == end
    assert window.end(start) == end
    if -62_135_596_800 <= start < 253_402_300_800:
        assert window.index(start) == number


@given(st.integers(1, 5000), st.integers(1, 40), st.integers(0, 999), TIMES)
def test_sliding_windows_are_all_that_contain_a_time(every: int, times: int, rest: int, time: float) -> None:
    window = drtc.Sliding(seconds=(every * times + every * rest // 1000) / 1000, every=every / 1000)
    indexes = window.indexes(time)
    assert list(indexes) == list(range(indexes[0], indexes[-1] + 1))
    assert all(contains(window, index, time) for index in indexes)
    assert not contains(window, indexes[0] - 1, time) and not contains(window, indexes[-1] + 1, time)
    assert indexes[-1] == window.index(time)


@pytest.mark.parametrize("window, time, bounds", [
    (drtc.Tumbling(seconds=10), 1700000003.5, [(1700000000, 1700000010)]),
    (drtc.Tumbling(days=1), 0, [(0, 86400)]),
    (drtc.Tumbling(days=1), -1, [(-86400, 0)]),
    (drtc.Tumbling(hours=1, minutes=30), 5400, [(5400, 10800)]),
    (drtc.Tumbling(seconds=0.1), 0.3, [(0.3, 0.4)]),
    (drtc.Sliding(minutes=1, every=20), 65, [(20, 80), (40, 100), (60, 120)]),
    (drtc.Sliding(seconds=5, every=2), 6, [(2, 7), (4, 9), (6, 11)]),
    (drtc.Sliding(seconds=5, every=5), 6, [(5, 10)]),
])
def test_the_windows_of_a_time(window: Window, time: float, bounds: list[tuple[float, float]]) -> None:
    assert [window.bounds(index) for index in window.indexes(time)] == bounds
    assert [window.end(start) for start, _ in bounds] == [end for _, end in bounds]


def test_whole_seconds_are_ints() -> None:
    window = drtc.Tumbling(minutes=1)
    assert [type(each) for each in (*window.bounds(3), window.size, window.every)] == [int] * 4


@pytest.mark.parametrize("window", [drtc.Tumbling(seconds=10), drtc.Tumbling(seconds=0.5),
                                    drtc.Sliding(minutes=1, every=20)], ids=repr)
@pytest.mark.parametrize("time", [math.nan, math.inf, -math.inf, 1700000000000, -1e18, 10 ** 400],
                         ids=lambda time: f"{time!r:.9}")
def test_what_is_not_a_time_is_refused(window: Window, time: Any) -> None:
    with pytest.raises(ValueError, match="is not between the years 1 and 9999"):
        window.indexes(time)


@pytest.mark.parametrize("make, sentence", [
    (lambda: drtc.Tumbling(), "a Tumbling window needs lengths of at least a millisecond, such as seconds=10"),
    (lambda: drtc.Tumbling(seconds=-1), "a Tumbling window needs lengths"),
    (lambda: drtc.Tumbling(seconds=math.inf), "a Tumbling window needs lengths"),
    (lambda: drtc.Tumbling(seconds=math.nan), "a Tumbling window needs lengths"),
    (lambda: drtc.Sliding(seconds=1, every=0), "a Sliding window needs lengths"),
    (lambda: drtc.Sliding(seconds=1, every=2), "Sliding(seconds=1, every=2) leaves gaps between its windows"),
    (lambda: drtc.Sliding(days=1, every=1), "counts each event in 86400 windows, more than 10000"),
])
def test_a_wrong_declaration_is_one_sentence(make: Any, sentence: str) -> None:
    with pytest.raises(JobError) as caught:
        make()
    assert sentence in str(caught.value)
