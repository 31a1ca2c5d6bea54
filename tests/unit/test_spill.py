"""Which batches wait on disk, and when they come back."""
from __future__ import annotations

from drtc.batch import Batch
from drtc.coordinator.dispatch import Dispatch
from drtc.coordinator.entry import Entry
from drtc.coordinator.spill import Spill

from .test_dispatch import batch, offsets, stored


def entry(seq: int, partition: str = "p", size: int = 10, link: int = 1) -> Entry:
    made: Batch = batch(seq, partition, size=size)
    return Entry(link, made.header, made.payload)


def arrive(spill: Spill, count: int) -> list[Entry]:
    entries = [entry(seq) for seq in range(count)]
    for each in entries:
        spill.came(each)
    return entries


def test_nothing_is_written_while_memory_is_free_nor_without_a_disk() -> None:
    spill = Spill(400, 1000)  # arrivals have 200 of it, and are crowded beyond 100
    arrive(spill, 10)
    assert spill.writes() == [] and spill.memory == 100
    spill = Spill(10, 0)
    arrive(spill, 100)
    assert spill.writes() == [] and spill.arrivals == 10


def test_the_newest_go_to_disk_and_come_back_the_oldest_first() -> None:
    spill = Spill(400, 1000)
    entries = arrive(spill, 20)
    assert spill.writes() == entries[10:]
    assert spill.writes() == []  # one at a time
    spill.written(range(10))
    assert (spill.memory, spill.disk, spill.spilled(1)) == (100, 100, 100)
    assert all(each.payload is None for each in entries[10:])
    assert spill.reads() == entries[10:]
    assert spill.read([b"x" * 10] * 10) == []
    assert (spill.memory, spill.disk, spill.discards()) == (200, 0, list(range(10)))
    assert spill.spilled(1) == 100, "they are still on their way: their collector may have as much more in flight"
    for each in entries:
        spill.done(each)
    assert (spill.memory, spill.spilled(1)) == (0, 0)


def test_what_arrives_behind_a_batch_on_disk_goes_there_too() -> None:
    spill = Spill(400, 1000)
    entries = arrive(spill, 11)
    assert spill.writes() == [entries[10]]
    spill.written([7])
    for each in entries[:10]:
        spill.done(each)
    behind, other = entry(11), entry(0, "q")
    spill.came(behind)
    spill.came(other)
    assert spill.writes() == [behind]


def test_more_than_its_half_never_comes_back_at_once_but_something_always_does() -> None:
    spill = Spill(60, 1000)
    entries = arrive(spill, 12)
    away = spill.writes()
    spill.written(range(len(away)))
    back = spill.reads()
    assert back == entries[1:4]
    spill.read([b"x" * 10] * 3)
    assert spill.reads() == []
    spill.done(back[0])
    assert spill.reads() == entries[4:5]
    spill = Spill(20, 1000)
    large = [entry(0), entry(1, size=50)]
    for each in large:
        spill.came(each)
    assert spill.writes() == large
    spill.written([1, 2])
    assert spill.reads() == large[:1]
    spill.read([b"x" * 10])
    spill.done(large[0])
    assert spill.reads() == large[1:]


def test_a_lane_that_stands_still_does_not_keep_the_others_on_disk() -> None:
    spill = Spill(160, 10_000)
    stuck = [entry(seq, "stuck") for seq in range(50)]
    good = [entry(seq, "good") for seq in range(50)]
    for each in [*stuck, *good]:
        spill.came(each)
    away = spill.writes()
    spill.written(range(len(away)))
    for each in [*stuck, *good]:
        if each.payload is not None:
            spill.done(each)  # what never went to disk
    stored = 0
    for _ in range(200):
        back = spill.reads()
        spill.read([b"x" * 10] * len(back))
        for each in back:
            if each.header.partition == "good":
                spill.done(each)
                stored += 1
    assert stored == sum(each in good for each in away)
    assert spill.memory <= 80, "the other one has its share, and no more"


def test_a_batch_that_is_larger_than_a_write_goes_to_disk_too() -> None:
    spill = Spill(40, 100 << 20)
    large, small = entry(0, size=9 << 20), entry(1)
    spill.came(large)
    spill.came(small)
    assert spill.writes() == [large]
    spill.written([1])
    assert spill.writes() == [small]


def test_a_full_disk_keeps_them_in_memory_in_their_order() -> None:
    spill = Spill(40, 1000)
    entries = arrive(spill, 5)
    first = spill.writes()
    spill.refused()
    assert spill.full and spill.writes() == [] and spill.memory == 50
    late = entry(5)
    spill.came(late)
    spill.retry()
    assert spill.writes() == [*first, late]
    assert all(each.payload is not None for each in entries)


def test_the_budget_of_the_disk_holds() -> None:
    spill = Spill(20, 35)
    entries = arrive(spill, 10)
    assert spill.writes() == entries[:3]
    spill.written([1, 2, 3])
    assert spill.writes() == []
    assert spill.reads() == entries[:1]
    spill.read([b"x" * 10])
    assert spill.writes() == entries[3:4]


def test_what_leaves_or_is_forgotten_on_its_way_is_discarded_when_it_gets_there() -> None:
    spill = Spill(20, 1000)
    entries = arrive(spill, 4)
    assert spill.writes() == entries
    spill.taken(entries[0])
    spill.done(entries[1])
    spill.written([1, 2, 3, 4])
    assert spill.discards() == [1, 2]
    assert spill.reads() == entries[2:3]
    spill.done(entries[2])
    assert spill.read([b"x" * 10]) == []
    spill.done(entries[3])
    assert spill.discards() == [3, 4]
    spill.done(entries[0])
    assert (spill.memory, spill.disk) == (0, 0)


def test_a_damaged_one_is_lost_and_named() -> None:
    spill = Spill(20, 1000)
    entries = arrive(spill, 2)
    spill.writes()
    spill.written([1, 2])
    spill.reads()
    assert spill.read([None]) == entries[:1]


def test_a_lane_waits_for_its_head() -> None:
    spill = Spill(40, 1000)
    dispatch = Dispatch(35, spill)
    for seq in range(4):
        dispatch.accept(1, batch(seq))
    dispatch.accept(1, batch(0, "q"))
    spill.writes()
    spill.written([1, 2, 3, 4])
    dispatch.node_joined("n", 1.0, 9, 1000)
    [task] = dispatch.next()
    assert offsets(task) == [(0, 9)]  # the rest of p waits on disk, and so does q
    dispatch.answered("n", task.number, stored(task))
    assert not list(dispatch.next())
    spill.reads()
    spill.read([b"x" * 10, b"y" * 10])
    [task] = dispatch.next()
    assert [(header.partition, header.first) for header in task.headers] == [("q", 0), ("p", 10)]
    dispatch.link_lost(1)
    assert spill.disk == 0 and spill.memory == 20  # what is under way


def test_who_sends_past_every_window_is_seen() -> None:
    spill = Spill(100, 0)
    entries = arrive(spill, 13)
    assert not spill.overdrawn(1, 30)
    spill.came(entry(13))
    assert spill.overdrawn(1, 30) and not spill.overdrawn(2, 30)
    spill.done(entries[0])
    assert not spill.overdrawn(1, 30)
