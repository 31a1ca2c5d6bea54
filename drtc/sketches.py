"""Aggregates that estimate what cannot be kept: how many distinct, the most frequent, the quantiles.

They rest on Apache DataSketches (the extra ``sketches``). Each is exact up to a number of values that its class
names, and errs beyond it within the bound that it names. A state is a live sketch; packed it is bytes.
"""
from __future__ import annotations

from collections import Counter
from importlib import import_module
from typing import Any, Iterable, Sequence

from .aggregates import Aggregate, State
from .errors import JobError
from .plain import NUMBERS, WHOLE, check_either, check_numbers, check_text


class _Sketch(Aggregate):
    """What they share. The library is looked for when a Job declares one, not when the first event arrives."""

    def __init__(self) -> None:
        try:
            self._library: Any = import_module("datasketches")
        except ImportError as error:
            raise JobError(f"{type(self).__name__} needs Apache DataSketches: pip install 'drtc[sketches]'") from error


class Distinct(_Sketch):
    """How many distinct texts or whole numbers there are (1 and "1" are two). A HyperLogLog sketch, 2 KB at most.

    Exact to 392 values, but for one chance in a thousand of being one too low; beyond, the standard error is 1.7 %.
    """

    kind = "integer"
    LG_K = 12

    def zero(self) -> State:
        return self._library.hll_sketch(self.LG_K)

    def check(self, values: Sequence[Any]) -> None:
        check_either(self, values, WHOLE)

    def fold(self, values: Sequence[Any]) -> State:
        sketch = self.zero()
        for value in dict.fromkeys(values):  # not a set: the order of its texts differs from process to process
            sketch.update(value)
        return sketch

    def merge(self, left: State, right: State) -> State:
        if left.is_empty() or right.is_empty():
            return right if left.is_empty() else left  # such states are not changed in place
        union = self._library.hll_union(self.LG_K)
        union.update(left)
        union.update(right)
        return union.get_result(left.tgt_type)

    def show(self, state: State) -> Any:
        return round(state.get_estimate())

    def pack(self, state: State) -> Any:
        return state.serialize_compact()

    def unpack(self, packed: Any) -> State:
        return self._library.hll_sketch.deserialize(packed)


class TopK(_Sketch):
    """The ``n`` most frequent texts with their counts, best first, equals in the order of the texts. ``TopK(n, int)``
    takes whole numbers instead. A frequent-items sketch.

    Exact to 768 distinct values (``TopK(n)`` with n over 96: to 8 n); beyond, a count is at most 0.35 % of the
    number of all values too high, and a value rarer than that may be missing.
    """

    def __init__(self, n: int, of: type = str) -> None:
        super().__init__()
        if type(n) is not int or n < 1 or of not in (str, int):
            raise JobError(f"TopK({n!r}, {of!r}): give a whole number of at least 1 and str or int")
        self._n = n
        self._of = of
        self._lg = max(10, (n * 32 // 3 - 1).bit_length())  # three quarters of the sketch's map are filled

    def zero(self) -> State:
        return self._library.frequent_strings_sketch(self._lg)

    def check(self, values: Sequence[Any]) -> None:
        if self._of is str:
            check_text(self, values)
        else:
            check_numbers(self, values, WHOLE)

    def fold(self, values: Sequence[Any]) -> State:
        sketch = self.zero()
        for value, count in Counter(values).items():
            sketch.update(str(value), count)
        return sketch

    def merge(self, left: State, right: State) -> State:
        left.merge(right)
        return left

    def show(self, state: State) -> Any:
        found = state.get_frequent_items(self._library.frequent_items_error_type.NO_FALSE_NEGATIVES)
        counts = [(self._of(item), count) for item, count, _, _ in found]
        return [list(pair) for pair in sorted(counts, key=lambda pair: (-pair[1], pair[0]))[:self._n]]

    def pack(self, state: State) -> Any:
        return state.serialize()

    def unpack(self, packed: Any) -> State:
        return self._library.frequent_strings_sketch.deserialize(packed)

    def __repr__(self) -> str:
        return f"TopK({self._n})" if self._of is str else f"TopK({self._n}, int)"


class Quantiles(_Sketch):
    """Quantiles of numbers: ``Quantiles()`` shows ``{"p50": .., "p90": .., "p99": ..}``, each the least value that at
    least so many percent of the values do not exceed. A KLL sketch of doubles.

    Exact to 256 values; beyond, a value's rank is within 1.1 % of the number of values (99 times in 100), and two
    computations of the same values may differ by that much, for the sketch draws lots.
    """

    K = 256

    def __init__(self, at: Iterable[float] = (0.5, 0.9, 0.99)) -> None:
        super().__init__()
        self._at = tuple(at)
        if not self._at or not all(0 <= rank <= 1 for rank in self._at):
            raise JobError(f"Quantiles({self._at}): the ranks must lie between 0 and 1, such as (0.5, 0.9, 0.99)")
        self._labels = [f"p{100 * rank:.10g}" for rank in self._at]

    def zero(self) -> State:
        return self._library.kll_doubles_sketch(self.K)

    def check(self, values: Sequence[Any]) -> None:
        check_numbers(self, values, NUMBERS)

    def fold(self, values: Sequence[Any]) -> State:
        sketch = self.zero()
        for value in values:
            sketch.update(float(value))
        return sketch

    def merge(self, left: State, right: State) -> State:
        left.merge(right)
        return left

    def show(self, state: State) -> Any:
        if state.is_empty():
            return dict.fromkeys(self._labels)
        return dict(zip(self._labels, state.get_quantiles(self._at, True)))

    def pack(self, state: State) -> Any:
        return state.serialize()

    def unpack(self, packed: Any) -> State:
        return self._library.kll_doubles_sketch.deserialize(packed)

    def __repr__(self) -> str:
        return f"Quantiles({self._at})"
