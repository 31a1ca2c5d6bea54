"""Results in Elasticsearch or OpenSearch: an index for each view, a document for each record.

Kibana, OpenSearch Dashboards and Grafana read the documents as they are; ``drtc_...`` is drtc's own. A save is
conditional on the document's sequence number (``if_seq_no``), which the server checks and which no writer chooses.
External versions would not do: a writer that is late by one version could overwrite whatever has a smaller one.
"""
from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any, Iterable, Iterator, Sequence
from urllib.parse import urlsplit

import msgspec

from ..errors import StoreError, StoreUnavailable
from ..values import Natural, Positive, Seconds
from .base import Id, Key, Row, Store, View
from .elasticsearch_client import Client, Outcome, Problem
from .elasticsearch_index import PART, Index, Place, check, creation, document_id, encode, named, sliced
from .ids import shares

_NOWHERE = encode("#nowhere")  # the _id of no record: behind a # of theirs stands a hash
_NO_INDEX = "index_not_found_exception"


@dataclass(frozen=True, slots=True)
class ElasticsearchSettings:
    #: nodes of the cluster, with http:// or https://
    hosts: tuple[str, ...] = ("http://127.0.0.1:9200",)
    #: whom the server knows us as
    user: str = ""
    #: the user's password. Better set as DRTC_STORE_PASSWORD
    password: str = field(default="", repr=False, metadata={"secret": True})
    #: instead of user and password: an API key, encoded as the server gives it. Better set as DRTC_STORE_API_KEY
    api_key: str = field(default="", repr=False, metadata={"secret": True})
    #: who signs the server's certificate, in PEM; empty: the public authorities
    ca: str = ""
    #: what the names of all indices begin with
    prefix: str = "drtc-"
    #: primary shards of an index that is made
    shards: Positive = 1
    #: replicas of an index that is made; empty: as the cluster, or an index template of yours, says
    replicas: Natural | None = None
    #: an answer within so long, or the store counts as unavailable
    timeout: Seconds = 10.0

    def __post_init__(self) -> None:
        for host in self.hosts:
            if "@" in host:
                raise ValueError("hosts: must be without a user and password, which have settings of their own")
            if re.search("[?#]", host):
                raise ValueError("hosts: must be without anything behind a ? or #; an API key is [store] api_key")
            if not _is_host(host):
                raise ValueError(f"hosts: must be such as https://search-1:9200, not {host!r}")
        if not self.hosts:
            raise ValueError("hosts: at least one is needed")
        if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", self.prefix):
            raise ValueError("prefix: must be small letters, digits, _ . and -, and begin with a letter or digit")
        if self.api_key and (self.user or self.password):
            raise ValueError("api_key: is instead of user and password, not beside them")
        if self.timeout <= 0:
            raise ValueError("timeout: must be more than nothing")


