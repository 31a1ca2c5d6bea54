"""Fences and conditional saves, record by record."""
from __future__ import annotations

import itertools
import random
from typing import Any, Mapping

import pytest

import drtc
from drtc.batch import Lane
from drtc.compute.mapper import Part, Span
from drtc.compute.fences import COUNTED, MIXED, NEW, fence_verdict
from drtc.compute.merge import Cache, Merger, Piece
from drtc.compute.records import Layout, Record
from drtc.errors import StoreUnavailable
from drtc.job import describe
from drtc.stores.base import Id, Row
from drtc.stores.memory import MemorySettings, MemoryStore

NAMES = itertools.count()


class Counter(drtc.Job):
    n = drtc.Count()

    def map(self, event: Any) -> Any:
        yield "k", {"n": 1}


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore(MemorySettings(name=f"merge {next(NAMES)}"))
    made.open()
    return made


@pytest.fixture
def layout(store: MemoryStore) -> Layout:
    made = Layout(describe(Counter), 1)
    store.prepare(made.view)
    return made


def merger(store: MemoryStore, layout: Layout, cache: int = 100) -> Merger:
    return Merger(store, layout, cache, clock=lambda: 0.0, dice=random.Random(0))


def piece(first: int, last: int, count: int, lane: Lane = Lane("p", 0), refined: int | None = None) -> Piece:
    def refine(floors: Mapping[Any, Mapping[int, int]]) -> Mapping[Any, Part]:
        assert refined is not None, "nobody should have asked"
        return {key: Part(*key, 1, [refined]) for key in floors} if refined else {}

    return Piece(0, [Span(lane, first, last)], [Part("k", None, 1, [count])], [], refine)


def count(store: MemoryStore, layout: Layout) -> Any:
    return store.load(layout.view, [Id("k")])[Id("k")].values[0]


@pytest.mark.parametrize("fence, verdict", [({}, NEW), ({0: 4}, NEW), ({0: 9}, COUNTED), ({0: 12}, COUNTED),
                                            ({0: 5}, MIXED), ({0: 8}, MIXED), ({1: 99}, NEW)])
def test_the_three_cases_of_a_fence(fence: dict[int, int], verdict: str) -> None:
    assert fence_verdict(fence, [(0, 5, 9)], 1) == verdict


def test_lanes_that_disagree_are_looked_at_apart_and_those_without_a_part_do_not_matter() -> None:
    spans = [(0, 5, 9), (1, 5, 9), (2, 5, 9)]
    assert fence_verdict({0: 9}, spans, 0b011) == MIXED
    assert fence_verdict({0: 9, 1: 20}, spans, 0b011) == COUNTED
    assert fence_verdict({2: 7}, spans, 0b011) == NEW


def test_a_piece_that_comes_again_is_skipped(store: MemoryStore, layout: Layout) -> None:
    for made in (merger(store, layout), merger(store, layout)):
        for _ in range(2):
            made.add(piece(0, 9, 3))
            [done] = made.attempt().done
    assert count(store, layout) == 3
    assert done.replayed == 1


def test_a_replay_cut_differently_counts_only_what_lies_past_the_fence(store: MemoryStore, layout: Layout) -> None:
    made = merger(store, layout)
    made.add(piece(0, 9, 3))
    made.attempt()
    made.add(piece(5, 14, 4, refined=2))
    made.attempt()
    assert count(store, layout) == 5
    made.add(piece(10, 14, 2))
    made.attempt()
    assert count(store, layout) == 5


