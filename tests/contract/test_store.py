"""The store contract (drtc/stores/base.py): one suite, run against every store."""
from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from drtc.errors import StoreError, StoreUnavailable
from drtc.stores.base import Column, Id, Row, Store, View

from .backends import Backend

PLAIN = View("profile_v1", (Column("views", "integer"), Column("mean", "real"), Column("name", "text"),
                            Column("recent", "json"), Column("raw", "bytes")))
WINDOWED = View("daily_v1", (Column("views", "integer"),), windowed=True)
NOTHING = (None, None, None, None, None)


def row(key: str | int, version: int = 0, values: tuple[Any, ...] = NOTHING, hidden: bytes = b"") -> Row:
    return Row(Id(key), None, version, values, hidden)


def window(key: str | int, start: float, end: float, version: int = 0) -> Row:
    return Row(Id(key, start), end, version, (1,), b"h")


def saved(store: Store, view: View, rows: list[Row]) -> None:
    assert store.save(view, rows) == set()


def keys(store: Store, view: View, **where: Any) -> list[Any]:
    return [found.id.key if not view.windowed else tuple(found.id) for found in store.scan(view, **where)]


@pytest.mark.parametrize("values", [
    NOTHING,
    (0, 0.0, "", [], b""),
    (2**63 - 1, 1.5e300, "naïve 東京 🚲\n'\";--\x00", {"a": [1, None, True, "ü"], "b": {}}, bytes(range(256))),
    (-2**63, -0.25, "12", ["5", 5, 5.5], b"\x00" * 10),
])
def test_what_was_saved_is_loaded(store: Store, values: tuple[Any, ...]) -> None:
    store.prepare(PLAIN)
    saved(store, PLAIN, [row("k", values=values, hidden=b"\x00\xff")])
    expected = row("k", 1, values, b"\x00\xff")
    assert store.load(PLAIN, [Id("k"), Id("absent")]) == {Id("k"): expected}
    assert list(store.scan(PLAIN)) == [expected]


def test_nothing_asked_is_nothing_done(store: Store) -> None:
    store.prepare(PLAIN)
    assert store.load(PLAIN, []) == {}
    assert store.save(PLAIN, []) == set()
    store.delete(PLAIN, [])


def test_a_save_is_conditional_on_the_version(store: Store) -> None:
    store.prepare(PLAIN)
    saved(store, PLAIN, [row("a", hidden=b"1"), row("b", hidden=b"1")])
    assert store.save(PLAIN, [row("a", hidden=b"x"), row("c", hidden=b"1")]) == {Id("a")}, "0 means: not there"
    assert store.save(PLAIN, [row("a", 1, hidden=b"2"), row("b", 2, hidden=b"x"), row("d", 1)]) == {Id("b"), Id("d")}
    found = store.load(PLAIN, [Id(key) for key in "abcd"])
    assert {id.key: (there.version, there.hidden) for id, there in found.items()} == {
        "a": (2, b"2"), "b": (1, b"1"), "c": (1, b"1")}


def test_a_new_row_begins_at_the_version_that_it_brings(store: Store) -> None:
    store.prepare(PLAIN)
    store.prepare(WINDOWED)
    first = 2**62
    saved(store, PLAIN, [row("a")._replace(first=first), row("b")])
    saved(store, WINDOWED, [window("a", 0, 10)._replace(first=first)])
    found = store.load(PLAIN, [Id("a"), Id("b")])
    assert {id.key: there.version for id, there in found.items()} == {"a": first, "b": 1}
    assert store.save(PLAIN, [row("a", 1), row("b", 1)]) == {Id("a")}
    saved(store, PLAIN, [row("a", first)])
    assert store.load(PLAIN, [Id("a")])[Id("a")].version == first + 1
    saved(store, WINDOWED, [window("a", 0, 10, first)])


