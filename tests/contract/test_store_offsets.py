"""Committed offsets in a store: they never go back by accident, whoever else commits."""
from __future__ import annotations

from drtc.stores.base import Store
from drtc.stores.offsets import Entry, Offsets


def test_what_was_saved_is_loaded_by_the_next_process(store: Store) -> None:
    offsets = Offsets(store, "profile_v1")
    assert offsets.load() == {}
    entries = {"a.csv": Entry(2**40, "route=partition;slots=16", {"head": "x", "inode": [1, 2]}), "b": Entry(0)}
    offsets.save(entries)
    assert Offsets(store, "profile_v1").load() == entries
    assert Offsets(store, "profile_v2").load() == {}


def test_an_offset_does_not_go_back(store: Store) -> None:
    offsets = Offsets(store, "v")
    offsets.save({"a": Entry(10, "x")})
    offsets.save({"a": Entry(9, "y")})
    assert offsets.load() == {"a": Entry(10, "x")}
    offsets.save({"a": Entry(10, "y")})
    assert offsets.load() == {"a": Entry(10, "y")}
    offsets.save({"a": Entry(3)}, rewind=True)
    assert offsets.load() == {"a": Entry(3)}


def test_the_greatest_of_two_committers_stays(store: Store) -> None:
    first, second = Offsets(store, "v"), Offsets(store, "v")
    first.save({"a": Entry(10), "b": Entry(10)})
    second.save({"a": Entry(20), "b": Entry(5)})
    first.save({"a": Entry(15), "b": Entry(15)})
    second.save({"b": Entry(12)})
    assert first.load() == second.load() == {"a": Entry(20), "b": Entry(15)}
    second.save({"a": Entry(1)}, rewind=True)
    first.save({"a": Entry(21)})
    assert second.load()["a"] == Entry(21)


def test_forgotten_partitions_can_come_back(store: Store) -> None:
    offsets, other = Offsets(store, "v"), Offsets(store, "v")
    offsets.save({"a": Entry(1), "b": Entry(2)})
    other.load()
    offsets.forget(["a", "c"])
    assert offsets.load() == {"b": Entry(2)}
    other.save({"a": Entry(7)})
    assert offsets.load() == {"a": Entry(7), "b": Entry(2)}
