"""``stores``: what each store takes by conditional saves of so many rows, from one process and two, and gives back.

Every save is counted by its version: at the end the versions in the store must add up to the saves that were answered.
"""
from __future__ import annotations

import multiprocessing
import tempfile
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple, Sequence

from drtc.stores import open_store
from drtc.stores.base import Column, Id, Row, Store, View

from ..contract.backends import BACKENDS, Backend, made
from ..services import Absent, Servers
from .processes import cpu_of
from .report import Report, middle, spread

VIEW = View("bench", (Column("views", "integer"), Column("rate", "real"), Column("last", "text"),
                      Column("recent", "json")))
VALUES = (1, 0.5, "doc00001", ["doc00001", "doc00002", "doc00003"])
HIDDEN = bytes(range(200))  # a fence, and the states again
SPAWN = multiprocessing.get_context("spawn")
PATIENCE = 120.0  # seconds, beyond those of the measurement
SLICES = 5  # of a measurement; the median of their speeds counts
KINDS = ("new", "update", "update x2", "same rows x2", "load")


class Round(NamedTuple):
    """One call or, where versions had moved, as many as it took."""

    began: float  # seconds of a clock that all processes share
    ended: float
    records: int


@dataclass
class Tally:
    """What one process did."""

    rounds: list[Round] = field(default_factory=list)
    conflicts: int = 0  # saves that found another version
    cpu: float = 0.0  # seconds

    @property
    def records(self) -> int:
        return sum(each.records for each in self.rounds)


class Measured(NamedTuple):
    """What one or more processes did at the same time."""

    tallies: Sequence[Tally]
    server: float = 0.0  # CPU seconds

    @property
    def records(self) -> int:
        return sum(tally.records for tally in self.tallies)

    @property
    def conflicts(self) -> int:
        return sum(tally.conflicts for tally in self.tallies)

    @property
    def speeds(self) -> list[float]:
        """Records a second in each slice of the time in which all were at work. A store that serves one process after
        the other is not faster for it: what counts is what comes out of all together."""
        begin = max(tally.rounds[0].began for tally in self.tallies)
        width = (min(tally.rounds[-1].ended for tally in self.tallies) - begin) / SLICES
        return [sum(each.records * max(0.0, min(each.ended, end) - max(each.began, end - width))
                    / (each.ended - each.began) for tally in self.tallies for each in tally.rounds) / width
                for end in (begin + width * number for number in range(1, SLICES + 1))]

    @property
    def cpu_us(self) -> float:
        return sum(tally.cpu for tally in self.tallies) / self.records * 1e6


Work = Callable[[Store, Sequence[Id], Tally], None]  # one round


def rows(versions: dict[Id, int]) -> list[Row]:
    return [Row(id, None, version, VALUES, HIDDEN) for id, version in versions.items()]


def create(store: Store, ids: Sequence[Id], tally: Tally) -> None:
    """Rows that nobody has seen: the ids are given anew in each round."""
    serial = len(tally.rounds)
    moved = store.save(VIEW, rows({Id(f"{id.key}-{serial}"): 0 for id in ids}))
    tally.conflicts += len(moved)


def load(store: Store, ids: Sequence[Id], tally: Tally) -> None:
    found = store.load(VIEW, ids)
    if len(found) != len(ids):
        raise RuntimeError(f"{len(ids) - len(found)} rows of {len(ids)} were not found")


class Update:
    """As a worker does it: versions are remembered, and looked up again where they have moved. What was lost to
    somebody else is saved again until it is through."""

    def __init__(self) -> None:
        self._versions: dict[Id, int] = {}

    def __call__(self, store: Store, ids: Sequence[Id], tally: Tally) -> None:
        left = list(ids)
        while left:
            missing = [id for id in left if id not in self._versions]
            if missing:
                self._versions |= {id: row.version for id, row in store.load(VIEW, missing).items()}
            moved = store.save(VIEW, rows({id: self._versions[id] for id in left}))
            tally.conflicts += len(moved)
            for id in left:
                if id in moved:
                    del self._versions[id]
                else:
                    self._versions[id] += 1
            left = list(moved)


def repeat(work: Work, store: Store, ids: Sequence[Id], seconds: float) -> Tally:
    """Does it again and again for so long, at least twice."""
    tally = Tally()
    until = time.monotonic() + seconds
    before = time.process_time()
    while len(tally.rounds) < 2 or time.monotonic() < until:
        began = time.monotonic()
        work(store, ids, tally)
        tally.rounds.append(Round(began, time.monotonic(), len(ids)))
    tally.cpu = time.process_time() - before
    return tally


def _beside(settings: Any, base: Path, ids: Sequence[Id], seconds: float, link: Connection) -> None:
    """The other process: opens its own store, waits for the word, updates, and tells."""
    store = open_store(settings, base)
    store.prepare(VIEW)
    store.load(VIEW, ids)
    link.send("ready")
    link.recv()
    link.send(repeat(Update(), store, ids, seconds))
    store.close()


