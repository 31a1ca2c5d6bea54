"""Grouping: what the events of a piece yield, gathered by record, before it is folded into partial states.

Many events at a time and as fast as Python allows; whatever goes wrong raises, and the groups are then void.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Iterable, Mapping, Sequence

if TYPE_CHECKING:
    from ..job import Job, JobSpec

#: what was yielded for one record: a bit for each of the piece's spans that did (at 0), then each field's values
Group = list[Any]
#: window number (None without windows) -> key -> group
Groups = dict["int | None", dict[Any, Group]]


class Grouping:
    """Calls one job's ``map`` and puts what it yields into groups."""

    def __init__(self, spec: JobSpec, job: Job) -> None:
        self._map = job.map
        self._time: Callable[[Any], float] | None = spec.bind(job)
        self._extent = spec.bind_extent()
        self._window = spec.window
        self._overlapping = spec.window is not None and spec.window.every != spec.window.size
        self._places = {name: place for place, name in enumerate(spec.fields, 1)}

    def events(self, events: Sequence[Any], groups: Groups, bit: int) -> float | None:
        """Adds what all these events of one span yield; returns their greatest time, None for a job without time."""
        time = self._time
        if time is None:
            self._fill(events, groups.setdefault(None, {}), bit)
            return None
        if self._overlapping or (shares := self._shares(events, time)) is None:
            return self._each(events, groups, bit, time)
        for index, share in shares[0].items():
            self._fill(share, groups.setdefault(index, {}), bit)
        return shares[1]

    def _shares(self, events: Sequence[Any],
                time: Callable[[Any], float]) -> tuple[dict[int | None, Sequence[Any]], float] | None:
        """The events of each window, and the greatest time. They come about in order, so nearly always one window has
        them all. None where one has no time: it may be one that yields nothing."""
        window = self._window
        try:
            times: list[float] = []
            extent = self._extent(events) if self._extent is not None else None
            if extent is None:
                times = list(map(time, events))
                extent = min(times), max(times)
            if window is None:
                return {None: events}, extent[1]
            index = window.index(extent[0])
            if index == window.index(extent[1]):
                return {index: events}, extent[1]
            shares: dict[int | None, list[Any]] = {}
            start, end = 1.0, 0.0  # of the window that ``share`` belongs to; empty as yet
            for event, seconds in zip(events, times or map(time, events)):
                if not start <= seconds < end:
                    index = window.index(seconds)
                    start, end = window.bounds(index)
                    share = shares.setdefault(index, [])
                share.append(event)
            return dict(shares), extent[1]
        except Exception:
            return None

    def _fill(self, events: Iterable[Any], bucket: dict[Any, Group], bit: int) -> None:
        map_ = self._map
        places = self._places
        empty = len(places)
        for event in events:
            for key, fields in map_(event) or ():
                group = bucket.get(key)
                if group is None:
                    group = bucket[key] = [bit, *([] for _ in range(empty))]
                elif group[0] < bit:
                    group[0] |= bit
                for name, value in fields.items():
                    group[places[name]].append(value)

    def _each(self, events: Sequence[Any], groups: Groups, bit: int, time: Callable[[Any], float]) -> float | None:
        """One event at a time: it may count in several windows, or have no time because it yields nothing."""
        latest = float("-inf")
        for event in events:
            yielded = list(self._map(event) or ())
            if yielded:
                seconds = time(event)
                latest = max(latest, seconds)
                for index in self._window.indexes(seconds) if self._window is not None else (None,):
                    for key, fields in yielded:
                        self.add(groups, index, key, fields, bit)
        if events:
            try:
                latest = max(latest, time(events[-1]))  # events that yield nothing move time as well
            except Exception:
                pass  # it yields nothing, so its time is nobody's concern
        return latest if latest > float("-inf") else None

    def add(self, groups: Groups, index: int | None, key: Any, fields: Mapping[str, Any], bit: int) -> None:
        """Adds one thing that was yielded."""
        group = groups.setdefault(index, {}).setdefault(key, [0, *([] for _ in self._places)])
        group[0] |= bit
        for name, value in fields.items():
            group[self._places[name]].append(value)


def join(groups: Groups, others: Groups) -> None:
    """Adds the others to the groups; their lists may become parts of them."""
    for index, bucket in others.items():
        into = groups.setdefault(index, {})
        for key, group in bucket.items():
            have = into.get(key)
            if have is None:
                into[key] = group
            else:
                have[0] |= group[0]
                for values, more in zip(have[1:], group[1:]):
                    values += more