def test_a_key_keeps_its_type(store: Store) -> None:
    store.prepare(PLAIN)
    mixed: list[str | int] = [5, "5", "05", 2**63 - 1, -2**63, "", "ü", "U", "u", " "]
    saved(store, PLAIN, [row(key, hidden=repr(key).encode()) for key in mixed])
    found = store.load(PLAIN, [Id(key) for key in mixed])
    assert {id.key: there.hidden for id, there in found.items()} == {key: repr(key).encode() for key in mixed}
    assert keys(store, PLAIN) == [-2**63, 5, 2**63 - 1, *sorted(key for key in mixed if isinstance(key, str))]
    assert keys(store, PLAIN, key="5") == ["5"] and keys(store, PLAIN, key=5) == [5]
    store.delete(PLAIN, [Id("5")])
    assert set(store.load(PLAIN, [Id(5), Id("5")])) == {Id(5)}


def test_big_rows(store: Store) -> None:
    store.prepare(PLAIN)
    blob = bytes(range(256)) * 2048
    saved(store, PLAIN, [row("big", values=(1, 1.0, "x" * 100_000, ["y" * 1000] * 100, blob), hidden=blob)])
    assert store.load(PLAIN, [Id("big")])[Id("big")].hidden == blob


def test_thousands_in_one_call(store: Store) -> None:
    store.prepare(PLAIN)
    store.prepare(WINDOWED)
    saved(store, PLAIN, [row(f"k{n}", hidden=b"%d" % n) for n in range(5000)])
    found = store.load(PLAIN, [Id(f"k{n}") for n in range(6000)])
    assert len(found) == 5000 and all(there.hidden == b"%d" % int(str(id.key)[1:]) for id, there in found.items())
    conflicts = store.save(PLAIN, [row(f"k{n}", n % 2) for n in range(5000)])
    assert conflicts == {Id(f"k{n}") for n in range(0, 5000, 2)}
    for wide, high in ((70, 3), (3, 70)):
        rows = [window(f"{wide}-{k}", 10.0 * n, 10.0 * n + 10) for k in range(wide) for n in range(high)]
        saved(store, WINDOWED, rows)
        assert set(store.load(WINDOWED, [row.id for row in rows])) == {row.id for row in rows}


def test_windows_are_records_of_their_own(store: Store) -> None:
    store.prepare(WINDOWED)
    saved(store, WINDOWED, [window("b", 0, 10), window("a", 10, 20), window("a", 0.5, 10.5), window("a", -10, 0)])
    assert keys(store, WINDOWED) == [("a", -10), ("a", 0.5), ("a", 10), ("b", 0)], "by key, then start"
    assert store.save(WINDOWED, [window("a", 0.5, 11.5, 1), window("a", 10, 20)]) == {Id("a", 10.0)}
    found = store.load(WINDOWED, [Id("a", 0.5), Id("a", 10.0), Id("a", 0.0)])
    assert {id: (there.version, there.end) for id, there in found.items()} == {
        Id("a", 0.5): (2, 11.5), Id("a", 10.0): (1, 20.0)}
    store.delete(WINDOWED, [Id("a", 0.5), Id("a", 99.0)])
    assert keys(store, WINDOWED, key="a") == [("a", -10), ("a", 10)]


def test_a_scan_by_time(store: Store) -> None:
    store.prepare(WINDOWED)
    saved(store, WINDOWED, [window("a", start, start + 10) for start in (0, 5, 10, 15)])

    def starts(low: float, high: float, **where: Any) -> list[Any]:
        return [found.id.start for found in store.scan(WINDOWED, during=(low, high), **where)]

    assert starts(10, 10) == [5, 10], "(t, t): the windows that contain t; the end is not in the window"
    assert starts(0, 0) == [0] and starts(25, 25) == [] and starts(-1, -1) == []
    assert starts(0, 5) == [0] and starts(0, 5.5) == [0, 5] and starts(14.9, 100) == [5, 10, 15]
    assert starts(-100, 100, limit=2) == [0, 5] and starts(-100, 100, key="b") == []
    store.prepare(PLAIN)
    saved(store, PLAIN, [row("a")])
    assert list(store.scan(PLAIN, during=(0, 1))) == [], "a record without a window is in none"


