"""Text files: each is a source partition, its lines are messages, its offsets are byte positions."""
from __future__ import annotations

import os
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Callable, Mapping, Sequence
from uuid import uuid4

import msgspec

from ..batch import Chunk
from ..errors import SourceError
from ..stores.memory import MemorySettings, MemoryStore
from ..stores.offsets import Offsets
from ..values import Bytes, Natural, Seconds
from . import fixed
from .base import Listener, Position, Source
from .cutting import Limits, last_line_end
from .finding import Directory, unreadable
from .followed import Followed
from .ledger import Ledger
from .tail import Lost, Tail

if TYPE_CHECKING:
    from . import SourceContext

KiB, MiB = 1024, 1024 ** 2
_READ_BYTES = 4 * MiB  # about so much in one read
_WORD_SECONDS = 10.0  # between two words that there is nothing to read
_OPEN_FILES = 64  # that are read in turn, where files are not followed


@dataclass(frozen=True, slots=True)
class FilesSettings:
    """`type = files`: lines of text files, plain or (where not followed) `.gz`; offsets are kept in the store."""

    #: a file or a pattern such as `logs/**/*.csv`; several separated by commas or on lines of their own
    path: str
    #: go on reading as files grow, appear and are rotated; otherwise each is read to its end
    follow: bool = False
    #: lines to pass over at the beginning of each file
    skip_lines: Natural = 0
    #: how much of a file is forwarded in one piece
    chunk_bytes: Annotated[Bytes, msgspec.Meta(ge=4 * KiB)] = MiB
    #: a longer line becomes dead letters, in pieces of this size
    max_line_bytes: Annotated[Bytes, msgspec.Meta(ge=4 * KiB)] = 16 * MiB
    #: how often growing files are looked at (`follow`)
    poll: Annotated[Seconds, msgspec.Meta(gt=0)] = 0.05
    #: how often new and rotated files are looked for (`follow`)
    rescan: Annotated[Seconds, msgspec.Meta(gt=0)] = 1.0
    #: how long a rotated file must be quiet until it is taken for complete (`follow`)
    rotated: Annotated[Seconds, msgspec.Meta(gt=0)] = 10.0

    def __post_init__(self) -> None:
        if not self.path.strip(", \n"):
            raise ValueError("path: must name a file or a pattern")
        if self.max_line_bytes < self.chunk_bytes:
            raise ValueError("max_line_bytes: must be at least chunk_bytes")


