"""What only Elasticsearch and OpenSearch have: sequence numbers, aliases, mappings, blocks, documents for people."""
from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import threading
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Iterator

import pytest

from drtc.errors import StoreError, StoreUnavailable
from drtc.stores import elasticsearch_index, open_store
from drtc.stores.base import Column, Id, Row, Store, View
from drtc.stores.elasticsearch import ElasticsearchSettings
from drtc.stores.elasticsearch_client import Client

from ..services.base import free_port
from ..services.opensearch import MOST_BYTES, Search
from .backends import Backend, eventually

ONLY = [pytest.param("elasticsearch", marks=pytest.mark.long), "opensearch"]
PAGE = Path(__file__).parents[2] / "docs" / "store_elasticsearch.md"
VIEW = View("sales_v1", (Column("count", "integer"), Column("note", "text")))
FLIGHTS = View("flights_v1", (Column("flights", "integer"), Column("mean_delay", "real"),
                              Column("destinations", "json")), windowed=True)
DAY = 86400.0
JULY_4 = 1372896000.0


@pytest.fixture
def server(backend: Backend) -> Search:
    assert isinstance(backend.server, Search)
    return backend.server


@pytest.fixture
def store(backend: Backend) -> Iterator[Store]:
    opened = backend.open()
    opened.prepare(VIEW)
    yield opened
    opened.close()


def row(key: str | int, version: int = 0, count: int = 1, note: str | None = None, hidden: bytes = b"h") -> Row:
    return Row(Id(key), None, version, (count, note), hidden)


def index_of(backend: Backend, view: View = VIEW) -> str:
    return f"{backend.section['prefix']}{view.name}"


