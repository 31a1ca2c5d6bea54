"""The collector's reader: the one thread that touches the source. It reads, routes and commits; it decides nothing."""
from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING, Callable, Iterator, Mapping, NamedTuple, Sequence, Union

from ..batch import Chunk
from ..errors import DrtcError
from ..sources.base import Listener, Position, Source
from .note import Note, check, parse_note

if TYPE_CHECKING:
    from .route import Route

READ_SECONDS = 0.05  # the longest that a command waits for the source
LOOK_SECONDS = 0.5  # between two looks at how far the source goes
COMMIT_PAUSE = 2.0  # the longest between two attempts to commit
NOT_COMMITTED = "offsets are not committed"


class Assigned(NamedTuple):
    """``clean``: partitions of which nothing past the offset can have been sent before."""

    offsets: dict[str, int]
    epochs: dict[str, int]
    clean: set[str]


class Revoking(NamedTuple):
    """Answered by setting ``offsets`` and then ``settled``; without an answer in time, nothing is committed."""

    partitions: list[str]
    settled: threading.Event
    offsets: dict[str, Position]


class Gone(NamedTuple):
    partitions: list[str]


class Read(NamedTuple):
    """For each chunk: epoch, partition, last offset, the slots' shares."""

    chunks: list[tuple[int, str, int, list[tuple[int, Chunk]]]]
    size: int  # bytes


class Ends(NamedTuple):
    ends: dict[str, int]


class Progress(NamedTuple):
    ends: dict[str, int]


class Waiting(NamedTuple):
    why: str


class Finished(NamedTuple):
    pass


class Failed(NamedTuple):
    error: Exception


Event = Union[Assigned, Revoking, Gone, Read, Ends, Progress, Waiting, Finished, Failed]
Command = Callable[[], None]


