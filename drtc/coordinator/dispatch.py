"""What a coordinator decides: which batches go to which compute node, and when. No socket, no clock, no thread.

Which of them wait on disk is decided in ``spill``, how much each node gets in ``balance``.

The rules that exactness needs (docs/design.md): a lane's batches leave in the order in which they came; a lane stays
with its node while anything of it is unanswered there; when a node is lost, its unanswered batches go out again, in
order; when a collector is lost, what it sent and is not yet under way is forgotten, since it will be sent again.
"""
from __future__ import annotations

from collections import deque
from typing import Iterator, NamedTuple

import msgspec

from ..batch import MOST_MESSAGES, Batch, Header, Lane, Payload, Stored
from ..cluster.rendezvous import owner
from ..errors import WireError
from .balance import Pace, balance
from .entry import Entry
from .spill import Spill

MOST_LANES = 60  # of one task


class Task(NamedTuple):
    """What a node has in hand and has not answered: joined batches, as headers, and the entries they are made of."""

    number: int
    node: str
    headers: list[Header]
    entries: list[list[Entry]]  # for each header
    bytes: int

    @property
    def payloads(self) -> list[Payload]:
        """The bytes of all batches, in order. Nothing was copied to join them."""
        return [entry.payload for entries in self.entries for entry in entries if entry.payload is not None]


class Reply(NamedTuple):
    """Answers that belong to one collector's link."""

    link: int
    stored: list[Stored]


class _Lane:
    __slots__ = ("queue", "node", "flying")

    def __init__(self) -> None:
        self.queue: deque[Entry] = deque()
        self.node: str | None = None
        self.flying = 0  # tasks of it that its node has in hand


class _Node:
    __slots__ = ("weight", "places", "window", "tasks", "bytes", "draining", "pace", "stored")

    def __init__(self, weight: float, places: int, window: int) -> None:
        self.weight = weight
        self.places = places
        self.window = window
        self.tasks: dict[int, Task] = {}
        self.bytes = 0
        self.draining = False
        self.pace = Pace()
        self.stored = 0  # bytes since the last look

    @property
    def has_room(self) -> bool:
        return len(self.tasks) < self.places and (self.bytes < self.window or not self.tasks)


