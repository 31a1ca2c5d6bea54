"""The tasks that a compute node has in hand, and the order in which they are answered."""
from __future__ import annotations

from collections import deque

from ..batch import Batch, Counts, Lane, Stored


class Task:
    """A task of a coordinator's. It is stored when none of its pieces is open."""

    __slots__ = ("link", "number", "batches", "open", "spans", "bytes", "orphan")

    def __init__(self, link: int, number: int, batches: list[Batch]) -> None:
        self.link = link
        self.number = number
        self.batches = batches
        self.open = 0  # pieces that are not stored
        self.spans: dict[Lane, tuple[float | None, Counts]] = {}
        self.bytes = sum(len(batch.payload) for batch in batches)
        self.orphan = False  # its link is gone

    @property
    def lanes(self) -> list[Lane]:
        return [batch.header.lane for batch in self.batches]

    def stored(self) -> list[Stored]:
        """The answer: a word about each of its lanes."""
        answers = []
        for batch in self.batches:
            header = batch.header
            time, counts = self.spans.get(header.lane, (None, Counts()))
            answers.append(Stored(header.partition, header.slot, header.stream, header.seq, header.last, time, counts))
        return answers


class Tasks:
    """All that are not answered, in the order in which they came. ``bytes`` is what they hold, ``orphaned`` what of it
    nobody waits for any more."""

    def __init__(self) -> None:
        self.bytes = 0
        self.orphaned = 0
        self._lanes: dict[Lane, deque[Task]] = {}

    def add(self, task: Task) -> None:
        self.bytes += task.bytes
        for lane in task.lanes:
            self._lanes.setdefault(lane, deque()).append(task)

    def link_lost(self, link: int) -> None:
        """Nobody waits for the answers to its tasks."""
        for queue in self._lanes.values():
            for task in queue:
                if task.link == link:
                    task.link = 0
                    task.orphan = True
                    self.orphaned += task.bytes

    def done(self, stored: Task) -> list[Task]:
        """One of its pieces is stored, or given up. Returns the tasks that are done with now.

        An answer speaks for all that its lanes sent before, so it waits until that is stored as well: a task that
        yields little may be stored long before it.
        """
        answered = []
        candidates = [stored]
        while candidates:
            task = candidates.pop()
            if task.open or any(self._lanes.get(lane, (None,))[0] is not task for lane in task.lanes):
                continue
            answered.append(task)
            self.bytes -= task.bytes
            if task.orphan:
                self.orphaned -= task.bytes
            for lane in task.lanes:
                queue = self._lanes[lane]
                queue.popleft()
                if queue:
                    candidates.append(queue[0])
                else:
                    del self._lanes[lane]
        return answered
