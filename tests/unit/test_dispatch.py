"""What a coordinator decides, without a socket."""
from __future__ import annotations

import pytest

from drtc.batch import Batch, Counts, Header, Stored
from drtc.coordinator.dispatch import Dispatch, Task
from drtc.errors import WireError


def batch(seq: int, partition: str = "p", stream: str = "s", size: int = 10, encoding: str = "lines") -> Batch:
    payload = bytes([seq]) * size
    return Batch(Header(partition, 0, stream, seq, seq * 10, seq * 10 + 9, 10, encoding, size), payload)


def stored(task: Task) -> list[Stored]:
    return [Stored(header.partition, 0, header.stream, header.seq, header.last, None, Counts())
            for header in task.headers]


def offsets(task: Task) -> list[tuple[int, int]]:
    return [(header.first, header.last) for header in task.headers]


def with_node(name: str = "n1", places: int = 1, window: int = 1000, size: int = 35) -> Dispatch:
    dispatch = Dispatch(size)
    dispatch.node_joined(name, 1.0, places, window)
    return dispatch


def test_a_batch_leaves_at_once_and_the_next_ones_are_joined_while_the_node_is_busy() -> None:
    dispatch = with_node()
    dispatch.accept(1, batch(0))
    [first] = dispatch.next()
    for seq in range(1, 6):
        dispatch.accept(1, batch(seq))
    assert not list(dispatch.next())
    [reply] = dispatch.answered("n1", first.number, stored(first))
    assert (reply.link, [each.seq for each in reply.stored]) == (1, [0])
    [second] = dispatch.next()
    assert offsets(second) == [(10, 39)]  # three of ten bytes fit into 35
    assert b"".join(second.payloads) == b"\1" * 10 + b"\2" * 10 + b"\3" * 10
    assert (second.headers[0].seq, second.headers[0].size) == (3, 30)


def test_what_cannot_be_one_batch_is_not_joined() -> None:
    dispatch = with_node(size=1000)
    dispatch.accept(1, batch(0))
    [first] = dispatch.next()
    dispatch.accept(1, batch(1))
    dispatch.accept(1, batch(2, encoding="messages"))
    dispatch.accept(2, batch(0, stream="other collector"))
    dispatch.answered("n1", first.number, stored(first))
    sizes = []
    for _ in range(3):
        [task] = dispatch.next()
        sizes.append(task.bytes)
        dispatch.answered("n1", task.number, stored(task))
    assert sizes == [10, 10, 10]


def test_one_frame_carries_several_lanes() -> None:
    dispatch = with_node(size=1000)
    for partition in "pqr":
        dispatch.accept(1, batch(0, partition))
    [task] = dispatch.next()
    assert [header.partition for header in task.headers] == ["p", "q", "r"]


def test_a_gap_in_a_stream_is_refused() -> None:
    dispatch = with_node()
    dispatch.accept(1, batch(0))
    with pytest.raises(WireError, match="p#0: batch 2 came where 1 was due"):
        dispatch.accept(1, batch(2))


def test_unanswered_batches_of_a_lost_node_go_out_again_in_order() -> None:
    dispatch = with_node(places=3, size=10)
    for seq in range(4):
        dispatch.accept(1, batch(seq))
    assert [offsets(task)[0][0] for task in dispatch.next()] == [0, 10, 20]
    dispatch.node_lost("n1")
    dispatch.node_joined("n2", 1.0, 9, 1000)
    assert [offsets(task)[0][0] for task in dispatch.next()] == [0, 10, 20, 30]


def test_an_answer_from_a_node_that_was_lost_says_nothing() -> None:
    dispatch = with_node()
    dispatch.accept(1, batch(0))
    [task] = dispatch.next()
    dispatch.node_lost("n1")
    assert dispatch.answered("n1", task.number, stored(task)) == []


def test_a_lane_stays_with_its_node_until_it_has_answered() -> None:
    dispatch = with_node("n1", places=9, size=10)
    lanes = [f"p{number}" for number in range(20)]
    for lane in lanes:
        dispatch.accept(1, batch(0, lane))
    tasks = list(dispatch.next())
    dispatch.node_joined("n2", 1.0, 99, 10_000)
    for lane in lanes:
        dispatch.accept(1, batch(1, lane))
    flying = {task.headers[0].partition for task in tasks}
    moved = {h.partition for task in dispatch.next() if task.node == "n2" for h in task.headers}
    assert moved and not moved & flying
    for task in tasks:
        dispatch.answered("n1", task.number, stored(task))
    later = {h.partition for task in dispatch.next() if task.node == "n2" for h in task.headers}
    assert later & flying


def test_what_a_lost_collector_sent_and_has_not_left_is_forgotten() -> None:
    dispatch = with_node()
    dispatch.accept(1, batch(0))
    [task] = dispatch.next()
    for seq in (1, 2):
        dispatch.accept(1, batch(seq))
    dispatch.link_lost(1)
    assert dispatch.depth == 10
    dispatch.accept(2, batch(0))
    assert dispatch.answered("n1", task.number, stored(task)) == []
    [again] = dispatch.next()
    assert offsets(again) == [(0, 9)]


def test_a_new_stream_replaces_what_is_queued_of_the_old_one() -> None:
    dispatch = with_node()
    dispatch.accept(1, batch(0))
    [task] = dispatch.next()
    for seq in (1, 2):
        dispatch.accept(1, batch(seq))
    dispatch.accept(1, batch(0, stream="t"))
    assert dispatch.depth == 20
    assert dispatch.answered("n1", task.number, stored(task)) == []  # of a stream that is over
    [again] = dispatch.next()
    assert again.headers[0].stream == "t"


def test_a_node_gets_no_more_than_its_window_and_its_places() -> None:
    dispatch = with_node(places=100, window=25, size=10)
    for number in range(10):
        dispatch.accept(1, batch(0, f"p{number}"))
    assert sum(task.bytes for task in dispatch.next()) == 30
    dispatch.node_window("n1", 45)
    assert sum(task.bytes for task in dispatch.next()) == 20


def test_an_answer_that_leaves_a_lane_out_is_refused_and_the_task_goes_out_again() -> None:
    dispatch = with_node(size=1000)
    for partition in "pq":
        dispatch.accept(1, batch(0, partition))
    [task] = dispatch.next()
    with pytest.raises(WireError, match="without a word about lane q#0"):
        dispatch.answered("n1", task.number, stored(task)[:1])
    dispatch.node_lost("n1")  # which is what the broken connection means
    dispatch.node_joined("n2", 1.0, 1, 1000)
    [again] = dispatch.next()
    assert offsets(again) == offsets(task)
    assert dispatch.depth == 20
