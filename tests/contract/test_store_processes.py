"""The store contract between processes: everybody sees every answered save, and a kill -9 takes none away."""
from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from drtc.stores import open_store
from drtc.stores.base import Column, Id, Row, View

from .backends import Backend

VIEW = View("shared", (Column("count", "integer"),))
SPAWN = multiprocessing.get_context("spawn")
ROWS = 100
ROUNDS = 20
SECONDS = 60.0


@pytest.fixture
def shared(backend: Backend) -> Backend:
    if not backend.shared:
        pytest.skip("this store is one process's own")
    return backend


def increment(settings: object, base: Path) -> None:
    """Adds 1 to each row, ROUNDS times, by load and conditional save."""
    store = open_store(settings, base)
    store.prepare(VIEW)
    for _ in range(ROUNDS):
        left = {Id(n) for n in range(ROWS)}
        while left:
            found = store.load(VIEW, list(left))
            counts = {id: (found[id].version, found[id].values[0]) if id in found else (0, 0) for id in left}
            left = store.save(VIEW, [Row(id, None, version, (count + 1,), b"")
                                     for id, (version, count) in counts.items()])
    store.close()


def write_for_ever(settings: object, base: Path, answered: Connection) -> None:
    store = open_store(settings, base)
    store.prepare(VIEW)
    number = 0
    while True:
        number += 1
        assert not store.save(VIEW, [Row(Id(f"{number}/{n}"), None, 0, (number,), b"") for n in range(10)])
        answered.send(number)


def test_processes_that_prepare_and_increment_at_once_lose_nothing(shared: Backend) -> None:
    processes = [SPAWN.Process(target=increment, args=(shared.settings, shared.base)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(SECONDS)
        assert process.exitcode == 0
    store = shared.open()
    store.prepare(VIEW)
    assert {row.values for row in store.scan(VIEW)} == {(3 * ROUNDS,)}
    assert {row.version for row in store.scan(VIEW)} == {3 * ROUNDS}
    store.close()


def test_kill_9_takes_no_answered_save_away(shared: Backend) -> None:
    for saves in (1, 20, 50):
        ours, theirs = SPAWN.Pipe(duplex=False)
        process = SPAWN.Process(target=write_for_ever, args=(shared.settings, shared.base, theirs))
        process.start()
        theirs.close()
        answered = 0
        while answered < saves:
            assert ours.poll(SECONDS)
            answered = ours.recv()
        process.kill()
        process.join()
        try:
            while True:
                answered = ours.recv()
        except EOFError:
            ours.close()
        store = shared.open()
        store.prepare(VIEW)
        counts: dict[int, int] = {}
        for row in store.scan(VIEW):
            counts[row.values[0]] = counts.get(row.values[0], 0) + 1
        assert set(range(1, answered + 1)) <= set(counts)
        store.drop(VIEW)
        store.close()
