"""What only the Redis store has: its page's session, scripts, full memory, rights, TLS, Cluster and Sentinel."""
from __future__ import annotations

import doctest
import logging
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator

import pytest
import trustme

from drtc.aggregates import Count
from drtc.batch import Lane
from drtc.compute.mapper import Part, Span
from drtc.compute.merge import Merger, Piece
from drtc.compute.records import Layout
from drtc.errors import StoreError, StoreUnavailable
from drtc.examples.flights import Flights
from drtc.job import Job, describe
from drtc.stores import open_store
from drtc.stores.base import Column, Id, Row, View
from drtc.stores.redis import RedisSettings, RedisStore
from drtc.stores.redis_address import parse_url
from drtc.stores.redis_scripts import Command
from drtc.stores.redis_view import PART_ROWS

from ..services import Redis, Servers
from ..services.base import await_true, free_port
from ..services.redis import RedisCluster, RedisSentinel
from .backends import BACKENDS, Backend, eventually

ONLY = ["redis"]
PAGE = Path(__file__).parents[2] / "docs/store_redis.md"
VIEW = View("v", (Column("n", "integer"), Column("name", "text")))
MOST_SECONDS = 30.0


class Tally(Job):
    n = Count()

    def map(self, event: Any) -> Iterator[tuple[str, dict[str, int]]]:
        yield "k", {"n": 1}


@pytest.fixture
def server(backend: Backend) -> Redis:
    assert isinstance(backend.server, Redis)
    return backend.server


@pytest.fixture
def store(backend: Backend) -> Iterator[RedisStore]:
    opened = backend.open(timeout="2")
    assert isinstance(opened, RedisStore)
    opened.prepare(VIEW)
    yield opened
    opened.close()


def row(key: str | int, version: int = 0, n: int | None = 1, name: str | None = None, hidden: bytes = b"") -> Row:
    return Row(Id(key), None, version, (n, name), hidden)


def opened(url: str, **more: Any) -> RedisStore:
    found = open_store(RedisSettings(url, **more), Path())
    assert isinstance(found, RedisStore)
    return found


def refusal(url: str, **more: Any) -> str:
    """What is said when the store is opened and used, which is refused for good."""
    with pytest.raises(StoreError) as caught:
        store = RedisStore(RedisSettings(url, **more))
        try:
            store.open()
            store.prepare(VIEW)
            store.save(VIEW, [row("a")])
        finally:
            store.close()
    assert not isinstance(caught.value, StoreUnavailable), caught.value
    return str(caught.value)


# --- for people ---

def test_the_session_of_the_page(servers: Servers) -> None:
    with Redis() as server, server.client() as client:
        store = opened(f"redis://{server.address}")
        view = Layout(describe(Flights), 1).view
        store.prepare(view)
        values = (130, 0, 3.669230769230769, 141, {"p50": -1.0, "p90": 18.0, "p99": 65.0},
                  [["SFO", 16], ["IAH", 15], ["LAX", 14], ["ORD", 13], ["BOS", 8]])
        store.save(view, [Row(Id(key, start), start + 86400, 0, values, b"\x00state") for key, start in (
            ("UA", 1372896000.0), ("UA", 1372809600.0), ("US", 1372896000.0))])
        store.close()
        played = 0
        for typed, wanted in re.findall(r"^\$ redis-cli (.*)\n((?:(?!\$ |```).*\n)*)", PAGE.read_text("utf-8"), re.M):
            words = shlex.split(typed)
            found = server.cli(*words)
            assert doctest.OutputChecker().check_output(wanted, found, doctest.ELLIPSIS), (typed, found)
            played += 1
        assert played > 6, "the page lost its commands"
        # The last command made a user: its rights are enough
        store = opened(f"redis://{server.address}", user="drtc", password="secret")
        store.prepare(view)
        assert [found.id.key for found in store.scan(view, key="US")] == ["US"]
        assert store.save(view, [Row(Id("UA", 1372896000.0), 1372982400.0, 1, (None,) * 6, b"")]) == set()
        store.delete(view, [Id("UA", 1372896000.0)])
        store.health()
        store.drop(view)
        assert client.keys("drtc:flights*") == [], "a view that is dropped leaves nothing"
        store.close()


