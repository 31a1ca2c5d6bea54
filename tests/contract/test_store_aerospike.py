"""What only the Aerospike store has: bins, batches that fail in part, a client that cuts strings, expiry, a crash."""
from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, Iterator

import pytest

from drtc.errors import StoreError, StoreUnavailable
from drtc.stores import open_store
from drtc.stores.aerospike import AerospikeSettings, AerospikeStore
from drtc.stores.aerospike_server import PASSING, REFUSALS, client_settings, refusal
from drtc.stores.aerospike_set import bins_of, lasts, short
from drtc.stores.base import Column, Id, Row, View
from drtc.values import Address

from ..services import Aerospike, ByAddress, Servers
from ..services.base import await_true
from .backends import Backend, eventually

VIEW = View("profile_v1", (Column("views", "integer"), Column("name", "text"), Column("recent", "json")))
DAILY = View("daily_v1", (Column("views", "integer"),), windowed=True)
NEVER = 2**32 - 1  # how the server tells that a record does not expire
ONLY = ["aerospike"]
PAGE = Path(__file__).parents[2] / "docs/store_aerospike.md"


@pytest.fixture
def server(servers: Servers) -> Aerospike:
    return servers.get(Aerospike)


@pytest.fixture
def store(backend: Backend) -> Iterator[AerospikeStore]:
    opened = backend.open()
    assert isinstance(opened, AerospikeStore)
    opened.prepare(VIEW)
    opened.prepare(DAILY)
    yield opened
    opened.close()


def row(key: str | int, version: int = 0, values: tuple[Any, ...] = (1, None, None), hidden: bytes = b"h") -> Row:
    return Row(Id(key), None, version, values, hidden)


def key_of(backend: Backend, key: Any, view: str = "profile_v1") -> tuple[str, str, Any]:
    return backend.section["namespace"], backend.section["prefix"] + view, key


def refused(call: Any, *arguments: Any) -> str:
    with pytest.raises(StoreError) as caught:
        call(*arguments)
    assert not isinstance(caught.value, StoreUnavailable)
    return str(caught.value)


# --- for people ---

def test_people_read_bins(store: AerospikeStore, backend: Backend, server: Aerospike) -> None:
    store.save(VIEW, [row("ad-7", 0, (3, "ü", ["a", {"b": 1}]))])
    store.save(DAILY, [Row(Id(5, 1372896000.0), 1372982400.0, 0, (3,), b"h"), Row(Id("5", 0.5), 1.5, 0, (4,), b"h")])
    with server.client() as people:
        assert people.get(key_of(backend, "ad-7"))[2] == {
            "views": 3, "name": "ü", "recent": ["a", {"b": 1}], "drtc_version": 1, "drtc_state": b"h"}
        whole = people.get(key_of(backend, "5@1372896000", "daily_v1"))[2]
        assert {name: whole[name] for name in ("key", "window_start", "window_end", "views")} == {
            "key": 5, "window_start": 1372896000, "window_end": 1372982400, "views": 3}
        assert isinstance(whole["window_start"], int), "whole seconds can have an index"
        assert people.get(key_of(backend, '"5"@0.5', "daily_v1"))[2]["window_start"] == 0.5
        store.save(VIEW, [row("ad-7", 1)])
        bins = people.get(key_of(backend, "ad-7"))[2]
        assert set(bins) == {"views", "drtc_version", "drtc_state"}, "no value, no bin"


