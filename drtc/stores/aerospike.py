"""Results in Aerospike: a set for each view, a record for each row, a bin for each field.

A save is one batch, each record with a condition that the server tests: that nothing is there, or that its bin
``drtc_version`` still is what it was. ``drtc_views`` says of each view which columns it has.
"""
from __future__ import annotations

import re
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Iterable, Iterator, Literal, Sequence

import msgspec

from ..errors import StoreError, StoreUnavailable
from ..values import Address, Seconds
from .aerospike_catalog import CLEARING, READY, Catalog
from .aerospike_server import asked, batch_size, connect, refusal, survival, translated
from .aerospike_set import AerospikeSet
from .base import Id, Key, Row, Store, View, other_columns
from .ids import in_order

_BATCH = 1000  # records of one round trip, where the server takes so many
_OK, _ABSENT, _EXISTS, _TOO_BIG, _BUSY, _FILTERED = 0, 2, 5, 13, 14, 27
_MOVED = frozenset([_ABSENT, _EXISTS, _FILTERED, _BUSY])  # busy: others are about to move it
_BATCH_FAILED = -16  # some record did: each has its own result
_NO_ANSWER = -15


@dataclass(frozen=True, slots=True)
class AerospikeSettings:
    #: one or more nodes of the cluster; the others are found through them
    hosts: tuple[Address, ...] = (Address("localhost", 3000),)
    #: it must exist: the servers' configuration makes namespaces
    namespace: str = "drtc"
    #: stands before the name of each set, where several installations share a namespace
    prefix: str = ""
    #: whom the server knows; empty: it asks for nobody
    user: str = ""
    #: better set as DRTC_STORE_PASSWORD
    password: str = field(default="", repr=False, metadata={"secret": True})
    #: who knows the user: the server itself, LDAP (`external`, only with `tls`), or the client's certificate (`pki`)
    auth: Literal["internal", "external", "pki"] = "internal"
    #: whether connections are TLS
    tls: bool = False
    #: the name in the servers' certificates; empty: that of each host
    tls_name: str = ""
    #: who signs the servers' certificates, in PEM; empty: the system's authorities
    tls_ca: str = ""
    #: the certificate that we show, with its chain, in PEM; empty: none
    tls_certificate: str = ""
    #: its key, in PEM, without a passphrase
    tls_key: str = ""
    #: a result that was not saved for so long is removed by the server; 0: never. Longer than any replay may last: a
    #: removed record no longer knows what it has counted
    ttl: Annotated[Seconds, msgspec.Meta(ge=0, le=315360000)] = 0.0
    #: an answer comes within so long, or the store counts as unavailable
    timeout: Annotated[Seconds, msgspec.Meta(gt=0)] = 10.0

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w-]*", self.prefix, re.ASCII):
            raise ValueError("prefix: must be letters, digits, _ and -")
        if not self.hosts:
            raise ValueError("hosts: needs one host:port at least")
        if not self.namespace:
            raise ValueError("namespace: must be one that the servers' configuration has")
        if bool(self.user) != bool(self.password) and self.auth != "pki":
            raise ValueError("user: needs password, and the other way round")
        if self.auth != "internal" and not self.tls:
            raise ValueError(f"auth: {self.auth} is only safe with tls = yes, and the server wants that too")
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("tls_certificate: is nothing without tls_key, and the other way round")
        if not self.tls and (self.tls_name or self.tls_ca or self.tls_certificate):
            raise ValueError("tls: must be yes where tls_name, tls_ca or tls_certificate is set")
        if 0 < self.ttl < 1:
            raise ValueError("ttl: must be a second or more, or 0")

    @property
    def place(self) -> str:
        """Where it is, for sentences."""
        return f"aerospike {', '.join(map(str, self.hosts))} namespace {self.namespace}"


