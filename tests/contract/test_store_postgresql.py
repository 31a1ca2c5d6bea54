"""What only the PostgreSQL store has: tables that people read, a server's rights, durability, limits and deadlocks."""
from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Iterator, Sequence

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from drtc.compute.records import Layout
from drtc.errors import StoreError, StoreUnavailable
from drtc.examples.flights import Flights
from drtc.job import describe
from drtc.stores import open_store, postgresql_table
from drtc.stores.base import Column, Id, Row, Store, View
from drtc.stores.postgresql import PostgreSQLSettings, PostgreSQLStore
from drtc.stores.postgresql_client import survives

from ..services import PostgreSQL
from .backends import Backend, eventually, made

ONLY = ["postgresql"]
PAGE = Path(__file__).parents[2] / "docs" / "store_postgresql.md"
VIEW = View("daily_v1", (Column("views", "integer"), Column("mean", "real"), Column("last", "text"),
                         Column("recent", "json")), windowed=True)
PLAIN = View("total_v1", (Column("views", "integer"), Column("last", "text")))
WINDOW = 1372896000.0
DAY = 86400.0

#: what the quickstart comes to: carrier, days since July 4, 2013, values
FLIGHTS: list[tuple[str, int, tuple[Any, ...]]] = [
    ("EV", 0, (92, 0, 0.391304347826087, 73, {"p50": -3.0, "p90": 15.0, "p99": 73.0},
               [["IAD", 11], ["DTW", 5], ["MCI", 5], ["RDU", 5], ["BNA", 4]])),
    ("UA", 0, (130, 0, 3.669230769230769, 141, {"p50": -1.0, "p90": 18.0, "p99": 65.0},
               [["SFO", 16], ["IAH", 15], ["LAX", 14], ["ORD", 13], ["BOS", 8]])),
    ("UA", 1, (135, 1, 6.082089552238806, 112, {"p50": 0.0, "p90": 23.0, "p99": 98.0},
               [["LAX", 16], ["SFO", 16], ["IAH", 15], ["ORD", 14], ["BOS", 8]])),
    ("B6", 0, (159, 1, 9.430379746835444, 185, {"p50": -1.0, "p90": 28.0, "p99": 123.0},
               [["MCO", 19], ["FLL", 17], ["BOS", 13], ["SJU", 9], ["BUF", 8]])),
]


@pytest.fixture
def server(backend: Backend) -> PostgreSQL:
    assert isinstance(backend.server, PostgreSQL)
    return backend.server


@contextmanager
def admin(backend: Backend) -> Iterator[psycopg.Connection[Any]]:
    """A superuser in the backend's database."""
    assert isinstance(backend.server, PostgreSQL)
    with backend.server.admin(backend.section["url"].rpartition("/")[2]) as connection:
        yield connection


def everywhere(backend: Backend, setting: str) -> None:
    """Changes a setting for new sessions in the backend's database."""
    assert isinstance(backend.server, PostgreSQL)
    with backend.server.admin() as connection:
        connection.execute(f"ALTER DATABASE {backend.section['url'].rpartition('/')[2]} SET {setting}".encode())


def plain(key: str | int, version: int = 0, last: str | None = None, hidden: bytes = b"h") -> Row:
    return Row(Id(key), None, version, (version, last), hidden)


def refusal(backend: Backend, **more: str) -> str:
    with pytest.raises(StoreError) as caught:
        backend.open(**more)
    assert not isinstance(caught.value, StoreUnavailable), caught.value
    assert backend.section["password"] not in str(caught.value)
    return str(caught.value)


# --- people ---

