"""What holds for every aggregate, as checks that the tests of aggregates and sketches share."""
from __future__ import annotations

import json
import random
from typing import Any, Sequence

import msgpack

from drtc.aggregates import Aggregate


def folded(aggregate: Aggregate, parts: Sequence[Sequence[Any]]) -> list[Any]:
    return [aggregate.fold(part) for part in parts]


def merged(aggregate: Aggregate, states: Sequence[Any], pick: random.Random) -> Any:
    """The states merged in any grouping, their order kept."""
    states = list(states)
    while len(states) > 1:
        at = pick.randrange(len(states) - 1)
        states[at:at + 2] = [aggregate.merge(states[at], states[at + 1])]
    return states[0]


def packed(aggregate: Aggregate, state: Any) -> bytes:
    raw: bytes = msgpack.packb(aggregate.pack(state))
    return raw


def unpacked(aggregate: Aggregate, raw: bytes) -> Any:
    return aggregate.unpack(msgpack.unpackb(raw, strict_map_key=False))


def check_laws(aggregate: Aggregate, parts: Sequence[Sequence[Any]], pick: random.Random) -> None:
    """The parts together must be within what the aggregate computes exactly."""
    values = [value for part in parts for value in part]
    aggregate.check(values)
    whole = aggregate.fold(values)
    shown = aggregate.show(whole)
    json.dumps(shown, allow_nan=False)

    assert aggregate.show(merged(aggregate, folded(aggregate, parts), pick)) == shown, "merge of parts is the whole"

    one_by_one = aggregate.zero()
    for value in values:
        one_by_one = aggregate.add(one_by_one, value)
    assert aggregate.show(one_by_one) == shown, "fold is add of each"

    assert aggregate.show(aggregate.merge(aggregate.zero(), aggregate.fold(values))) == shown, "zero is neutral, left"
    assert aggregate.show(aggregate.merge(aggregate.fold(values), aggregate.zero())) == shown, "zero is neutral, right"

    again = unpacked(aggregate, packed(aggregate, whole))
    assert aggregate.show(again) == shown, "a state survives packing"
    if not isinstance(aggregate.pack(whole), bytes):  # a sketch's bytes come in the order of its hash table
        assert again == whole

    for part in parts:
        right = aggregate.fold(part)
        before = packed(aggregate, right)
        result = aggregate.merge(aggregate.fold(values), right)
        assert packed(aggregate, right) == before, "merge does not change right"
        result = aggregate.merge(result, aggregate.fold(values))
        assert packed(aggregate, right) == before, "the result shares nothing that changes with right"
        result = aggregate.merge(aggregate.merge(aggregate.zero(), right), aggregate.fold(values))
        assert packed(aggregate, right) == before, "nor where left was zero"


def refuses(aggregate: Aggregate, values: Sequence[Any]) -> str:
    """The sentence with which the values are refused, "" where they are taken. Any other exception escapes."""
    try:
        aggregate.check(values)
    except (TypeError, ValueError) as error:
        assert "\n" not in str(error)
        return str(error)
    return ""


def refuses_one(aggregate: Aggregate, values: Sequence[Any]) -> str:
    """The same by adding one value at a time."""
    state = aggregate.zero()
    for value in values:
        before = packed(aggregate, state)
        try:
            state = aggregate.add(state, value)
        except (TypeError, ValueError) as error:
            assert packed(aggregate, state) == before, "a refused value changes nothing"
            return str(error)
    return ""