class FilesSource(Source):
    """Hands out chunks of whole lines, the files in turn.

    A file is known by its content, not by its path alone, so that fences and offsets of one content are never applied
    to another; what it is known by is durable before its first byte is handed out.
    """

    guarantee = "exactly once: byte positions in the store, fences in every record"

    def __init__(self, settings: FilesSettings, context: SourceContext) -> None:
        self._settings = settings
        self._limits = Limits(settings.chunk_bytes, settings.max_line_bytes, settings.skip_lines)
        self._directory = Directory(context.base, settings.path)
        self._bounded = context.bounded
        self._offsets = context.offsets or Offsets(MemoryStore(MemorySettings(uuid4().hex)), context.view)
        self._closed = threading.Event()
        self._lock = threading.RLock()  # against close from another thread
        self._clock = time.monotonic
        self._followed: Followed | None = None
        self._tails: dict[str, Tail] = {}
        self._turn: deque[Tail] = deque()  # read one after the other
        self._queue: deque[Tail] = deque()  # fixed files that wait for their turn
        self._ends: dict[str, int] = {}  # of fixed files that were read to their end
        self._broken: dict[str, str] = {}  # fixed files that end in damage, and what it is
        self._next_look = float("-inf")
        self._next_word = float("-inf")
        self._started = False

    def open(self, listener: Listener, warn: Callable[[str], None]) -> None:
        self._listener, self._warn = listener, warn
        self._ledger = Ledger(self._offsets, self._closed, warn, lambda: self._clock())
        if (self._bounded or not self._settings.follow) and not self._directory.matches():
            raise self._directory.none()
        entries = self._ledger.load() or {}
        if self._settings.follow:
            self._followed = Followed(self._directory, entries, self._ledger, warn)
            self._tails = self._followed.tails
        else:
            self._tails = {tail.name: tail for tail in fixed.find(self._directory, entries, self._ledger, warn)}

    def read(self, timeout: float) -> list[Chunk]:
        deadline = self._clock() + timeout
        while True:
            with self._lock:
                if self._closed.is_set():
                    return []
                self._ledger.retry()
                chunks = self._follow(self._followed) if self._followed else self._fixed()
            left = deadline - self._clock()
            if chunks or left <= 0:
                return chunks
            self._closed.wait(min(left, self._settings.poll))

    def pause(self, partitions: Sequence[str]) -> None:
        self._pause(partitions, True)

    def resume(self, partitions: Sequence[str]) -> None:
        self._pause(partitions, False)

    def seek(self, partition: str, offset: int) -> None:
        tail = self._tails[partition]
        tail.seek(offset)
        if tail not in self._turn and tail not in self._queue:
            self._queue.append(tail)

    def commit(self, offsets: Mapping[str, Position]) -> None:
        entries = {name: self._tails[name].entry(position.offset, position.note)
                   for name, position in offsets.items() if name in self._tails}
        self._ledger.commit(entries)
        for name, entry in entries.items():
            self._tails[name].has_committed(entry)

    def ends(self) -> dict[str, int]:
        return {tail.name: self._end(tail) for tail in self._tails.values() if tail.assigned}

    def complete(self) -> bool:
        """Of a compressed file only reading to its end tells where that is."""
        if self._followed:
            return self._started and not self._followed.undecided
        return self._started and all(name in self._ends for name in self._tails if name.endswith(".gz"))

    def progress(self) -> dict[str, int]:
        found = {}
        for tail in self._tails.values():
            if tail.assigned:
                size = tail.content.about() if tail.content else self._ends.get(tail.name, tail.reached)
                found[tail.name] = max(size, tail.reached)
        return found

    def close(self) -> None:
        self._closed.set()
        with self._lock:
            for tail in self._tails.values():
                tail.close()
            self._offsets.close()

    # --- files that are fixed ---

    def _fixed(self) -> list[Chunk]:
        if not self._started:
            self._started = True
            self._assign(list(self._tails.values()), self._queue)
        chunks = self._round(self._next_of_fixed)
        if not chunks and not self._turn and not self._queue:
            self._refuse_broken()
        return chunks

    def _next_of_fixed(self, tail: Tail) -> Chunk | None:
        path = self._directory.absolute(tail.name)
        try:
            if tail.content is None:
                tail.open(path)
            chunk = tail.next(self._limits, final=True)
        except Lost:
            raise SourceError(f"{path}: was changed while it was read: set [source] follow = yes for files that"
                              f" change") from None
        except OSError as error:
            raise unreadable(path, error) from error
        if chunk is None and tail.content is not None:
            self._ends[tail.name] = tail.position
            if tail.content.damage:
                self._broken[tail.name] = tail.content.damage
                self._warn(f"{path}: is damaged: {tail.content.damage}")
            tail.close()
            self._turn.remove(tail)
        return chunk

    def _refuse_broken(self) -> None:
        """A damaged file ends the run, once all that can be read of it, and of the others, is stored."""
        if self._broken and all(tail.committed >= tail.reached for tail in self._tails.values()):
            raise SourceError("; ".join(
                f"{self._directory.absolute(name)}: is damaged behind byte {self._ends[name]} of its content ({damage})"
                for name, damage in self._broken.items())
                + ": what comes before is counted; put a whole file in its place and start again")

    # --- files that are followed ---

    def _follow(self, followed: Followed) -> list[Chunk]:
        now = self._clock()
        if now >= self._next_look:
            self._next_look = now + self._settings.rescan
            self._assign(followed.look(now), self._turn)
            self._started = True
            if not self._turn and now >= self._next_word:
                self._next_word = now + _WORD_SECONDS
                self._warn(f"waiting for files that match {', '.join(self._directory.patterns)}")
        behind = [(tail.card.home, tail.card.generation) for tail in self._turn if tail.rotated and tail.unread]

        def next_of_followed(tail: Tail) -> Chunk | None:
            # what was rotated away comes before what was written after it
            if any(home == tail.card.home and older < tail.card.generation for home, older in behind):
                return None
            return self._next_of_followed(tail, now)

        return self._round(next_of_followed)

    def _next_of_followed(self, tail: Tail, now: float) -> Chunk | None:
        try:
            if not self._remember_head(tail):
                return None
            chunk = tail.next(self._limits, final=tail.compressed)
            if chunk is None and tail.rotated and now - tail.quiet_since >= self._settings.rotated:
                chunk = tail.next(self._limits, final=True)
                if chunk is None and tail.committed >= tail.reached:
                    self._finish(tail)
                elif tail.content is None and tail.position < tail.reached:
                    raise SourceError(f"{self._directory.absolute(tail.card.home)}: was truncated before all that was"
                                      f" read of it was stored, and no copy of it is found: start again to go on"
                                      f" without bytes {tail.position} to {tail.reached - 1}")
        except Lost:
            tail.close()
            tail.rotated = True
            tail.quiet_since = now
            self._next_look = now  # what stands there now is something new; the rest may be in a copy
            return None
        except OSError as error:
            raise unreadable(self._directory.absolute(tail.card.home), error) from error
        if chunk is not None:
            tail.quiet_since = now
        return chunk

    def _remember_head(self, tail: Tail) -> bool:
        """Makes durable what a grown file is known by, before more of it is handed out."""
        head = tail.longer_head()
        if head is None:
            return True
        tail.card = tail.card._replace(marks=(head, *tail.card.marks[1:]))
        return self._ledger.register({tail.name: tail.entry(tail.committed, tail.note)})

    def _finish(self, tail: Tail) -> None:
        """All of a rotated file is stored."""
        if tail.content is None:
            self._warn(f"{self._directory.absolute(tail.card.home)}: was truncated, and no copy of what it held is"
                       f" found: lines that were written just before and not read yet are lost")
        elif tail.content.damage:
            self._warn(f"{self._directory.absolute(tail.card.home)}: its compressed copy is damaged:"
                       f" {tail.content.damage}")
        tail.card = tail.card._replace(finished=True)
        self._ledger.save_later({tail.name: tail.entry(tail.committed, tail.note)})
        tail.close()
        self._turn.remove(tail)

    # --- both ---

    def _assign(self, tails: Sequence[Tail], queue: deque[Tail]) -> None:
        fresh = [tail for tail in tails if not tail.assigned]
        for tail in fresh:
            tail.assigned = True
        queue.extend(tail for tail in tails if tail not in self._turn)
        if fresh:
            self._listener.assigned({tail.name: Position(tail.committed, tail.note) for tail in fresh})

    def _round(self, next_chunk: Callable[[Tail], Chunk | None]) -> list[Chunk]:
        """A chunk of each file in turn, as long as there are any and the read is not full."""
        chunks: list[Chunk] = []
        size = idle = 0
        while size < _READ_BYTES:
            while self._queue and len(self._turn) < _OPEN_FILES:
                self._turn.append(self._queue.popleft())
            if idle >= len(self._turn):
                break
            tail = self._turn[0]
            self._turn.rotate(-1)
            chunk = None if tail.paused else next_chunk(tail)
            if chunk is not None:
                chunks.append(chunk)
                size += len(chunk.payload)
                idle = 0
            elif tail in self._turn:  # not if that was its end
                idle += 1
        return chunks

    def _pause(self, names: Sequence[str], paused: bool) -> None:
        for name in names:
            if name in self._tails:
                self._tails[name].paused = paused

    def _end(self, tail: Tail) -> int:
        if tail.name in self._broken:
            return self._ends[tail.name] + 1  # is never reached: the run ends with an error
        if tail.name in self._ends:
            return self._ends[tail.name]
        path = self._directory.absolute(tail.card.home)
        try:
            if self._followed is None:
                return os.stat(path).st_size
            size = tail.content.size() if tail.content else None
            if size is None or tail.content is None:
                return tail.reached
            return max(tail.committed, last_line_end(tail.content, size))
        except OSError as error:
            raise unreadable(path, error) from error
