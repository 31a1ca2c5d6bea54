"""What a collector decides, without a source or a socket."""
from __future__ import annotations

import itertools
from collections import deque

from drtc.batch import Batch, Chunk, Counts, Stored
from drtc.collector.flow import Flow, Send
from drtc.coordinator.dispatch import Dispatch


def chunk(first: int, last: int, partition: str = "p", size: int = 10, encoding: str = "lines") -> Chunk:
    return Chunk(partition, first, last, 1, encoding, b"x" * size)


def flow(window: int = 1000, batch_bytes: int = 100) -> Flow:
    made = Flow("session", batch_bytes, itertools.count(10))
    made.assigned("p", 0, 1, clean=True)
    made.link_up("a", window)
    return made


def answer(send: Send, made: Flow, which: int = 0, time: float | None = None) -> None:
    header = send.headers[which]
    made.stored(send.coordinator, Stored(header.partition, header.slot, header.stream, header.seq, header.last, time,
                                         Counts(messages=header.count)))


def test_an_offset_is_committed_only_when_everything_below_it_is_stored() -> None:
    made = flow()
    made.read(1, "p", 9, [(0, chunk(0, 4)), (1, chunk(5, 9))])
    made.read(1, "p", 19, [(0, chunk(10, 14)), (1, chunk(15, 19))])
    [send] = made.sends(0.0)
    assert [(h.slot, h.first, h.last) for h in send.headers] == [(0, 0, 14), (1, 5, 19)]
    answer(send, made, 0)
    assert made.frontiers() == {"p": 5}
    answer(send, made, 1)
    assert made.frontiers() == {"p": 20}


def test_a_gap_at_the_end_moves_the_frontier_without_a_batch() -> None:
    made = flow()
    made.read(1, "p", 99, [])
    assert made.frontiers() == {"p": 100}


def test_what_is_read_under_an_old_epoch_is_void() -> None:
    made = flow()
    made.assigned("p", 50, 2, clean=True)
    made.read(1, "p", 9, [(0, chunk(0, 9))])
    assert made.pending == 0
    assert made.frontiers() == {"p": 50}


def test_no_more_leaves_than_the_window_and_small_pieces_gather_meanwhile() -> None:
    made = flow(window=20)
    for number in range(6):
        made.read(1, "p", number, [(0, chunk(number, number))])
    [first] = made.sends(0.0)
    assert (first.headers[0].first, first.headers[0].last) == (0, 5)
    made.read(1, "p", 6, [(0, chunk(6, 6))])
    made.read(1, "p", 7, [(0, chunk(7, 7))])
    assert not list(made.sends(0.0))
    answer(first, made)
    [second] = made.sends(0.0)
    assert (second.headers[0].first, second.headers[0].last, second.headers[0].seq) == (6, 7, 1)
    assert made.pending == 0
    assert made.flying == 20


def test_a_lost_coordinator_means_reading_again_from_the_frontier() -> None:
    made = flow()
    for number in range(3):
        made.read(1, "p", number, [(0, chunk(number, number, size=100))])
    sends = list(made.sends(0.0))
    answer(sends[0], made)
    made.link_down("a")
    [rewind] = made.rewinds()
    assert (rewind.partition, rewind.offset) == ("p", 1)
    assert made.flying == made.pending == 0
    answer(sends[1], made)  # too late: of a stream that is over
    assert made.frontiers() == {"p": 1}
    made.link_up("b", 1000)
    made.read(rewind.epoch, "p", 2, [(0, chunk(1, 2))])
    [again] = made.sends(0.0)
    assert (again.coordinator, again.headers[0].seq, again.headers[0].first) == ("b", 0, 1)
    assert again.headers[0].stream != sends[0].headers[0].stream


def test_partitions_with_nothing_at_the_lost_coordinator_go_on() -> None:
    made = flow()
    made.assigned("q", 0, 2, clean=True)
    made.read(1, "p", 0, [(0, chunk(0, 0))])
    [send] = made.sends(0.0)
    made.read(2, "q", 0, [(0, chunk(0, 0, "q"))])
    answer(send, made)
    made.link_down("a")
    assert made.rewinds() == []
    assert made.pending == 10


def test_a_lane_moves_only_when_nothing_of_it_is_in_flight() -> None:
    made = flow(batch_bytes=10_000)
    made.read(1, "p", 0, [(slot, chunk(0, 0)) for slot in range(16)])
    [first] = made.sends(0.0)
    made.link_up("b", 1000)
    made.read(1, "p", 1, [(slot, chunk(1, 1)) for slot in range(16)])
    stayed = {h.slot for send in made.sends(0.0) for h in send.headers}
    moving = set(range(16)) - stayed
    assert stayed and moving
    for which in range(16):
        answer(first, made, which)
    [second] = made.sends(0.0)
    assert second.coordinator == "b"
    assert {h.slot for h in second.headers} == moving


