from __future__ import annotations

import math
import time
from datetime import date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import drtc
from drtc.event import Seconds, TimeField


class Loose(drtc.Event):
    at: Any


def read(field: TimeField, value: Any) -> float:
    """By all four ways, which must agree."""
    ways = [field, field.reader(typed=True), field.reader(typed=False)]
    events = [Loose(value), {"at": value}]
    times = {way(event) for way in ways for event in events}
    assert len(times) == 1
    return times.pop()


@given(st.integers(-10 ** 12, 10 ** 14))
def test_milliseconds(value: int) -> None:
    assert read(drtc.millis("at"), value) == value / 1000


@pytest.mark.parametrize("value", [0, 1.5, -3, 1700000000.25])
def test_seconds(value: float) -> None:
    assert read(Seconds("at"), value) == value


@given(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)), st.integers(-14, 14))
def test_iso_times(value: datetime, hours: int) -> None:
    naive = value.replace(tzinfo=timezone.utc).timestamp()
    aware = value.replace(tzinfo=timezone(timedelta(hours=hours)))
    assert read(drtc.iso("at"), value) == read(drtc.iso("at"), value.isoformat()) == naive
    assert read(drtc.iso("at"), aware) == read(drtc.iso("at"), aware.isoformat()) == aware.timestamp()


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_a_time_without_a_zone_is_utc_wherever_the_machine_stands(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert read(drtc.iso("at"), "2013-07-04T00:00:00") == read(drtc.iso("at"), date(2013, 7, 4)) == 1372896000
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("value, seconds", [
    ("1970-01-01T00:00:10Z", 10), ("1970-01-02", 86400), (date(1970, 1, 2), 86400),
    ("1970-01-01 00:00:00.5+00:00", 0.5),
])
def test_iso_spellings(value: Any, seconds: float) -> None:
    assert read(drtc.iso("at"), value) == seconds


@pytest.mark.parametrize("field, value, sentence", [
    (Seconds("at"), None, "the time field 'at' must be a number, not None"),
    (Seconds("at"), "17", "the time field 'at' must be a number, not '17'"),
    (Seconds("at"), True, "the time field 'at' must be a number, not True"),
    (Seconds("at"), math.nan, "an event's time of nan seconds is not between"),
    (Seconds("at"), 1700000000000, "(drtc.millis reads milliseconds)"),
    (drtc.millis("at"), math.inf, "an event's time of inf seconds is not between"),
    (drtc.millis("at"), [1], "the time field 'at' must be a number, not [1]"),
    (drtc.iso("at"), "yesterday", "the time field 'at' must be an ISO 8601 time, not 'yesterday'"),
    (drtc.iso("at"), 17, "the time field 'at' must be an ISO 8601 time, not 17"),
])
def test_what_is_no_time_is_refused(field: TimeField, value: Any, sentence: str) -> None:
    for way in (field, field.reader(typed=True), field.reader(typed=False)):
        for event in (Loose(value), {"at": value}):
            with pytest.raises((TypeError, ValueError)) as caught:
                way(event)
            assert sentence in str(caught.value)


@pytest.mark.parametrize("field", [Seconds("when"), drtc.millis("when"), drtc.iso("when")])
def test_a_missing_field_is_named(field: TimeField) -> None:
    for way in (field, field.reader(typed=True), field.reader(typed=False)):
        for event in (Loose(1), {"at": 1}, [1], None):
            with pytest.raises(ValueError, match="the event has no field 'when' to take its time from"):
                way(event)
