"""Runs a Job inline, for its author's tests: no socket, no process, no file.

Two mappers take turns, each with a Job object of its own, and their parts are merged in a store in memory: a Job that
assumes that one object sees every event fails here as it would in a cluster.
"""
from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, Mapping

from .batch import Batch, Counts, Header
from .compute.mapper import DeadLetter, Mapper
from .compute.merge import Merger, Piece
from .compute.pack import pack_parts, unpack_parts
from .compute.records import Layout
from .encodings.messages import pack
from .errors import JobError
from .job import Context, Job, describe
from .stores.base import Id, Key
from .stores.memory import MemorySettings, MemoryStore

MAPPERS = 2


@dataclass(frozen=True)
class Result:
    """What came of it.

    ``records`` maps a key (with windows: key and the window's start in epoch seconds) to ``{field: shown value}``;
    ``dead`` are the events that could not be counted; ``counts`` sums up.
    """

    records: dict[Any, dict[str, Any]]
    dead: list[DeadLetter]
    counts: Counts

    def __getitem__(self, key: Key | tuple[Key, float]) -> dict[str, Any]:
        return self.records[key]


def run(job: type[Job], messages: Iterable[bytes | str], *, options: Mapping[str, str] | None = None,
        base: str | Path = ".", strict: bool = True, batch: int = 3) -> Result:
    """Runs ``job`` over the messages, ``batch`` of them at a time.

    Args:
        options: what ``[job.options]`` would hold.
        base: where relative paths among the options begin.
        strict: raise for the first event that cannot be counted, instead of returning it in ``dead``.

    Raises:
        JobError: the Job is wrong, or (``strict``) an event could not be decoded or mapped.
    """
    spec = describe(job)
    layout = Layout(spec, 1)
    jobs = [job() for _ in range(MAPPERS)]
    for number, each in enumerate(jobs):
        each.open(Context(options=dict(options or {}), view=layout.view.name, base=Path(base), worker=number))
    mappers = [Mapper(spec, each) for each in jobs]
    store = MemoryStore(MemorySettings(name=f"testing {uuid.uuid4()}"))
    store.open()
    store.prepare(layout.view)
    merger = Merger(store, layout, 1000)
    raw = [message.encode() if isinstance(message, str) else message for message in messages]
    dead: list[DeadLetter] = []
    counts = Counts()
    for number, start in enumerate(range(0, len(raw), batch)):
        values = raw[start:start + batch]
        offsets = list(range(start, start + len(values)))
        payload = pack(offsets, values)
        header = Header("testing", 0, "", number, offsets[0], offsets[-1], len(values), "messages", len(payload))
        mapper = mappers[number % MAPPERS]
        batches = [Batch(header, payload)]
        mapped = mapper.run(batches) if spec.kind == "run" else mapper.map(batches)
        if strict and mapped.dead:
            first = mapped.dead[0]
            raise JobError(f"{spec.cls.__name__}: message {first.offset} ({first.raw[:80]!r}): {first.error}")
        dead += mapped.dead
        for share in mapped.counts:
            counts.add(share)
        parts = unpack_parts(pack_parts(mapped.parts, 1, layout.aggregates)[0], layout.aggregates)
        merger.add(Piece(number, mapped.spans, parts, [], lambda floors: mapper.refine(batches, floors)))
        merger.attempt()
    for each in jobs:
        each.close()
    fields = [column.name for column in layout.view.columns]
    records = {_name(row.id): dict(zip(fields, row.values)) for row in store.scan(layout.view)}
    return Result(records, dead, counts)


def _name(id: Id) -> Any:
    return id.key if id.start is None else (id.key, id.start)