class Reader(threading.Thread, Listener):
    """Posts events and takes commands; a command runs between two reads.

    Args:
        post: called with each event, on this thread; must not block.
        backlog: bytes that were posted and have not been sent on; above ``memory_bytes`` the source is paused.
    """

    def __init__(self, source: Source, route: Route, note: Note, memory_bytes: int,
                 epochs: Iterator[int], post: Callable[[Event], None], backlog: Callable[[], int],
                 revoke_seconds: float) -> None:
        super().__init__(name="reader", daemon=True)
        self._source = source
        self._route = route
        self._note = note
        self._memory_bytes = memory_bytes
        self._fresh_epochs = epochs
        self._post = post
        self._backlog = backlog
        self._revoke_seconds = revoke_seconds
        self._commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._epochs: dict[str, int] = {}
        self._unmarked: dict[str, Position] = {}  # assigned, and our note is not committed yet: nothing may be sent
        self._stored: dict[str, Position] = {}  # to be committed
        self._held: list[Chunk] = []  # read, and not to be sent before our note is committed
        self._paused = False
        self._halted = False
        self._stopped = False
        self._ask_ends = False
        self._begun = False
        self._look_at = 0.0
        self._commit_at = self._pause = 0.0  # a commit that failed is tried again after a pause, which grows
        self._warned = ""
        self._given_up = threading.Event()

    def give_up(self) -> None:
        """Ends whatever the thread waits for; from the loop's thread."""
        self._given_up.set()
        self._source.close()

    # --- commands, from the loop's thread ---

    def seek(self, partition: str, offset: int, epoch: int) -> None:
        def command() -> None:
            if self._epochs.get(partition, epoch) < epoch:  # else it was taken away, or given to us anew, meanwhile
                self._epochs[partition] = epoch
                self._held = [chunk for chunk in self._held if chunk.partition != partition]
                self._source.seek(partition, offset)
        self._commands.put(command)

    def commit(self, offsets: Mapping[str, int]) -> None:
        """Commits what is stored while the rest goes on."""
        note = str(self._note)

        def command() -> None:
            if not self._stopped:  # the last commit says more: whether all is drained
                self._stored.update({name: Position(at, note) for name, at in offsets.items()})
        self._commands.put(command)

    def halt(self) -> None:
        """Reads nothing more; the source is kept open."""
        def command() -> None:
            self._halted = True
            self._source.pause(list(self._epochs))
        self._commands.put(command)

    def finish(self, offsets: Mapping[str, tuple[int, bool]]) -> None:
        """Commits for the last time (each offset with whether its partition is drained), closes the source, ends."""
        def command() -> None:
            self._stored = {name: Position(at, str(self._note._replace(drained=drained)))
                            for name, (at, drained) in offsets.items() if name not in self._unmarked}
            self._stopped = True
        self._commands.put(command)

    # --- the source's side ---

    def assigned(self, positions: Mapping[str, Position]) -> None:
        unmarked = {}
        for partition, position in positions.items():
            check(partition, position, self._note)
            if position.note != str(self._note):
                unmarked[partition] = Position(position.offset, str(self._note))
        epochs = {partition: next(self._fresh_epochs) for partition in positions}
        self._epochs.update(epochs)
        self._unmarked.update(unmarked)
        self._ask_ends = True
        self._begun = True
        clean = set()
        for partition, position in positions.items():
            note = parse_note(position.note)
            if note is None or note.drained:  # without a note nothing was ever sent: the first note comes before that
                clean.add(partition)
        self._post(Assigned({partition: position.offset for partition, position in positions.items()}, epochs, clean))

    def revoked(self, partitions: Sequence[str]) -> None:
        mine = [partition for partition in partitions if self._epochs.pop(partition, None) is not None]
        revoking = Revoking(mine, threading.Event(), {})
        self._post(revoking)
        if revoking.settled.wait(self._revoke_seconds):
            self._commit_once(revoking.offsets)
        self.lost(mine)

    def lost(self, partitions: Sequence[str]) -> None:
        for partition in partitions:
            self._epochs.pop(partition, None)
            self._unmarked.pop(partition, None)
            self._stored.pop(partition, None)
        self._held = [chunk for chunk in self._held if chunk.partition in self._epochs]
        self._post(Gone(list(partitions)))

    # --- the thread ---

    def run(self) -> None:
        try:
            self._patiently(lambda: self._source.open(self, self._warn))
            while not self._stopped:
                self.turn()
            self._commit_last()
            self._source.close()
            self._post(Finished())
        except Exception as error:  # told to the loop, which ends the role with it
            self._post(Failed(error))
            self._source.close()

    def turn(self) -> None:
        """One round: what was commanded, a commit, a read. ``run`` is nothing else, again and again."""
        self._obey()
        if self._stored and time.monotonic() >= self._commit_at:
            if self._commit_once(self._stored):
                self._stored, self._pause = {}, 0.0
            else:
                self._pause = min(COMMIT_PAUSE, max(READ_SECONDS, 2 * self._pause))
                self._commit_at = time.monotonic() + self._pause
        self._throttle()
        self._read()

    def _commit_once(self, offsets: Mapping[str, Position]) -> bool:
        """Whether it is done; trouble that passes is said, and the next commit makes up for it."""
        try:
            self._source.commit(offsets)
        except DrtcError as error:
            if not error.retryable:
                raise
            self._warn(f"{NOT_COMMITTED}: {error}")
            return False
        if self._warned.startswith(NOT_COMMITTED):
            self._warn("")
        return True

    def _commit_last(self) -> None:
        """Commits until it is done. Reading goes on between the attempts, with everything paused: a group in the middle
        of a rebalance takes no commit, and only reading brings the rebalance to its end."""
        wait = READ_SECONDS
        while self._stored and not self._given_up.is_set():
            if self._commit_once(self._stored):
                return
            self._source.read(wait)
            wait = min(1.0, 2 * wait)

    def _patiently(self, action: Callable[[], None]) -> None:
        """Does it, again and again while the trouble is one that passes."""
        wait = 0.1
        while True:
            try:
                return action()
            except DrtcError as error:
                if not error.retryable:
                    raise
                self._warn(f"{error}, next attempt in {wait:.1f} s")
            if self._given_up.wait(wait):
                return
            wait = min(5.0, 2 * wait)

    def _warn(self, why: str) -> None:
        if why != self._warned:
            self._warned = why
            self._post(Waiting(why))

    def _obey(self) -> None:
        while not self._commands.empty():
            self._commands.get()()

    def _mark(self) -> bool:
        """Commits our note for what was assigned. It may take several reads: a group can be in the middle of a
        rebalance, which only reading brings forward."""
        if self._commit_once(self._unmarked):
            self._unmarked = {}
        return not self._unmarked

    def _throttle(self) -> None:
        backlog = self._backlog()
        begun, self._begun = self._begun, False  # what was assigned just now is not paused; the rest may be
        if (begun or not self._paused) and (backlog > self._memory_bytes or self._held):
            self._paused = True
            self._source.pause(list(self._epochs))
        elif (begun or self._paused) and backlog < self._memory_bytes // 2 and not self._halted and not self._held:
            self._paused = False
            self._source.resume(list(self._epochs))

    def _read(self) -> None:
        chunks = self._held + self._source.read(READ_SECONDS)
        self._held = []
        if self._unmarked and not self._mark():
            self._held = chunks  # nothing is sent before it is known under which settings
            return
        if self._ask_ends and self._epochs and self._source.complete():
            self._ask_ends = False
            self._post(Ends(self._source.ends()))
        if self._halted:
            return
        read = []
        size = 0
        for chunk in chunks:
            epoch = self._epochs.get(chunk.partition)
            if epoch is not None:
                read.append((epoch, chunk.partition, chunk.last, self._route.split(chunk, self._note.slots)))
                size += len(chunk.payload)
        if read:
            if not self._warned.startswith(NOT_COMMITTED):
                self._warn("")
            self._post(Read(read, size))
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            self._post(Progress(self._source.progress()))
