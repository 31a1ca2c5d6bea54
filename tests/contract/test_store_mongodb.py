"""What only the MongoDB store has: documents, saves without a reading back, dates, its failures, a server that goes."""
from __future__ import annotations

import doctest
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest
from pymongo.errors import (AutoReconnect, BulkWriteError, ExecutionTimeout, NetworkTimeout, OperationFailure,
                            WriteConcernError)
from pymongo.write_concern import WriteConcern

from drtc.errors import StoreError, StoreUnavailable
from drtc.stores import open_store
from drtc.stores.base import Column, Id, Row, Store, View
from drtc.stores.mongodb import MongoDBSettings, MongoDBStore
from drtc.stores.mongodb_connection import survives
from drtc.stores.mongodb_documents import Documents
from drtc.stores.mongodb_failures import of_codes, translated

from ..services import MongoDB
from ..services.base import free_port
from .backends import Backend, eventually

ONLY = ["mongodb"]
PAGE = Path(__file__).parents[2] / "docs/store_mongodb.md"
FLIGHTS = View("flights_v1", (Column("flights", "integer"), Column("mean_delay", "real"), Column("delays", "json"),
                              Column("destinations", "json")), windowed=True)
VIEW = View("v", (Column("n", "integer"), Column("j", "json")))
DAY = 86400.0
JULY_4 = 1372896000.0


@pytest.fixture
def server(backend: Backend) -> MongoDB:
    assert isinstance(backend.server, MongoDB)
    return backend.server


@pytest.fixture
def store(backend: Backend) -> Iterator[Store]:
    found = backend.open(timeout="5")
    found.prepare(VIEW)
    yield found
    found.close()


@pytest.fixture
def opened(backend: Backend) -> Iterator[Callable[..., Store]]:
    """Opens stores, which are closed when the test ends."""
    everything: list[Store] = []

    def open_one(**more: str) -> Store:
        everything.append(backend.open(**more))
        return everything[-1]

    yield open_one
    for each in everything:
        each.close()


def row(key: str | int, version: int = 0, j: Any = None, hidden: bytes = b"") -> Row:
    return Row(Id(key), None, version, (version + 1, j), hidden)


def refusal(settings: MongoDBSettings) -> str:
    with pytest.raises(StoreError) as caught:
        open_store(settings, Path())
    assert not caught.value.retryable
    return str(caught.value)


def test_people_read_the_documents(backend: Backend, server: MongoDB, opened: Callable[..., Store]) -> None:
    store = opened()
    store.prepare(FLIGHTS)
    store.save(FLIGHTS, [Row(Id("UA", JULY_4), JULY_4 + DAY, 0, (130, 3.5, {"<0": 5}, ["SFO", "IAH"]), b"hidden")])
    with server.client() as client:
        database = client[backend.section["database"]]
        found, = database.flights_v1.find()
        assert list(found.items()) == [
            ("_id", {"key": "UA", "start": JULY_4}),
            ("window_start", found["window_start"]), ("window_end", found["window_end"]),
            ("flights", 130), ("mean_delay", 3.5), ("delays", {"<0": 5}), ("destinations", ["SFO", "IAH"]),
            ("drtc_version", 1), ("drtc_state", b"hidden")]
        assert f"{found['window_start']} {found['window_end']}" == "2013-07-04 00:00:00 2013-07-05 00:00:00"
        assert sorted(index["name"] for index in database.flights_v1.list_indexes()) == ["_id_", "window_start_1"]
        assert database.drtc_views.find_one({"_id": "flights_v1"}) is not None
        store.drop(FLIGHTS)
        assert "flights_v1" not in database.list_collection_names()
        assert database.drtc_views.find_one({"_id": "flights_v1"}) is None


