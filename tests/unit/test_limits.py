"""Limits without sockets or clocks: who has to leave, who does not get on, and how often that is said."""
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drtc.errors import WireError
from drtc.wire.limits import LEAST_PROGRESS, LOOKS, Census, Pace, Quota, origin


@pytest.mark.parametrize("host, expected", [
    ("192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
    ("2001:db8:1:2::9", "2001:db8:1:2::/64"), ("fe80::1%eth0", "fe80::/64"), ("pipe", "pipe")])
def test_an_origin_is_what_one_subscriber_has(host: str, expected: str) -> None:
    assert origin(host) == expected


def test_a_flood_turns_out_its_own() -> None:
    census: Census[str] = Census(10, 10, most_strangers=3)
    assert census.arrived("good", "a") is None
    assert [census.arrived(f"bad{number}", "b") for number in range(5)] == [None, None, "bad0", "bad1", "bad2"]
    census.greeted("good")
    assert len(census) == 3 and census.arrived("bad5", "b") is None


def test_peers_are_bounded_in_all_and_of_one_origin() -> None:
    census: Census[int] = Census(3, 2)
    for guest, of in enumerate("aaabb"):
        census.arrived(guest, of)
    census.greeted(0)
    census.greeted(1)
    with pytest.raises(WireError, match="2 peers of a are connected here already"):
        census.greeted(2)
    census.greeted(3)
    with pytest.raises(WireError, match="3 peers are connected here already: see .cluster. max_connections"):
        census.greeted(4)
    census.left(0)
    census.left(0)
    census.greeted(2)
    assert len(census) == 4


@given(st.lists(st.tuples(st.sampled_from(["arrived", "greeted", "left"]), st.integers(0, 30), st.sampled_from("abc")),
                max_size=200))
def test_a_census_counts_what_is_there(steps: list[tuple[str, int, str]]) -> None:
    census: Census[int] = Census(4, 3, most_strangers=5)
    strangers: dict[int, str] = {}
    peers: dict[int, str] = {}
    for step, guest, of in steps:
        if step == "arrived" and guest not in strangers and guest not in peers:
            strangers[guest] = of
            gone = census.arrived(guest, of)
            assert (gone is not None) == (len(strangers) > 5)
            if gone is not None:
                strangers.pop(gone)
        elif step == "greeted" and guest in strangers:
            full = len(peers) >= 4 or list(peers.values()).count(strangers[guest]) >= 3
            try:
                census.greeted(guest)
            except WireError:
                assert full
            else:
                assert not full
                peers[guest] = strangers.pop(guest)
        elif step == "left":
            census.left(guest)
            strangers.pop(guest, None)
            peers.pop(guest, None)
        assert len(census) == len(strangers) + len(peers) and len(strangers) <= 5


def looks(*seen: tuple[int, int]) -> list[bool]:
    pace = Pace()
    return [pace.stuck(due, moved) for due, moved in seen]


def test_a_frame_that_stands_still_is_stuck_after_so_many_looks() -> None:
    assert looks(*[(100, 0)] * (LOOKS + 2)) == [False] * LOOKS + [True, True]


def test_nothing_under_way_is_never_stuck() -> None:
    assert not any(looks(*[(0, 7)] * 20))


def test_a_byte_now_and_then_is_no_progress() -> None:
    assert looks(*[(1 << 20, 3 * number) for number in range(LOOKS + 1)])[-1]


def test_a_large_frame_may_be_slow_but_not_slower() -> None:
    assert not any(looks(*[(1 << 30, LEAST_PROGRESS * number) for number in range(20)]))
    assert looks(*[(1 << 30, (LEAST_PROGRESS - 1) * number) for number in range(20)])[-1]


def test_a_small_frame_gets_on_when_it_ends() -> None:
    assert not any(looks(*[(30, 30 * number) for number in range(20)]))


def test_a_process_that_was_stopped_looks_again_before_it_judges() -> None:
    """However long it was, it is one look."""
    assert not any(looks((100, 0), (100, 0), (100, 0), (100, 100), (100, 100), (100, 200)))


def test_a_quota_says_how_much_it_did_not_say() -> None:
    quota = Quota(burst=2, rate=0.5)
    assert [quota.take(now) for now in (0.0, 0.0, 0.0, 1.0, 2.0, 2.0, 100.0, 100.0, 100.0)] == [
        0, 0, None, None, 2, None, 1, 0, None]
