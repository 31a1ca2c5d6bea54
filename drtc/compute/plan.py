"""What a compute node decides: which worker maps what, when parts may be merged, what to do when a worker dies.

No socket, no clock, no process. A task is cut into pieces; each is mapped by one worker, its parts go to the workers
that own the keys, in the order of its lanes: a piece's parts leave only when those of all earlier pieces of them
have left. The pipe to an owner is first-in first-out, so each record sees a lane's pieces in order.

A piece whose worker dies is suspect. It is mapped again with nothing else at that worker's hands; if that kills the
worker too, the piece is halved, down to the one event, which is a dead letter once it has killed ``kills`` workers.
"""
from __future__ import annotations

from collections import deque
from typing import NamedTuple, Union

from ..batch import Batch, Counts, Lane, Payload, Stored
from ..encodings import unpack
from ..wire.messages import MappedSpan
from .divide import divide, halve
from .mapper import DeadLetter
from .tasks import Task, Tasks

DEPTH = 2  # pieces that a worker has to map: the one in hand and the next


class MapOn(NamedTuple):
    worker: int
    piece: int
    batches: list[Batch]


class MergeOn(NamedTuple):
    worker: int
    piece: int
    spans: list[MappedSpan]
    parts: Payload
    dead: Payload


class SupplyTo(NamedTuple):
    worker: int
    piece: int
    batches: list[Batch]


class DeadLetterOf(NamedTuple):
    """The piece is the one event that kills its workers: it must be packed as a dead letter and given to ``mapped``."""

    piece: int
    span: MappedSpan
    letter: DeadLetter


class Reply(NamedTuple):
    link: int
    task: int
    stored: list[Stored]


Command = Union[MapOn, MergeOn, SupplyTo, DeadLetterOf, Reply]


class _Piece:
    __slots__ = ("number", "task", "batches", "deaths", "mapper", "spans", "parts", "dead", "owed", "sent")

    def __init__(self, number: int, task: Task, batches: list[Batch]) -> None:
        self.number = number
        self.task = task
        self.batches = batches
        self.deaths = 0
        self.mapper: int | None = None
        self.spans: list[MappedSpan] | None = None  # known once it is mapped
        self.parts: list[Payload] = []  # for each owner
        self.dead: Payload = b""
        self.owed: set[int] = set()  # owners that have not stored their share
        self.sent = False

    @property
    def lanes(self) -> list[Lane]:
        return [batch.header.lane for batch in self.batches]


class _Worker:
    __slots__ = ("ready", "maps", "merges", "alone", "held")

    def __init__(self) -> None:
        self.ready = False
        self.maps: list[int] = []  # pieces it has to map, in order
        self.merges: dict[int, MergeOn] = {}  # pieces it has to merge, in order
        self.alone = False  # it has a suspect in hand: nothing else is given to it
        self.held: list[MergeOn] = []  # merges that wait for that to end


