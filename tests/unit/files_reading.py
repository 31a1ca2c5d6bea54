"""A collector in small, for the tests of the files source: reads what there is, commits when told, keeps every line."""
from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, Mapping, Sequence
from uuid import uuid4

from drtc.batch import Chunk
from drtc.encodings import Damage, unpack
from drtc.sources import SourceContext, make_source
from drtc.sources.base import Listener, Position
from drtc.sources.files import FilesSettings, FilesSource
from drtc.stores.memory import MemorySettings, MemoryStore
from drtc.stores.offsets import Offsets

NOTE = "route=partition;slots=16"


class Reading(Listener):
    """What one run of a collector sees. ``store`` outlives it; ``time`` is the source's clock."""

    def __init__(self, base: Path, store: str, *, bounded: bool = True, **settings: Any) -> None:
        offsets = Offsets(MemoryStore(MemorySettings(store)), "v")
        source = make_source(FilesSettings(**settings), SourceContext(base, "v", offsets, bounded))
        assert isinstance(source, FilesSource)
        self.source = source
        self.time = 1000.0
        self.source._clock = lambda: self.time
        self.positions: dict[str, Position] = {}
        self.reached: dict[str, int] = {}
        self.lines: dict[str, list[tuple[int, bytes | None]]] = defaultdict(list)
        self.damaged: dict[str, list[Damage]] = defaultdict(list)
        self.order: list[str] = []  # partitions, in the order of their chunks
        self.warnings: list[str] = []
        source.open(self, self.warnings.append)

    def assigned(self, positions: Mapping[str, Position]) -> None:
        self.positions.update(positions)
        self.reached.update({name: position.offset for name, position in positions.items()})

    def revoked(self, partitions: Sequence[str]) -> None:
        raise AssertionError("files are not taken away")

    lost = revoked

    def read(self) -> list[Chunk]:
        chunks = self.source.read(0.0)
        for chunk in chunks:
            assert chunk.first == self.reached[chunk.partition], "chunks follow each other without a gap"
            assert chunk.last >= chunk.first
            self.reached[chunk.partition] = chunk.last + 1
            messages = unpack(chunk.encoding, chunk.payload, chunk.first, chunk.last)
            self.lines[chunk.partition] += zip(messages.offsets, messages.values)
            self.damaged[chunk.partition] += messages.damaged
            self.order.append(chunk.partition)
        return chunks

    def drain(self, seconds: float = 0.0) -> "Reading":
        """Reads all that there is; with ``seconds``, goes on for so long by the source's clock."""
        until = self.time + seconds
        while self.read() or self.time < until:
            self.time += 0.5 if seconds else 0.0
        return self

    def commit(self, note: str = NOTE) -> "Reading":
        self.source.commit({name: Position(offset, note) for name, offset in self.reached.items()})
        return self

    def texts(self, name: str) -> list[bytes | None]:
        return [line for _, line in self.lines[name]]

    def all(self) -> list[bytes | None]:
        return [line for name in self.lines for line in self.texts(name)]

    def close(self) -> None:
        self.source.close()


def new_store() -> str:
    return uuid4().hex
