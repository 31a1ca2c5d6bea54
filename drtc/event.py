"""What a message is once it is decoded, and where its time stands in it."""
from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import date, datetime, timezone
from operator import attrgetter, itemgetter
from typing import Any, Callable, Sequence

import msgspec

EARLIEST, LATEST = -62_135_596_800, 253_402_300_800  # the years 1 to 9999, epoch seconds


class Event(msgspec.Struct, gc=False):
    """Base of typed events: a subclass declares fields, and decoding checks them.

    Events are kept out of Python's cycle collector, which makes decoding faster; one that is made part of a
    reference cycle is never freed.
    """


class TimeField(ABC):
    """Takes an event's time from one of its fields."""

    def __init__(self, field: str) -> None:
        self.field = field

    @abstractmethod
    def seconds(self, value: Any) -> float:
        """The field's value as epoch seconds.

        Raises:
            TypeError, ValueError: it is not a time; the event becomes a dead letter.
        """

    def __call__(self, event: Any) -> float:
        """Epoch seconds of an event, a struct or a dict."""
        try:
            value = event[self.field] if isinstance(event, dict) else getattr(event, self.field)
        except (KeyError, AttributeError):
            raise ValueError(f"the event has no field {self.field!r} to take its time from") from None
        return checked(self.seconds(value))

    def reader(self, typed: bool) -> Callable[[Any], float]:
        """The same as calling the object, quicker where events are structs (``typed``), or dicts."""
        return self

    def extent(self, typed: bool) -> Callable[[Sequence[Any]], tuple[float, float] | None] | None:
        """What gives the least and the greatest time of many events, or None where it takes a look at each. It may
        raise AttributeError, LookupError or TypeError for events without the field."""
        return None


class Seconds(TimeField):
    """A field of epoch seconds, or of another unit of which ``per_second`` make one."""

    def __init__(self, field: str, per_second: int = 1) -> None:
        super().__init__(field)
        self._per_second = per_second

    def seconds(self, value: Any) -> float:
        if type(value) is not int and type(value) is not float:
            raise TypeError(f"the time field {self.field!r} must be a number, not {value!r:.40}")
        return value / self._per_second

    def reader(self, typed: bool) -> Callable[[Any], float]:
        get = attrgetter(self.field) if typed else itemgetter(self.field)
        per_second = self._per_second
        earliest, latest = EARLIEST * per_second, LATEST * per_second

        def read(event: Any) -> float:
            try:
                value = get(event)
                if (type(value) is int or type(value) is float) and earliest <= value < latest:
                    return value / per_second
            except (AttributeError, KeyError, TypeError):
                pass
            return self(event)  # says what is wrong

        return read

    def extent(self, typed: bool) -> Callable[[Sequence[Any]], tuple[float, float] | None]:
        get = attrgetter(self.field) if typed else itemgetter(self.field)
        per_second = self._per_second
        earliest, latest = EARLIEST * per_second, LATEST * per_second

        def extent(events: Sequence[Any]) -> tuple[float, float] | None:
            values = list(map(get, events))
            if set(map(type, values)) != {int}:
                return None
            low, high = min(values), max(values)
            return (low / per_second, high / per_second) if earliest <= low and high < latest else None

        return extent


class Iso(TimeField):
    """A field of ISO 8601 text, or a datetime or date. Without a zone it is UTC."""

    def seconds(self, value: Any) -> float:
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                raise ValueError(f"the time field {self.field!r} must be an ISO 8601 time, not {value!r:.40}") from None
        elif isinstance(value, date) and not isinstance(value, datetime):
            value = datetime(value.year, value.month, value.day)
        if not isinstance(value, datetime):
            raise TypeError(f"the time field {self.field!r} must be an ISO 8601 time, not {value!r:.40}")
        return (value if value.tzinfo is not None else value.replace(tzinfo=timezone.utc)).timestamp()


def millis(field: str) -> TimeField:
    """Event time from a field of milliseconds since the epoch."""
    return Seconds(field, per_second=1000)


def iso(field: str) -> TimeField:
    """Event time from a field of ISO 8601 text, a datetime or a date; without a zone it is UTC."""
    return Iso(field)


def checked(seconds: float) -> float:
    """The time, if it is one.

    Raises:
        TypeError, ValueError: not a number, not finite, or outside the years 1 to 9999, as milliseconds are that
            were taken for seconds.
    """
    if type(seconds) is not float and (isinstance(seconds, bool) or not isinstance(seconds, (int, float))):
        raise TypeError(f"an event's time must be a number of seconds, not {seconds!r:.40}")
    if not EARLIEST <= seconds < LATEST:
        raise ValueError(f"an event's time of {seconds!r:.40} seconds is not between the years 1 and 9999 "
                         "(drtc.millis reads milliseconds)")
    return seconds


def misread(field: TimeField, event: Any) -> str:
    """Why a typed event's field can never be read so, with the remedy; "" where it may."""
    if not (isinstance(event, type) and issubclass(event, msgspec.Struct)):
        return ""
    hint = next((each.type for each in msgspec.structs.fields(event) if each.name == field.field), None)
    if isinstance(field, Iso):
        return "which is a number: write drtc.millis(field) or the field's name alone" if hint in (int, float) else ""
    return f"which is not a number: write drtc.iso(\"{field.field}\")" if hint in (str, datetime, date) else ""