def test_a_scan_may_be_left_unfinished(store: Store) -> None:
    store.prepare(PLAIN)
    saved(store, PLAIN, [row(n) for n in range(3000)])
    assert next(store.scan(PLAIN)).id.key == 0
    assert keys(store, PLAIN, limit=3) == [0, 1, 2] and keys(store, PLAIN, limit=0) == []
    saved(store, PLAIN, [row("after")])
    store.drop(PLAIN)


def test_drop_removes_the_view_and_nothing_else(store: Store) -> None:
    for view in (PLAIN, WINDOWED):
        store.prepare(view)
    saved(store, PLAIN, [row("a")])
    saved(store, WINDOWED, [window("a", 0, 10)])
    store.drop(PLAIN)
    store.drop(PLAIN)
    with pytest.raises(StoreError, match="start"):
        store.save(PLAIN, [row("a")])
    store.prepare(PLAIN)
    assert keys(store, PLAIN) == [] and keys(store, WINDOWED) == [("a", 0)]


def test_prepare_is_idempotent_and_refuses_other_columns(store: Store) -> None:
    store.prepare(PLAIN)
    saved(store, PLAIN, [row("a")])
    store.prepare(PLAIN)
    assert keys(store, PLAIN) == ["a"]
    for other in (PLAIN._replace(columns=PLAIN.columns[:-1]), PLAIN._replace(windowed=True),
                  PLAIN._replace(columns=(Column("views", "real"), *PLAIN.columns[1:]))):
        with pytest.raises(StoreError, match=r"profile_v1 exists with other columns.*raise \[job\] version"):
            store.prepare(other)
    assert keys(store, PLAIN) == ["a"]


def test_another_object_sees_every_answered_save(backend: Backend, store: Store) -> None:
    store.prepare(PLAIN)
    other = backend.open()
    other.prepare(PLAIN)
    for version in range(20):
        saved(store, PLAIN, [row("a", version, hidden=b"%d" % version)])
        assert other.load(PLAIN, [Id("a")])[Id("a")].hidden == b"%d" % version
    other.close()


def test_reopening_after_close(backend: Backend) -> None:
    store = backend.open()
    store.prepare(PLAIN)
    saved(store, PLAIN, [row("a", hidden=b"kept")])
    store.close()
    store.close()
    again = backend.open()
    again.prepare(PLAIN)
    assert again.load(PLAIN, [Id("a")])[Id("a")].hidden == b"kept"
    again.close()


def test_unavailable_then_back(backend: Backend) -> None:
    backend.open().close()
    store = backend.open(**backend.impatient)
    store.prepare(PLAIN)
    saved(store, PLAIN, [row("a")])
    store.health()
    with backend.unavailable():
        with pytest.raises(StoreUnavailable):
            store.save(PLAIN, [row("a", 1), row("b")])
        with pytest.raises(StoreUnavailable):
            store.health()
    store.health()
    saved(store, PLAIN, [row("a", 1), row("b")])
    store.close()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.tuples(st.sampled_from(["a", "b", 1, "1"]), st.integers(0, 3)), unique_by=repr,
                         max_size=4), max_size=8))
def test_any_history_of_saves_agrees_with_a_dict(store: Store, history: list[list[tuple[str | int, int]]]) -> None:
    view = View("history", (Column("n", "integer"),))
    store.drop(view)
    store.prepare(view)
    truth: dict[Id, Row] = {}
    for n, batch in enumerate(history):
        rows = list({Id(key): Row(Id(key), None, version, (n,), b"%d" % n) for key, version in batch}.values())
        expected = {row.id for row in rows if (truth[row.id].version if row.id in truth else 0) != row.version}
        assert store.save(view, rows) == expected
        truth.update({row.id: row._replace(version=row.version + 1) for row in rows if row.id not in expected})
        assert store.load(view, [Id(key) for key in ("a", "b", 1, "1")]) == truth