class ElasticsearchStore(Store):
    """Both ``type = elasticsearch`` and ``type = opensearch``. Not shared between threads."""

    survives = "a killed server and a power cut; with replicas, the loss of a machine"

    def __init__(self, settings: ElasticsearchSettings, base: Path = Path()) -> None:
        self._settings = settings
        self._ca = str(base / settings.ca) if settings.ca else None
        self._client: Client | None = None
        self._indices: dict[View, Index] = {}

    def open(self) -> None:
        settings = self._settings
        headers = {}
        if settings.api_key:
            headers["authorization"] = f"ApiKey {settings.api_key}"
        elif settings.user:
            both = f"{settings.user}:{settings.password}".encode()
            headers["authorization"] = f"Basic {b64encode(both).decode()}"
        if self._ca is not None and not Path(self._ca).is_file():
            raise StoreError(f"[store] ca: there is no file {self._ca}")
        self.close()
        self._client = Client(settings.hosts, settings.timeout, headers, self._ca)
        self._client.learn()

    def prepare(self, view: View) -> None:
        name, alias = self._name(view), self._alias(view)
        if alias is None:
            settings: dict[str, Any] = {"number_of_shards": self._settings.shards}
            if self._settings.replicas is not None:
                settings["number_of_replicas"] = self._settings.replicas
            self._opened().call("PUT", f"/{name}", f"create the index {name}",
                                encode(creation(view, f"{name}-{token_hex(6)}", settings)),
                                but="resource_already_exists_exception")  # somebody was quicker
        known = self._indices.get(view)
        if known is None or known.alias != alias:
            self._indices.pop(view, None)
            known = self._index(view)
        self._probe([known])  # waits for a new index's shards

    def load(self, view: View, ids: Sequence[Id]) -> dict[Id, Row]:
        if not ids:
            return {}
        index = self._index(view)
        found: dict[Id, Row] = {}
        for at in range(0, len(ids), PART):
            part = ids[at:at + PART]
            for id, document in zip(part, self._documents(index, part), strict=True):
                if document.get("found"):
                    row = found[id] = index.row(document["_source"])
                    index.remember(id, Place(row.version, document["_seq_no"], document["_primary_term"]))
        return found

    def save(self, view: View, rows: Sequence[Row]) -> set[Id]:
        if not rows:
            return set()
        index = self._index(view)
        moved: set[Id] = set()
        for part in sliced(index, rows, self._opened().limit):
            away = self._moved(index, [row for row, _ in part])
            moved |= away | self._save(index, [each for each in part if each[0].id not in away])
        return moved

    def scan(self, view: View, key: Key | None = None, during: tuple[float, float] | None = None,
             limit: int | None = None) -> Iterator[Row]:
        if during is not None and not view.windowed or limit == 0:
            return
        index, client = self._index(view), self._opened()
        doing = f"scan the view {view.name}"
        client.call("POST", f"/{index.alias}/_refresh", doing)
        search: dict[str, Any] = {"query": index.query(key, during), "sort": index.sort(), "track_total_hits": False}
        left = limit
        while True:
            search["size"] = size = PART if left is None else min(left, PART)
            answer = client.call("POST", f"/{index.alias}/_search?allow_partial_search_results=false", doing,
                                 encode(search))
            hits = answer["hits"]["hits"]
            for hit in hits:
                row = index.row(hit["_source"])
                if during is None or shares(row, *during):
                    yield row
            left = None if left is None else left - len(hits)
            if len(hits) < size or left == 0:
                return
            search["search_after"] = hits[-1]["sort"]

    def delete(self, view: View, ids: Iterable[Id]) -> None:
        index = self._index(view)
        left = list(ids)
        for at in range(0, len(left), PART):
            part = left[at:at + PART]
            lines = b"".join(b'{"delete":{"_index":%b,"_id":%b}}\n' % (encode(index.alias), encode(document_id(id)))
                             for id in part)
            for id, outcome in zip(part, self._opened().bulk(lines, f"delete from the view {view.name}"), strict=True):
                index.forget(id)
                if outcome.error is not None:
                    self._refuse(index, id, outcome)

    def drop(self, view: View) -> None:
        # Whatever its columns were; but never what is not drtc's
        name = self._name(view)
        found = self._opened().call("GET", f"/{name}", f"drop the view {view.name}", but=_NO_INDEX)
        if found is not None:
            meta = found[name]["mappings"].get("_meta", {}).get("drtc")
            if meta is None or meta["view"] != view.name:
                raise StoreError(f"the index {name} is not of the view {view.name}: change [store] prefix")
            for known in [each for each in self._indices if each.name == view.name]:
                del self._indices[known]
            self._opened().call("DELETE", f"/{name}", f"drop the view {view.name}", but=_NO_INDEX)

    def health(self) -> None:
        if self._indices:
            self._probe(list(self._indices.values()))
        else:
            self._opened().learn()

    def close(self) -> None:
        self._indices.clear()
        if self._client is not None:
            client, self._client = self._client, None
            client.close()

    def _probe(self, indices: Sequence[Index]) -> None:
        """Whether saves are taken: to remove what is not there, on a condition that does not hold, goes a save's way
        through blocks, queues and shards, and changes nothing."""
        client = self._opened()
        lines = b"".join(b'{"delete":{"_index":%b,"_id":%b,"if_seq_no":0,"if_primary_term":1}}\n'
                         % (encode(index.alias), _NOWHERE) for index in indices)
        for index, outcome in zip(indices, client.bulk(lines, "save"), strict=True):
            if outcome.status != 409 and outcome.error is not None:
                client.fail(outcome.status, outcome.error, f"save in the view {index.view.name}")

    def _moved(self, index: Index, rows: Sequence[Row]) -> set[Id]:
        """Of the rows whose place is not known here, those that are there with another version, or not at all. The
        others' places are known then."""
        asked = [row for row in rows if row.version != 0 and index.place(row.id, row.version) is None]
        if not asked:
            return set()
        moved = set()
        found = self._documents(index, [row.id for row in asked], "?_source_includes=drtc_version")
        for row, document in zip(asked, found, strict=True):
            if document.get("found") and document["_source"]["drtc_version"] == row.version:
                index.remember(row.id, Place(row.version, document["_seq_no"], document["_primary_term"]))
            else:
                moved.add(row.id)
        return moved

    def _save(self, index: Index, part: Sequence[tuple[Row, bytes]]) -> set[Id]:
        if not part:
            return set()
        lines: list[bytes] = []
        alias = encode(index.alias)
        for row, document in part:
            id = encode(document_id(row.id))
            if row.version == 0:
                lines.append(b'{"create":{"_index":%b,"_id":%b}}' % (alias, id))
            else:
                place = index.place(row.id, row.version)
                assert place is not None
                lines.append(b'{"index":{"_index":%b,"_id":%b,"if_seq_no":%d,"if_primary_term":%d}}'
                             % (alias, id, place.seq, place.term))
            lines.append(document)
        lines.append(b"")
        moved = set()
        refused: list[tuple[Id, Outcome]] = []
        outcomes = self._opened().bulk(b"\n".join(lines), f"save in the view {index.view.name}")
        for (row, _), outcome in zip(part, outcomes, strict=True):
            if outcome.error is None:
                index.remember(row.id, Place(row.next, outcome.seq, outcome.term))
                continue
            index.forget(row.id)
            if outcome.status == 409:
                moved.add(row.id)
            else:
                refused.append((row.id, outcome))
        for refusal in refused:
            self._refuse(index, *refusal)
        return moved

    def _refuse(self, index: Index, id: Id, outcome: Outcome) -> None:
        assert outcome.error is not None
        doing = f"save the record {named(id)} of the view {index.view.name}"
        self._opened().fail(outcome.status, outcome.error, doing)

    def _documents(self, index: Index, ids: Sequence[Id], more: str = "") -> list[dict[str, Any]]:
        """What ``_mget`` finds for each id; it reads what was saved, refreshed or not."""
        doing = f"load from the view {index.view.name}"
        asked = encode({"ids": [document_id(id) for id in ids]})
        documents: list[dict[str, Any]] = self._opened().call("POST", f"/{index.alias}/_mget{more}", doing,
                                                              asked)["docs"]
        for document in documents:
            if "error" in document:
                self._opened().fail(503, msgspec.convert(document["error"], Problem), doing)
        return documents

    def _alias(self, view: View) -> str | None:
        """The alias of the view's index; None: there is no index."""
        name = self._name(view)
        found = self._opened().call("GET", f"/{name}", f"look for the index {name}", but=_NO_INDEX)
        return None if found is None else check(view, name, found[name])

    def _index(self, view: View) -> Index:
        index = self._indices.get(view)
        if index is None:
            alias = self._alias(view)
            if alias is None:
                raise StoreError(f"the view {view.name} does not exist (was it reset while in use?): start drtc again")
            index = self._indices[view] = Index(view, self._name(view), alias)
        return index

    def _name(self, view: View) -> str:
        return f"{self._settings.prefix}{view.name}".lower()

    def _opened(self) -> Client:
        if self._client is None:
            raise StoreUnavailable("the store is not open")
        return self._client


def _is_host(text: str) -> bool:
    try:
        found = urlsplit(text)
        return found.scheme in ("http", "https") and bool(found.hostname) and found.port != 0
    except ValueError:  # a port that is none
        return False