def test_the_page_shows_what_people_see(backend: Backend, server: MongoDB, opened: Callable[..., Store]) -> None:
    store = opened()
    store.prepare(FLIGHTS)
    store.save(FLIGHTS, [
        Row(Id(carrier, JULY_4 + day * DAY), JULY_4 + (day + 1) * DAY, 0,
            (flights, mean, {"<0": flights // 2, "0-15": flights - flights // 2}, top), b"\x92\x90\x90")
        for carrier, day, flights, mean, top in (
            ("UA", 0, 130, 3.669230769230769, ["SFO", "IAH"]), ("UA", 1, 152, 9.25, ["LAX"]),
            ("DL", 0, 118, -2.5, ["ATL"]))])
    played = 0
    for block in re.findall(r"^```console\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        for typed, expected in re.findall(r"^\$ (python .*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            words = shlex.split(typed.replace("\\$", "$").replace("localhost:27017", server.address)
                                .replace(".drtc.", f".{backend.section['database']}."))
            done = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True, timeout=60)
            checker = doctest.OutputChecker()
            assert checker.check_output(expected, done.stdout, doctest.ELLIPSIS), (typed, done.stdout, done.stderr)
            played += 1
    assert played >= 3, "the page lost its commands"


def test_which_versions_had_moved_is_told_by_the_server_and_never_read_back(
        store: Store, opened: Callable[..., Store], monkeypatch: pytest.MonkeyPatch) -> None:
    store.save(VIEW, [row("a"), row("b"), row(5)])
    other = opened()
    other.save(VIEW, [row("b", 1)])

    def never(*arguments: Any) -> None:
        raise AssertionError("a save read something")

    monkeypatch.setattr("pymongo.collection.Collection.find", never)
    assert store.save(VIEW, [row("a", 1), row("b", 1), row(5, 1), row("absent", 1)]) == {Id("b"), Id("absent")}
    monkeypatch.undo()
    assert {found.id.key: found.version for found in store.scan(VIEW)} == {5: 2, "a": 2, "b": 2}, "nothing was added"


def test_a_save_that_somebody_overtakes_at_once_still_counts_as_saved(
        store: Store, opened: Callable[..., Store], monkeypatch: pytest.MonkeyPatch) -> None:
    from pymongo.collection import Collection

    store.save(VIEW, [row("a"), row("b")])
    other = opened()
    other.save(VIEW, [row("b", 1)])
    whole = Collection.bulk_write

    def overtaken(collection: Any, *arguments: Any, **more: Any) -> Any:
        monkeypatch.undo()
        try:
            return whole(collection, *arguments, **more)
        finally:
            assert other.save(VIEW, [row("a", 2)]) == set()

    monkeypatch.setattr(Collection, "bulk_write", overtaken)
    assert store.save(VIEW, [row("a", 1), row("b", 1)]) == {Id("b")}
    assert store.load(VIEW, [Id("a")])[Id("a")].version == 3


@pytest.mark.parametrize("value", [
    {"a.b": 1}, {"$inc": {"x": 1}}, {"a": [{"x\0y": 1}]}, [[{"p.99": 2.5}]], {"drtc_json": "1"}, {"": 1},
    {"a": {"$x": []}}])
def test_names_that_no_field_can_have_come_back(store: Store, value: Any) -> None:
    store.save(VIEW, [row("a", j=value)])
    store.save(VIEW, [row("a", 1, j=value)])
    assert store.load(VIEW, [Id("a")])[Id("a")].values == (2, value)


@pytest.mark.parametrize("value, text", [({"p.99": 1}, '{"p.99":1}'), ([["SFO", 16]], '[["SFO",16]]')])
def test_what_mongodb_keeps_and_others_do_not(value: Any, text: str) -> None:
    assert Documents(VIEW, whole=True).document(row("a", j=value))["j"] == value
    assert Documents(VIEW, whole=False).document(row("a", j=value))["j"] == {"drtc_json": text}


@pytest.mark.parametrize("start, end", [
    (0.1, 0.3), (1 / 3, 2 / 3), (-1e-7, 1e-7), (1e15 + 0.25, 1e15 + 0.5), (-62135596800.0 * 5, 253402300800.0 * 5),
    (1e300, 2e300), (0.0, None)])
def test_windows_come_back_to_the_last_bit(opened: Callable[..., Store], start: float, end: float | None) -> None:
    view = View("w", (), windowed=True)
    store = opened()
    store.prepare(view)
    store.save(view, [Row(Id("a", start), end, 0, (), b"")])
    expected = Row(Id("a", start), end, 1, (), b"")
    assert store.load(view, [Id("a", start)]) == {expected.id: expected}
    assert list(store.scan(view)) == [expected]
    if end is not None:
        assert list(store.scan(view, during=(start, start))) == [expected]
        assert list(store.scan(view, during=(float("-inf"), float("inf")))) == [expected]
        assert list(store.scan(view, during=(end, end))) == []


def test_a_scan_goes_on_where_a_bunch_ended(opened: Callable[..., Store]) -> None:
    view = View("w", (), windowed=True)
    store = opened()
    store.prepare(view)
    ids = [Id(key, float(start)) for key in (7, "a", "b") for start in range(-400, 400)]
    store.save(view, [Row(id, (id.start or 0.0) + 1, 0, (), b"") for id in reversed(ids)])
    assert [found.id for found in store.scan(view)] == ids
    assert [found.id for found in store.scan(view, key="a")] == [id for id in ids if id.key == "a"]
    assert [found.id for found in store.scan(view, during=(-400, 200), limit=650)] == [
        id for id in ids if (id.start or 0.0) < 200][:650]


def test_a_record_that_is_too_large_is_named_and_the_others_go_on(store: Store) -> None:
    with pytest.raises(StoreError, match=r"the record 'b' of v has 16777\d\d\d bytes, and MongoDB's documents have at"
                                         r" most 16777216: let it keep less") as caught:
        store.save(VIEW, [row("a"), row("b", hidden=b"x" * (1 << 24))])
    assert not caught.value.retryable
    store.save(VIEW, [row("c", hidden=b"x" * (1 << 20))])
    assert len(store.load(VIEW, [Id("c")])[Id("c")].hidden) == 1 << 20


def test_values_that_bson_has_not_are_refused_in_a_sentence(store: Store) -> None:
    for bad, named in ((row("a", j={"x": 2**64}), "'a'"), (row("\ud800"), "'.ud800'"), (row("a", j="\ud800"), "'a'")):
        with pytest.raises(StoreError, match=f"the record {named} of v is nothing that MongoDB can keep") as caught:
            store.save(VIEW, [bad])
        assert not caught.value.retryable
    with pytest.raises(StoreError):
        store.load(VIEW, [Id("\ud800")])
    assert list(store.scan(VIEW)) == []


def test_columns_that_changed_are_named(store: Store) -> None:
    for other, named in ((VIEW._replace(columns=(Column("n", "real"), Column("m", "text"))), "j, m, n"),
                         (VIEW._replace(windowed=True), "window_end, window_start")):
        with pytest.raises(StoreError, match=rf"the view v exists with other columns \({named}\): raise"):
            store.prepare(other)


def test_what_is_saved_during_a_reset_is_in_no_new_view(
        store: Store, opened: Callable[..., Store], monkeypatch: pytest.MonkeyPatch) -> None:
    other = opened()
    check = MongoDBStore._check_prepared

    def overtaken(self: MongoDBStore, view: View) -> None:
        monkeypatch.undo()
        check(self, view)
        other.drop(view)

    monkeypatch.setattr(MongoDBStore, "_check_prepared", overtaken)
    store.save(VIEW, [row("a")])
    with pytest.raises(StoreError, match="the collection v has records.*: stop drtc, and run drtc reset") as caught:
        other.prepare(VIEW)
    assert not caught.value.retryable
    other.drop(VIEW)
    other.prepare(VIEW)
    assert list(other.scan(VIEW)) == []


def test_documents_of_others_are_no_hindrance(backend: Backend, server: MongoDB, opened: Callable[..., Store]) -> None:
    with server.client() as client:
        client[backend.section["database"]].v.insert_one({"mine": 1})
    opened().prepare(VIEW)


def test_a_server_that_hangs_is_not_awaited_for_ever(server: MongoDB, opened: Callable[..., Store]) -> None:
    store = opened(timeout="0.5")
    store.prepare(VIEW)
    store.save(VIEW, [row("a")])
    server.freeze()
    try:
        for work in (lambda: store.save(VIEW, [row("a", 1)]), lambda: store.load(VIEW, [Id("a")]),
                     store.health, lambda: list(store.scan(VIEW)), lambda: store.prepare(VIEW)):
            with pytest.raises(StoreUnavailable, match="cannot .* now"):
                work()
        with pytest.raises(StoreUnavailable):
            opened(timeout="0.5")
    finally:
        server.thaw()
    patient = opened()
    patient.health()  # the server is at work again
    assert patient.load(VIEW, [Id("a")])[Id("a")].version in (1, 2), "the save whose outcome was unknown"
    eventually(store.health)
    there = eventually(lambda: store.load(VIEW, [Id("a")]))[Id("a")].version
    eventually(lambda: store.save(VIEW, [row("a", there)]))
    assert patient.load(VIEW, [Id("a")])[Id("a")].version == there + 1


def test_a_server_that_was_killed_is_found_again(store: Store, server: MongoDB) -> None:
    store.save(VIEW, [row("a")])
    for version in (1, 2):
        server.kill()
        server.start()
        eventually(store.health)
        assert store.save(VIEW, [row("a", version)]) == set(), "what was answered is there"


def test_a_server_that_is_not_there_yet_is_waited_for() -> None:
    settings = MongoDBSettings(f"mongodb://drtc:hush@127.0.0.1:{free_port()}", timeout=0.3)
    assert "hush" not in repr(settings)
    with pytest.raises(StoreUnavailable, match=r"^MongoDB at 127.0.0.1:\d+, database drtc: cannot open now: "
                                               r".*Connection refused.*: is it running\? see \[store\] url$") as caught:
        open_store(settings, Path())
    assert "hush" not in str(caught.value) and "Topology" not in str(caught.value)


@pytest.mark.parametrize("url", ["mongodb://a:b:hush@127.0.0.1", "mongodb://drtc:hush%zz@127.0.0.1:port",
                                 "mongodb://drtc:hu/sh@127.0.0.1", "mongodb://127.0.0.1:port", "mongodb://"])
def test_a_url_that_is_none(url: str) -> None:
    told = refusal(MongoDBSettings(url))
    assert "[store] url is no URL of MongoDB" in told and "sh@" not in told and "hush" not in told


@pytest.mark.parametrize("settings, told", [
    ({"url": "localhost:27017"}, "url: must begin with mongodb://"), ({"database": "a b"}, "database: must be letters"),
    ({"database": "admin"}, "not one of MongoDB's own"), ({"password": "x"}, "password: is nothing without username")])
def test_settings_that_cannot_be(settings: dict[str, str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        MongoDBSettings(**settings)  # type: ignore[arg-type]


def test_writes_that_nobody_confirms_are_refused(server: MongoDB) -> None:
    assert "with w=0 nothing is ever known to be stored" in refusal(MongoDBSettings(f"{server.url}/?w=0"))


def test_without_pymongo_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymongo", None)
    assert refusal(MongoDBSettings()) == "[store] type = mongodb needs pymongo: pip install 'drtc[mongodb]'"


@pytest.mark.parametrize("error, kind, told", [
    (OperationFailure("Authentication failed.", 18), StoreError, "the user or the password is wrong"),
    (OperationFailure("not authorized on drtc", 13), StoreError, "drtc's user lacks the permission"),
    (OperationFailure("too large", 10334), StoreError, "a record is too large"),
    (OperationFailure("whatever", 96), StoreError, r"cannot write: whatever \(code 96\)"),
    (OperationFailure("database or disk is full (13)", 1), StoreUnavailable, "disk is full"),
    (OperationFailure("you are over your space quota", 8000), StoreUnavailable, "space quota"),
    (OperationFailure("not primary", 10107), StoreUnavailable, "not primary"),
    (OperationFailure("x", 1, {"errorLabels": ["RetryableWriteError"]}), StoreUnavailable, "cannot write now"),
    (ExecutionTimeout("operation exceeded time limit", 50), StoreUnavailable, "exceeded"),
    (WriteConcernError("waiting for replication timed out", 64), StoreUnavailable, "too few servers confirm it"),
    (NetworkTimeout("timed out"), StoreUnavailable, "timed out"),
    (AutoReconnect("connection closed"), StoreUnavailable, "connection closed"),
    (BulkWriteError({"writeErrors": [{"code": 121, "errmsg": "Document failed validation"}],
                     "writeConcernErrors": [{"code": 64, "errmsg": "slow"}]}), StoreError, "failed validation"),
])
def test_failures_are_waited_out_or_told(error: Exception, kind: type[StoreError], told: str) -> None:
    with pytest.raises(kind, match=f"^here: .*{told}"):
        raise translated("here", "write", error)
    assert type(translated("here", "write", error)) is kind


def test_a_duplicate_in_an_index_of_the_users_own_is_no_version_that_moved() -> None:
    store = MongoDBStore(MongoDBSettings())
    mine = {"writeErrors": [{"index": 1, "code": 11000, "errmsg": "E11000 ..", "keyPattern": {"_id": 1}}],
            "writeConcernErrors": []}
    assert store._moved([row("a"), row("b")], mine, Exception()) == {Id("b")}
    mine["writeErrors"][0]["keyPattern"] = {"n": 1}
    with pytest.raises(StoreError, match="a unique index that is not drtc's forbids it") as caught:
        store._moved([row("a"), row("b")], mine, Exception())
    assert not caught.value.retryable
    unconfirmed = {"writeErrors": [{"index": 0, "code": 66}], "writeConcernErrors": [{"code": 64, "errmsg": "slow"}]}
    with pytest.raises(StoreUnavailable, match="slow"):
        store._moved([row("a", 1)], unconfirmed, Exception())
    assert of_codes("here", "write", [{"code": 64, "errmsg": "slow"}]).retryable


@pytest.mark.parametrize("concern, replicated, told", [
    (WriteConcern(w="majority", j=True), True, "the loss of a minority of the servers and a power cut"),
    (WriteConcern(w="majority", j=False), True, "the loss of a minority of the servers"),
    (WriteConcern(w="majority", j=True), False, "a killed server and a power cut"),
    (WriteConcern(w=1), False, "a killed server but for its last 100 ms"),
    (WriteConcern(w=1), True, "not the loss of the primary"),
])
def test_what_stored_survives(concern: WriteConcern, replicated: bool, told: str) -> None:
    assert survives(concern, replicated, ferret=False) == told


def test_the_banner_says_what_this_server_survives(store: Store) -> None:
    assert store.survives