def test_what_the_page_shows_is_what_psql_prints(server: PostgreSQL, backend: Backend, store: Store) -> None:
    view = Layout(describe(Flights), 1).view
    store.prepare(view)
    rows = [Row(Id(carrier, WINDOW + days * DAY), WINDOW + (days + 1) * DAY, 0, values, b"\x92\x90\xc0")
            for carrier, days, values in FLIGHTS]
    store.save(view, rows)
    shown = re.findall(r"^\$ psql (.*)\n((?:(?!\$ |```).*\n)*)", PAGE.read_text("utf-8"), re.MULTILINE)
    assert len(shown) >= 4
    for typed, wanted in shown:
        words = shlex.split(typed)
        assert words[0] == "postgresql://drtc@localhost:5432/results"
        found = server.psql([backend.section["url"], *words[1:]])
        assert [line.rstrip() for line in found.splitlines()] == [line.rstrip() for line in wanted.splitlines()], found


def test_columns_are_postgresqls_own_types(backend: Backend, store: Store) -> None:
    store.prepare(VIEW)
    values = (3, 0.25, "x", {"b": 1, "a": [1e300, "ü"]})
    store.save(VIEW, [Row(Id("UA", WINDOW + 0.5), WINDOW + DAY, 0, values, b"\xff")])
    with admin(backend) as connection:
        cursor = connection.execute("SELECT *, recent::text AS text FROM daily_v1 WHERE key = 'UA' AND window_start ="
                                    " '2013-07-04 00:00:00.5Z' AND recent->'a'->>1 = 'ü'")
        assert cursor.description is not None
        assert [(column.name, column.type_display) for column in cursor.description][:-1] == [
            ("key", "text"), ("window_start", "timestamptz"), ("window_end", "timestamptz"), ("views", "int8"),
            ("mean", "float8"), ("last", "text"), ("recent", "json"), ("drtc_version", "int8"), ("drtc_state", "bytea")]
        found = cursor.fetchone()
    assert found is not None
    assert (found[0], found[1].timestamp(), found[2].timestamp(), *found[3:6], *found[7:9]) == (
        "UA", WINDOW + 0.5, WINDOW + DAY, 3, 0.25, "x", 1, b"\xff")
    assert found[9] == '{"b":1,"a":[1e300,"ü"]}', "in the order in which the aggregate shows it"


def test_the_primary_key_answers_for_key_and_window(backend: Backend, store: Store) -> None:
    store.prepare(VIEW)
    store.save(VIEW, [Row(Id(f"k{n}", WINDOW), WINDOW + DAY, 0, (1, None, None, None), b"") for n in range(2000)])
    with admin(backend) as connection:
        connection.execute("ANALYZE daily_v1")
        plan = str(connection.execute(
            "EXPLAIN SELECT * FROM daily_v1 WHERE key = 'k7' AND window_start = '2013-07-04Z'").fetchall())
    assert "Index Scan using daily_v1_pkey" in plan


# --- what is exact ---

ODD = ["", "\0", "␀", "␀0", "␀␀", "a\0b␀0c", "'\";--\\ \\x00 %s $1 {}", "naïve 東京 🚲", "NULL", "{a,b}"]
WHOLE = st.integers(-2 ** 63, 2 ** 63 - 1)
TEXTS = st.text(st.characters(codec="utf-8")) | st.sampled_from(ODD)
SCALARS = st.none() | st.booleans() | WHOLE | TEXTS | st.floats(allow_nan=False, allow_infinity=False)
DOCUMENTS = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
                         max_leaves=6)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(TEXTS | WHOLE, unique_by=repr, max_size=6), TEXTS, st.none() | st.floats(allow_nan=False), DOCUMENTS)
def test_any_key_and_value_comes_back_as_it_was(store: Store, keys: list[str | int], last: str, mean: float | None,
                                                recent: Any) -> None:
    view = View("any_v1", (Column("mean", "real"), Column("last", "text"), Column("recent", "json")))
    store.prepare(view)
    rows = [Row(Id(key), None, 0, (mean, last, recent), b"\0") for key in keys]
    assert store.save(view, rows) == set()
    expected = {row.id: row._replace(version=1) for row in rows}
    found = store.load(view, [row.id for row in rows])
    assert found == expected and repr(sorted(found.items(), key=repr)) == repr(sorted(expected.items(), key=repr))
    assert {row.id: row for row in store.scan(view)} == expected
    store.delete(view, list(expected))
    assert list(store.scan(view)) == []