def test_a_small_batch_lingers_for_more_and_a_full_one_does_not() -> None:
    made = Flow("session", 100, itertools.count(10), linger=5.0, much=250)
    made.assigned("p", 0, 1, clean=True)
    made.link_up("a", 1000)
    made.read(1, "p", 0, [(0, chunk(0, 0))])
    assert list(made.sends(7.0)) == []
    made.read(1, "p", 1, [(0, chunk(1, 1)), (1, chunk(1, 1, size=100))])
    [full] = made.sends(11.9)
    assert [h.slot for h in full.headers] == [1]
    [late] = made.sends(12.0)
    assert [(h.slot, h.first, h.last) for h in late.headers] == [(0, 0, 1)]
    made.read(1, "p", 2, [(0, chunk(2, 2))])
    assert list(made.sends(12.1)) == []  # it waits anew
    made.read(1, "p", 3, [(slot, chunk(3, 3, size=80)) for slot in (2, 3, 4)])
    [relief] = made.sends(12.2)  # so much is pending that the one that has waited longest leaves
    assert [h.slot for h in relief.headers] == [0] and made.pending == 240


def test_nothing_lingers_in_a_drain() -> None:
    made = Flow("session", 100, itertools.count(10), linger=5.0)
    made.assigned("p", 0, 1, clean=True)
    made.link_up("a", 1000)
    made.read(1, "p", 1, [(0, chunk(0, 0, size=100)), (1, chunk(1, 1))])
    made.read(1, "p", 9, [(0, chunk(9, 9, size=100))])
    sent = list(made.sends(0.0))
    assert {h.slot for send in sent for h in send.headers} == {0}
    made.revoking("p")
    [rest] = made.sends(0.1)
    assert [h.slot for h in rest.headers] == [1]


def test_a_draining_coordinator_gets_nothing_new_and_nothing_is_read_again() -> None:
    made = flow(batch_bytes=10_000)
    made.read(1, "p", 0, [(slot, chunk(0, 0)) for slot in range(16)])
    [first] = made.sends(0.0)
    made.link_up("b", 1000)
    made.link_draining("a")
    made.read(1, "p", 1, [(slot, chunk(1, 1)) for slot in range(16)])
    assert list(made.sends(0.0)) == []  # each lane has something in flight at a
    answer(first, made, 3)
    [second] = made.sends(0.0)
    assert (second.coordinator, [(h.slot, h.seq) for h in second.headers]) == ("b", [(3, 1)])
    for which in set(range(16)) - {3}:
        answer(first, made, which)
    [third] = made.sends(0.0)
    assert third.coordinator == "b" and len(third.headers) == 15
    made.link_down("a")
    assert made.rewinds() == []
    answer(second, made)
    for which in range(15):
        answer(third, made, which)
    assert made.frontiers() == {"p": 2}


def test_a_coordinator_that_is_lost_while_it_drains_is_lost() -> None:
    made = flow()
    made.read(1, "p", 0, [(0, chunk(0, 0))])
    assert len(list(made.sends(0.0))) == 1
    made.link_draining("a")
    made.link_down("a")
    assert [rewind.offset for rewind in made.rewinds()] == [0]


def test_with_every_coordinator_draining_the_rest_waits_and_a_drain_gives_it_up() -> None:
    made = flow()
    made.link_draining("a")
    made.read(1, "p", 0, [(0, chunk(0, 0))])
    assert list(made.sends(0.0)) == [] and made.settled(["p"])
    made.link_down("a")
    made.link_up("a", 1000)  # started again
    assert not made.settled(["p"])
    [send] = made.sends(0.0)
    answer(send, made)
    assert made.settled(["p"]) and made.frontiers() == {"p": 1}


def test_the_watermark_is_the_latest_time_below_the_frontier() -> None:
    made = flow()
    made.read(1, "p", 9, [(0, chunk(0, 4)), (1, chunk(5, 9))])
    [send] = made.sends(0.0)
    answer(send, made, 1, time=50.0)
    assert made.watermarks() == {}
    answer(send, made, 0, time=40.0)
    assert made.watermarks() == {"p": 50.0}
    made.read(1, "p", 10, [(0, chunk(10, 10))])
    [later] = made.sends(0.0)
    assert later.headers[0].watermark == 50.0


