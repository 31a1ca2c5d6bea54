"""What a collector decides: which batches leave, what is in flight, what may be committed, what is read again.

No socket, no clock, no thread. An offset is committed only when everything below it is stored. When a coordinator is
lost, the partitions that had anything in flight there are read again from their frontier: the source is the one place
that holds what is not stored yet. What is then sent twice, the fences drop.
"""
from __future__ import annotations

import heapq
from collections import deque
from math import inf
from typing import Iterable, Iterator, NamedTuple

from ..batch import MOST_MESSAGES, Chunk, Counts, Header, Lane, Payload, Stored
from ..cluster.rendezvous import owner

UNANSWERED = 3  # batches of a lane in flight, from which on small ones are not sent after them


class Send(NamedTuple):
    """One frame to a coordinator: batches of several lanes, at most one for each."""

    coordinator: str
    headers: list[Header]
    payloads: list[Payload]


class Rewind(NamedTuple):
    """The partition is to be read again from ``offset``; what was read before under another epoch is void."""

    partition: str
    offset: int
    epoch: int


class _Lane:
    __slots__ = ("pending", "bytes", "flying", "coordinator", "seq", "moves", "since")

    def __init__(self) -> None:
        self.pending: deque[Chunk] = deque()  # read, not sent
        self.bytes = 0  # of what is pending
        self.flying: deque[tuple[int, int, int, float]] = deque()  # sent, not stored: seq, first offset, bytes, when
        self.coordinator: str | None = None
        self.seq = 0
        self.moves = 0  # from one coordinator to another; each has a stream of its own, in which nothing is missing
        self.since: float | None = None  # when what is pending was first looked at

    @property
    def first(self) -> int | None:
        """The first offset that is not known to be stored."""
        if self.flying:
            return self.flying[0][1]
        return self.pending[0].first if self.pending else None


class _Partition:
    __slots__ = ("position", "epoch", "lanes", "times", "watermark", "open", "sent", "unclean")

    def __init__(self, position: int, epoch: int, clean: bool) -> None:
        self.position = position  # the next offset to be read
        self.epoch = epoch
        self.lanes: dict[int, _Lane] = {}
        self.times: list[tuple[int, float]] = []  # heap of (last offset, greatest event time) of stored batches
        self.watermark: float | None = None
        self.open = True  # False: nothing new is sent any more
        self.sent = position - 1  # the greatest offset that was ever sent
        self.unclean: float = -1 if clean else float("inf")  # up to here, others may have sent before us

    @property
    def frontier(self) -> int:
        firsts = [lane.first for lane in self.lanes.values()]
        return min((first for first in firsts if first is not None), default=self.position)


class _Link:
    __slots__ = ("window", "bytes", "draining")

    def __init__(self, window: int) -> None:
        self.window = window
        self.bytes = 0  # in flight
        self.draining = False  # True: it takes nothing new, and answers for what is in flight