def test_the_page_shows_what_people_see(backend: Backend, server: Search) -> None:
    store = backend.open(prefix=f"{backend.section['prefix']}drtc-")
    store.prepare(FLIGHTS)
    days = (("UA", JULY_4, (150, 4.25, [["IAH", 18], ["SFO", 17]])),
            ("UA", JULY_4 + DAY, (161, 8.5, [["SFO", 20], ["LAX", 16]])),
            ("AA", JULY_4, (86, -1.5, [["DFW", 20], ["MIA", 16]])))
    assert not store.save(FLIGHTS, [Row(Id(carrier, start), start + DAY, 0, values, b"\x92\x80\x90")
                                    for carrier, start, values in days])
    server.ask("POST", f"/{backend.section['prefix']}*/_refresh")
    played = 0
    for block in re.findall(r"^```console\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        for typed, shown in re.findall(r"^\$ (curl .*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            words = shlex.split(typed.replace("localhost:9200/drtc-",
                                              f"{server.address}/{backend.section['prefix']}drtc-"))
            found = subprocess.run(words, capture_output=True, text=True, timeout=30, check=True).stdout
            found = found.replace(f"{backend.section['prefix']}drtc-", "drtc-")
            assert json.loads(found) == json.loads(shown), f"{typed}\n{found}"
            played += 1
    assert played >= 3, "the page lost its commands"
    store.close()


def test_columns_have_types_that_charts_need(backend: Backend, server: Search) -> None:
    store = backend.open()
    view = View("Typed", tuple(Column(kind, kind) for kind in ("integer", "real", "text", "json", "bytes")), True)
    store.prepare(view)
    index = index_of(backend, view).lower()
    found = server.ask("GET", f"/{index}")[1][index]
    assert {name: field["type"] for name, field in found["mappings"]["properties"].items()} == {
        "key": "keyword", "window_start": "date", "window_end": "date", "integer": "long", "real": "double",
        "text": "keyword", "json": "object", "bytes": "binary", "drtc_version": "long", "drtc_state": "binary",
        "drtc_order": "keyword", "drtc_start": "double", "drtc_end": "double"}
    assert found["mappings"]["dynamic"] == "strict"
    assert found["settings"]["index"]["translog"]["durability"] == "request"
    with pytest.raises(StoreError, match="is of the view Typed, whose name differs from typed in capitals alone"):
        store.prepare(view._replace(name="typed"))
    store.close()


def test_a_frozen_server_is_not_waited_for(backend: Backend, server: Search) -> None:
    patient = backend.open()
    patient.prepare(VIEW)
    assert not patient.save(VIEW, [row("a")])
    store = backend.open(timeout="2")
    assert store.load(VIEW, [Id("a")])
    server.freeze()
    try:
        for call in (lambda: store.save(VIEW, [row("a", 1)]), lambda: store.load(VIEW, [Id("a")]),
                     lambda: list(store.scan(VIEW)), store.health, lambda: backend.open(timeout="2")):
            with pytest.raises(StoreUnavailable, match="no answer within 2 s"):
                call()
    finally:
        server.thaw()
    patient.health()
    eventually(lambda: store.save(VIEW, [row("a", 1)]))  # this one, or that whose answer we did not wait for
    assert store.load(VIEW, [Id("a")])[Id("a")].version == 2
    patient.close()
    store.close()


@pytest.mark.timeout(300)
def test_a_killed_server_keeps_what_was_stored_and_the_store_works_again(backend: Backend, server: Search,
                                                                         store: Store) -> None:
    for number in range(10):
        assert not store.save(VIEW, [row(f"{number}/{n}") for n in range(50)])
    server.kill()
    try:
        for call in (lambda: store.save(VIEW, [row("a")]), store.health, backend.open):
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                call()
    finally:
        server.start()
    store.health()
    assert not store.save(VIEW, [row("0/0", 1), row("a")]), "the same object, without a new open"
    assert len(store.load(VIEW, [Id(f"{number}/{n}") for number in range(10) for n in range(50)])) == 500
    assert len(list(store.scan(VIEW))) == 501


def test_an_object_that_has_loaded_nothing_saves_by_version(backend: Backend, store: Store) -> None:
    assert not store.save(VIEW, [row("a"), row("b")])
    other = backend.open()
    assert other.save(VIEW, [row("a", 1, 2), row("b", 2), row("c", 1), row("d")]) == {Id("b"), Id("c")}
    assert store.save(VIEW, [row("a", 1, 9)]) == {Id("a")}, "what we saved ourselves has moved"
    assert store.load(VIEW, [Id("a")])[Id("a")].values[0] == 2
    assert not store.save(VIEW, [row("a", 2)])
    other.close()


def test_places_that_were_forgotten_are_looked_up(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    monkeypatch.setattr(elasticsearch_index, "KEPT", 10)
    rows = [row(n) for n in range(10)]
    for version in range(3):
        assert not store.save(VIEW, [each._replace(version=version) for each in rows])
        assert not store.save(VIEW, [row(f"{version}/{n}") for n in range(10)])
    assert {each.version for each in store.load(VIEW, [each.id for each in rows]).values()} == {3}


def test_a_document_that_a_person_changed_has_moved(backend: Backend, server: Search, store: Store) -> None:
    assert not store.save(VIEW, [row("a")])
    path = f"/{index_of(backend)}/_doc/a"
    document = server.ask("GET", path)[1]["_source"]
    assert server.ask("PUT", path, {**document, "count": 1000})[0] == 200
    assert store.save(VIEW, [row("a", 1, 2)]) == {Id("a")}
    assert store.load(VIEW, [Id("a")])[Id("a")].values[0] == 1000
    assert not store.save(VIEW, [row("a", 1, 1001)])


def test_an_index_that_was_made_anew_takes_no_save_that_was_meant_for_the_old_one(backend: Backend,
                                                                                  store: Store) -> None:
    for version in range(2):
        assert not store.save(VIEW, [row("a", version)])
    other = backend.open()
    other.drop(VIEW)
    other.prepare(VIEW)
    for version in range(2):
        assert not other.save(VIEW, [row("a", version, 10)]), "the same version and sequence number as the old one's"
    with pytest.raises(StoreError, match="start drtc again") as caught:
        store.save(VIEW, [row("a", 2, 3)])
    assert not caught.value.retryable
    assert other.load(VIEW, [Id("a")])[Id("a")].values[0] == 10
    store.prepare(VIEW)
    assert store.save(VIEW, [row("a", 1)]) == {Id("a")}
    other.close()


def test_a_view_that_is_gone_comes_not_back_by_itself(backend: Backend, server: Search, store: Store) -> None:
    assert not store.save(VIEW, [row("a")])
    assert server.ask("DELETE", f"/{index_of(backend)}")[0] == 200
    for call in (lambda: store.save(VIEW, [row("a", 1), row("b")]), lambda: store.load(VIEW, [Id("a")]),
                 lambda: list(store.scan(VIEW)), lambda: store.delete(VIEW, [Id("a")])):
        with pytest.raises(StoreError, match="start drtc again") as caught:
            call()
        assert not caught.value.retryable
    assert server.ask("GET", f"/_cat/indices/{backend.section['prefix']}*?format=json")[1] == []


def test_the_index_of_others_is_left_alone(backend: Backend, server: Search) -> None:
    assert server.ask("PUT", f"/{index_of(backend)}", {})[0] == 200
    store = backend.open()
    with pytest.raises(StoreError, match=r"exists and is not drtc's: change \[store\] prefix"):
        store.prepare(VIEW)
    with pytest.raises(StoreError, match=r"is not of the view sales_v1: change \[store\] prefix"):
        store.drop(VIEW)
    assert server.ask("GET", f"/{index_of(backend)}")[0] == 200
    store.close()


def test_an_index_that_does_not_keep_what_is_stored_is_refused(backend: Backend, server: Search,
                                                               store: Store) -> None:
    server.ask("PUT", f"/{index_of(backend)}/_settings", {"index.translog.durability": "async"})
    with pytest.raises(StoreError, match="durability = async.*: set it to request"):
        store.prepare(VIEW)
    alias = next(iter(server.ask("GET", f"/{index_of(backend)}/_alias")[1][index_of(backend)]["aliases"]))
    server.ask("PUT", f"/{index_of(backend)}/_settings", {"index.translog.durability": "request"})
    server.ask("DELETE", f"/{index_of(backend)}/_alias/{alias}")
    with pytest.raises(StoreError, match=f"has lost its alias {alias}"):
        store.prepare(VIEW)


def test_a_full_disk_is_waited_out(backend: Backend, server: Search, store: Store) -> None:
    def flood(full: bool | None) -> None:  # as the server does when the disk is full, and not any more
        assert server.ask("PUT", f"/{index_of(backend)}/_settings", {
            "index.blocks.read_only_allow_delete": full})[0] == 200

    assert not store.save(VIEW, [row("a")])
    flood(True)
    for call in (lambda: store.save(VIEW, [row("a", 1)]), store.health, lambda: store.delete(VIEW, [Id("a")])):
        with pytest.raises(StoreUnavailable, match="the disk is full: make room"):
            call()
    assert len(store.load(VIEW, [Id("a")])) == 1
    flood(None)
    store.health()
    assert not store.save(VIEW, [row("a", 1)])


def test_what_is_refused_names_the_record_and_the_field(store: Store) -> None:
    for bad, said in ((row("too big", count=2**64), r"record too big of the view sales_v1.*\[count\]"),
                      (row("x", note="\ud800"), "record x cannot be written as JSON"),
                      (row("\ud800"), r"record \\ud800 cannot be written as JSON")):
        with pytest.raises(StoreError, match=said) as caught:
            store.save(VIEW, [row("good"), bad])
        assert not caught.value.retryable
    with pytest.raises(StoreError, match="is not Unicode"):
        store.load(VIEW, [Id("\ud800")])
    assert store.save(VIEW, [row("good")]) == {Id("good")}, "each row is on its own"


def test_a_sum_beyond_64_bits_shows_the_greatest_long(store: Store) -> None:
    sums = (1.9e19, -1.9e19, None)
    rows = [row(at)._replace(values=(value, None)) for at, value in enumerate(sums)]
    assert not store.save(VIEW, rows)
    assert [found.values[0] for found in store.scan(VIEW)] == [2 ** 63 - 1, -2 ** 63, None]


def test_columns_that_changed_are_named(store: Store) -> None:
    for other, named in ((VIEW._replace(columns=(Column("count", "real"), Column("more", "text"))),
                          "count, more, note"), (VIEW._replace(windowed=True), "window_end, window_start")):
        with pytest.raises(StoreError, match=rf"exists with other columns \({named}; the index [\w-]+sales_v1\):"):
            store.prepare(other)


def test_a_record_that_is_too_large_is_refused_before_it_is_sent(store: Store) -> None:
    with pytest.raises(StoreError, match=rf"record large has 2[0-9],.* bytes.*takes {MOST_BYTES:,} in a request"):
        store.save(VIEW, [row("small"), row("large", hidden=bytes(MOST_BYTES))])
    many = [row(n, hidden=bytes(MOST_BYTES // 8)) for n in range(10)]
    assert not store.save(VIEW, many), "more than a request may have, in all"
    assert len(list(store.scan(VIEW, limit=2))) == 2


def test_any_key_is_a_key(store: Store) -> None:
    taken = f"#{sha256(b'k' * 513).hexdigest()}"  # what one of the others is hashed to
    keys: list[str | int] = ["", "#", taken, '"', "k" * 512, "k" * 513, "ü" * 256, "ü" * 257, "x" * 40_000,
                             "x" * 40_000 + "y", "/?&", "_all", "a\nb", "\x00", -1, 0, 7, "7", "@", "*"]
    assert not store.save(VIEW, [row(key, hidden=repr(key).encode()) for key in keys])
    assert not store.save(VIEW, [row(key, 1, hidden=repr(key).encode()) for key in keys])
    found = store.load(VIEW, [Id(key) for key in keys])
    assert {id.key: (each.version, each.hidden) for id, each in found.items()} == {
        key: (2, repr(key).encode()) for key in keys}
    alike = [key for key in keys if len(str(key)) == 40_000 or len(str(key)) == 40_001]
    order = [each.id.key for each in store.scan(VIEW)]
    assert set(order) == set(keys)
    expected = [-1, 0, 7, *sorted(key for key in keys if isinstance(key, str))]
    assert [key for key in order if key not in alike] == [key for key in expected if key not in alike]
    for key in keys:
        assert [each.id.key for each in store.scan(VIEW, key=key)] == [key]
    store.delete(VIEW, [Id(key) for key in keys])
    assert list(store.scan(VIEW)) == []


def test_windows_are_exact_and_dates_are_for_people(backend: Backend, server: Search) -> None:
    store = backend.open()
    store.prepare(FLIGHTS)
    starts = [-1e15, -0.1, 0.1 + 0.2, 1e9 + 1 / 3, 4e15]
    assert not store.save(FLIGHTS, [Row(Id("k", start), start + 1, 0, (1, None, None), b"") for start in starts])
    found = list(store.scan(FLIGHTS))
    assert [(each.id.start, each.end) for each in found] == [(start, start + 1) for start in starts]
    assert [each.id.start for each in store.scan(FLIGHTS, during=(0.30000000000000004, 0.30000000000000004))] == [
        -0.1, 0.1 + 0.2]
    assert [each.id.start for each in store.scan(FLIGHTS, during=(0.3, 0.3))] == [-0.1]
    hits = server.ask("GET", f"/{index_of(backend, FLIGHTS)}/_search?sort=drtc_start")[1]["hits"]["hits"]
    assert [hit["_source"]["window_start"] for hit in hits] == [
        None, "1969-12-31T23:59:59.900Z", "1970-01-01T00:00:00.300Z", "2001-09-09T01:46:40.333Z", None]
    store.close()


def test_a_scan_of_several_pages_is_in_order(store: Store) -> None:
    count = 2 * elasticsearch_index.PART + 1
    assert not store.save(VIEW, [row(n) for n in range(count)])
    assert [each.id.key for each in store.scan(VIEW)] == list(range(count))
    assert [each.id.key for each in store.scan(VIEW, limit=count - 1)] == list(range(count - 1))


# --- without a server ---

@contextmanager
def answering(status: int, body: bytes, content: str = "application/json") -> Iterator[str]:
    """The address of a server that has one answer to everything."""
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            self.send_header("content-type", content)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PUT = do_GET

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_port}"
        finally:
            http.shutdown()
            thread.join()


@pytest.mark.parametrize("status, body, wanted, said", [
    (401, b'{"error":{"type":"security_exception","reason":"unable to authenticate"}}', StoreError,
     r"does not know us: check \[store\] user and password, or api_key"),
    (401, b"Unauthorized", StoreError, r"does not know us"),
    (429, b'{"error":{"type":"circuit_breaking_exception","reason":"Data too large"}}', StoreUnavailable,
     "cannot open now: Data too large"),
    (503, b'{"error":{"type":"master_not_discovered_exception","reason":null}}', StoreUnavailable,
     "now: master_not_discovered_exception"),
    (502, b"<html>Bad Gateway</html>", StoreUnavailable, "Bad Gateway"),
    (200, b"<html>Welcome</html>", StoreError, r"neither Elasticsearch nor OpenSearch: change \[store\] hosts"),
    (200, b"[]", StoreError, "neither Elasticsearch nor OpenSearch"),
])
def test_answers_that_are_none(status: int, body: bytes, wanted: type[StoreError], said: str) -> None:
    content = "text/html" if body.startswith(b"<") else "text/plain" if body == b"Unauthorized" else "application/json"
    with answering(status, body, content) as host:
        with pytest.raises(StoreError, match=said) as caught:
            open_store(ElasticsearchSettings(hosts=(host,), user="drtc", password="of the tests"), Path())
        assert type(caught.value) is wanted
        assert host in str(caught.value) and "of the tests" not in str(caught.value)


@pytest.mark.parametrize("body", [b"<html>Sign in</html>", b"", b'{"items":[{"index"', b'{"items":7}', b"[]"])
def test_an_answer_to_a_save_that_is_none_leaves_its_outcome_unknown(body: bytes) -> None:
    with answering(200, body, "text/html") as host:
        client = Client((host,), 5.0, {}, None)
        with pytest.raises(StoreUnavailable, match=rf"{host}: cannot save now: .* neither Elasticsearch nor OpenS"):
            client.bulk(b"{}\n", "save")
        client.close()


def test_who_may_not_ask_for_limits_works_and_who_may_not_write_is_told() -> None:
    refused = b'{"error":{"type":"security_exception","reason":"action [indices:admin/create] is unauthorized"}}'
    with answering(403, refused) as host:
        store = open_store(ElasticsearchSettings(hosts=(host,), api_key="secret"), Path())
        with pytest.raises(StoreError, match=r"no permission: give \[store\] user or api_key the right") as caught:
            store.prepare(VIEW)
        assert not caught.value.retryable
        store.close()


def test_a_server_that_is_not_there_yet_and_one_of_several() -> None:
    with pytest.raises(StoreUnavailable, match=r"cannot be reached .*refused.*: is it running\? see \[sto"):
        open_store(ElasticsearchSettings(hosts=(f"http://127.0.0.1:{free_port()}",)), Path())
    with answering(200, b"{}") as host:
        for _ in range(3):
            open_store(ElasticsearchSettings(hosts=(f"http://127.0.0.1:{free_port()}", host)), Path()).close()


def test_a_certificate_that_nobody_knows(tmp_path: Path) -> None:
    import ssl

    import trustme

    ours, theirs = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(tmp_path / "ours.pem")
    theirs.cert_pem.write_to_path(tmp_path / "theirs.pem")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.issue_cert("127.0.0.1").configure_cert(context)
    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        http.socket = context.wrap_socket(http.socket, server_side=True)
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        try:
            hosts = (f"https://127.0.0.1:{http.server_port}",)
            with pytest.raises(StoreError, match=r"not to be trusted: check \[store\] hosts and ca") as caught:
                open_store(ElasticsearchSettings(hosts=hosts, ca="ours.pem"), tmp_path)
            assert not caught.value.retryable
            open_store(ElasticsearchSettings(hosts=hosts, ca="theirs.pem"), tmp_path).close()
            with pytest.raises(StoreError, match=r"\[store\] ca: there is no file"):
                open_store(ElasticsearchSettings(hosts=hosts, ca="absent.pem"), tmp_path)
        finally:
            http.shutdown()
            thread.join()


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "elastic_transport", None)
    with pytest.raises(StoreError, match=r"needs elastic-transport: pip install 'drtc\[elasticsearch\]'"):
        open_store(ElasticsearchSettings(), Path())


@pytest.mark.parametrize("wrong, said", [
    ({"hosts": ("http://me:secret@search:9200",)}, "hosts: must be without a user"),
    ({"hosts": ("me:secret@search:9200",)}, "hosts: must be without a user"),
    ({"hosts": ("https://search:9200/?apikey=secret",)}, "hosts: must be without anything behind a ?"),
    ({"hosts": ("https://search:99999",)}, "hosts: must be such as https://search-1:9200"),
    ({"hosts": ("search:9200",)}, "hosts: must be such as https://search-1:9200"),
    ({"hosts": ()}, "at least one"),
    ({"prefix": "Drtc-"}, "prefix: must be small letters"),
    ({"prefix": ""}, "prefix: must be"),
    ({"api_key": "k", "password": "p"}, "api_key: is instead of"),
    ({"timeout": 0.0}, "timeout: must be more than nothing"),
])
def test_settings_that_do_not_go_together(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        ElasticsearchSettings(**wrong)
    assert "secret" not in str(caught.value)
