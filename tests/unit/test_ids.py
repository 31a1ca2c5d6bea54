"""Ids as text, and rows in order where the database has none."""
from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from drtc.stores.base import Id, Row
from drtc.stores.ids import from_text, in_order, order, to_text

KEYS = st.one_of(st.text(alphabet=st.characters(exclude_categories=["Cs"])), st.integers(-2 ** 63, 2 ** 63 - 1),
                 st.sampled_from(['"', '""', '"5"', "5", 5, "05", "-0", "-5", "+5", "a@b", "@", "5@6", "٥", ""]))
STARTS = st.one_of(st.none(), st.floats(-1e12, 1e12), st.integers(-10**9, 10**9).map(float))
IDS = st.builds(Id, KEYS, STARTS)


@given(IDS)
def test_an_id_comes_back_from_its_text(id: Id) -> None:
    found = from_text(to_text(id), id.start is not None)
    assert found == id and type(found.key) is type(id.key)


@given(st.lists(st.tuples(KEYS, st.floats(0, 10)), unique=True))
def test_no_two_ids_have_the_same_text(ids: list[tuple[str | int, float]]) -> None:
    for made in ([Id(*each) for each in ids], [Id(key) for key in {repr(key): key for key, _ in ids}.values()]):
        assert len({to_text(id) for id in made}) == len(made)


@pytest.mark.parametrize(("key", "start", "text"), [
    ("ad-7", None, "ad-7"), (7, None, "7"), ("7", None, '"7"'), ("007", None, "007"), ('"', None, '"""'),
    ("ad-7", 1_700_000_000.0, "ad-7@1700000000"), ("a@b", 0.5, "a@b@0.5"), (-7, -10.0, "-7@-10")])
def test_the_text_is_what_people_see(key: str | int, start: float | None, text: str) -> None:
    assert to_text(Id(key, start)) == text


@given(st.sets(st.tuples(st.sampled_from(["a", "b", 1, "1"]), st.integers(0, 9)), max_size=30), st.integers(0, 9),
       st.integers(0, 9), st.none() | st.sampled_from(["a", 1, "1"]), st.none() | st.integers(0, 5))
def test_rows_come_in_order_and_none_but_those_asked_for(made: set[tuple[str | int, int]], low: int, span: int,
                                                         key: str | int | None, limit: int | None) -> None:
    high = low + span
    rows = {(id := Id(name, float(start))): Row(id, start + 3.0, 1, (), b"") for name, start in made}

    def expected(row: Row) -> bool:
        instants = [low] if low == high else [low + n / 4 for n in range((high - low) * 4)]
        start, end = row.id.start, row.end
        assert start is not None and end is not None
        return (key is None or row.id.key == key) and any(start <= instant < end for instant in instants)

    due = sorted(filter(expected, rows.values()), key=lambda row: order(row.id))
    found = in_order(rows, lambda ids: {id: rows[id] for id in ids}, key, (float(low), float(high)), limit)
    assert list(found) == due[:limit]