def together(settings: Any, base: Path, shares: Sequence[Sequence[Id]], seconds: float) -> list[Tally]:
    """A process for each share of rows, all at the same time.

    Raises:
        RuntimeError: one of them failed or hangs.
    """
    links: list[Connection] = []
    processes = []
    try:
        for share in shares:
            ours, theirs = SPAWN.Pipe()
            process = SPAWN.Process(target=_beside, args=(settings, base, share, seconds, theirs))
            process.start()
            theirs.close()
            links.append(ours)
            processes.append(process)
        for link in links:
            _answer(link, PATIENCE)
        for link in links:
            link.send("go")
        return [_answer(link, PATIENCE + seconds) for link in links]
    finally:
        for process in processes:
            process.join(5)
            process.kill()
            process.join()
        for link in links:
            link.close()


def _answer(link: Connection, patience: float) -> Any:
    try:
        if link.poll(patience):
            return link.recv()
    except EOFError:
        pass
    raise RuntimeError("another process of the benchmark failed or hangs: see what it said above")


def measure(backend: Backend, store: Store, count: int, seconds: float,
            more: dict[str, str]) -> Iterator[tuple[str, Measured]]:
    """Everything that is measured of one store, each for so many seconds, by its name in ``KINDS``.

    Raises:
        RuntimeError: the versions in the store do not add up to the saves that were answered.
    """
    def watched(run: Callable[[], list[Tally]]) -> Measured:
        before = _server_cpu(backend)
        return Measured(run(), _server_cpu(backend) - before)

    store.prepare(VIEW)
    ids = [Id(f"row-{number}") for number in range(count)]
    others = [Id(f"other-{number}") for number in range(count)]
    new = watched(lambda: [repeat(create, store, ids, seconds)])
    if new.tallies[0].conflicts:
        raise RuntimeError(f"{new.tallies[0].conflicts} new rows were said to be there already")
    yield "new", new
    answered = new.records + 2 * count
    if store.save(VIEW, rows(dict.fromkeys([*ids, *others], 0))):
        raise RuntimeError("new rows were said to be there already")
    alone = watched(lambda: [repeat(Update(), store, ids, seconds)])
    yield "update", alone
    answered += alone.records
    if backend.shared:
        settings = made({**backend.section, **more})
        for name, shares in (("update x2", [ids, others]), ("same rows x2", [ids, ids])):
            two = watched(lambda: together(settings, backend.base, shares, seconds))
            yield name, two
            answered += two.records
    yield "load", watched(lambda: [repeat(load, store, ids, seconds)])
    found = sum(row.version for row in store.scan(VIEW))
    if found != answered:
        raise RuntimeError(f"the versions add up to {found:,}, but {answered:,} saves were answered")


def _server_cpu(backend: Backend) -> float:
    """CPU seconds of the store's server so far, as far as it is one process of ours."""
    try:
        return cpu_of(backend.server.pid) if backend.server is not None else 0.0
    except AssertionError:
        return 0.0  # it was not started by us


def run(types: Sequence[str], count: int, seconds: float, sets: Sequence[str]) -> int:
    """Measures the stores one after the other; those that cannot be had are said."""
    report = Report("stores", {"types": list(types), "rows": count, "seconds": seconds, "set": list(sets)})
    more = dict(each.partition("=")[::2] for each in sets)
    lines: list[list[object]] = []
    servers = Servers()
    try:
        for name in types or list(BACKENDS):
            print(name, flush=True)
            try:
                lines.append(_store(report, servers, name, count, seconds, more))
            except Absent as absent:
                print(f"ABSENT: {absent}")
    finally:
        servers.close()
    report.table(f"records/s by conditional saves of {count:,} rows of 4 columns and {len(HIDDEN)} bytes hidden"
                 " (medians; x2: two processes together)",
                 ["store", *KINDS, "conflicts", "CPU us/record, client", "server", "right"], lines)
    return report.close()


def _store(report: Report, servers: Servers, name: str, count: int, seconds: float,
           more: dict[str, str]) -> list[object]:
    found: dict[str, Measured] = {}
    right = True
    with tempfile.TemporaryDirectory(prefix="drtc-bench-") as directory, \
            BACKENDS[name](Path(directory), servers) as backend:
        store = backend.open(**more)
        try:
            for kind, measured in measure(backend, store, count, seconds, more):
                found[kind] = measured
                report.run(store=name, kind=kind, per_second=middle(measured.speeds), spread=spread(measured.speeds),
                           cpu_us=measured.cpu_us, server_us=measured.server / measured.records * 1e6,
                           conflicts=measured.conflicts, records=measured.records)
        except RuntimeError as error:
            right = report.right = False
            print(f"WRONG: {name}: {error}")
        store.close()
    meeting, update = found.get("same rows x2"), found.get("update")
    return [name, *(middle(found[kind].speeds) if kind in found else "" for kind in KINDS),
            f"{meeting.conflicts / meeting.records:.0%}" if meeting else "", update.cpu_us if update else "",
            update.server / update.records * 1e6 if update else "", right]