def test_a_value_that_went_away_is_no_field_any_more(store: RedisStore, backend: Backend, server: Redis) -> None:
    store.save(VIEW, [row("a", n=5, name="x")])
    store.save(VIEW, [row("a", 1, n=None, name="y")])
    with server.client(decode_responses=True) as client:
        found = client.hgetall(f"{backend.section['prefix']}v:a")
    assert found == {"name": "y", "drtc_version": "2", "drtc_state": ""}


def test_values_that_do_not_fit_are_refused_in_a_sentence(store: RedisStore) -> None:
    for each, said in ((row("a", n="many"), "'many' is nothing for the integer column n"),  # type: ignore[arg-type]
                       (row("a", name="\ud800"), "nothing for the text column name"),
                       (row("\ud800"), "it is no text")):
        with pytest.raises(StoreError, match=said) as caught:
            store.save(VIEW, [row("b"), each])
        assert not caught.value.retryable
    assert list(store.scan(VIEW)) == []


def test_a_batch_that_breaks_off_leaves_nothing_behind_in_the_connection(store: RedisStore) -> None:
    first = [row(n) for n in range(PART_ROWS)]
    with pytest.raises(StoreError, match="integer column n"):
        store.save(VIEW, [*first, row("bad", n="many")])  # type: ignore[arg-type]
    assert store.load(VIEW, [Id("absent")]) == {}
    assert store.save(VIEW, first) in (set(), {each.id for each in first}), "a part of the batch is saved whole or not"
    assert store.load(VIEW, [Id(1)])[Id(1)].version == 1


def test_a_record_that_is_too_large(backend: Backend, server: Redis) -> None:
    server.configure(proto_max_bulk_len=1 << 20)
    try:
        store = backend.open()
        store.prepare(VIEW)
        store.save(VIEW, [row("small", hidden=bytes(1_000_000))])
        with pytest.raises(StoreError, match=r"'big' has 1,048,\d{3} bytes, and the server takes 1,048,576"):
            store.save(VIEW, [row("big", hidden=bytes((1 << 20) + 1))])
        store.close()
    finally:
        server.configure(proto_max_bulk_len=512 << 20)


def test_a_key_of_somebody_else(store: RedisStore, backend: Backend, server: Redis) -> None:
    with server.client() as client:
        client.set(f"{backend.section['prefix']}v:a", "not drtc's")
    of_redis_6 = ("Error running script (call to f_0a): @user_script:6: WRONGTYPE Operation against a key holding the"
                  " wrong kind of value")
    for ask in (lambda: store.save(VIEW, [row("a")]),
                lambda: store._link.ask([Command("k", ["EVAL", "return redis.error_reply(ARGV[1])", 0, of_redis_6])])):
        with pytest.raises(StoreError, match=r"holds something else: change \[store\] prefix") as caught:
            ask()
        assert not caught.value.retryable


# --- trouble ---

def test_a_server_that_forgot_its_scripts(store: RedisStore, server: Redis) -> None:
    for version in range(2):
        with server.client() as client:
            client.script_flush()
        assert store.save(VIEW, [row(n, version) for n in range(2500)]) == set()
        assert len(store.load(VIEW, [Id(n) for n in range(2500)])) == 2500


def test_a_frozen_server(store: RedisStore, server: Redis) -> None:
    store.save(VIEW, [row("a")])
    impatient = opened(f"redis://{server.address}", prefix=store._settings.prefix, timeout=0.3)
    server.freeze()
    try:
        for ask in (lambda: impatient.save(VIEW, [row("a", 1)]), lambda: impatient.load(VIEW, [Id("a")]),
                    impatient.health, lambda: opened(f"redis://{server.address}", timeout=0.3)):
            with pytest.raises(StoreUnavailable, match="did not answer within 0.3 s"):
                ask()
    finally:
        server.thaw()
    version = eventually(lambda: impatient.load(VIEW, [Id("a")]))[Id("a")].version
    eventually(lambda: impatient.save(VIEW, [row("a", version)]))
    assert impatient.load(VIEW, [Id("a")])[Id("a")].version == version + 1
    impatient.close()


