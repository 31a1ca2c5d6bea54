"""The collector's reader, turn by turn, with a scripted source and the product's own flow behind it."""
from __future__ import annotations

import itertools
from typing import Any, Callable, Mapping, Sequence

from drtc.batch import Chunk
from drtc.collector import reader as events
from drtc.collector.flow import Flow
from drtc.collector.note import Note
from drtc.collector.reader import Reader
from drtc.collector.route import parse_route
from drtc.errors import SourceUnavailable
from drtc.sources.base import Position

NOTE = Note("v_v1", "partition", 1)
MARK = str(NOTE)


def chunk(partition: str, first: int, last: int) -> Chunk:
    return Chunk(partition, first, last, last - first + 1, "lines", b"x\n" * (last - first + 1))


class Script:
    """A source that does at each read what it was told."""

    def __init__(self) -> None:
        self.reads: list[Callable[[], list[Chunk] | None]] = []
        self.refuses = False  # commits
        self.commits = 0
        self.sought: list[tuple[str, int]] = []

    def read(self, seconds: float) -> list[Chunk]:
        return (self.reads.pop(0)() or []) if self.reads else []

    def commit(self, offsets: Mapping[str, Position]) -> None:
        self.commits += 1
        if self.refuses:
            raise SourceUnavailable("the group is in the middle of a rebalance")

    def seek(self, partition: str, offset: int) -> None:
        self.sought.append((partition, offset))

    def pause(self, partitions: Sequence[str]) -> None: ...
    def resume(self, partitions: Sequence[str]) -> None: ...

    def complete(self) -> bool:
        return False

    def progress(self) -> dict[str, int]:
        return {}


class Pair:
    """A reader and the flow that it posts to; ``sent`` is what left: partition, stream, first, last."""

    def __init__(self) -> None:
        self.source: Any = Script()
        epochs = itertools.count(1)
        self.flow = Flow("s", 1 << 20, epochs)
        self.sent: list[tuple[str, str, int, int]] = []
        self.waiting: list[str] = []
        self.reader = Reader(self.source, parse_route("partition"), NOTE, 1 << 20, epochs, self.post, lambda: 0, 0.0)
        self.flow.link_up("c1", 1 << 30)

    def post(self, event: events.Event) -> None:
        flow = self.flow
        if isinstance(event, events.Read):
            for each in event.chunks:
                flow.read(*each)
        elif isinstance(event, events.Assigned):
            for partition, offset in event.offsets.items():
                flow.assigned(partition, offset, event.epochs[partition], partition in event.clean)
        elif isinstance(event, events.Gone):
            for partition in event.partitions:
                flow.forget(partition)
        elif isinstance(event, events.Waiting):
            self.waiting.append(event.why)
        for send in flow.sends(0.0):
            self.sent += [(header.partition, header.stream, header.first, header.last) for header in send.headers]

    def turn(self, *reads: Callable[[], list[Chunk] | None]) -> None:
        for read in reads or (lambda: None,):
            self.source.reads.append(read)
            self.reader.turn()

    def lose(self, coordinator: str) -> None:
        self.flow.link_down(coordinator)
        for rewind in self.flow.rewinds():
            self.reader.seek(rewind.partition, rewind.offset, rewind.epoch)


def test_what_was_held_back_is_void_when_its_partition_is_read_again() -> None:
    """Else it would be sent before what comes before it, and the fence would drop that."""
    pair = Pair()
    pair.turn(lambda: pair.reader.assigned({"a": Position(0, MARK)}), lambda: [chunk("a", 0, 9)])
    pair.source.refuses = True  # b's note cannot be committed yet, so nothing may be sent

    def b_comes() -> list[Chunk]:
        pair.reader.assigned({"b": Position(0, "")})
        return [chunk("a", 10, 19)]

    pair.turn(b_comes)
    pair.lose("c1")
    pair.turn()
    pair.flow.link_up("c2", 1 << 30)
    pair.source.refuses = False
    pair.sent.clear()
    pair.turn(lambda: None, lambda: [chunk("a", 0, 9)], lambda: [chunk("a", 10, 19)])
    assert pair.source.sought == [("a", 0)]
    assert [(first, last) for _, _, first, last in pair.sent] == [(0, 9), (10, 19)]


def test_a_seek_of_before_an_assignment_says_nothing_about_it() -> None:
    pair = Pair()
    pair.turn(lambda: pair.reader.assigned({"a": Position(0, MARK)}), lambda: [chunk("a", 0, 9)])

    def rebalance() -> None:
        pair.lose("c1")  # told while the source is being read
        pair.reader.revoked(["a"])
        pair.reader.assigned({"a": Position(0, MARK)})

    pair.turn(rebalance)
    pair.flow.link_up("c2", 1 << 30)
    pair.sent.clear()
    pair.turn(lambda: None, lambda: [chunk("a", 0, 9)], lambda: [chunk("a", 10, 19)])
    assert [(first, last) for _, _, first, last in pair.sent] == [(0, 9), (10, 19)]
    assert pair.source.sought == []


def test_a_commit_that_fails_is_tried_again_after_pauses_and_said_once() -> None:
    pair = Pair()
    pair.turn(lambda: pair.reader.assigned({"a": Position(0, MARK)}))
    pair.source.refuses = True
    pair.reader.commit({"a": 1})
    for first in range(0, 200, 10):
        pair.turn(lambda first=first: [chunk("a", first, first + 9)])
    assert pair.source.commits < 10, "it is asked again and again"
    assert pair.waiting == ["offsets are not committed: the group is in the middle of a rebalance"]
    pair.source.refuses = False
    pair.reader._commit_at = 0.0  # the pause is over
    pair.turn()
    assert pair.waiting[1:] == [""]
