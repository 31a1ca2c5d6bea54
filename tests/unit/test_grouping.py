"""Many events at a time come to the same groups as one by one, whatever their times and order."""
from __future__ import annotations

import json
from typing import Any, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import drtc
from drtc.batch import Batch, Header
from drtc.compute.mapper import Mapper
from drtc.encodings.messages import pack
from drtc.job import describe

TIMES = st.one_of(st.integers(0, 60_000), st.integers(0, 60_000).map(float), st.sampled_from([True, None, "x", 10**18]))
EVENTS = st.lists(st.tuples(st.sampled_from("abc"), TIMES, st.booleans()), max_size=30)


def job(window_: Any, typed: bool) -> type[drtc.Job]:
    class Clicked(drtc.Event):
        key: str
        at: int
        quiet: bool

    class Clicks(drtc.Job):
        decode = drtc.json(Clicked) if typed else drtc.json()
        time = drtc.millis("at")
        window = window_
        n = drtc.Count()
        first = drtc.First()

        def map(self, event: Any) -> Iterator[tuple[str, dict[str, Any]]]:
            get = event.get if isinstance(event, dict) else lambda name: getattr(event, name)
            if not get("quiet"):
                yield get("key"), {"n": 1, "first": get("at")}

    return Clicks


@pytest.mark.parametrize("typed", [False, True])
@pytest.mark.parametrize("window", [None, drtc.Tumbling(seconds=10), drtc.Sliding(seconds=20, every=10)])
@settings(max_examples=60, deadline=None)
@given(lanes=st.lists(EVENTS, min_size=1, max_size=3))
def test_the_quick_way_and_the_careful_way_agree(window: Any, typed: bool, lanes: list[list[Any]]) -> None:
    cls = job(window, typed)
    batches = []
    for slot, events in enumerate(events for events in lanes if events):
        values = [json.dumps({"key": key, "at": at, "quiet": quiet}).encode() for key, at, quiet in events]
        payload = pack(list(range(len(values))), values)
        header = Header("p", slot, "s", 0, 0, len(values) - 1, len(values), "messages", len(payload))
        batches.append(Batch(header, payload))
    quick, careful = Mapper(describe(cls), cls()), Mapper(describe(cls), cls())
    found = quick.map(batches)
    careful._suspicious = True  # it takes no quick way
    expected = careful.map(batches)

    def shown(mapped: Any) -> Any:
        return (sorted((part.key, part.window or 0, part.touched, str(part.states)) for part in mapped.parts),
                [(letter.lane, letter.offset) for letter in mapped.dead],
                [(count.messages, count.dead) for count in mapped.counts])

    assert shown(found) == shown(expected)


@given(st.lists(st.one_of(st.integers(-10**15, 10**17), st.floats(), st.booleans(), st.none()), min_size=1, max_size=9))
def test_an_extent_is_that_of_the_times_or_none(values: list[Any]) -> None:
    field = drtc.millis("at")
    events = [{"at": value} for value in values]
    extent = field.extent(typed=False)(events)  # type: ignore[misc]
    try:
        times = [field(event) for event in events]
    except (TypeError, ValueError):
        assert extent is None
    else:
        assert extent in (None, (min(times), max(times)))
        assert extent is not None or not all(type(value) is int for value in values)