def test_windows_are_exact_to_the_microsecond(store: Store) -> None:
    store.prepare(VIEW)
    starts = [index * 100_001 / 1_000_000 for index in (-17_000_000_000, -3, 0, 1, 3, 13_728_960_000, 2 ** 40)]
    rows = [Row(Id("a", start), start + 0.25, 0, (1, None, None, None), b"") for start in starts]
    rows = [row._replace(end=round(row.end * 1e6) / 1e6) for row in rows if row.end is not None]
    store.save(VIEW, rows)
    assert list(store.scan(VIEW)) == [row._replace(version=1) for row in rows]
    assert set(store.load(VIEW, [row.id for row in rows])) == {row.id for row in rows}
    for start in (0.1234567, 1e15, float("inf")):
        with pytest.raises(StoreError, match=r"the record \('a', .*\) of daily_v1: .*no timestamp"):
            store.save(VIEW, [Row(Id("a", start), start, 0, (1, None, None, None), b"")])


def test_a_sum_beyond_64_bits_shows_the_greatest_bigint(store: Store) -> None:
    store.prepare(PLAIN)
    sums = (1.9e19, -1.9e19, None)
    store.save(PLAIN, [Row(Id(at), None, 0, (value, None), b"exact") for at, value in enumerate(sums)])
    assert [row.values[0] for row in store.scan(PLAIN)] == [2 ** 63 - 1, -2 ** 63, None]


# --- what is refused ---

def test_values_that_postgresql_cannot_keep_are_refused_in_a_sentence(store: Store) -> None:
    store.prepare(PLAIN)
    for row in (plain("a")._replace(values=(2 ** 64, None)), plain("\ud800"), plain("a", last="x\udfff")):
        with pytest.raises(StoreError, match=r"cannot save: the record \('.*', None\) of total_v1: ") as caught:
            store.save(PLAIN, [plain("innocent"), row])
        assert not caught.value.retryable
    assert list(store.scan(PLAIN)) == []


def test_a_key_that_no_index_takes_is_named(store: Store) -> None:
    store.prepare(PLAIN)
    long = "k" + os.urandom(2000).hex()
    told = f"maximum 2704 .*longest key of total_v1 has 4001 bytes and begins '{long[:40]}'"
    with pytest.raises(StoreError, match=told) as caught:
        store.save(PLAIN, [plain("a"), plain(long)])
    assert not caught.value.retryable
    assert store.load(PLAIN, [Id("a"), Id(long)]) == {}
    store.save(PLAIN, [plain(long[:2600])])
    assert [row.id.key for row in store.scan(PLAIN)] == [long[:2600]]


def test_a_record_that_is_too_large_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.prepare(PLAIN)
    monkeypatch.setattr(postgresql_table, "_PART_BYTES", 2000)
    monkeypatch.setattr(postgresql_table, "_RECORD_BYTES", 5000)
    with pytest.raises(StoreError, match=r"the record \('b', None\) of total_v1 is too large .*: 6\d{3} bytes, "):
        store.save(PLAIN, [plain("a", hidden=b"x" * 3000), plain("b", hidden=b"x" * 6000)])
    assert list(store.scan(PLAIN)) == []
    store.save(PLAIN, [plain(n, hidden=b"x" * 100 * n) for n in range(40)])
    assert [len(row.hidden) for row in store.scan(PLAIN)] == [100 * n for n in range(40)], "parts by size"


def test_names_that_would_be_cut_are_refused(store: Store) -> None:
    for view in (View("v" * 64, ()), View("v", (Column("ü" * 32, "integer"),))):
        with pytest.raises(StoreError, match="names of up to 63 bytes"):
            store.prepare(view)
    store.prepare(View("v" * 63, (Column("select", "text"), Column('a"b', "text"))))
    for name in ("xmin", "drtc_version"):
        with pytest.raises(StoreError, match=f'"{name}".*call the Job\'s field something else'):
            store.prepare(View("w", (Column(name, "integer"),)))


