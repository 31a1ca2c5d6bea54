"""One content of a file that is being read: where reading stands, and what must be remembered to stand there again."""
from __future__ import annotations

from collections import deque

from ..batch import Chunk
from ..stores.offsets import Entry
from .content import HEAD_BYTES, TAIL_BYTES, Content, Gzip, Mark, Plain, mark, open_content
from .cutting import Limits, cut, starts_line
from .rotation import Card, card


class Lost(Exception):
    """The file does not hold the content any more: it was truncated, or written anew."""


class Tail:
    """Reads from ``content`` while that is open; who owns the tail opens and closes it."""

    def __init__(self, name: str, entry: Entry) -> None:
        self.name = name
        self.card: Card = card(entry.detail)
        self.committed = entry.offset
        self.note = entry.note
        self.position = entry.offset  # the next byte to hand out
        self.reached = entry.offset  # the greatest position so far
        self.content: Content | None = None
        self.assigned = False
        self.paused = False
        self.rotated = False  # its file is not at ``card.home`` any more
        self.quiet_since = 0.0  # since when nothing was added to it, or its file is lost
        self._in_line: bool | None = None  # None: not known
        self._looked: tuple[int | None, int] | None = None  # the content's stamp when it had no more whole line
        self._ends: deque[tuple[int, Mark]] = deque()  # of chunks handed out and not committed

    def open(self, path: str) -> None:
        """Takes the file as the content; raises OSError."""
        self.close()
        self.content = open_content(path)
        self._in_line = self._looked = None

    def close(self) -> None:
        if self.content is not None:
            self.content.close()
            self.content = None

    def seek(self, offset: int) -> None:
        self.position = offset
        self._in_line = self._looked = None

    @property
    def compressed(self) -> bool:
        return isinstance(self.content, Gzip)

    @property
    def unread(self) -> bool:
        """Whether there may be a whole line to read now."""
        return self.content is not None and (self.content.size() != self.position
                                             and self.content.stamp() != self._looked)

    def next(self, limits: Limits, final: bool) -> Chunk | None:
        """The next chunk, None if there is none now.

        Raises:
            Lost: and nothing has changed here. OSError: the file cannot be read.
        """
        content = self.content
        if content is None:
            return None
        stamp = content.stamp()
        if not final and stamp == self._looked:
            return None
        size = stamp[0]
        if size is not None and (size < self.position or size == self.position and not content.holds(self._head)):
            raise Lost
        if not final and size == self.position:
            self._looked = stamp
            return None
        if self._in_line is None:
            self._in_line = not starts_line(content, self.position)
        piece = cut(content, self.position, self._in_line, final, limits)
        if piece is None:
            self._looked = stamp
            return None
        chunk = Chunk(self.name, self.position, piece.end - 1, piece.lines, "lines", piece.payload)
        start = max(self.position, piece.end - TAIL_BYTES)
        tail = mark(start, content.read(start, piece.end - start))
        # looked at after reading: before, it would say nothing about the bytes that were read
        if isinstance(content, Plain) and not (content.size() >= piece.end and content.holds(self._head)):
            raise Lost
        self._ends.append((piece.end, tail))
        self.position = piece.end
        self.reached = max(self.reached, piece.end)
        self._in_line = not piece.whole
        return chunk

    @property
    def _head(self) -> tuple[Mark, ...]:
        return self.card.marks[:1]

    def longer_head(self) -> Mark | None:
        """The mark of the beginning if it should be remembered anew, since the file has grown; raises Lost."""
        known = self.card.marks[0]
        if known.size >= HEAD_BYTES or self.content is None:
            return None
        begin = self.content.read(0, HEAD_BYTES)
        if mark(0, begin[:known.size]) != known:
            raise Lost
        return mark(0, begin) if len(begin) >= min(HEAD_BYTES, max(1, 2 * known.size)) else None

    def entry(self, offset: int, note: str) -> Entry:
        """What to commit, so that everything below ``offset`` is known to be stored."""
        tail = None
        for end, found in self._ends:
            if end > offset:
                break
            tail = found
        found_again = self.card if tail is None else self.card._replace(marks=(self.card.marks[0], tail))
        return Entry(offset, note, found_again.plain())

    def has_committed(self, entry: Entry) -> None:
        """The entry is durable."""
        self.committed = max(self.committed, entry.offset)
        self.note, self.card = entry.note, card(entry.detail)
        while self._ends and self._ends[0][0] <= entry.offset:
            self._ends.popleft()