def test_a_killed_server(store: RedisStore, server: Redis) -> None:
    store.save(VIEW, [row(n) for n in range(1000)])
    server.kill()
    try:
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                store.save(VIEW, [row(0, 1)])
        with pytest.raises(StoreUnavailable, match=r"cannot be reached now .*: is it running\? see \[store\] url$"):
            opened(f"redis://{server.address}")
    finally:
        server.start()
    assert {found.version for found in store.load(VIEW, [Id(n) for n in range(1000)]).values()} == {1}
    assert store.save(VIEW, [row(n, 1) for n in range(1000)]) == set()
    assert len(list(store.scan(VIEW))) == 1000


def test_a_full_memory_is_waited_out_and_a_batch_is_saved_whole_or_not(store: RedisStore, server: Redis) -> None:
    store.save(VIEW, [row(n, name="x") for n in range(10)])
    server.configure(maxmemory=1)
    try:
        for batch in ([row(n, 1, name=None) for n in range(10)], [row("new"), row(0, 1)], [row(0, 1), row("new")]):
            with pytest.raises(StoreUnavailable, match="memory is full"):
                store.save(VIEW, batch)
        with pytest.raises(StoreUnavailable, match="memory is full"):
            store.health()
        assert {found.version for found in store.scan(VIEW)} == {1}, "it can be read"
    finally:
        server.configure(maxmemory=0)
    assert store.save(VIEW, [row(n, 1) for n in range(10)]) == set()


def test_a_replica_takes_no_saves(store: RedisStore, server: Redis) -> None:
    with server.client() as client:
        client.replicaof("127.0.0.1", free_port())
        try:
            careful = opened(f"redis://{server.address}", prefix=store._settings.prefix, replicas=1)
            for ask in (lambda: store.save(VIEW, [row("a")]), lambda: careful.save(VIEW, [row("a")]),
                        lambda: careful.load(VIEW, [Id("a")])):
                with pytest.raises(StoreUnavailable, match="it is a replica now"):
                    ask()
            careful.close()
        finally:
            client.replicaof("NO", "ONE")
    assert store.save(VIEW, [row("a")]) == set()


@pytest.mark.parametrize("said, meant", [
    ("LOADING Redis is loading the dataset in memory", "loading"), ("BUSY Redis is busy running a script.", "busy"),
    ("MISCONF Redis is configured to save RDB snapshots, but ...", "disk"), ("NOREPLICAS Not enough good", "replicas"),
    ("CLUSTERDOWN The cluster is down", "does not work"), ("TRYAGAIN Multiple keys request", "moving"),
    ("MASTERDOWN Link with MASTER is down", "does not work|lost its master"),
    ("READONLY You can't write against a read only replica.", "replica"),
    *((f"Error running script (call to f_0a): @user_script:21: @user_script: 21: -{said}", meant) for said, meant in (
        ("OOM command not allowed when used memory > 'maxmemory'. ", "memory is full"),  # as Redis 6 says it
        ("READONLY You can't write against a read only replica. ", "replica"),
        ("MISCONF Redis is configured to save RDB snapshots: -1 is no ...", "disk")))])
def test_what_passes_is_waited_out(store: RedisStore, said: str, meant: str) -> None:
    with pytest.raises(StoreUnavailable, match=meant):
        store._link.ask([Command("k", ["EVAL", "return redis.error_reply(ARGV[1])", 0, said])])
    assert store.save(VIEW, [row("a")]) == set()


def test_too_many_connections(server: Redis) -> None:
    with server.client() as client:
        client.ping()
        client.config_set("maxclients", 1)
        try:
            with pytest.raises(StoreUnavailable, match="max number of clients"):
                opened(f"redis://{server.address}")
        finally:
            client.config_set("maxclients", 1000)