def test_an_update_touches_no_index(backend: Backend, store: Store) -> None:
    store.prepare(PLAIN)
    for version in range(4):
        store.save(PLAIN, [plain(n, version, hidden=b"x" * 200) for n in range(1000)])
    store.close()
    with admin(backend) as connection:
        counted = b"SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'total_v1'"
        while (found := connection.execute(counted).fetchone()) == (0, 0):  # counted when the session has ended
            time.sleep(0.01)
    assert found == (3000, 3000)


# --- who may what ---

def test_wrong_addresses_and_credentials(backend: Backend, server: PostgreSQL) -> None:
    url = backend.section["url"]
    home = url.rpartition("/")[0]
    wrong = "not-this"
    with pytest.raises(StoreError, match="password authentication failed.*check the user") as caught:
        backend.open(password=wrong)
    assert not caught.value.retryable and wrong not in str(caught.value)
    assert "check the user in [store] url" in refusal(backend, url=url.replace("drtc@", "nobody@"))
    assert '"absent" does not exist: make it (createdb)' in refusal(backend, url=f"{home}/absent")
    assert "change [store] url" in refusal(backend, url=f"{url}?no_such_option=1")
    assert "sslmode" in refusal(backend, url=f"{url}?sslmode=require")
    for option in ("sslmode=requird", "target_session_attrs=readwrite", "gssencmode=foo", "keepalives=x",
                   "channel_binding=foo", "options=-c%20foo", "options=-c%20no_such=1"):
        assert "change [store] url" in refusal(backend, url=f"{url}?{option}"), option
    assert 'invalid port number: "99999": change [store] url' in refusal(
        backend, url="postgresql://drtc@127.0.0.1:99999/db")
    with pytest.raises(StoreUnavailable, match=r"cannot open now: .*refused.*: is it running\? see \[store\] url$"):
        backend.open(url=f"postgresql://drtc@127.0.0.1:1/{url.rpartition('/')[2]}")
    with backend.unavailable(), pytest.raises(StoreUnavailable, match="too many connections") as caught:
        backend.open()
    assert "is it running" not in str(caught.value), "it has answered"


def test_a_database_of_another_encoding_is_refused(backend: Backend, server: PostgreSQL) -> None:
    name = f"{backend.section['url'].rpartition('/')[2]}_latin"
    with server.admin() as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1'".encode())
        try:
            assert "encoded in LATIN1" in refusal(backend, url=f"postgresql://drtc@{server.address}/{name}")
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.mark.parametrize("wrong", [
    {"url": "localhost:5432"}, {"url": "postgresql://u:secret@h/d"}, {"url": "postgresql://u@h/d?password=secret"},
    {"url": "postgresql://u:sec/secret@h/d"}, {"url": "postgresql://u:a?secret@h"},
    {"url": "postgresql://u:a@secret@h"}, {"url": "postgresql://u@h/d?sslmode=prefer&sslpassword=secret"},
    {"url": "postgresql://u@h/d?%70assword=secret"}, {"url": "postgres://u@h?Password=secret"},
    {"schema": ""}, {"timeout": 0.0}])
def test_settings_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError) as caught:
        PostgreSQLSettings(**{"url": "postgresql://u@h/d", **wrong})
    assert "secret" not in str(caught.value) and str(caught.value).startswith(f"{next(iter(wrong))}: ")


@pytest.mark.parametrize("url, where", [
    ("postgresql://u@a:1,b:2/d?sslmode=require", "postgresql://a:1,b:2/d"),
    ("postgresql://h:5432", "postgresql://h:5432"),
    ("postgresql:///d?host=/run&application_name=a%40b", "postgresql:///d"),
    ("postgres://u@[::1]:5/d", "postgres://[::1]:5/d")])
