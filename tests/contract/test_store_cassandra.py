"""What only the Cassandra store has: partitions and transactions of several rows, a page's session, its refusals."""
from __future__ import annotations

import random
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from drtc.compute.records import Layout
from drtc.errors import StoreError, StoreUnavailable
from drtc.examples.flights import Flights
from drtc.job import describe
from drtc.stores import open_store
from drtc.stores.base import Column, Id, Row, Store, View
from drtc.stores.cassandra import CassandraSettings, replication, survives
from drtc.values import Address

from ..services import Cassandra
from ..services.base import free_port
from .backends import Backend, eventually

ONLY = ["cassandra"]
PAGE = Path(__file__).parents[2] / "docs" / "store_cassandra.md"
VIEW = View("v", (Column("n", "integer"), Column("name", "text")))
WINDOWED = View("w", (Column("n", "integer"),), windowed=True)
MOST_SECONDS = 60.0


@pytest.fixture
def server(backend: Backend) -> Cassandra:
    assert isinstance(backend.server, Cassandra)
    return backend.server


def row(key: str | int, version: int = 0, n: int | None = 1, hidden: bytes = b"") -> Row:
    return Row(Id(key), None, version, (n, None), hidden)


def window(key: str, start: float, version: int = 0, n: int = 1) -> Row:
    return Row(Id(key, start), start + 10, version, (n,), b"")


def refusal(backend: Backend, **more: str) -> str:
    with pytest.raises(StoreError) as caught:
        backend.open(**more).prepare(VIEW)
    assert not caught.value.retryable, caught.value
    return str(caught.value)