class Plan:
    """Takes what happens, one call each; ``commands`` gives out what is to be done.

    Args:
        workers: how many there are; they are numbered from 0.
        fork_bytes: a smaller piece is not spread over idle workers.
        kills: how many workers one event may kill.
        ordered: a piece is mapped only after every earlier one of its lanes is done (``Job.run`` has side effects).
    """

    def __init__(self, workers: int, fork_bytes: int, kills: int, ordered: bool) -> None:
        self._workers = [_Worker() for _ in range(workers)]
        self._fork_bytes = fork_bytes
        self._kills = kills
        self._ordered = ordered
        self._pieces: dict[int, _Piece] = {}
        self._unmapped: deque[int] = deque()
        self._lanes: dict[Lane, deque[int]] = {}  # pieces whose parts have not left, in order
        self._tasks = Tasks()
        self._commands: list[Command] = []
        self._number = 0
        self.owners = 0  # workers that own keys; known when the first worker is ready

    @property
    def bytes(self) -> int:
        """Accepted and not answered."""
        return self._tasks.bytes

    @property
    def orphaned(self) -> int:
        """Of these, from links that are gone."""
        return self._tasks.orphaned

    def commands(self) -> list[Command]:
        commands, self._commands = self._commands, []
        return commands

    # --- coordinators ---

    def arrived(self, link: int, number: int, batches: list[Batch]) -> None:
        """A coordinator has sent a task: at most one batch for each lane."""
        task = Task(link, number, batches)
        self._tasks.add(task)
        idle = sum(worker.ready and not worker.maps for worker in self._workers)
        spread = idle if task.bytes >= self._fork_bytes and not self._unmapped and not self._ordered else 1
        for share in divide(batches, spread):
            piece = self._new(task, share)
            self._unmapped.append(piece.number)
            for lane in piece.lanes:
                self._lanes.setdefault(lane, deque()).append(piece.number)
        self._deal()

    def _new(self, task: Task, batches: list[Batch]) -> _Piece:
        self._number += 1
        piece = self._pieces[self._number] = _Piece(self._number, task, batches)
        task.open += 1
        return piece

    def link_lost(self, link: int) -> None:
        """The coordinator's connection is gone: what has not left for the store is given up, it comes again."""
        self._tasks.link_lost(link)
        for piece in list(self._pieces.values()):
            if piece.task.link == 0 and not piece.sent:
                if piece.number in self._unmapped:
                    self._unmapped.remove(piece.number)
                self._forget(piece)
        self._leave()
        self._deal()

    def _forget(self, piece: _Piece) -> None:
        """Gives a piece up; should a worker be mapping it, its result will not be used."""
        for lane in piece.lanes:
            queue = self._lanes.get(lane)
            if queue is not None and piece.number in queue:
                queue.remove(piece.number)
                if not queue:
                    del self._lanes[lane]
        self._pieces.pop(piece.number, None)
        self._close(piece)

    # --- workers ---

    def ready(self, number: int, writers: int | None) -> None:
        """A worker has started (again). ``writers``: how many the store wants to save at the same time."""
        worker = self._workers[number]
        worker.ready = True
        if not self.owners:
            self.owners = min(writers or len(self._workers), len(self._workers))
        self._commands += worker.merges.values()  # its predecessor's: the fences make it safe to send them again
        self._deal()

    def mapped(self, number: int, spans: list[MappedSpan], parts: list[Payload], dead: Payload) -> None:
        """A worker has mapped a piece: a payload of parts for each owner."""
        for worker in self._workers:
            if number in worker.maps:
                worker.maps.remove(number)
                if worker.alone:
                    self._release(worker)
        piece = self._pieces.get(number)
        if piece is not None and piece.spans is None:
            piece.spans = spans
            piece.parts = parts
            piece.dead = dead
            self._leave()
        self._deal()

    def merged(self, number: int, pieces: list[int], saved: list[int], replayed: list[int]) -> None:
        """A worker has stored its share of these pieces."""
        worker = self._workers[number]
        for piece_number, new, old in zip(pieces, saved, replayed):
            worker.merges.pop(piece_number, None)
            piece = self._pieces.get(piece_number)
            if piece is not None and number in piece.owed:
                piece.owed.discard(number)
                if piece.spans:
                    counts = piece.task.spans.setdefault(piece.lanes[0], (None, Counts()))[1]
                    counts.saved += new
                    counts.replayed += old
                self._finish(piece)
        self._leave()
        self._deal()

    def need(self, number: int, piece: int) -> None:
        """A worker has to map a piece again, and asks for its batches."""
        self._commands.append(SupplyTo(number, piece, self._pieces[piece].batches))

    def died(self, number: int) -> None:
        """A worker process is gone. Another will be ``ready`` under the same number."""
        worker = self._workers[number]
        worker.ready = False
        lost = [self._pieces[piece] for piece in worker.maps if piece in self._pieces]
        was_alone = worker.alone
        worker.maps.clear()
        worker.alone = False
        for held in worker.held:
            worker.merges[held.piece] = held
        worker.held.clear()
        for piece in reversed(lost):
            piece.mapper = None
            self._unmapped.appendleft(piece.number)
        if lost:
            suspect = lost[0]
            suspect.deaths += 1
            if was_alone:
                self._narrow(suspect)
        self._deal()

    def _narrow(self, piece: _Piece) -> None:
        """Halves a piece that killed a worker while nothing else was at its hands; a single event is set aside."""
        halves = halve(piece.batches)
        if len(halves) == 2:
            at = self._unmapped.index(piece.number)
            del self._unmapped[at]
            del self._pieces[piece.number]
            pieces = [self._new(piece.task, half) for half in halves]
            piece.task.open -= 1
            for half in reversed(pieces):
                half.deaths = 1  # suspect still
                self._unmapped.insert(at, half.number)
            for lane in piece.lanes:
                self._replace(lane, piece.number, [half.number for half in pieces if lane in half.lanes])
        elif piece.deaths > self._kills:
            self._unmapped.remove(piece.number)
            header = piece.batches[0].header
            messages = unpack(header.encoding, piece.batches[0].payload, header.first, header.last)
            raw = next((value for value in messages.values if value is not None), b"")
            offset = messages.offsets[0] if messages.offsets else header.first
            letter = DeadLetter(header.lane, offset, raw, f"it killed its worker {self._kills} times", "")
            span = MappedSpan(header.partition, header.slot, header.first, header.last, None, 0, 1, 0)
            self._commands.append(DeadLetterOf(piece.number, span, letter))

    def _replace(self, lane: Lane, number: int, by: list[int]) -> None:
        queue = self._lanes[lane]
        at = queue.index(number)
        del queue[at]
        for each in reversed(by):
            queue.insert(at, each)

    # --- deciding ---

    def _deal(self) -> None:
        """Gives pieces to workers that have room, in order."""
        waiting: deque[int] = deque()
        while self._unmapped:
            piece = self._pieces[self._unmapped.popleft()]
            number = self._choose(piece)
            if number is None:
                waiting.append(piece.number)
                if not self._ordered:
                    break  # nobody overtakes: a suspect waits for a worker with empty hands
                continue
            worker = self._workers[number]
            worker.maps.append(piece.number)
            worker.alone = piece.deaths > 0
            piece.mapper = number
            self._commands.append(MapOn(number, piece.number, piece.batches))
        self._unmapped.extendleft(reversed(waiting))

    def _choose(self, piece: _Piece) -> int | None:
        if self._ordered and any(self._lanes[lane][0] != piece.number for lane in piece.lanes):
            return None
        room = [
            (len(worker.maps), -number) for number, worker in enumerate(self._workers)
            if worker.ready and not worker.alone and len(worker.maps) < (1 if piece.deaths else DEPTH)
            and not (piece.deaths and worker.merges)
        ]  # the last first: the first ones own keys
        return -min(room)[1] if room else None

    def _leave(self) -> None:
        """Sends off the parts of every mapped piece that is first in all its lanes."""
        candidates = {queue[0] for queue in self._lanes.values()}
        while candidates:
            piece = self._pieces[candidates.pop()]
            if piece.spans is None or piece.sent or any(self._lanes[lane][0] != piece.number for lane in piece.lanes):
                continue
            piece.sent = True
            for owner, parts in enumerate(piece.parts):
                dead = piece.dead if owner == 0 else b""
                if len(parts) > 1 or len(dead) > 1:  # one byte: an empty list
                    piece.owed.add(owner)
                    self._merge(MergeOn(owner, piece.number, piece.spans, parts, dead))
            if not self._ordered:
                candidates |= self._step_aside(piece)
            self._note(piece)
            self._finish(piece)

    def _merge(self, merge: MergeOn) -> None:
        worker = self._workers[merge.worker]
        if worker.alone:
            worker.held.append(merge)
            return
        worker.merges[merge.piece] = merge
        if worker.ready:
            self._commands.append(merge)

    def _release(self, worker: _Worker) -> None:
        worker.alone = False
        held, worker.held = worker.held, []
        for merge in held:
            self._merge(merge)

    def _step_aside(self, piece: _Piece) -> set[int]:
        """Takes the piece out of its lanes; returns the pieces that are first there now."""
        heads = set()
        for lane in piece.lanes:
            queue = self._lanes[lane]
            queue.remove(piece.number)
            if queue:
                heads.add(queue[0])
            else:
                del self._lanes[lane]
        return heads

    def _note(self, piece: _Piece) -> None:
        for span in piece.spans or ():
            time, counts = piece.task.spans.setdefault(Lane(span.partition, span.slot), (None, Counts()))
            counts.add(Counts(span.messages, span.dead, span.skipped))
            if span.time is not None and (time is None or span.time > time):
                time = span.time
            piece.task.spans[Lane(span.partition, span.slot)] = (time, counts)

    def _finish(self, piece: _Piece) -> None:
        if piece.sent and not piece.owed and piece.number in self._pieces:
            del self._pieces[piece.number]
            if self._ordered:
                self._step_aside(piece)
            self._close(piece)

    def _close(self, piece: _Piece) -> None:
        task = piece.task
        task.open -= 1
        self._commands += [Reply(each.link, each.number, each.stored()) for each in self._tasks.done(task) if each.link]

    # --- for people ---

    def backlog(self) -> dict[str, int]:
        return {"pieces": len(self._pieces), "unmapped": len(self._unmapped), "bytes": self.bytes,
                "workers": sum(worker.ready for worker in self._workers)}
