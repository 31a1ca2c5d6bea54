"""What a field of a record accumulates. A Job declares each as a class attribute: ``views = drtc.Count()``.

Every aggregate is mergeable: values may be folded in any number of parts, and the parts merged in any grouping.
"Order of arrival" is the order of a lane; between lanes it is the order in which their parts were merged.
"""
from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from typing import Any, Callable, Iterable, Sequence

from .errors import JobError
from .plain import BOOL, LEAST, MOST, NUMBERS, WHOLE, check_either, check_numbers, check_plain, check_text
from .stores.base import Kind

State = Any

KINDS: dict[type, Kind] = {int: "integer", float: "real", str: "text"}


class Aggregate(ABC):
    """Base of every aggregate. An instance is a declaration and holds no state; a state is what its methods pass on."""

    #: the kind of column that holds what ``show`` returns
    kind: Kind = "json"

    @abstractmethod
    def zero(self) -> State:
        """A new state in which nothing was counted."""

    @abstractmethod
    def check(self, values: Sequence[Any]) -> None:
        """Refuses the values if ``add`` would refuse one of them: called for each key before anything is counted.

        Raises:
            TypeError, ValueError: one sentence about the first value that does not fit. Its event is a dead letter.
        """

    @abstractmethod
    def fold(self, values: Sequence[Any]) -> State:
        """The state of values that have passed ``check``, in order. Does not raise."""

    def add(self, state: State, value: Any) -> State:
        """The state with one value more; ``state`` may be reused.

        Raises:
            TypeError, ValueError: as ``check``; the state is as before.
        """
        self.check([value])
        return self.merge(state, self.fold([value]))

    @abstractmethod
    def merge(self, left: State, right: State) -> State:
        """Both states together, ``left`` being the earlier. ``left`` may be reused, ``right`` is not changed and
        shares nothing with the result that anybody changes."""

    @abstractmethod
    def show(self, state: State) -> Any:
        """What people read: a number, text, list or dict of plain values, or None where there is nothing yet."""

    def pack(self, state: State) -> Any:
        """The state as msgpack holds it. Not a copy."""
        return state

    def unpack(self, packed: Any) -> State:
        """The state that was packed; the result is the caller's own."""
        return packed

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Sum(Aggregate):
    """The sum of numbers; a boolean counts as 0 or 1. ``Sum(int)`` takes whole numbers only and has an integer column.

    Whole numbers are summed exactly, beyond 64 bits too (where the shown value becomes a float). Floats are
    summed as they come: the last digits may differ with the order of the lanes.
    """

    def __init__(self, of: type | None = None) -> None:
        self._of = _one_of(self, of, (int, float))
        self._types = (WHOLE if of is int else NUMBERS) | BOOL
        self.kind = KINDS[of or float]

    def zero(self) -> State:
        return 0

    def check(self, values: Sequence[Any]) -> None:
        check_numbers(self, values, self._types)

    def fold(self, values: Sequence[Any]) -> State:
        return sum(values)

    def merge(self, left: State, right: State) -> State:
        return left + right

    def show(self, state: State) -> Any:
        return state if type(state) is float or LEAST <= state <= MOST else float(state)

    def pack(self, state: State) -> Any:
        return state if type(state) is float or LEAST <= state <= MOST else str(state)

    def unpack(self, packed: Any) -> State:
        return int(packed) if type(packed) is str else packed

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._of.__name__ if self._of else ''})"


class Count(Sum):
    """How many: the value says by how much it grows, usually 1; False adds nothing, a negative number takes away."""

    def __init__(self) -> None:
        super().__init__(int)

    def __repr__(self) -> str:
        return "Count()"


class Mean(Aggregate):
    """The arithmetic mean of numbers, exact as ``Sum`` is; a boolean counts as 0 or 1. None where there are none."""

    kind: Kind = "real"

    def __init__(self) -> None:
        self._sum = Sum()

    def zero(self) -> State:
        return [0, 0]

    def check(self, values: Sequence[Any]) -> None:
        check_numbers(self, values, NUMBERS | BOOL)

    def fold(self, values: Sequence[Any]) -> State:
        return [sum(values), len(values)]

    def merge(self, left: State, right: State) -> State:
        left[0] += right[0]
        left[1] += right[1]
        return left

    def show(self, state: State) -> Any:
        return state[0] / state[1] if state[1] else None

    def pack(self, state: State) -> Any:
        return [self._sum.pack(state[0]), state[1]]

    def unpack(self, packed: Any) -> State:
        return [self._sum.unpack(packed[0]), packed[1]]


class _Extreme(Aggregate):
    """What Min and Max share: the state is the value itself, or None."""

    _best: Callable[..., Any]

    def __init__(self, of: type | None = None) -> None:
        self._of = _one_of(self, of, (int, float, str))
        self._types = WHOLE if of is int else NUMBERS
        self.kind = KINDS[of or float]

    def zero(self) -> State:
        return None

    def check(self, values: Sequence[Any]) -> None:
        if self._of is str:
            check_text(self, values)
        else:
            check_numbers(self, values, self._types)

    def fold(self, values: Sequence[Any]) -> State:
        return self._best(values) if values else None

    def merge(self, left: State, right: State) -> State:
        if left is None or right is None:
            return right if left is None else left
        return self._best((left, right))

    def show(self, state: State) -> Any:
        return state

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._of.__name__ if self._of else ''})"


