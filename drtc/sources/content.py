"""What a file holds, plain or compressed, read by position; and marks, by which the same content is known again."""
from __future__ import annotations

import gzip
import os
import zlib
from abc import ABC, abstractmethod
from typing import NamedTuple

HEAD_BYTES = 1024
TAIL_BYTES = 256
_BLOCK = 1 << 16


class Mark(NamedTuple):
    """The checksum of a stretch of bytes."""

    start: int
    size: int
    crc: int


def mark(start: int, stretch: bytes) -> Mark:
    return Mark(start, len(stretch), zlib.crc32(stretch))


class Content(ABC):
    """An open file. ``identity`` is its device and inode."""

    identity: tuple[int, int]
    damage = ""  # why nothing more can be read, once that is so

    @abstractmethod
    def read(self, position: int, size: int) -> bytes:
        """The bytes from ``position`` on; fewer than ``size`` only where the content ends now, or is damaged."""

    @abstractmethod
    def size(self) -> int | None:
        """How many bytes there are at this moment; None where only reading can tell."""

    def stamp(self) -> tuple[int | None, int]:
        """Changes whenever the content changes."""
        return self.size(), 0

    @abstractmethod
    def about(self) -> int:
        """How many bytes there are, or a guess."""

    @abstractmethod
    def close(self) -> None: ...

    def head(self) -> Mark:
        """The mark of the beginning, as much of it as there is."""
        return mark(0, self.read(0, HEAD_BYTES))

    def holds(self, marks: tuple[Mark, ...]) -> bool:
        """Whether the content is, as far as can be seen, what the marks were made of."""
        return all(mark(known.start, self.read(known.start, known.size)) == known for known in marks)


class Plain(Content):
    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        status = os.fstat(self._file)
        self.identity = status.st_dev, status.st_ino

    def read(self, position: int, size: int) -> bytes:
        found = os.pread(self._file, size, position)
        while found and len(found) < size:
            more = os.pread(self._file, size - len(found), position + len(found))
            if not more:
                break
            found += more
        return found

    def size(self) -> int:
        return os.fstat(self._file).st_size

    about = size

    def stamp(self) -> tuple[int | None, int]:
        status = os.fstat(self._file)
        return status.st_size, status.st_mtime_ns

    def close(self) -> None:
        os.close(self._file)


class Gzip(Content):
    """Positions are those of the decompressed bytes. Going back means decompressing again from the beginning."""

    def __init__(self, path: str) -> None:
        self._raw = open(path, "rb")
        status = os.fstat(self._raw.fileno())
        self.identity = status.st_dev, status.st_ino
        self._compressed = status.st_size
        self._file = gzip.GzipFile(fileobj=self._raw)
        self._size: int | None = None
        self._at = 0  # up to where it is decompressed
        self._buffer = bytearray()  # the bytes before _at, from the position on that was asked for last

    def read(self, position: int, size: int) -> bytes:
        if position < self._at - len(self._buffer):
            self._raw.seek(0)
            self._file = gzip.GzipFile(fileobj=self._raw)
            self._at = 0
            self._buffer.clear()
        del self._buffer[:position - (self._at - len(self._buffer))]
        while self._at < position and self._more(min(_BLOCK, position - self._at)):
            self._buffer.clear()
        while len(self._buffer) < size and position + len(self._buffer) == self._at:
            if not self._more(min(_BLOCK, size - len(self._buffer))):
                break
        return bytes(self._buffer[:size])

    def _more(self, size: int) -> int:
        """Decompresses a little more; 0 at the end."""
        if self._at == self._size:
            return 0
        try:
            found = self._file.read1(size)
        except (EOFError, OSError, zlib.error) as error:
            self.damage = str(error) or type(error).__name__
            found = b""
        if not found:
            self._size = self._at
        self._at += len(found)
        self._buffer += found
        return len(found)

    def size(self) -> int | None:
        return self._size

    def about(self) -> int:
        if self._size is not None:
            return self._size
        done = self._raw.tell()
        return self._at * self._compressed // done if done else self._compressed

    def close(self) -> None:
        self._file.close()
        self._raw.close()


def open_content(path: str) -> Content:
    """Opens a file for reading.

    Raises:
        OSError: it is not there or may not be read.
    """
    return Gzip(path) if path.endswith(".gz") else Plain(path)