def test_messages_name_the_database_without_the_user(url: str, where: str) -> None:
    assert PostgreSQLSettings(url=url).where == where


def test_the_password_is_in_no_repr() -> None:
    assert "secret" not in repr(PostgreSQLSettings(url="postgresql://u@h/d", password="secret"))


def test_who_may_not_make_tables_uses_those_of_init_store(backend: Backend, store: Store) -> None:
    with admin(backend) as connection:
        connection.execute("CREATE SCHEMA shared")
        connection.execute("GRANT USAGE ON SCHEMA shared TO drtc")
    humble = backend.open(schema="shared")
    with pytest.raises(StoreError, match="permission denied for schema shared.*drtc init-store") as caught:
        humble.prepare(PLAIN)
    assert not caught.value.retryable
    grant = f"GRANT SELECT, INSERT, UPDATE, DELETE ON shared.{PLAIN.name} TO drtc"
    with admin(backend) as connection:
        connection.execute("GRANT CREATE ON SCHEMA shared TO drtc")
        humble.prepare(PLAIN)
        connection.execute(f"ALTER TABLE shared.{PLAIN.name} OWNER TO CURRENT_USER".encode())
        connection.execute("REVOKE CREATE ON SCHEMA shared FROM drtc")
        humble.prepare(PLAIN)
        with pytest.raises(StoreError, match="permission denied for table.*grant SELECT, INSERT, UPDATE and"):
            humble.save(PLAIN, [plain("a")])
        connection.execute(grant.encode())
    assert humble.save(PLAIN, [plain("a")]) == set()
    humble.close()


def test_a_schema_that_the_user_may_not_make(backend: Backend, store: Store) -> None:
    database = backend.section["url"].rpartition("/")[2]
    humble = backend.open(schema="fresh")
    with admin(backend) as connection:
        connection.execute(f"ALTER DATABASE {database} OWNER TO CURRENT_USER".encode())
        told = f"fresh does not exist, and drtc may not make it: grant CREATE on the database {database} to drtc, or"
        with pytest.raises(StoreError, match=told) as caught:
            humble.prepare(PLAIN)
        assert not caught.value.retryable
        connection.execute(f"GRANT CREATE ON DATABASE {database} TO drtc".encode())
    humble.prepare(PLAIN)
    humble.close()


def test_only_the_owner_of_a_table_drops_it(backend: Backend, store: Store) -> None:
    store.prepare(PLAIN)
    with admin(backend) as connection:
        connection.execute("CREATE ROLE keeper")
        try:
            connection.execute(f"ALTER TABLE {PLAIN.name} OWNER TO keeper".encode())
            connection.execute("ALTER SCHEMA public OWNER TO CURRENT_USER")  # whose owner may drop it as well
            with pytest.raises(StoreError, match="cannot drop: must be owner of table total_v1: let the table's owner,"
                                                 " keeper, run drtc reset$") as caught:
                store.drop(PLAIN)
            assert not caught.value.retryable
        finally:
            connection.execute("REASSIGN OWNED BY keeper TO drtc; DROP ROLE keeper")
    store.drop(PLAIN)


