"""Dead letters: events that could not be counted, kept whole in the store, and how they are counted later.

A replay is exact, too. It takes a session of its own, which is a lane to the fences; each letter gets a number in it,
durably, before anything is counted, and letters are counted in the order of their numbers. A replay that was killed is
taken up again by the next one; two at the same time count the same numbers in the same order, and the fences do the
rest.
"""
from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Iterator, Sequence

from .batch import Batch, Header
from .compute.letters import Letter, dead_view, read
from .compute.mapper import Mapped, Mapper
from .compute.merge import Merger, Piece
from .compute.records import Layout
from .errors import StoreError
from .stores.base import Id, Store, View

if TYPE_CHECKING:
    from .config import Config
    from .job import Job, JobSpec

BUNCH = 500  # letters counted at a time


class DeadLetters:
    """The dead letters of a job's view, for the command line."""

    def __init__(self, config: Config) -> None:
        from .stores import open_store

        self._config = config
        self._store = open_store(config.store, config.base)
        self._view = dead_view(config.view)
        self._store.prepare(self._view)

    def close(self) -> None:
        self._store.close()

    def list(self, limit: int | None = None) -> Iterator[Letter]:
        return map(read, self._store.scan(self._view, limit=limit))

    def get(self, name: str) -> Letter:
        """One of them.

        Raises:
            StoreError: there is none of that name.
        """
        row = self._store.load(self._view, [Id(name)]).get(Id(name))
        if row is None:
            raise StoreError(f"no dead letter {name} in {self._view.name}: see drtc dead list")
        return read(row)

    def replay(self, names: Sequence[str] = ()) -> tuple[int, int]:
        """Counts these letters, or all, by today's Job. Returns how many are counted now and how many stay dead.

        Raises:
            StoreError: no letter of that name. JobError: the Job cannot be opened.
        """
        from .compute.worker import close_job, open_job
        from .job import describe
        from .loading import load_job

        spec = describe(load_job(self._config.job.class_, self._config.base))
        layout = Layout(spec, self._config.job.version, self._config.job.name)
        self._store.prepare(layout.view)
        job = open_job(spec, self._config, layout.view.name, 0)
        replay = Replay(self._store, self._view, layout, spec, job, self._config.compute.cache_records)
        try:
            for name in names:
                self.get(name)
            return replay.run(set(names))
        finally:
            close_job(job)


class Replay:
    """One run over the dead letters."""

    def __init__(self, store: Store, view: View, layout: Layout, spec: JobSpec, job: Job, cache_records: int) -> None:
        self._store = store
        self._view = view
        self._mapper = Mapper(spec, job)
        self._ordered = spec.kind == "run"
        self._merger = Merger(store, layout, cache_records)
        self.cut = 0  # letters that cannot be counted: what is kept of them is not whole

    def run(self, names: set[str]) -> tuple[int, int]:
        sessions: dict[str, list[tuple[Letter, int]]] = {}
        fresh: list[tuple[Letter, int]] = []
        for row in self._store.scan(self._view):
            letter = read(row)
            if letter.cut:
                self.cut += letter.name in names or not names
            elif letter.session:
                sessions.setdefault(letter.session, []).append((letter, row.version))  # of a replay that was cut short
            elif not names or letter.name in names:
                fresh.append((letter, row.version))
        if fresh:
            session = uuid.uuid4().hex[:12]
            sessions[session] = self._number(session, fresh)
        counted = left = 0
        for session, letters in sessions.items():
            letters.sort(key=lambda pair: pair[0].number)
            for start in range(0, len(letters), BUNCH):
                done, stayed = self._count(session, letters[start:start + BUNCH])
                counted += done
                left += stayed
        return counted, left + self.cut

    def _number(self, session: str, letters: list[tuple[Letter, int]]) -> list[tuple[Letter, int]]:
        """Gives each letter its number, durably; one that another replay was quicker to take is left to it."""
        numbered = [(letter._replace(session=session, number=number), version)
                    for number, (letter, version) in enumerate(letters)]
        moved = self._store.save(self._view, [letter.row(version) for letter, version in numbered])
        return [(letter, version + 1) for letter, version in numbered if Id(letter.name) not in moved]

    def _count(self, session: str, letters: list[tuple[Letter, int]]) -> tuple[int, int]:
        from .encodings.messages import pack

        numbers = [letter.number for letter, _ in letters]
        payload = pack(numbers, [letter.raw for letter, _ in letters])
        header = Header(f"replay {session}", 0, session, 0, numbers[0], numbers[-1], len(letters), "messages",
                        len(payload))
        batches = [Batch(header, payload)]
        mapped = self._mapper.run(batches) if self._ordered else self._mapper.map(batches)
        self._merger.add(Piece(0, mapped.spans, mapped.parts, [], lambda floors: self._mapper.refine(batches, floors)))
        while True:
            outcome = self._merger.attempt()
            if outcome.delay is None:
                break
            time.sleep(outcome.delay)
        return self._sort_out(letters, mapped)

    def _sort_out(self, letters: list[tuple[Letter, int]], mapped: Mapped) -> tuple[int, int]:
        """Removes what was counted; what failed again stays, with its new error."""
        failed = {each.offset: each for each in mapped.dead}
        again = [
            letter._replace(error=failed[letter.number].error, traceback=failed[letter.number].traceback, session="",
                            number=-1).row(version)
            for letter, version in letters if letter.number in failed
        ]
        self._store.save(self._view, again)
        self._store.delete(self._view, [Id(letter.name) for letter, _ in letters if letter.number not in failed])
        return len(letters) - len(again), len(again)