class Min(_Extreme):
    """The least number. ``Min(int)`` takes whole numbers only and has an integer column, ``Min(str)`` takes text."""

    _best = staticmethod(min)


class Max(_Extreme):
    """The greatest number. ``Max(int)`` takes whole numbers only and has an integer column, ``Max(str)`` takes text."""

    _best = staticmethod(max)


class _Plain(Aggregate):
    """What the aggregates that keep values as they are share: the state is a list of values in order of arrival.

    A value is plain: text, a number, a boolean, None, or lists and dicts (with text for keys) of these.
    """

    def zero(self) -> State:
        return []

    def check(self, values: Sequence[Any]) -> None:
        for value in values:
            if type(value) is not str or not value.isascii():
                check_plain(self, value)


class _One(_Plain):
    """What First and Last share."""

    def __init__(self, of: type | None = None) -> None:
        self._of = _one_of(self, of, (int, float, str))
        self.kind = KINDS[of] if of else "json"

    def check(self, values: Sequence[Any]) -> None:
        if self._of is str:
            check_text(self, values)
        elif self._of is not None:
            check_numbers(self, values, WHOLE if self._of is int else NUMBERS)
        else:
            super().check(values)

    def show(self, state: State) -> Any:
        return state[0] if state else None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._of.__name__ if self._of else ''})"


class First(_One):
    """The value that arrived first. ``First(str)``, ``First(int)`` and ``First(float)`` take only such values and have
    a column of that kind; without a type the column holds any plain value."""

    def fold(self, values: Sequence[Any]) -> State:
        return list(values[:1])

    def merge(self, left: State, right: State) -> State:
        return left or list(right)


class Last(_One):
    """The value that arrived last; types as ``First``."""

    def fold(self, values: Sequence[Any]) -> State:
        return list(values[-1:])

    def merge(self, left: State, right: State) -> State:
        return list(right) or left


class Recent(_Plain):
    """The last ``n`` plain values in order of arrival, the newest at the end."""

    def __init__(self, n: int) -> None:
        self._n = _natural(self, "n", n)

    def fold(self, values: Sequence[Any]) -> State:
        return list(values[-self._n:])

    def merge(self, left: State, right: State) -> State:
        left += right
        del left[:-self._n]
        return left

    def show(self, state: State) -> Any:
        return state

    def __repr__(self) -> str:
        return f"Recent({self._n})"


class Set(Aggregate):
    """The distinct values, at most ``limit`` of them: numbers in order, then texts in order. 1 and 1.0 are one value.

    Past the limit the least are kept, so that the result does not depend on order or grouping, and "…" follows
    them: a shown list that is longer than ``limit`` is not complete.
    """

    def __init__(self, limit: int) -> None:
        self._limit = _natural(self, "limit", limit)

    def zero(self) -> State:
        return [[], False]

    def check(self, values: Sequence[Any]) -> None:
        check_either(self, values, NUMBERS)

    def fold(self, values: Sequence[Any]) -> State:
        return self._least(set(values), False)

    def merge(self, left: State, right: State) -> State:
        return self._least({*left[0], *right[0]}, left[1] or right[1])

    def show(self, state: State) -> Any:
        return [*state[0], "…"] if state[1] else state[0]

    def _least(self, distinct: set[Any], more: bool) -> State:
        ordered = sorted(distinct, key=lambda value: (type(value) is str, value))
        return [ordered[:self._limit], more or len(ordered) > self._limit]

    def __repr__(self) -> str:
        return f"Set({self._limit})"


class Histogram(Aggregate):
    """How many numbers lie below, between and above the bounds; a number that equals a bound lies above it.

    ``Histogram([0, 15])`` shows ``{"<0": .., "0..15": .., ">=15": ..}``.
    """

    def __init__(self, bounds: Iterable[float]) -> None:
        self._bounds = list(bounds)
        pairs = list(zip(self._bounds, self._bounds[1:]))
        if not self._bounds or not {*map(type, self._bounds)} <= NUMBERS or not all(low < high for low, high in pairs):
            raise JobError(f"{self!r}: the bounds must be numbers that rise, such as [0, 15, 60]")
        self._labels = [f"<{self._bounds[0]}", *(f"{low}..{high}" for low, high in pairs), f">={self._bounds[-1]}"]

    def zero(self) -> State:
        return [0] * len(self._labels)

    def check(self, values: Sequence[Any]) -> None:
        check_numbers(self, values, NUMBERS)

    def fold(self, values: Sequence[Any]) -> State:
        counts = [0] * len(self._labels)
        for value in values:
            counts[bisect_right(self._bounds, value)] += 1
        return counts

    def merge(self, left: State, right: State) -> State:
        return [ours + theirs for ours, theirs in zip(left, right)]

    def show(self, state: State) -> Any:
        return dict(zip(self._labels, state))

    def __repr__(self) -> str:
        return f"Histogram({self._bounds})"


def _one_of(aggregate: Aggregate, of: type | None, types: Sequence[type]) -> type | None:
    if of is None or of in types:
        return of
    names = ", ".join(each.__name__ for each in types)
    raise JobError(f"{type(aggregate).__name__}({of!r}): the type of the values must be one of {names}, or left out")


def _natural(aggregate: Aggregate, name: str, number: int) -> int:
    if type(number) is int and number > 0:
        return number
    raise JobError(f"{type(aggregate).__name__}({number!r}): {name} must be a whole number of at least 1")