def test_the_page_shows_what_is_seen(store: AerospikeStore, backend: Backend, tmp_path: Path) -> None:
    view = View("flights_v1", tuple(Column(*each) for each in (
        ("flights", "integer"), ("cancellations", "integer"), ("mean_delay", "real"), ("worst_delay", "integer"),
        ("delays", "json"), ("destinations", "json"))), windowed=True)
    store.prepare(view)
    store.save(view, [Row(Id("UA", 1372896000.0), 1372982400.0, 0, (
        130, 0, 3.669230769230769, 141, {"p50": -1.0, "p90": 18.0, "p99": 65.0},
        [["SFO", 16], ["IAH", 15], ["LAX", 14], ["ORD", 13], ["BOS", 8]]), b"h")])
    page = PAGE.read_text("utf-8")
    script = re.search(r"^```python show\.py\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert script is not None
    (tmp_path / "show.py").write_text(script[1])
    shown = re.findall(r"^\$ python (show\.py .*)\n((?:(?!\$ |```).*\n)*)", page, re.MULTILINE)
    for typed, output in shown:
        words = [{"localhost:3000": backend.section["hosts"], "drtc": backend.section["namespace"]}.get(word, word)
                 for word in shlex.split(typed)]
        words[3] = backend.section["prefix"] + words[3]
        done = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout == output
    assert len(shown) == 2


def test_a_long_name_has_a_short_form(store: AerospikeStore, backend: Backend, server: Aerospike) -> None:
    assert [short(name) for name in ("fifteen_letters", "sixteen__letters", "sixteen__letter2")] == [
        "fifteen_letters", "sixteen__l_64a6", "sixteen__l_c21f"], "what is stored bears these names"
    view = View("long_v1", (Column("sixteen__letters", "integer"), Column("sixteen__letter2", "integer")))
    store.prepare(view)
    store.save(view, [Row(Id("a"), None, 0, (1, 2), b"")])
    assert store.load(view, [Id("a")])[Id("a")].values == (1, 2)
    with server.client() as people:
        assert people.get(key_of(backend, "a", "long_v1"))[2]["sixteen__l_64a6"] == 1
        assert people.get(key_of(backend, "long_v1", "drtc_views"))[2]["columns"] == [
            ["sixteen__letters", "integer", "sixteen__l_64a6"], ["sixteen__letter2", "integer", "sixteen__l_c21f"]]


def test_names_that_do_not_fit_are_refused(store: AerospikeStore) -> None:
    seen: dict[str, str] = {}
    for number in count():
        name = f"long_long_long_{number}"
        twin = seen.setdefault(short(name), name)
        if twin != name:
            break
    view = View("twins_v1", (Column(twin, "integer"), Column(name, "integer")))
    said = refused(bins_of, view)
    assert f"{twin} and {name}" in said and said.endswith("rename one")
    assert refused(store.prepare, view) == said
    assert "at most 63 characters: shorten [job] name" in refused(store.prepare, View("a" * 64, ()))


# --- what the client does to the unwary ---

@pytest.mark.parametrize("twins", [("a", "a\0", "a\0b"), ("", "\0")])
def test_a_nul_does_not_end_a_key(twins: tuple[str, ...], store: AerospikeStore) -> None:
    assert store.save(VIEW, [row(key, hidden=key.encode()) for key in twins]) == set()
    assert {id.key: found.hidden for id, found in store.load(VIEW, [Id(key) for key in twins]).items()} == {
        key: key.encode() for key in twins}
    assert [found.id.key for found in store.scan(VIEW)] == list(twins)
    store.save(DAILY, [Row(Id(key, 0.0), 1.0, 0, (1,), b"") for key in twins])
    for key in twins:
        assert [found.id.key for found in store.scan(DAILY, key=key)] == [key]
    store.delete(VIEW, [Id(twins[-1])])
    assert [found.id.key for found in store.scan(VIEW)] == list(twins[:-1])


def test_a_nul_does_not_end_a_value(store: AerospikeStore) -> None:
    values = (1, "a\0b", [{"c\0": "d\0e"}, "\\u0000"])
    store.save(VIEW, [row("a", 0, values), row("b", 0, (1, "a", ["\\u0000"]))])
    found = store.load(VIEW, [Id("a"), Id("b")])
    assert found[Id("a")].values == values and found[Id("b")].values == (1, "a", ["\\u0000"])


@pytest.mark.parametrize("bad, reason", [
    (row("\ud800"), "key is not Unicode"), (row(2**63), "Id(key=9223372036854775808, start=None): its key is a number"),
    (row("k", 0, (2**63, None, None)), "views holds a number of more than 64 bits"),
    (row("k", 0, (1, "\ud800", None)), "name holds text that is not Unicode"),
    (row("k", 0, (1, None, [[{"a": 2**70}]])), "recent holds a number of more than 64 bits"),
], ids=["key", "long key", "integer", "text", "json"])
def test_what_cannot_be_kept_is_refused_by_name(bad: Row, reason: str, store: AerospikeStore) -> None:
    said = refused(store.save, VIEW, [row("good"), bad])
    assert reason in said
    assert reason.startswith("key") or str(bad.id) in said
    assert list(store.scan(VIEW)) == [], "the client refuses the batch as a whole"


def test_a_record_that_is_too_large_is_named_and_the_others_are_saved(store: AerospikeStore) -> None:
    said = refused(store.save, VIEW, [row("a"), row("big", hidden=b"x" * (3 << 20)), row("b")])
    assert "Id(key='big', start=None) of about 31457" in said and "max-record-size of 2097152 bytes: raise it" in said
    assert [found.id.key for found in store.scan(VIEW)] == ["a", "b"]


def test_a_policy_that_the_client_does_not_know_is_an_error(backend: Backend) -> None:
    import aerospike
    from aerospike.exception import ParamError

    made = client_settings(backend.settings)
    aerospike.client(made).close()
    made["policies"]["batch"]["total_time_out"] = 1
    with pytest.raises(ParamError, match="total_time_out"):
        aerospike.client(made)


def test_the_client_is_made_for_a_cluster() -> None:
    settings = AerospikeSettings((Address("a", 1), Address("b", 2)), user="u", password="p", auth="external", tls=True,
                                 tls_name="n", tls_ca="ca.pem", timeout=2.5)
    made = client_settings(settings)
    assert made["hosts"] == [("a", 1, "n"), ("b", 2, "n")] and made["tls"] == {"enable": True, "cafile": "ca.pem"}
    assert (made["user"], made["password"]) == ("u", "p") and "password" not in repr(settings)
    for name in ("batch", "batch_parent_write", "read", "write", "operate"):
        assert made["policies"][name]["total_timeout"] == 2500, name
    scan = made["policies"]["query"]
    assert scan["socket_timeout"] * (1 + scan["max_retries"]) == 2500, "with all that it tries"
    plain = client_settings(AerospikeSettings())
    assert plain["hosts"] == [("localhost", 3000)] and not {"tls", "user", "password"} & set(plain)


@pytest.mark.parametrize("wrong, reason", [
    ({"hosts": ()}, "^hosts:"), ({"user": "u"}, "needs password"), ({"auth": "external"}, "only safe with tls"),
    ({"tls_ca": "x"}, "^tls: must be yes"), ({"tls": True, "tls_key": "x"}, "tls_key"), ({"ttl": 0.5}, "^ttl:"),
    ({"namespace": ""}, "^namespace:"), ({"prefix": "a:b"}, "^prefix:"),
])
def test_settings_that_do_not_go_together(wrong: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        AerospikeSettings(**wrong)


# --- versions ---

def test_a_version_is_more_than_the_generation(store: AerospikeStore, backend: Backend, server: Aerospike) -> None:
    store.save(VIEW, [row("a")])
    with server.client() as people:
        people.put(key_of(backend, "a"), {"drtc_version": 65534})
        people.touch(key_of(backend, "a"))
        for version in range(65534, 65539):
            assert store.save(VIEW, [row("a", version)]) == set()
        assert people.get(key_of(backend, "a"))[1]["gen"] < 20, "it has 16 bits, and counts what others do as well"
    assert store.save(VIEW, [row("a", 65538), row("a2", 2)]) == {Id("a"), Id("a2")}
    assert store.load(VIEW, [Id("a")])[Id("a")].version == 65539


def test_a_record_of_somebody_else_is_named(store: AerospikeStore, backend: Backend, server: Aerospike) -> None:
    with server.client() as people:
        people.put(key_of(backend, "theirs"), {"views": 1})
    said = refused(store.load, VIEW, [Id("theirs")])
    assert "the record Id(key='theirs', start=None) was not written by drtc" in said


def test_many_who_save_one_record_at_once(store: AerospikeStore, backend: Backend) -> None:
    failures: list[BaseException] = []

    def add() -> None:
        own = backend.open()
        try:
            for _ in range(10):
                while True:
                    found = own.load(VIEW, [Id("hot")]).get(Id("hot"))
                    version, views = (found.version, found.values[0]) if found else (0, 0)
                    if not own.save(VIEW, [row("hot", version, (views + 1, None, None))]):
                        break
        except BaseException as error:
            failures.append(error)
        finally:
            own.close()

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert store.load(VIEW, [Id("hot")])[Id("hot")][2:4] == (80, (80, None, None))


def test_a_record_that_too_many_write_has_moved(store: AerospikeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    class Busy:
        def batch_write(self, batch: Any) -> None:
            batch.result = -16
            note, first, second = batch.batch_records
            note.record = (None, None, {"state": "ready"})
            first.result, second.result = 14, 0

    with monkeypatch.context() as patch:
        patch.setattr(store, "_client", Busy())
        assert store.save(VIEW, [row("busy"), row("idle")]) == {Id("busy")}


@pytest.mark.parametrize("result", [0, 1, 9, -8, -16])
def test_what_no_node_was_asked_to_remove_is_not_removed(result: int, store: AerospikeStore,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    """The client raises nothing where it knows no node any more: it returns no records."""
    class Alone:
        def __init__(self, client: Any) -> None:
            self._client = client

        def __getattr__(self, name: str) -> Any:
            return getattr(self._client, name)

        def batch_remove(self, keys: Any) -> Any:
            return SimpleNamespace(result=result, batch_records=[])

    store.save(VIEW, [row("a")])
    with monkeypatch.context() as patch:
        patch.setattr(store, "_client", Alone(store._client))
        patch.setattr(store, "_ids", lambda *asked: {Id("late")})
        with pytest.raises(StoreUnavailable, match="cannot remove now"):
            store.delete(VIEW, [Id("a")])
        with pytest.raises(StoreUnavailable, match="cannot remove now"):
            store.drop(VIEW)


# --- views ---

def test_a_view_that_somebody_else_drops_is_missed(store: AerospikeStore, backend: Backend, server: Aerospike) -> None:
    other = backend.open()
    store.save(VIEW, [row("a")])
    other.drop(VIEW)
    for call, arguments in ((store.save, [row("late")]), (store.load, [Id("a")])):
        assert "profile_v1 does not exist (was it reset while in use?): start again" in refused(call, VIEW, arguments)
    other.prepare(VIEW)
    assert list(other.scan(VIEW)) == [], "what the late save has left is removed"
    assert store.save(VIEW, [row("new")]) == set()
    other.close()


def test_nothing_that_a_late_save_left_is_in_the_new_view(store: AerospikeStore) -> None:
    """The server's clock counts milliseconds: the save and the note of the new view often have the same."""
    for _ in range(50):
        store.drop(VIEW)
        refused(store.save, VIEW, [row("late")])
        store.prepare(VIEW)
        assert store.save(VIEW, [row("new")]) == set(), "and what is saved right after is not removed"
        assert [found.id.key for found in store.scan(VIEW)] == ["new"]


def test_whoever_prepares_late_removes_nothing(store: AerospikeStore, backend: Backend, server: Aerospike,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two that prepare sleeps between its two steps; the other is done and saves."""
    store.drop(VIEW)
    with server.client() as people:
        people.put(key_of(backend, "profile_v1", "drtc_views"), {
            "state": "clearing", "windowed": False,
            "columns": [["views", "integer", "views"], ["name", "text", "name"], ["recent", "json", "recent"]]})
    late = backend.open()
    assert isinstance(late, AerospikeStore)
    with server.client() as client:
        known = late._catalog.read(client, VIEW)
        store.prepare(VIEW)
        store.save(VIEW, [row("a")])
        time.sleep(0.002)  # the server's clock counts milliseconds
        late._catalog.write(client, VIEW, known, {"state": "clearing"})
        assert late._catalog.read(client, VIEW).state == "ready", "a note that has changed is not written over"
        read, seen = late._catalog.read, [known]
        monkeypatch.setattr(late._catalog, "read", lambda *asked: seen.pop() if seen else read(*asked))
    late.prepare(VIEW)
    assert seen == []
    assert [found.id.key for found in late.scan(VIEW)] == ["a"]
    late.close()


def test_a_scan_of_windows_of_all_kinds(store: AerospikeStore) -> None:
    windows = [(0.0, 10.0), (0.25, 10.25), (-10.5, 0.0), (10.0, 20.5), (1e300, 2e300)]
    store.save(DAILY, [Row(Id(key, start), end, 0, (1,), b"") for start, end in windows for key in (1, "1", "a")])
    for key in (1, "1", "a"):
        assert [found.id.start for found in store.scan(DAILY, key=key)] == sorted(start for start, _ in windows)
    for begin, end in ((0.0, 0.0), (10, 10), (10.1, 10.1), (-20, 0), (0, 1e301), (1.5e300, 1.5e300), (-20.0, -10.4)):
        expected = sorted(start for start, stop in windows if stop > begin and (start < end or start <= begin))
        assert [found.id.start for found in store.scan(DAILY, key="a", during=(begin, end))] == expected, (begin, end)


# --- expiry ---

def test_nothing_expires_that_should_not(store: AerospikeStore, backend: Backend, server: Aerospike) -> None:
    lanes = View("profile_v1_lanes", (Column("numbers", "json"),))
    store.prepare(lanes)
    expiring = backend.open(ttl="100s")
    assert expiring.forgets and not store.forgets
    with server.changed("default-ttl", "1000"), server.client() as people:
        store.save(VIEW, [row("stays")])
        expiring.save(VIEW, [row("goes")])
        expiring.save(lanes, [Row(Id("lanes"), None, 0, ([1],), b"")])
        ttls = [people.get(key_of(backend, *key))[1]["ttl"] for key in (
            ("stays",), ("goes",), ("lanes", "profile_v1_lanes"), ("profile_v1", "drtc_views"))]
        assert ttls[0] == ttls[2] == ttls[3] == NEVER and 90 <= ttls[1] <= 100
        expiring.save(VIEW, [row("stays", 1)])
        store.save(VIEW, [row("goes", 1)])
        assert people.get(key_of(backend, "goes"))[1]["ttl"] == NEVER, "each save says it anew"
        assert people.get(key_of(backend, "stays"))[1]["ttl"] <= 100
    expiring.close()
    assert [lasts(View(name, ())) for name in ("a_v1", "a_v12", "a_v1_lanes", "a_v1_offsets", "a_v1_dead")] == [
        False, False, True, True, True]


def test_expiry_needs_a_server_that_expires(backend: Backend, server: Aerospike) -> None:
    with server.changed("nsup-period", "0"):
        said = refused(lambda: backend.open(ttl="100s"))
        backend.open().close()
    assert "nsup-period is 0" in said and said.endswith("leave ttl out")


# --- errors ---

def test_a_namespace_that_is_not_there(backend: Backend) -> None:
    said = refused(lambda: backend.open(namespace="nowhere"))
    assert f"there is no such namespace (there are: {backend.section['namespace']}" in said


def test_a_server_that_knows_no_users(backend: Backend) -> None:
    said = refused(lambda: backend.open(user="someone", password="top-secret"))
    assert said.endswith("leave [store] user empty (Failed to connect)") and "top-secret" not in said


def test_nobody_there() -> None:
    with pytest.raises(StoreUnavailable, match=r"aerospike 127\.0\.0\.1:1 namespace drtc: cannot connect now: the con"
                                               r".*: is it running\? see \[store\] hosts$"):
        open_store(AerospikeSettings((Address("127.0.0.1", 1),)), Path())


def test_a_host_that_is_not_known_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo

    def named(host: str, *more: Any, **rest: Any) -> Any:  # what the DNS would say, which may be far away
        if host == "as9.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(host, *more, **rest)

    monkeypatch.setattr(socket, "getaddrinfo", named)
    with pytest.raises(StoreUnavailable, match=r"cannot connect now: the host as9\.invalid is not known \(.*Name or"
                                               r" service not known\): see \[store\] hosts$"):
        open_store(AerospikeSettings((Address("127.0.0.1", 1), Address("as9.invalid", 3000))), Path())


def test_the_client_is_asked_for_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aerospike", None)
    assert refused(open_store, AerospikeSettings(), Path()).endswith(
        "[store] type = aerospike, the default, needs the package aerospike: pip install 'drtc[aerospike]', or set"
        " another type")


@pytest.mark.parametrize("code", [-1, -2, -15, -10, -7, 8, 9, 11, 18, 22, 13, 51, 62, 80, 81, 999])
def test_a_status_is_worth_waiting_for_or_not(code: int) -> None:
    error = refusal("here", "write", code, "its words")
    assert isinstance(error, StoreUnavailable) is (code in (-15, -10, -7, -1, 8, 9, 11, 18, 22))
    assert str(error).startswith("here: cannot write") and "(its words)" in str(error)
    assert str(error).endswith(": is it running? see [store] hosts") is (code in (-15, -10, -1, 11))


def test_no_status_is_both() -> None:
    assert not set(PASSING) & set(REFUSALS)


# --- servers that hang and die ---

def test_whoever_has_patience_waits_for_a_server_that_hangs(store: AerospikeStore, server: Aerospike) -> None:
    ids = [Id(n) for n in range(3)]
    calls: dict[str, Callable[[], Any]] = {
        "save": lambda: store.save(VIEW, [Row(id, None, 0, (1, None, None), b"") for id in ids]),
        "load": lambda: store.load(VIEW, ids), "scan": lambda: list(store.scan(VIEW)),
        "delete": lambda: store.delete(VIEW, ids)}
    for name, call in calls.items():
        server.freeze()
        thawing = threading.Timer(1.5, server.thaw)  # longer than the client would wait if it were not told
        thawing.start()
        try:
            found = call()
        finally:
            thawing.join()
        assert name != "load" or len(found) == 3
    assert store.load(VIEW, ids) == {}


def test_a_frozen_server(store: AerospikeStore, backend: Backend, server: Aerospike) -> None:
    hasty = backend.open(timeout="0.5s")
    assert hasty.save(VIEW, [row("a"), row("b")]) == set()
    server.freeze()
    try:
        for call in (lambda: hasty.save(VIEW, [row("a", 1), row("c")]), lambda: hasty.load(VIEW, [Id("a")]),
                     hasty.health, lambda: hasty.prepare(VIEW), lambda: list(hasty.scan(VIEW)),
                     lambda: hasty.delete(VIEW, [Id("z")]), lambda: backend.open(timeout="0.5s")):
            with pytest.raises(StoreUnavailable):
                call()
    finally:
        server.thaw()
    eventually(hasty.health)
    # The save may have been waiting in the server: saved again, it is saved once
    again = eventually(lambda: hasty.save(VIEW, [row("a", 1), row("c")]))
    assert again <= {Id("a"), Id("c")}
    assert {id.key: found.version for id, found in hasty.load(VIEW, [Id("a"), Id("c")]).items()} == {"a": 2, "c": 1}
    hasty.close()


@pytest.fixture
def own(servers: Servers) -> Aerospike:
    server = servers.get(Aerospike)
    if Aerospike.variable() in os.environ:
        raise ByAddress(f"{Aerospike.variable()} names an Aerospike that is not ours: it is not killed")
    return server


def test_a_server_that_takes_small_batches(store: AerospikeStore, backend: Backend, own: Aerospike) -> None:
    rows = [row(n) for n in range(20)]
    with own.batches_of(7):
        said = refused(store.save, VIEW, rows)
        assert "raise batch-max-requests in its configuration" in said
        assert said == refused(store.load, VIEW, [Id(n) for n in range(20)]).replace("read", "write")
        modest = backend.open()  # which finds it so
        assert modest.save(VIEW, rows) == set()
        assert modest.save(VIEW, [*rows[:13], row("new")]) == {each.id for each in rows[:13]}
        assert [found.id.key for found in modest.scan(VIEW)] == [*range(20), "new"]
        modest.delete(VIEW, [each.id for each in rows])
        assert [found.id.key for found in modest.scan(VIEW)] == ["new"]
        modest.drop(VIEW)
        modest.close()


def test_a_killed_server_takes_its_last_second_along_and_nothing_older(store: AerospikeStore, own: Aerospike) -> None:
    assert "about the last second" in store.survives
    store.save(VIEW, [row(n) for n in range(100)])
    time.sleep(3)  # flush-max-ms is one second
    store.save(VIEW, [row(n) for n in range(100, 200)])
    own.kill()
    try:
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                store.save(VIEW, [row(n, 1) for n in range(100)])
            with pytest.raises(StoreUnavailable):
                store.health()
        await_true(lambda: not store._client.get_nodes(), 30, "a client that knows no node any more")
        for call in (lambda: store.delete(VIEW, [Id(1)]), lambda: store.drop(VIEW), lambda: store.load(VIEW, [Id(1)])):
            with pytest.raises(StoreUnavailable):
                call()
        opened: list[str] = []
        knocking = threading.Thread(target=knock, args=(store._settings, opened))
        knocking.start()
    finally:
        own.start()
    knocking.join()
    assert opened[-1] == "open", "until the cluster has formed, it waits"
    eventually(store.health)  # the client looks for its nodes once a second
    assert store.save(VIEW, [row(n, 1) for n in range(100)]) == set(), "the same object, without a new open()"
    assert {found.id.key for found in store.scan(VIEW)} >= set(range(100))


def knock(settings: AerospikeSettings, answers: list[str]) -> None:
    while answers[-1:] != ["open"] and len(answers) < 600:
        try:
            found = open_store(settings, Path())
            found.prepare(VIEW)
            found.close()
            answers.append("open")
        except StoreUnavailable:
            answers.append("waits")
            time.sleep(0.05)
        except StoreError as error:
            answers.append(str(error))
            return