def test_a_drop_that_was_interrupted(store: RedisStore, backend: Backend, server: Redis,
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    store.save(VIEW, [row(n) for n in range(2500)])
    writer = backend.open()
    writer.prepare(VIEW)

    def killed(texts: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(store, "_delete", killed)
        with pytest.raises(KeyboardInterrupt):
            store.drop(VIEW)
    with pytest.raises(StoreError, match="start drtc again"):
        writer.save(VIEW, [row("late")])
    with pytest.raises(StoreError, match="half removed: run drtc reset again"):
        writer.prepare(VIEW)
    writer.drop(VIEW)
    with server.client() as client:
        assert list(client.scan_iter(f"{backend.section['prefix']}*")) == []
    writer.close()


# --- what a server says of itself ---

@pytest.mark.parametrize("options, survives, warning", [
    (["--appendfsync", "always"], "a killed server and a power cut", ""),
    (["--appendfsync", "everysec"], "a killed server; a power cut but for the last second", ""),
    (["--appendonly", "no", "--save", "60 1"], "nothing newer than the server's last snapshot",
     "since its last snapshot"),
    (["--appendonly", "no", "--save", ""], "nothing: results are gone with the server", "keeps nothing on disk"),
    (["--maxmemory-policy", "allkeys-lru"], "a killed server and a power cut", "maxmemory-policy allkeys-lru"),
])
def test_what_survives_is_the_servers_to_say(options: list[str], survives: str, warning: str,
                                             caplog: pytest.LogCaptureFixture) -> None:
    with Redis(*options) as server, caplog.at_level(logging.WARNING, "drtc"):
        store = opened(f"redis://{server.address}")
        assert store.survives.startswith(survives)
        store.close()
    values = [getattr(record, "drtc_values")["why"] for record in caplog.records]
    assert [record.getMessage() for record in caplog.records] == ["results may be lost"] * bool(warning)
    assert all(warning in each for each in values)


def test_saves_that_need_a_replica(server: Redis) -> None:
    with Redis("--replicaof", "127.0.0.1", str(server.port), "--repl-diskless-sync-delay", "0") as replica:
        store = opened(f"redis://{server.address}", prefix="replicated:", replicas=1, timeout=2.0)
        eventually(lambda: store.prepare(VIEW))
        assert eventually(lambda: store.save(VIEW, [row("a")])) <= {Id("a")}
        assert "failover to one of 1 replicas" in store.survives
        with replica.client() as client:
            assert client.hget("replicated:v:a", "drtc_version") == b"1", "who was answered finds it there"
        replica.freeze()
        with pytest.raises(StoreUnavailable, match="0 of the 1 replicas"):
            store.save(VIEW, [row("b")])
        replica.thaw()
        eventually(store.health)
        store.drop(VIEW)
        store.close()


def test_what_no_replica_has_is_not_answered_later_either(server: Redis) -> None:
    with Redis("--replicaof", "127.0.0.1", str(server.port), "--repl-diskless-sync-delay", "0") as replica:
        store = opened(f"redis://{server.address}", prefix="late:", replicas=1, timeout=0.5)
        eventually(lambda: store.prepare(VIEW))
        assert eventually(lambda: store.save(VIEW, [row("a")])) <= {Id("a")}
        replica.freeze()
        try:
            for ask in (lambda: store.save(VIEW, [row("b")]), lambda: store.delete(VIEW, [Id("a")]),
                        # From here on there is nothing left to write
                        lambda: store.load(VIEW, [Id("b")]), lambda: store.load(VIEW, [Id("a")]),
                        lambda: list(store.scan(VIEW)), lambda: store.save(VIEW, [row("b")]),
                        lambda: store.delete(VIEW, [Id("a")]), lambda: store.prepare(VIEW)):
                with pytest.raises(StoreUnavailable):
                    ask()
        finally:
            replica.thaw()
        assert eventually(lambda: store.load(VIEW, [Id("a"), Id("b")])) == {Id("b"): row("b", 1)}
        with replica.client() as client:
            assert client.hget("late:v:b", "drtc_version") == b"1" and not client.exists("late:v:a")
        store.drop(VIEW)
        store.close()


def test_an_event_is_not_done_before_a_replica_has_it(server: Redis) -> None:
    with Redis("--replicaof", "127.0.0.1", str(server.port), "--repl-diskless-sync-delay", "0") as replica:
        store = opened(f"redis://{server.address}", prefix="merged:", replicas=1, timeout=0.5)
        layout = Layout(describe(Tally), 1)
        eventually(lambda: store.prepare(layout.view))
        merger = Merger(store, layout, 1000)
        merger.add(Piece(0, [Span(Lane("p", 0), 0, 9)], [Part("k", None, 1, [10])], [], lambda floors: {}))
        assert eventually(lambda: merger.attempt().done)
        replica.freeze()
        try:
            merger.add(Piece(1, [Span(Lane("p", 0), 10, 19)], [Part("k", None, 1, [10])], [], lambda floors: {}))
            for _ in range(3):
                assert not merger.attempt().done, "counted on the master, and nowhere else"
        finally:
            replica.thaw()
        assert eventually(lambda: merger.attempt().done)
        with replica.client() as client:
            assert client.hget(f"merged:{layout.view.name}:k", "n") == b"20"
        store.close()


# --- who may ---

def test_a_wrong_password_and_rights_that_are_missing() -> None:
    with Redis("--requirepass", "right") as server:
        url = f"redis://{server.address}"
        for more in ({}, {"password": "wrong-one"}, {"user": "nobody", "password": "wrong-one"}):
            said = refusal(url, **more)
            assert "set [store] user and password" in said and "wrong-one" not in said
        assert "wrong-one" not in refusal(f"redis://:wrong-one@{server.address}")
        assert "no database 99: change the number" in refusal(f"{url}/99", password="right")
        opened(f"redis://:right@{server.address}/3").close()
        with server.client(password="right") as client:
            client.acl_setuser("reader", enabled=True, passwords=["+pass"], categories=["+@read", "+@connection"],
                               keys=["*"])
        said = refusal(url, user="reader", password="pass")
        assert "may not" in said and "docs/store_redis.md" in said
    assert "wrong-one" not in repr(RedisSettings(f"redis://:wrong-one@{server.address}", password="wrong-one"))


def test_a_password_that_nobody_asks_for(server: Redis) -> None:
    said = refusal(f"redis://{server.address}", password="wrong-one")
    assert "that server has no password: leave [store] password empty" in said and "wrong-one" not in said


def test_columns_that_have_changed_are_named(store: RedisStore) -> None:
    n, name = VIEW.columns
    for view, changed in ((VIEW._replace(columns=(n, Column("name", "bytes"), Column("more", "real"))), "more, name"),
                          (VIEW._replace(columns=(n,)), "name"), (VIEW._replace(columns=(name, n)), "another order"),
                          (VIEW._replace(windowed=True), "windows")):
        with pytest.raises(StoreError, match=rf"the view v exists with other columns \({changed}\): raise \[job\]"):
            store.prepare(view)
    store.prepare(VIEW)
    hashes = store._hashes(VIEW)
    assert hashes.changed(b"no JSON") == hashes.changed(b"[1]") == hashes.changed(b'{"columns": 5}') == ["not drtc's"]


def test_tls(tmp_path: Path) -> None:
    authority, other = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    other.cert_pem.write_to_path(tmp_path / "other.pem")
    for name in ("server", "client"):
        issued = authority.issue_cert("127.0.0.1")
        issued.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
    port = free_port()
    options = ("--tls-port", str(port), "--tls-cert-file", str(tmp_path / "server.pem"), "--tls-key-file",
               str(tmp_path / "server.key"), "--tls-ca-cert-file", str(tmp_path / "ca.pem"))
    url = f"rediss://127.0.0.1:{port}"
    ours = {"tls_certificate": str(tmp_path / "client.pem"), "tls_key": str(tmp_path / "client.key")}
    with Redis(*options):
        store = opened(url, tls_ca=str(tmp_path / "ca.pem"), **ours)
        store.prepare(VIEW)
        assert store.save(VIEW, [row("a")]) == set()
        store.close()
        assert "certificate does not fit" in refusal(url, tls_ca=str(tmp_path / "other.pem"), **ours)
        with pytest.raises(StoreError, match="tls_ca|no such file|No such file"):
            opened(url, tls_ca=str(tmp_path / "absent.pem"), **ours)


# --- several servers ---

@pytest.fixture
def cluster(servers: Servers) -> RedisCluster:
    return servers.get(RedisCluster)


@pytest.fixture
def spread(tmp_path: Path, servers: Servers) -> Iterator[RedisStore]:
    with BACKENDS["redis_cluster"](tmp_path, servers) as found:
        store = found.open(timeout="2")
        assert isinstance(store, RedisStore)
        store.prepare(VIEW)
        yield store
        store.close()


def test_a_cluster_has_some_records_on_each_node(spread: RedisStore, cluster: RedisCluster) -> None:
    spread.save(VIEW, [row(f"k{n}") for n in range(3000)])
    counts = []
    for node in cluster.nodes:
        with node.client() as client:
            counts.append(sum(1 for _ in client.scan_iter(f"{spread._settings.prefix}v{{*:*", 1000)))
            family = client.execute_command("CLUSTER KEYSLOT", "k5") % 64
    assert sum(counts) == 3000 and min(counts) > 700
    words = ["HGET", f"{spread._settings.prefix}v{{{family}}}:k5", "drtc_version"]
    assert cluster.cli("-c", *words).strip().endswith('"1"'), "the page says how a person finds a record"


def test_replicas_are_asked_for_on_each_node(spread: RedisStore, cluster: RedisCluster) -> None:
    spread.save(VIEW, [row(n) for n in range(100)])
    careful = opened(f"redis+cluster://{cluster.address}", prefix=spread._settings.prefix, replicas=1, timeout=2.0)
    with pytest.raises(StoreUnavailable, match="0 of the 1 replicas"):
        careful.load(VIEW, [Id(n) for n in range(100)])
    careful.close()


def test_a_node_that_dies_and_comes_back(spread: RedisStore, cluster: RedisCluster) -> None:
    spread.save(VIEW, [row(n) for n in range(500)])
    cluster.kill()
    try:
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                spread.save(VIEW, [row(n, 1) for n in range(500)])
    finally:
        cluster.start()

    def finished() -> bool:
        there = spread.load(VIEW, [Id(n) for n in range(500)])
        return not spread.save(VIEW, [row(n, there[Id(n)].version) for n in range(500)])

    assert eventually(finished)


def test_a_slot_that_moves(spread: RedisStore, cluster: RedisCluster) -> None:
    spread.save(VIEW, [row(n) for n in range(500)])
    slot = spread._link.slot
    assert slot is not None
    number = slot(b"5")  # where the families {5} lie
    owner = next(at for at in range(3) if 16384 * at // 3 <= number < 16384 * (at + 1) // 3)
    source, target = cluster.nodes[owner], cluster.nodes[(owner + 1) % 3]
    move(source, target, number, cluster)
    try:
        assert eventually(lambda: spread.save(VIEW, [row(n, 1) for n in range(500)])) <= {Id(n) for n in range(500)}
        assert {found.version for found in spread.scan(VIEW)} == {2}
    finally:
        move(target, source, number, cluster)


def move(source: Redis, target: Redis, slot: int, cluster: RedisCluster) -> None:
    """Moves a slot with its keys, as redis-cli --cluster reshard does."""
    with source.client() as old, target.client() as new:
        names = [client.execute_command("CLUSTER MYID").decode() for client in (old, new)]
        new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", names[0])
        old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", names[1])
        for key in old.execute_command("CLUSTER GETKEYSINSLOT", slot, 100_000):
            old.execute_command("MIGRATE", "127.0.0.1", target.port, key, 0, 5000)
        for node in (target, source, *cluster.nodes):
            with node.client() as client:
                client.execute_command("CLUSTER SETSLOT", slot, "NODE", names[1])


def test_a_url_that_says_the_wrong_kind(server: Redis, cluster: RedisCluster) -> None:
    assert "write redis+cluster://" in refusal(f"redis://{cluster.address}")
    assert "write redis:// in" in refusal(f"redis+cluster://{server.address}")


def test_a_master_that_dies_is_followed_by_its_replica() -> None:
    with Redis() as master, Redis("--replicaof", "127.0.0.1", str(master.port), "--repl-diskless-sync-delay", "0"), \
            RedisSentinel(master) as sentinel:
        store = opened(f"redis+sentinel://{sentinel.address}/results/0", replicas=1, timeout=1.0)
        eventually(lambda: store.prepare(VIEW))
        eventually(lambda: store.save(VIEW, [row("before")]))
        with sentinel.client() as client:
            await_true(lambda: bool(client.sentinel_slaves("results")), MOST_SECONDS, "the sentinel's replica")
        master.kill()
        with pytest.raises(StoreUnavailable):
            store.save(VIEW, [row("before", 1)])
        store.close()
        alone = opened_later(f"redis+sentinel://{sentinel.address}/results/0")
        assert alone.load(VIEW, [Id("before")])[Id("before")].version >= 1, "what was answered is there"
        assert eventually(lambda: alone.save(VIEW, [row("after")])) <= {Id("after")}
        alone.close()


def opened_later(url: str) -> RedisStore:
    found: RedisStore = eventually(lambda: opened(url, timeout=1.0))
    eventually(lambda: found.save(VIEW, [row("awake")]))
    return found


# --- settings ---

def test_urls() -> None:
    one = parse_url("rediss://me:p%40ss@[::1]:7000/2")
    assert (one.kind, one.tls, str(one.hosts[0]), one.database, one.user, one.password) == (
        "server", True, "[::1]:7000", 2, "me", "p@ss")
    assert str(one) == "Redis at [::1]:7000"
    several = parse_url("redis+sentinel://a,b:1/results/3")
    assert str(several) == "Redis results of the sentinels a:26379, b:1" and several.database == 3
    assert parse_url("redis+cluster://a:1,b").hosts[1].port == 6379


@pytest.mark.parametrize("url, said", [
    ("http://a", "must be redis://host:port/database"), ("redis://:hidden@a:b", "there is no host:port"),
    ("redis://:hidden", "there is no host:port"), ("redis://:hid/hidden@a:1/0", "/ is written %2F, @ %40"),
    ("redis://me:1234/hidden@a:1", "%2F"), ("redis+sentinel://me:1234/hidden@a/0", "%2F"),
    ("redis://:x@hidden@a:1", "%40"),
    ("redis://a,b", "redis\\+cluster:// or redis\\+sentinel://"), ("redis+sentinel://a", "master's name is missing"),
    ("redis://a/results", "database's number"), ("redis+cluster://a/1", "no databases but 0"), ("redis://", "must be")])
def test_urls_that_are_none(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=f"^url: .*{said}") as caught:
        RedisSettings(url)
    assert "hidden" not in str(caught.value)


def test_a_prefix_that_would_bring_all_keys_to_one_slot() -> None:
    with pytest.raises(ValueError, match="prefix: must be without"):
        RedisSettings(prefix="{drtc}:")


def test_without_the_package_it_is_said_what_to_install() -> None:
    program = """
import sys
sys.modules["redis"] = None
from pathlib import Path
from drtc.errors import StoreError
from drtc.stores import open_store, settings_class
try:
    open_store(settings_class("redis")(), Path())
except StoreError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[store] type = redis needs redis-py: pip install 'drtc[redis]'\n"