def test_the_grants_of_the_page_are_enough(backend: Backend, store: Store) -> None:
    """The user who makes the tables follows the page; drtc's own may do no more than read and write them."""
    page = PAGE.read_text("utf-8")
    found = re.search(r"^```sql\n(CREATE SCHEMA .*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert found is not None and "ALTER TABLE" not in found[1]
    database = backend.section["url"].rpartition("/")[2]
    with admin(backend) as connection:
        connection.execute(f"CREATE ROLE maker LOGIN PASSWORD '{backend.section['password']}'".encode())
        connection.execute(f"ALTER DATABASE {database} OWNER TO maker".encode())
    url = backend.section["url"].replace("drtc@", "maker@")
    try:
        with psycopg.connect(url, password=backend.section["password"], autocommit=True) as connection:
            connection.execute(found[1].encode())
        with closing(backend.open(url=url, schema="results")) as maker:
            maker.prepare(PLAIN)  # as drtc init-store does
        with closing(backend.open(schema="results")) as humble:
            humble.prepare(PLAIN)
            assert humble.save(PLAIN, [plain("a")]) == humble.save(PLAIN, [plain("a", 1)]) == set()
            assert [row.id.key for row in humble.scan(PLAIN)] == ["a"]
            humble.delete(PLAIN, [Id("a")])
            humble.health()
            with pytest.raises(StoreError, match="let the table's owner, maker, run drtc reset"):
                humble.drop(PLAIN)
        with closing(backend.open(url=url, schema="results")) as maker:
            maker.drop(PLAIN)
    finally:
        with admin(backend) as connection:
            connection.execute("REASSIGN OWNED BY maker TO drtc; DROP OWNED BY maker")
            connection.execute(f"ALTER DATABASE {database} OWNER TO drtc; DROP ROLE maker".encode())


def test_stores_that_prepare_at_the_same_moment(backend: Backend) -> None:
    stores = [backend.open(schema="new") for _ in range(5)]
    together = threading.Barrier(len(stores))

    def prepare(store: Store) -> None:
        for number in range(10):
            together.wait(60)
            store.prepare(PLAIN._replace(name=f"view_{number}"))

    with ThreadPoolExecutor(len(stores)) as pool:
        list(pool.map(prepare, stores))  # raises what any of them raised
    for store in stores:
        store.close()


def test_views_of_two_schemas_have_nothing_in_common(backend: Backend, store: Store) -> None:
    other = backend.open(schema="Other Place")
    for each in (store, other):
        each.prepare(PLAIN)
    assert store.save(PLAIN, [plain("a")]) == other.save(PLAIN, [plain("a")]) == set()
    other.drop(PLAIN)
    assert [row.id.key for row in store.scan(PLAIN)] == ["a"]
    other.close()


def test_without_psycopg_it_is_said_what_to_install() -> None:
    program = """
import sys
sys.modules["psycopg"] = None
from pathlib import Path
from drtc.errors import StoreError
from drtc.stores import open_store, settings_class
try:
    open_store(settings_class("postgresql")(url="postgresql://u@h/d"), Path())
except StoreError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[store] type = postgresql needs psycopg: pip install 'drtc[postgresql]'\n"


# --- trouble ---

def test_a_frozen_server_is_not_waited_for_and_comes_back(backend: Backend, server: PostgreSQL) -> None:
    store = backend.open(timeout="1")
    store.prepare(PLAIN)
    store.save(PLAIN, [plain("a")])
    server.freeze()
    try:
        for act in (lambda: store.save(PLAIN, [plain("a", 1), plain("b")]), store.health):
            with pytest.raises(StoreUnavailable, match="cannot .* now: "):
                act()
    finally:
        server.thaw()
    eventually(store.health)
    there = eventually(lambda: store.load(PLAIN, [Id("a"), Id("b")]))
    versions = {id: row.version for id, row in there.items()}
    assert versions in ({Id("a"): 1}, {Id("a"): 2, Id("b"): 1}), "all of the save or nothing, as nobody knew"
    eventually(lambda: store.save(PLAIN, [plain("a", versions[Id("a")])]))
    store.close()


def test_a_killed_server_keeps_what_was_stored_and_the_store_goes_on(server: PostgreSQL, store: Store) -> None:
    store.prepare(PLAIN)
    store.save(PLAIN, [plain(n) for n in range(100)])
    next(store.scan(PLAIN))
    server.kill()
    with pytest.raises(StoreUnavailable):
        store.save(PLAIN, [plain(0, 1)])
    with pytest.raises(StoreUnavailable, match="refused"):
        store.health()
    server.start()
    assert store.save(PLAIN, [plain(0, 1), plain(1, 2)]) == {Id(1)}
    assert [row.id.key for row in store.scan(PLAIN)] == list(range(100))


def test_a_scan_whose_connection_was_lost_says_so(backend: Backend, store: Store) -> None:
    store.prepare(PLAIN)
    store.save(PLAIN, [plain(n) for n in range(1500)])
    scan = store.scan(PLAIN)
    next(scan)
    with backend.unavailable():
        with pytest.raises(StoreUnavailable):
            store.health()
    store.health()
    with pytest.raises(StoreUnavailable, match="in the middle of a scan"):
        list(scan)
    store.health()


def test_scans_leave_no_cursor_and_no_lock_behind(backend: Backend, store: Store) -> None:
    store.prepare(PLAIN)
    store.save(PLAIN, [plain(n) for n in range(1500)])
    scans = [store.scan(PLAIN) for _ in range(3)]
    for scan in scans:
        next(scan)
    with admin(backend) as connection:
        connection.execute("SET statement_timeout = 5000")
        connection.execute("ALTER TABLE total_v1 SET (fillfactor = 90)")  # needs it for itself alone
    store.delete(PLAIN, [Id(1200)])
    assert len(list(scans.pop())) == 1498, "a row that went meanwhile is passed over"
    scans.clear()
    store.health()
    assert isinstance(store, PostgreSQLStore) and store._client is not None
    assert store._client.execute("SELECT name FROM pg_cursors") == []


def await_lock(connection: psycopg.Connection[Any]) -> None:
    """Until somebody waits for a lock."""
    waiting = "SELECT 1 FROM pg_stat_get_activity(NULL) WHERE wait_event_type = 'Lock'"
    while connection.execute(waiting.encode()).fetchone() is None:
        time.sleep(0.01)


@pytest.fixture
def rival(backend: Backend, store: Store) -> Iterator[psycopg.Connection[Any]]:
    """Another session in the middle of a transaction that has changed the row "b"."""
    store.prepare(PLAIN)
    store.save(PLAIN, [plain("a"), plain("b")])
    with admin(backend) as connection:
        connection.execute("SET deadlock_timeout = '1min'")  # the other side finds it, and is the one to give way
        connection.execute("BEGIN")
        connection.execute("UPDATE total_v1 SET drtc_version = 7 WHERE key = 'b'")
        yield connection


def test_a_deadlock_is_no_end(rival: psycopg.Connection[Any], store: Store) -> None:
    def cross() -> None:
        await_lock(rival)  # the store has locked "a" and waits for "b"
        rival.execute("UPDATE total_v1 SET drtc_version = 7 WHERE key = 'a'")

    crossing = threading.Thread(target=cross)
    crossing.start()
    with pytest.raises(StoreUnavailable, match="deadlock"):
        store.save(PLAIN, [plain("b", 1), plain("a", 1)])
    crossing.join()
    rival.execute("COMMIT")
    assert store.save(PLAIN, [plain("a", 7), plain("b", 1)]) == {Id("b")}


def test_a_lock_is_not_waited_for_longer_than_the_timeout(rival: psycopg.Connection[Any], backend: Backend) -> None:
    store = backend.open(timeout="1")
    store.prepare(PLAIN)
    with pytest.raises(StoreUnavailable):
        store.save(PLAIN, [plain("b", 1)])
    rival.execute("ROLLBACK")
    assert eventually(lambda: store.load(PLAIN, [Id("b")]))[Id("b")].version in (1, 2)
    store.close()


def test_a_server_that_only_reads_may_write_later(backend: Backend, store: Store) -> None:
    store.prepare(PLAIN)
    everywhere(backend, "default_transaction_read_only = on")
    standby = backend.open()
    with pytest.raises(StoreUnavailable, match="read-only"):
        standby.save(PLAIN, [plain("a")])
    everywhere(backend, "default_transaction_read_only = off")
    assert standby.save(PLAIN, [plain("a")]) == set()
    standby.close()


def test_a_stricter_isolation_of_the_database_makes_no_difference(backend: Backend, store: Store) -> None:
    everywhere(backend, "default_transaction_isolation = 'serializable'")
    strict = backend.open()
    strict.prepare(PLAIN)
    with admin(backend) as connection:
        connection.execute("BEGIN")
        store.save(PLAIN, [plain("a")])
        strict.load(PLAIN, [Id("a")])
        connection.execute("UPDATE total_v1 SET drtc_version = 9")
        saving: list[set[Id]] = []
        thread = threading.Thread(target=lambda: saving.append(strict.save(PLAIN, [plain("a", 1)])))
        thread.start()
        await_lock(connection)
        connection.execute("COMMIT")
        thread.join()
    assert saving == [{Id("a")}], "moved, which is no error"
    strict.close()


@pytest.fixture
def small_disk(backend: Backend, tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB on which the backend's new tables lie."""
    assert isinstance(backend.server, PostgreSQL)
    directory = Path(f"/tmp/{backend.section['url'].rpartition('/')[2]}")  # where the server's user may go
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m,uid=postgres,mode=700", "tmpfs", str(directory)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        directory.rmdir()
        pytest.skip("a full disk can only be tried where root may mount a tmpfs")
    name = directory.name
    try:
        with backend.server.admin() as connection:
            connection.execute(f"CREATE TABLESPACE {name} LOCATION '{directory}'".encode())
            connection.execute(f"GRANT CREATE ON TABLESPACE {name} TO drtc".encode())
            connection.execute(f"ALTER DATABASE {name} SET default_tablespace = {name}".encode())
        yield directory
        with admin(backend) as connection:
            connection.execute("DROP TABLE IF EXISTS total_v1")
            connection.execute(f"ALTER DATABASE {name} RESET default_tablespace".encode())
        with backend.server.admin() as connection:
            connection.execute("CHECKPOINT")
            connection.execute(f"DROP TABLESPACE {name}".encode())
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)
        directory.rmdir()