def test_who_loses_a_save_does_not_map_again_what_it_has_mapped(store: MemoryStore, layout: Layout,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a node with much to map again would lose every save to quicker ones, for ever."""
    slow, quick = merger(store, layout), merger(store, layout)
    slow.add(piece(0, 9, 3))
    slow.attempt()
    late = piece(5, 14, 4, refined=2)
    asked = []
    refine = late.refine
    monkeypatch.setattr(late, "refine", lambda floors: (asked.append(dict(floors)), refine(floors))[1])
    slow.add(late)
    for number in range(5):
        save = store.save

        def overtaken(view: Any, rows: Any) -> Any:
            store.save = save  # type: ignore[method-assign]
            quick.add(piece(number * 10, number * 10 + 9, 1, Lane("q", 0)))
            while quick.attempt().delay is not None:
                pass
            return save(view, rows)

        store.save = overtaken  # type: ignore[method-assign]
        assert slow.attempt().done == []
    assert slow.attempt().done == [late]
    assert len(asked) == 1 and count(store, layout) == 3 + 5 + 2


def test_what_was_mapped_for_other_fences_is_mapped_again(store: MemoryStore, layout: Layout) -> None:
    made = merger(store, layout)
    made.add(piece(0, 9, 3))
    made.attempt()
    late = piece(0, 20, 9, refined=6)
    late.refined = {("k", None): ({0: 4}, Part("k", None, 1, [8]))}
    made.add(late)
    made.attempt()
    assert count(store, layout) == 3 + 6


def test_pieces_at_hand_are_saved_in_one_go(store: MemoryStore, layout: Layout) -> None:
    made = merger(store, layout)
    for number in range(5):
        made.add(piece(number * 10, number * 10 + 9, 1, Lane("p", number % 2)))
    assert len(made.attempt().done) == 5
    assert store.load(layout.view, [Id("k")])[Id("k")].version == 1
    assert count(store, layout) == 5


def test_who_was_overtaken_loads_again_and_joins_what_came_meanwhile(store: MemoryStore, layout: Layout) -> None:
    slow, quick = merger(store, layout), merger(store, layout)
    slow.add(piece(0, 9, 1))
    slow.attempt()  # slow has the record in its cache now
    quick.add(piece(0, 9, 10, Lane("q", 0)))
    quick.attempt()
    slow.add(piece(10, 19, 1))
    outcome = slow.attempt()
    assert outcome.done == [] and outcome.delay is not None and outcome.delay < 1
    slow.add(piece(20, 29, 1))
    outcome = slow.attempt()
    assert len(outcome.done) == 2 and outcome.delay is None
    assert count(store, layout) == 13


@pytest.mark.parametrize("done_before", [False, True])
def test_a_save_whose_outcome_is_unknown_is_safe_to_repeat(store: MemoryStore, layout: Layout, done_before: bool,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    made = merger(store, layout)
    made.add(piece(0, 9, 1))
    made.attempt()
    save = store.save

    def lost_answer(view: Any, rows: Any) -> Any:
        if done_before:
            save(view, rows)
        raise StoreUnavailable("the connection broke")

    made.add(piece(10, 19, 1))
    monkeypatch.setattr(store, "save", lost_answer)
    outcome = made.attempt()
    assert (outcome.done, outcome.trouble) == ([], "the connection broke")
    monkeypatch.undo()
    assert made.attempt().delay is None
    assert count(store, layout) == 2


def test_waiting_for_a_store_grows_longer_up_to_a_bound(store: MemoryStore, layout: Layout,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(view: Any, rows: Any) -> Any:
        raise StoreUnavailable("away")

    made = merger(store, layout)
    made.add(piece(0, 9, 1))
    monkeypatch.setattr(store, "save", refuse)
    delays = [made.attempt().delay or 0.0 for _ in range(30)]
    assert delays[0] < 0.1
    assert 2.0 < max(delays) <= 7.5


def test_a_record_survives_the_way_into_a_row_and_back(layout: Layout) -> None:
    record = Record(Id("k"), [7], {0: 5, 3: 2 ** 40}, 4)
    row: Row = layout.write(record)
    assert (row.version, row.values) == (4, (7,))
    again = layout.read(row)
    assert (again.id, again.states, again.fence, again.version) == (Id("k"), [7], {0: 5, 3: 2 ** 40}, 4)


def test_the_cache_forgets_what_was_not_used_for_long() -> None:
    cache = Cache(10)
    for number in range(100):
        cache.put(Record(Id(number), [], {}, 1))
    assert cache.take(Id(99)) is not None
    assert cache.take(Id(99)) is None
    assert cache.take(Id(0)) is None


def test_a_record_that_vanished_and_came_again_is_not_overwritten_from_a_cache(store: MemoryStore,
                                                                               layout: Layout) -> None:
    """Its versions would begin anew, and who still holds the one before could take it for its own."""
    store.forgets = True
    one, other = merger(store, layout), Merger(store, layout, 100, clock=lambda: 0.0, dice=random.Random(1))
    one.add(piece(0, 4, 5))
    one.attempt()
    store.delete(layout.view, [Id("k")])  # its time to live is over
    other.add(piece(0, 99, 100, Lane("q", 0)))
    other.attempt()
    one.add(piece(5, 5, 1))
    while one.attempt().delay is not None:
        pass
    assert count(store, layout) == 101