def test_drained_means_that_nothing_past_the_frontier_was_ever_sent() -> None:
    made = flow()
    made.read(1, "p", 9, [(0, chunk(0, 9))])
    [send] = made.sends(0.0)
    assert not made.drained("p")
    made.revoking("p")
    made.link_down("a")  # it may be stored, or not: nobody knows
    assert not made.drained("p")
    made = flow()
    made.read(1, "p", 9, [(0, chunk(0, 9))])
    [send] = made.sends(0.0)
    made.read(1, "p", 19, [(0, chunk(10, 19))])
    made.revoking("p")
    answer(send, made)
    assert made.frontiers() == {"p": 10}
    assert made.drained("p")


def test_after_an_unclean_start_drained_needs_all_that_others_may_have_sent() -> None:
    made = Flow("session", 100, itertools.count(10))
    made.assigned("p", 5, 1, clean=False)
    assert not made.drained("p")
    made.ends_at("p", 20)
    made.read(1, "p", 9, [])
    assert not made.drained("p")
    made.read(1, "p", 19, [])
    assert made.drained("p")


def test_the_oldest_batch_in_flight_says_how_long_it_waits() -> None:
    made = flow()
    made.read(1, "p", 0, [(0, chunk(0, 0))])
    [send] = made.sends(7.0)
    assert made.oldest(10.0) == 3.0
    answer(send, made)
    assert made.oldest(10.0) == 0.0


def test_small_batches_gather_behind_unanswered_ones_and_large_ones_do_not_wait() -> None:
    made = flow(window=10_000, batch_bytes=1000)
    sent = []
    for number in range(6):
        made.read(1, "p", number, [(0, chunk(number, number))])
        sent += list(made.sends(0.0))
    assert [send.headers[0].last for send in sent] == [0, 1, 2]
    answer(sent[0], made)
    [gathered] = made.sends(0.0)
    assert (gathered.headers[0].first, gathered.headers[0].last) == (3, 5)
    made.read(1, "p", 6, [(0, chunk(6, 6, size=250))])  # a quarter of a batch
    [large] = made.sends(0.0)
    assert large.headers[0].first == 6


def test_a_drain_sends_what_waits_below_what_was_sent() -> None:
    """Lanes get on at different speeds: what one has sent may lie beyond what waits in another, which has to follow."""
    flow = Flow("s", batch_bytes=10, epochs=itertools.count(2))
    flow.assigned("p", 0, 1, clean=True)
    flow.link_up("c", window=10)
    for first in (0, 4):
        flow.read(1, "p", first + 3, [(slot, Chunk("p", first + slot, first + slot + 2, 2, "messages", b"x" * 10))
                                      for slot in (0, 1)])
    sent = deque(flow.sends(0.0))
    assert [header.slot for send in sent for header in send.headers] == [0] and flow.pending == 30
    flow.revoking("p")
    assert flow.pending == 10 and not flow.settled(["p"])
    while sent:
        for header in sent.popleft().headers:
            flow.stored("c", Stored("p", header.slot, header.stream, header.seq, header.last, None, Counts()))
        sent += flow.sends(0.0)
    assert flow.settled(["p"]) and flow.frontiers() == {"p": 4} and flow.drained("p")


def test_a_lane_that_comes_back_to_a_coordinator_is_welcome_there() -> None:
    """Each stay is a stream of its own: a coordinator that missed what went to others in between misses nothing."""
    made = flow()
    places = {"a": Dispatch(1000), "b": Dispatch(1000)}
    streams = []
    for turn in range(12):
        if turn % 4 == 2:
            made.link_up("b", 1000)
        if turn % 4 == 0 and turn:
            made.link_down("b")  # nothing was in flight there
        made.read(1, "p", 16 * turn + 15, [(slot, chunk(16 * turn + slot, 16 * turn + slot)) for slot in range(16)])
        for send in made.sends(0.0):
            for which, header in enumerate(send.headers):
                places[send.coordinator].accept(1, Batch(header, b"x" * header.size))
                streams.append((header.slot, send.coordinator, header.stream))
                answer(send, made, which)
        if turn % 4 == 3:
            places["b"] = Dispatch(1000)
    assert made.frontiers() == {"p": 16 * 12}
    moved = {slot for slot, place, _ in streams if place == "b"}
    assert moved and len({stream for slot, _, stream in streams if slot in moved}) > 3
    assert {stream for slot, _, stream in streams if slot not in moved} == {"session.1"}