def test_a_full_disk_is_waited_out(small_disk: Path, backend: Backend) -> None:
    (small_disk / "ballast").write_bytes(b"x" * (2 << 20))
    store = backend.open()
    store.prepare(PLAIN)
    saved = 0
    with pytest.raises(StoreUnavailable, match="No space left on device"):
        for saved in range(1000):
            store.save(PLAIN, [plain(saved, hidden=os.urandom(20_000))])
    assert len(store.load(PLAIN, [Id(n) for n in range(saved)])) == saved > 10, "what was answered is there"
    (small_disk / "ballast").unlink()
    assert store.save(PLAIN, [plain(saved)]) == set()
    assert [row.id.key for row in store.scan(PLAIN)] == list(range(saved + 1))
    store.close()


# --- what "stored" survives ---

@pytest.mark.parametrize("durability, phrase", [
    (("on", "on", ""), "a killed process and a power cut"),
    (("on", "local", "a"), "a killed process and a power cut"),
    (("on", "remote_apply", "a"), "a killed process, a power cut and the loss of this server (synchronous standby)"),
    (("off", "on", ""), "a killed process and a killed server, no power cut (fsync = off)"),
    (("on", "off", "a"), "a killed process; a crash of the server takes its last moments (synchronous_commit = off)"),
])
def test_what_stored_survives_in_words(durability: Sequence[str], phrase: str) -> None:
    assert survives(*durability) == phrase


def test_what_stored_survives_is_asked_of_the_server(backend: Backend, server: PostgreSQL) -> None:
    store = open_store(made(backend.section), backend.base)
    assert store.survives.endswith("(fsync = off)"), "as the tests run it"
    with server.admin() as connection:
        default = connection.execute("SHOW synchronous_commit").fetchone()
    assert default == ("on",)
    everywhere(backend, "synchronous_commit = off")
    store.close()
    store.open()
    assert store.survives.endswith("(synchronous_commit = off)")
    store.close()