class Dispatch:
    """Takes what happens, one call each, and gives out tasks by ``next``.

    ``depth`` is the bytes that are here: queued in memory or on disk, or under way.
    """

    def __init__(self, batch_bytes: int, spill: Spill | None = None) -> None:
        self.spill = spill or Spill(1 << 62, 0)
        self._batch_bytes = batch_bytes
        self._lanes: dict[Lane, _Lane] = {}
        self._waiting: dict[Lane, None] = {}  # lanes with something queued, in order of their turn
        self._nodes: dict[str, _Node] = {}
        self._owners: dict[Lane, str | None] = {}  # as of now; worked out when first asked for
        self._streams: dict[tuple[int, Lane], tuple[str, int]] = {}  # stream and its next seq
        self._number = 0

    @property
    def depth(self) -> int:
        return self.spill.memory + self.spill.disk

    # --- collectors ---

    def accept(self, link: int, batch: Batch) -> None:
        """A batch has come.

        Raises:
            WireError: it would leave a gap in its stream; the link must be closed, so that the collector starts again.
        """
        header = batch.header
        lane = header.lane
        stream, due = self._streams.get((link, lane), ("", 0))
        if header.stream != stream:
            self._forget(lane, link)
            due = header.seq  # a lane may have begun with another coordinator; what went there is stored
        state = self._lanes.get(lane)
        if state is None:
            state = self._lanes[lane] = _Lane()
        if header.seq != due or header.last < header.first:
            raise WireError(f"lane {lane}: batch {header.seq} came where {due} was due")
        self._streams[link, lane] = (header.stream, due + 1)
        entry = Entry(link, header, batch.payload)
        state.queue.append(entry)
        self._waiting.setdefault(lane)
        self.spill.came(entry)

    def link_lost(self, link: int) -> None:
        """A collector's connection is gone: what it sent comes again, by it or by another."""
        for key in [key for key in self._streams if key[0] == link]:
            self._forget(key[1], link)
            del self._streams[key]

    def _forget(self, lane: Lane, link: int) -> None:
        state = self._lanes.get(lane)
        if state is None or not state.queue:
            return
        kept = deque(entry for entry in state.queue if entry.link != link)
        for entry in state.queue:
            if entry.link == link:
                self.spill.done(entry)
        state.queue = kept
        if not kept:
            self._waiting.pop(lane, None)

    # --- compute nodes ---

    def node_joined(self, node: str, weight: float, places: int, window: int) -> None:
        self._nodes[node] = _Node(weight, places, window)
        self._owners.clear()

    def node_draining(self, node: str) -> None:
        """It answers what it has in hand; its lanes move to others as soon as nothing of them is under way."""
        if node in self._nodes:
            self._nodes[node].draining = True
            self._owners.clear()

    def look(self, seconds: float) -> bool:
        """Adjusts the nodes' shares to how they keep up; called about once a second with the time since the last
        call. Returns whether any has changed."""
        nodes = self._nodes
        changed = balance({name: node.pace for name, node in nodes.items()},
                          {name: node.stored / seconds / node.weight for name, node in nodes.items()},
                          {name: bool(node.tasks) for name, node in nodes.items()})
        for node in nodes.values():
            node.stored = 0
        if changed:
            self._owners.clear()
        return changed

    def node_window(self, node: str, window: int) -> None:
        if node in self._nodes:
            self._nodes[node].window = window

    def node_lost(self, node: str) -> None:
        """What the node had in hand goes back to the head of its lanes, in order."""
        gone = self._nodes.pop(node, None)
        if gone is None:
            return
        self._owners.clear()
        for task in reversed(gone.tasks.values()):
            for entries in reversed(task.entries):
                self._put_back(entries)

    def _put_back(self, entries: list[Entry]) -> None:
        lane = entries[0].header.lane
        state = self._lanes[lane]
        state.flying -= 1
        for entry in reversed(entries):
            if (entry.link, lane) in self._streams and self._current(entry, lane):
                state.queue.appendleft(entry)
            else:
                self.spill.done(entry)
        if state.queue:
            self._waiting.setdefault(lane)

    def _current(self, entry: Entry, lane: Lane) -> bool:
        return self._streams[entry.link, lane][0] == entry.header.stream

    def answered(self, node: str, number: int, stored: list[Stored]) -> list[Reply]:
        """The node has stored a task. An answer to a task that it no longer has (it was lost) says nothing."""
        state = self._nodes.get(node)
        task = state.tasks.get(number) if state is not None else None
        if state is None or task is None:
            return []
        by_lane = {each.lane: each for each in stored}
        for header in task.headers:  # before anything is changed: a node that answers wrongly is lost with the task
            each = by_lane.get(header.lane)
            if each is None or (each.stream, each.seq, each.last) != (header.stream, header.seq, header.last):
                raise WireError(f"{node} answered task {number} without a word about lane {header.lane}")
        del state.tasks[number]
        state.bytes -= task.bytes
        state.stored += task.bytes
        replies: dict[int, list[Stored]] = {}
        for header, entries in zip(task.headers, task.entries):
            lane = header.lane
            self._lanes[lane].flying -= 1
            for entry in entries:
                self.spill.done(entry)
            each = by_lane[lane]
            link = entries[0].link
            if self._streams.get((link, lane), ("", 0))[0] == each.stream:
                replies.setdefault(link, []).append(each)
            if not self._lanes[lane].queue and not self._lanes[lane].flying:
                self._lanes[lane].node = None
        return [Reply(link, each) for link, each in replies.items()]

    # --- what is to be sent ---

    def next(self) -> Iterator[Task]:
        """The tasks that can leave now. Each is under way as soon as it is given out."""
        progress = True
        while progress and self._waiting and any(node.has_room for node in self._nodes.values()):
            progress = False
            for name, lanes in self._ready().items():
                task = self._task(name, self._nodes[name], lanes)
                progress = True
                yield task

    def _ready(self) -> dict[str, list[Lane]]:
        """Lanes whose next batch can leave, in order of their turn, for each node with room."""
        ready: dict[str, list[Lane]] = {}
        for lane in self._waiting:
            state = self._lanes[lane]
            if state.queue[0].payload is not None:
                name = self._place(lane, state)
                if name is not None and self._nodes[name].has_room:
                    ready.setdefault(name, []).append(lane)
        return ready

    def _task(self, name: str, node: _Node, lanes: list[Lane]) -> Task:
        headers: list[Header] = []
        origins: list[list[Entry]] = []
        size = 0
        for lane in lanes:
            entries = self._take(lane, self._batch_bytes - size)
            headers.append(join([entry.header for entry in entries]))
            origins.append(entries)
            size += headers[-1].size
            if size >= self._batch_bytes or len(headers) >= MOST_LANES:
                break
        self._number += 1
        task = Task(self._number, name, headers, origins, size)
        node.tasks[task.number] = task
        node.bytes += size
        return task

    def _place(self, lane: Lane, state: _Lane) -> str | None:
        """The lane's node; it changes only when nothing of the lane is under way."""
        if lane not in self._owners:
            weights = {name: node.weight * node.pace.share for name, node in self._nodes.items() if not node.draining}
            self._owners[lane] = owner(str(lane), weights)
        wanted = self._owners[lane]
        if state.flying and state.node in self._nodes and state.node != wanted:
            return None
        state.node = wanted
        return wanted

    def _take(self, lane: Lane, room: int) -> list[Entry]:
        """The head of the lane's queue and what may be joined to it."""
        state = self._lanes[lane]
        del self._waiting[lane]
        entries = [state.queue.popleft()]
        room -= entries[0].header.size
        count = entries[0].header.count
        while state.queue and state.queue[0].payload is not None and follows(entries[-1], state.queue[0]):
            room -= state.queue[0].header.size
            count += state.queue[0].header.count
            if room < 0 or count > MOST_MESSAGES:
                break
            entries.append(state.queue.popleft())
        for entry in entries:
            self.spill.taken(entry)
        state.flying += 1
        if state.queue:
            self._waiting[lane] = None  # behind the other lanes
        return entries

    # --- for people ---

    def lanes(self) -> dict[str, str]:
        """Lanes with something in hand, and the node of each."""
        return {str(lane): state.node or "" for lane, state in self._lanes.items() if state.queue or state.flying}

    def nodes(self) -> dict[str, dict[str, float]]:
        return {name: {"tasks": len(node.tasks), "bytes": node.bytes, "share": node.pace.share,
                       "draining": node.draining} for name, node in self._nodes.items()}


def follows(entry: Entry, other: Entry) -> bool:
    """Whether the second is the very next batch of the same stream, so that the two can be joined."""
    one, two = entry.header, other.header
    return (entry.link == other.link and one.stream == two.stream and one.seq + 1 == two.seq
            and one.encoding == two.encoding and one.last < two.first)


def join(headers: list[Header]) -> Header:
    """The header of consecutive batches made one; encodings are closed under concatenation."""
    if len(headers) == 1:
        return headers[0]
    head, tail = headers[0], headers[-1]
    joined: Header = msgspec.structs.replace(
        head, seq=tail.seq, last=tail.last, count=sum(header.count for header in headers),
        size=sum(header.size for header in headers), watermark=tail.watermark)
    return joined