def test_people_read_the_rows_as_the_page_shows(backend: Backend, store: Store, tmp_path: Path) -> None:
    view = Layout(describe(Flights), 1).view
    assert [column.name for column in view.columns] == [
        "flights", "cancellations", "mean_delay", "worst_delay", "delays", "destinations"]
    store.prepare(view)
    new_year, day = 1356998400.0, 86400.0
    destinations = [["DFW", 20], ["MIA", 19]]
    assert not store.save(view, [
        Row(Id(key, start), start + day, 0, values, b"hidden") for key, start, values in (
            ("UA", new_year, (165, 0, 7.6, 144, None, None)),
            ("UA", new_year + day, (170, 1, 9.5, 379, None, None)),
            ("UA", new_year + 2 * day, (159, 1, 1.5, 33, None, None)),
            ("AA", new_year, (94, 2, 7.25, 75, [0.5], destinations)))])
    page = PAGE.read_text("utf-8")
    script, = re.findall(r"```python cql\.py\n(.*?)```", page, re.S)
    (tmp_path / "cql.py").write_text(script.replace("9042", backend.section["hosts"].rpartition(":")[2])
                                     .replace('"drtc"', f'"{backend.section["keyspace"]}"'))
    session, = re.findall(r"```console\n(.*?)```", page, re.S)
    commands = re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", session, re.M)
    assert len(commands) == 3
    for command, shown in commands:
        python, *arguments = shlex.split(command)
        done = subprocess.run([sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.stdout == shown, done.stderr


def test_windows_within_a_millisecond_are_exact(store: Store) -> None:
    store.prepare(WINDOWED)
    starts = [0.1 + 0.2, 0.3, 1e-9, -1e-9, 1234567890.0001, 1234567890.0002, -1e18, 1e18]
    assert not store.save(WINDOWED, [window("a", start, n=at) for at, start in enumerate(starts)])
    found = list(store.scan(WINDOWED, "a"))
    assert [row.id.start for row in found] == sorted(starts)
    assert {row.id.start: row.values[0] for row in found} == {start: at for at, start in enumerate(starts)}
    assert all(row.id.start is not None and row.end == row.id.start + 10 for row in found)
    assert store.save(WINDOWED, [window("a", -0.0)]) == set()
    assert store.save(WINDOWED, [window("a", 0.0)]) == {Id("a", 0.0)}, "one window, however its start is written"


@pytest.mark.parametrize("buckets", ["0", "2"])
def test_one_row_that_moved_does_not_hold_up_the_others(backend: Backend, buckets: str) -> None:
    """Rows of one partition are one transaction, all or none: who is left goes in the next."""
    store = backend.open(buckets=buckets)
    for view in (VIEW, WINDOWED):
        store.prepare(view)
    seed = random.SystemRandom().getrandbits(32)
    rng = random.Random(seed)
    for view in (WINDOWED, VIEW):
        truth: dict[Id, Row] = {}
        for n in range(12):
            batch = {}
            for _ in range(rng.randrange(1, 8)):
                key, start = rng.choice(["a", "b", "1"]), float(rng.randrange(3))
                made = window(key, start, rng.randrange(3), n) if view.windowed else row(
                    f"{key}{start}", rng.randrange(3), n)
                batch[made.id] = made
            expected = {id for id, made in batch.items() if (truth[id].version if id in truth else 0) != made.version}
            assert store.save(view, list(batch.values())) == expected, f"seed {seed}"
            truth.update({id: made._replace(version=made.version + 1)
                          for id, made in batch.items() if id not in expected})
            assert store.load(view, list(batch)) == {id: truth[id] for id in batch if id in truth}, f"seed {seed}"
        assert {found.id: found for found in store.scan(view)} == truth, f"seed {seed}"
        some = next(iter(truth))
        assert [found.id.key for found in store.scan(view, some.key)] == [
            some.key for id in truth if id.key == some.key]
        store.delete(view, truth)
        assert list(store.scan(view)) == []
    store.close()
    assert re.search(r"exists with other columns.*raise \[job\] version", refusal(backend, buckets="3"))


def test_a_frozen_server_is_given_up_and_then_used_again(backend: Backend, server: Cassandra) -> None:
    store = backend.open(timeout="1")
    store.prepare(VIEW)
    eventually(lambda: store.save(VIEW, [row("a")]))
    server.freeze()
    try:
        for attempt in (lambda: store.save(VIEW, [row(n) for n in range(600)]), store.health,
                        lambda: store.load(VIEW, [Id("a")])):
            with pytest.raises(StoreUnavailable, match="no answer within 1 s|cannot be reached"):
                attempt()
    finally:
        server.thaw()
    eventually(lambda: store.save(VIEW, [row(n) for n in range(600)]))
    assert len(list(store.scan(VIEW))) == 601
    store.close()


def test_a_killed_server_keeps_what_was_answered(backend: Backend, server: Cassandra) -> None:
    store = backend.open(timeout="5")
    assert store.survives == "killed servers and a power cut"
    store.prepare(VIEW)
    eventually(lambda: store.save(VIEW, [row(n) for n in range(50)]))
    server.kill()
    with pytest.raises(StoreUnavailable):
        store.save(VIEW, [row(50)])
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        store.health()
    server.start()
    assert eventually(lambda: store.save(VIEW, [row(n) for n in range(60)])) == {Id(n) for n in range(50)}
    store.close()


def test_a_server_that_is_not_there_is_waited_for() -> None:
    for host in ("127.0.0.1", "no-such-host.invalid"):
        with pytest.raises(StoreUnavailable, match=rf"{host}:.*cannot be reached.*: is it running\? see \[sto"):
            open_store(CassandraSettings(hosts=(Address(host, free_port()),), timeout=2.0), Path())


def test_users_without_rights(backend: Backend, server: Cassandra, store: Store) -> None:
    wrong = refusal(backend, password="wrong-one")
    assert "refuses the user 'cassandra': set [store] user and password" in wrong and "wrong-one" not in wrong
    assert "refuses the user '(none)'" in refusal(backend, user="", password="")
    keyspace = backend.section["keyspace"]
    with server.session() as session:
        session.execute(f"CREATE ROLE {keyspace} WITH LOGIN = true AND PASSWORD = 'its own'")
        try:
            as_role = {"user": keyspace, "password": "its own"}
            assert f"no permission: grant it to the user {keyspace}" in refusal(backend, **as_role)
            store.prepare(VIEW)
            session.execute(f"GRANT SELECT ON KEYSPACE {keyspace} TO {keyspace}")
            session.execute(f"GRANT MODIFY ON KEYSPACE {keyspace} TO {keyspace}")
            time.sleep(2.5)  # for so long a server remembers what somebody may not
            other = backend.open(**as_role)
            other.prepare(VIEW)  # which is there already
            assert not other.save(VIEW, [row("a")])
            other.health()
            other.close()
        finally:
            session.execute(f"DROP ROLE {keyspace}")


def test_another_data_center_is_refused(backend: Backend) -> None:
    assert "[store] local_dc = elsewhere: there is no such data center, it is one of datacenter1" in refusal(
        backend, local_dc="elsewhere")
    backend.open(local_dc="datacenter1", consistency="local_serial").close()


def test_what_cannot_be_kept_is_refused_by_name(store: Store) -> None:
    store.prepare(VIEW)
    cases: list[tuple[Row, str]] = [
        (row("big", hidden=bytes(17 << 20)), r"the record 'big' has 178\d+ bytes, the server takes 167\d+: raise its"),
        (row("x" * 65536), r"refuses the record 'x{99}\.\.: .*Key length of 65536"),
        (row("a", n=2**64), r"cannot keep the record 'a': .*\"n\""),
        (row("\ud800"), r"cannot keep .*\\ud800"),
    ]
    for refused, words in cases:
        with pytest.raises(StoreError, match=words) as caught:
            store.save(VIEW, [refused])
        assert not caught.value.retryable
    assert not store.save(VIEW, [row("x" * 65535), row("large", hidden=bytes((16 << 20) - (70 << 10)))])
    assert len(list(store.scan(VIEW))) == 2
    with pytest.raises(StoreError, match="a name of 49 characters, Cassandra takes 48"):
        store.prepare(VIEW._replace(name="x" * 49))


def test_a_sum_beyond_64_bits_shows_the_greatest_bigint(store: Store) -> None:
    store.prepare(VIEW)
    sums = (1.9e19, -1.9e19, None)
    assert not store.save(VIEW, [row(at)._replace(values=(value, None)) for at, value in enumerate(sums)])
    assert [found.values[0] for found in store.scan(VIEW)] == [2 ** 63 - 1, -2 ** 63, None]


def test_a_table_of_somebody_else_is_not_taken(backend: Backend, server: Cassandra, store: Store) -> None:
    store.prepare(WINDOWED)
    with server.session() as session:
        session.execute(f"CREATE TABLE {backend.section['keyspace']}.v (key text PRIMARY KEY, n bigint, mine text)")
    with pytest.raises(StoreError, match=r"v exists with other columns \(drtc_state, drtc_version, mine, name\)"):
        store.prepare(VIEW)


def test_without_the_driver_the_error_names_the_extra() -> None:
    program = ("import sys; sys.modules['cassandra'] = None\n"
               "from pathlib import Path; from drtc.errors import StoreError; from drtc.stores import open_store\n"
               "from drtc.stores.cassandra import CassandraSettings\n"
               "try: open_store(CassandraSettings(), Path())\nexcept StoreError as error: print(error)")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == ("[store] type = cassandra needs cassandra-driver: pip install 'drtc[cassandra]'\n")


def test_settings_are_checked() -> None:
    for wrong, words in (({"keyspace": "a-b"}, "keyspace: must be"), ({"hosts": ()}, "hosts: must name"),
                         ({"replication": "three"}, "replication: must be"), ({"timeout": 0.0}, "timeout: must be")):
        with pytest.raises(ValueError, match=words):
            CassandraSettings(**wrong)
    assert "secret-word" not in repr(CassandraSettings(password="secret-word"))
    assert replication("3") == {"class": "NetworkTopologyStrategy", "replication_factor": "3"}
    assert replication(CassandraSettings(replication="east:3, west:2").replication) == {
        "class": "NetworkTopologyStrategy", "east": "3", "west": "2"}


def test_what_stored_survives_is_the_servers_word() -> None:
    def told(**settings: Any) -> str:
        return survives(settings)

    assert told(commitlog_sync="group") == "killed servers and a power cut"
    assert "(the last 10000ms may be lost then)" in told(commitlog_sync="periodic", commitlog_sync_period="10000ms")
    assert "all copies at once" in told()