class AerospikeStore(Store):
    """A client of its own in each process; may be passed from thread to thread, but is used by one at a time."""

    survives = "what the namespace's replication and storage keep"

    def __init__(self, settings: AerospikeSettings, base: Path = Path()) -> None:
        self._settings = settings
        self.forgets = settings.ttl > 0
        self._batch = _BATCH
        self._client: Any = None
        self._sets: dict[View, AerospikeSet] = {}
        self._catalog = Catalog(settings.namespace, settings.prefix)

    def open(self) -> None:
        client = connect(self._settings)
        try:
            self.survives = survival(client, self._settings)
            self._batch = batch_size(client, self._settings, _BATCH)
        except BaseException:
            client.close()
            raise
        self._client = client

    def prepare(self, view: View) -> None:
        there = self._set(view)
        note = {"columns": [[column.name, column.kind, bin] for column, bin in zip(view.columns, there.bins)],
                "windowed": view.windowed}
        while True:
            with self._translated("prepare a view") as client:
                known = self._catalog.read(client, view)
                if known.state in (READY, CLEARING):
                    changed = known.changed(note)
                    if changed:
                        raise other_columns(view, changed, self._place)
                if known.state == READY:
                    return
                if known.state == CLEARING:
                    # What saves that were late have left behind since the last drop, up to the note's own millisecond;
                    # the younger ones stay
                    time.sleep(0.002)
                    client.truncate(self._settings.namespace, there.name, known.written + 1_000_000)
                    self._catalog.write(client, view, known, {"state": READY})
                else:
                    self._catalog.write(client, view, known, {**note, "state": CLEARING})

    def load(self, view: View, ids: Sequence[Id]) -> dict[Id, Row]:
        there = self._set(view)
        found: dict[Id, Row] = {}
        for at in range(0, len(ids), self._batch):
            part = ids[at:at + self._batch]
            with self._translated("read") as client:
                done = client.batch_read([self._catalog.key(view), *map(there.key, part)])
            self._check_answered(done, "read", len(part) + 1)
            self._check_prepared(view, done, "read")
            for id, record in zip(part, done.batch_records[1:]):
                if record.result == _OK:
                    found[id] = there.row(id, record.record[2])
                elif record.result != _ABSENT:
                    raise self._refused(view, "read", id, record)
        return found

    def save(self, view: View, rows: Sequence[Row]) -> set[Id]:
        from aerospike_helpers.batch.records import BatchRecords, Read

        there = self._set(view)
        moved: set[Id] = set()
        for at in range(0, len(rows), self._batch):
            part = rows[at:at + self._batch]
            with self._translated("write", there, part) as client:
                batch = BatchRecords([Read(self._catalog.key(view), None, read_all_bins=True), *map(there.write, part)])
                client.batch_write(batch)
            self._check_answered(batch, "write", len(part) + 1)
            self._check_prepared(view, batch, "write")
            failed = [(row, record) for row, record in zip(part, batch.batch_records[1:]) if record.result]
            for row, record in failed:
                if record.result not in _MOVED:
                    raise self._refused(view, "write", row.id, record, row)
                moved.add(row.id)
        return moved

    def scan(self, view: View, key: Key | None = None, during: tuple[float, float] | None = None,
             limit: int | None = None) -> Iterator[Row]:
        if during is not None and not view.windowed or limit == 0:
            return iter(())
        if key is not None and not view.windowed:
            return iter(list(self.load(view, [Id(key)]).values())[:limit])
        return in_order(self._ids(view, key, during), lambda ids: self.load(view, ids), key, during, limit)

    def delete(self, view: View, ids: Iterable[Id]) -> None:
        there = self._set(view)
        self._remove(view, [there.key(id) for id in ids])

    def drop(self, view: View) -> None:
        there = self._set(view)
        with self._translated("drop a view") as client:
            if not self._catalog.read(client, view).state:
                return
            self._catalog.drop(client, view)
            time.sleep(0.002)  # truncating leaves records of the same millisecond alone
            client.truncate(self._settings.namespace, there.name, 0)
        self._remove(view, [there.key(id) for id in self._ids(view, None, None)])

    def health(self) -> None:
        with self._translated("write") as client:
            said = client.info_all(f"namespace/{self._settings.namespace}")
        if not said:
            raise StoreUnavailable(f"{self._place}: no node of the cluster can be reached: is it running? see [store]"
                                   " hosts")
        for node, (error, answer) in said.items():
            if error:
                raise StoreUnavailable(f"{self._place}: node {node} does not answer ({error})")
            if "stop_writes=true" in answer:
                raise StoreUnavailable(f"{self._place}: the namespace is full on node {node} (stop_writes): give it"
                                       " more storage, or remove what it need not hold")

    def close(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            client.close()

    @property
    def _place(self) -> str:
        return self._settings.place

    def _set(self, view: View) -> AerospikeSet:
        found = self._sets.get(view)
        if found is None:
            found = self._sets[view] = AerospikeSet(view, self._settings.namespace, self._settings.prefix + view.name,
                                                    round(self._settings.ttl))
        return found

    def _ids(self, view: View, key: Key | None, during: tuple[float, float] | None) -> set[Id]:
        there = self._set(view)
        ids: set[Id] = set()

        def take(record: Any) -> None:
            if record[0][2] is not None:
                ids.add(there.id(record[0][2]))

        with self._translated("read") as client:
            client.query(self._settings.namespace, there.name).foreach(take, there.only(key, during), {"nobins": True})
        return ids

    def _remove(self, view: View, keys: Sequence[Any]) -> None:
        for at in range(0, len(keys), self._batch):
            part = keys[at:at + self._batch]
            with self._translated("remove") as client:
                done = client.batch_remove(part)
            self._check_answered(done, "remove", len(part))
            for key, record in zip(part, done.batch_records):
                if record.result not in (_OK, _ABSENT):
                    raise self._refused(view, "remove", key[2], record)

    def _check_answered(self, batch: Any, doing: str, count: int) -> None:
        """That the batch as such went well: the client raises nothing, and without a node it returns no records."""
        if batch.result not in (_OK, _BATCH_FAILED):
            raise refusal(self._place, doing, batch.result, None)
        if len(batch.batch_records) != count:
            raise refusal(self._place, doing, _NO_ANSWER, None)

    def _check_prepared(self, view: View, batch: Any, doing: str) -> None:
        """That the view is there, which the batch's first record says."""
        catalog = batch.batch_records[0]
        if catalog.result == _OK and catalog.record[2].get("state") == READY:
            return
        if catalog.result not in (_OK, _ABSENT):
            raise refusal(self._place, doing, catalog.result, catalog.message)
        raise StoreError(f"{self._place}: the view {view.name} does not exist (was it reset while in use?): start"
                         " again")

    def _refused(self, view: View, doing: str, id: Any, record: Any, row: Row | None = None) -> StoreError:
        where = f"{self._place}: view {view.name}"
        if record.result == _TOO_BIG:
            limit = asked(self._client, self._settings, f"get-config:context=namespace;id={self._settings.namespace}")
            size = f" of about {_size(row)} bytes" if row is not None else ""
            return StoreError(f"{where}: the record {id}{size} is larger than the namespace's max-record-size of"
                              f" {limit.get('max-record-size')} bytes: raise it in the servers' configuration, or keep"
                              " less in a record")
        return refusal(f"{where}, record {id}", doing, record.result, record.message)

    @contextmanager
    def _translated(self, doing: str, there: AerospikeSet | None = None, rows: Sequence[Row] = ()) -> Iterator[Any]:
        """The client, for one piece of work. It finds lost connections and nodes again by itself."""
        from aerospike.exception import AerospikeError

        if self._client is None:
            self._client = connect(self._settings)
        try:
            yield self._client
        except UnicodeEncodeError as error:
            raise StoreError(f"{self._place}: cannot {doing} a record whose key is not Unicode: {error}") from error
        except AerospikeError as error:
            for row in rows:
                flaw = there.flaw(row) if there is not None else ""
                if flaw:
                    raise StoreError(f"{self._place}: cannot {doing} the record {row.id}: {flaw}") from error
            raise translated(self._place, doing, error) from error


def _size(row: Row) -> int:
    return len(row.hidden) + sum(len(value) if isinstance(value, (str, bytes)) else len(repr(value))
                                 for value in row.values if value is not None)