class Flow:
    """Takes what happens, one call each; ``sends`` and ``rewinds`` give out what is to be done.

    ``pending`` is the bytes that were read and not sent: what ``[collector] memory_bytes`` bounds.
    """

    def __init__(self, session: str, batch_bytes: int, epochs: Iterator[int], linger: float = 0.0,
                 much: float = inf) -> None:
        """``linger``: seconds that a small batch waits for more, while less than ``much`` bytes are pending."""
        self._session = session
        self._batch_bytes = batch_bytes
        self._linger = linger
        self._much = much
        self._partitions: dict[str, _Partition] = {}
        self._links: dict[str, _Link] = {}
        self._epochs = epochs
        self._waiting: dict[Lane, None] = {}
        self._rewinds: list[Rewind] = []
        self._owners: dict[int, str | None] = {}
        self.pending = 0
        self.flying = 0  # bytes
        self.totals = Counts()

    # --- partitions ---

    def assigned(self, partition: str, offset: int, epoch: int, clean: bool) -> None:
        """The partition is ours, from this offset on; what is read of it bears the epoch. ``clean``: nobody has sent
        anything of it past the offset."""
        self._drop(partition)
        self._partitions[partition] = _Partition(offset, epoch, clean)

    def ends_at(self, partition: str, end: int) -> None:
        """The partition ended here after it was assigned: whoever had it before cannot have sent anything beyond."""
        state = self._partitions.get(partition)
        if state is not None and state.unclean == float("inf"):
            state.unclean = end

    def drained(self, partition: str) -> bool:
        """Whether nothing past the frontier was ever sent, by us or by anybody before us."""
        state = self._partitions[partition]
        frontier = state.frontier
        return frontier > state.sent and frontier >= state.unclean

    def revoking(self, partition: str) -> None:
        """No more of the partition is begun: what lies past everything sent is given up; the rest may still be sent
        and answered."""
        state = self._partitions.get(partition)
        if state is not None:
            self._unread(partition, state, self._edge(state))
            state.open = False

    @staticmethod
    def _edge(state: _Partition) -> int:
        """The offset up to which everything must be sent, so that nothing past the frontier has been: lanes get on at
        different speeds, and what one of them has sent may lie beyond what waits in another."""
        edge = state.sent
        for chunk in heapq.merge(*(lane.pending for lane in state.lanes.values()), key=lambda chunk: chunk.first):
            if chunk.first > edge:
                break
            edge = max(edge, chunk.last)
        return edge

    def forget(self, partition: str) -> None:
        """The partition is not ours any more."""
        self._drop(partition)
        self._partitions.pop(partition, None)

    def _unread(self, partition: str, state: _Partition, kept: int = -1) -> None:
        """Gives up what was read and not sent, as if it had not been read, but for what begins up to ``kept``."""
        for slot, lane in state.lanes.items():
            while lane.pending and lane.pending[-1].first > kept:
                chunk = lane.pending.pop()
                state.position = min(state.position, chunk.first)
                size = len(chunk.payload)
                lane.bytes -= size
                self.pending -= size
            if not lane.pending:
                self._waiting.pop(Lane(partition, slot), None)

    def _drop(self, partition: str) -> None:
        state = self._partitions.get(partition)
        if state is None:
            return
        self._unread(partition, state)
        for lane in state.lanes.values():
            for _, _, size, _ in lane.flying:
                self._landed(lane, size)
            lane.flying.clear()

    def _landed(self, lane: _Lane, size: int) -> None:
        self.flying -= size
        link = self._links.get(lane.coordinator or "")
        if link is not None:
            link.bytes -= size

    def read(self, epoch: int, partition: str, last: int, pieces: Iterable[tuple[int, Chunk]]) -> None:
        """Everything of the partition up to offset ``last`` was read, and these are the slots' shares of it."""
        state = self._partitions.get(partition)
        if state is None or state.epoch != epoch or not state.open:
            return
        state.position = max(state.position, last + 1)
        for slot, chunk in pieces:
            lane = state.lanes.get(slot)
            if lane is None:
                lane = state.lanes[slot] = _Lane()
            lane.pending.append(chunk)
            lane.bytes += len(chunk.payload)
            self.pending += len(chunk.payload)
            self._waiting.setdefault(Lane(partition, slot))

    # --- coordinators ---

    def link_up(self, coordinator: str, window: int) -> None:
        self._links[coordinator] = _Link(window)
        self._owners.clear()

    def link_window(self, coordinator: str, window: int) -> None:
        if coordinator in self._links:
            self._links[coordinator].window = window

    def link_draining(self, coordinator: str) -> None:
        """The coordinator takes nothing new: its slots are others' now. A lane of theirs goes on there as soon as all
        of it that is in flight here is answered; nothing is read again."""
        if coordinator in self._links:
            self._links[coordinator].draining = True
            self._owners.clear()

    def link_down(self, coordinator: str) -> None:
        """The coordinator is gone: partitions with anything in flight there are read again from their frontier."""
        if self._links.pop(coordinator, None) is None:
            return
        self._owners.clear()
        for name, state in self._partitions.items():
            if any(lane.flying and lane.coordinator == coordinator for lane in state.lanes.values()):
                self._rewind(name, state)

    def _rewind(self, name: str, state: _Partition) -> None:
        frontier = state.frontier
        self._drop(name)
        state.epoch = next(self._epochs)
        state.position = frontier
        state.lanes.clear()
        state.times.clear()
        if state.open:
            self._rewinds.append(Rewind(name, frontier, state.epoch))

    def stored(self, coordinator: str, answer: Stored) -> None:
        """A coordinator says that a lane is stored up to a batch. Answers about earlier streams say nothing new."""
        state = self._partitions.get(answer.partition)
        lane = state.lanes.get(answer.slot) if state is not None else None
        if state is None or lane is None or answer.stream != self._stream(state, lane):
            return
        if not lane.flying or answer.seq < lane.flying[0][0]:
            return
        while lane.flying and lane.flying[0][0] <= answer.seq:
            self._landed(lane, lane.flying.popleft()[2])
        self.totals.add(answer.counts)
        if answer.time is not None:
            heapq.heappush(state.times, (answer.last, answer.time))
            frontier = state.frontier
            while state.times and state.times[0][0] < frontier:
                time = heapq.heappop(state.times)[1]
                state.watermark = time if state.watermark is None else max(state.watermark, time)

    # --- what is to be done ---

    def sends(self, now: float) -> Iterator[Send]:
        """The frames that can leave now; each is in flight as soon as it is given out."""
        progress = True
        while progress and self._waiting:
            progress = False
            for name, link in self._links.items():
                if link.bytes < link.window and not link.draining:
                    send = self._cut(name, link, now)
                    if send is not None:
                        progress = True
                        yield send

    def rewinds(self) -> list[Rewind]:
        rewinds, self._rewinds = self._rewinds, []
        return rewinds

    def _cut(self, name: str, link: _Link, now: float) -> Send | None:
        headers: list[Header] = []
        payloads: list[Payload] = []
        size = 0
        for key in list(self._waiting):
            state = self._partitions[key.partition]
            lane = state.lanes[key.slot]
            if self._place(key.slot, lane) != name or self._gathers(lane) or self._lingers(state, lane, now):
                continue
            header, parts, taken = self._take(key, state, lane, now)
            headers.append(header)
            payloads += parts
            size += taken
            link.bytes += taken
            if size >= self._batch_bytes or link.bytes >= link.window:
                break
        if not headers:
            return None
        self.flying += size
        return Send(name, headers, payloads)

    def _gathers(self, lane: _Lane) -> bool:
        """Whether the lane had better wait for an answer: it has little to send and much unanswered, so what comes
        meanwhile makes a bigger batch. With little to do nothing waits; with much to do batches grow."""
        return len(lane.flying) >= UNANSWERED and lane.bytes < self._batch_bytes // 4

    def _lingers(self, state: _Partition, lane: _Lane, now: float) -> bool:
        """Whether the lane had better wait since its user wants few large batches rather than many quick ones."""
        if not self._linger or not state.open or lane.bytes >= self._batch_bytes or self.pending >= self._much:
            return False
        if lane.since is None:
            lane.since = now
        return now - lane.since < self._linger

    def _takers(self) -> list[str]:
        return [name for name, link in self._links.items() if not link.draining]

    def _place(self, slot: int, lane: _Lane) -> str | None:
        """The coordinator of the lane's slot; it changes only when nothing of the lane is in flight."""
        if slot not in self._owners:
            self._owners[slot] = owner(f"slot {slot}", dict.fromkeys(self._takers(), 1.0))
        wanted = self._owners[slot]
        if lane.flying and lane.coordinator != wanted:
            return None
        if lane.coordinator != wanted and lane.seq:
            lane.moves += 1
        lane.coordinator = wanted
        return wanted

    def _take(self, key: Lane, state: _Partition, lane: _Lane,
              now: float) -> tuple[Header, list[Payload], int]:
        """Cuts a batch: what is pending of the lane, up to the size of a batch."""
        chunks = [lane.pending.popleft()]
        size = len(chunks[0].payload)
        count = chunks[0].count
        while lane.pending and lane.pending[0].encoding == chunks[0].encoding:
            if (size + len(lane.pending[0].payload) > self._batch_bytes
                    or count + lane.pending[0].count > MOST_MESSAGES):
                break
            chunks.append(lane.pending.popleft())
            size += len(chunks[-1].payload)
            count += chunks[-1].count
        del self._waiting[key]
        lane.since = None
        if lane.pending:
            self._waiting[key] = None
        header = Header(key.partition, key.slot, self._stream(state, lane), lane.seq, chunks[0].first, chunks[-1].last,
                        count, chunks[0].encoding, size, state.watermark)
        lane.flying.append((lane.seq, header.first, size, now))
        state.sent = max(state.sent, header.last)
        lane.seq += 1
        lane.bytes -= size
        self.pending -= size
        return header, [chunk.payload for chunk in chunks], size

    def _stream(self, state: _Partition, lane: _Lane) -> str:
        return f"{self._session}.{state.epoch}" + (f".{lane.moves}" if lane.moves else "")

    # --- what is known ---

    def oldest(self, now: float) -> float:
        """How long the oldest batch in flight has been waiting for its answer, seconds."""
        sent = [lane.flying[0][3] for state in self._partitions.values() for lane in state.lanes.values()
                if lane.flying]
        return now - min(sent) if sent else 0.0

    def frontiers(self) -> dict[str, int]:
        """For each partition the offset below which everything is stored: what may be committed."""
        return {name: state.frontier for name, state in self._partitions.items()}

    def settled(self, partitions: Iterable[str]) -> bool:
        """Whether nothing of these partitions is in flight, nor waits while there is somebody to send it to."""
        states = (self._partitions.get(name) for name in partitions)
        takers = self._takers()
        return not any(lane.flying or (lane.pending and takers)
                       for state in states if state is not None for lane in state.lanes.values())

    def watermarks(self) -> dict[str, float]:
        return {name: state.watermark for name, state in self._partitions.items() if state.watermark is not None}
