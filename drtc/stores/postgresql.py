"""Results in PostgreSQL: a table for each view, a row for each record, a column for each field.

The server itself compares a row's version while it writes it. What is sent is one array for each column, in the
database's binary form: a statement for all rows that are new, one for all that change. Rows are read with psql and
every other tool; ``drtc_version`` and ``drtc_state`` are drtc's own.
"""
from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Iterable, Iterator, Sequence
from urllib.parse import parse_qsl

from ..values import Seconds
from .base import Id, Key, Row, Store, View, other_columns
from .postgresql_table import Statement, Table

if TYPE_CHECKING:
    from .postgresql_client import Client

_BUNCH = 1000  # rows of a scan that are loaded at a time
_SORTING = 30  # times the timeout: a scan sorts all ids before its first row


@dataclass(frozen=True, slots=True)
class PostgreSQLSettings:
    #: the database, without the password: `postgresql://user@host:5432/database`. Several hosts and libpq's options may
    #: follow: `postgresql://drtc@a,b/results?target_session_attrs=read-write&sslmode=verify-full`
    url: str
    #: the user's password; empty: libpq looks in ~/.pgpass. Better set as DRTC_STORE_PASSWORD
    password: str = field(default="", repr=False, metadata={"secret": True})
    #: where the tables are; made where it is missing
    schema: str = "public"
    #: a server that has not answered for so long is unavailable
    timeout: Seconds = 10.0

    def __post_init__(self) -> None:
        if not re.match(r"postgres(ql)?://", self.url):
            raise ValueError("url: must be postgresql://user@host:5432/database")
        before, at, _ = self.url.partition("://")[2].rpartition("@")  # a password may hold / and ? as they are
        named = [name.lower() for name, _ in parse_qsl(self.url.partition("?")[2], keep_blank_values=True)]
        if at and ":" in before or any("password" in name or "secret" in name for name in named):
            raise ValueError("url: holds a password, which everybody can read there: set password by "
                             "DRTC_STORE_PASSWORD, or put it into ~/.pgpass (sslpassword: into ~/.pg_service.conf; an @"
                             " that belongs to no password is %40)")
        if not self.schema:
            raise ValueError("schema: must be the name of a schema, such as public")
        if self.timeout <= 0:
            raise ValueError("timeout: must be longer than nothing")

    @property
    def where(self) -> str:
        """The database, as messages name it: without the user."""
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"


class PostgreSQLStore(Store):
    """May be passed from thread to thread, but is used by one at a time."""

    survives = "what the server's fsync and synchronous_commit give"  # which ``open`` looks up

    def __init__(self, settings: PostgreSQLSettings, base: Path = Path()) -> None:
        self._settings = settings
        self._tables: dict[View, Table] = {}
        self._client: Client | None = None
        self._scans = 0
        self._unfinished: list[tuple[Client, str]] = []  # cursors of scans that nobody reads on

    def open(self) -> None:
        with self._connected("open") as client:
            self.survives = client.survives

    def prepare(self, view: View) -> None:
        table = self._table(view)
        with self._connected("prepare", table) as client:
            have = table.columns_there(client)
            if not have:
                with client.transaction():
                    table.create(client)
                have = table.columns_there(client)
        if have != set(table.columns):
            changed = sorted({name for name, _ in have ^ set(table.columns)})
            raise other_columns(view, changed, self._settings.where)

    def load(self, view: View, ids: Sequence[Id]) -> dict[Id, Row]:
        if not ids:
            return {}
        table = self._table(view)
        with self._connected("read", table) as client:
            return {row.id: row for row in map(table.row, client.ask(table.load(ids)))}

    def save(self, view: View, rows: Sequence[Row]) -> set[Id]:
        if not rows:
            return set()
        table = self._table(view)
        with self._connected("save", table, rows) as client:
            saved = client.ask_all(table.saves(rows))
            if len(saved) == len(rows):
                return set()
            return {row.id for row in rows} - set(map(table.id, saved))

    def scan(self, view: View, key: Key | None = None, during: tuple[float, float] | None = None,
             limit: int | None = None) -> Iterator[Row]:
        if during is not None and not view.windowed:
            return
        table = self._table(view)
        with self._connected("read", table) as client:
            cursor = self._declare(client, table.scan(key, during, limit))
        try:
            while True:
                with self._connected("read", table, client=client):
                    ids = [table.id(found) for found in client.ask(Statement(f"FETCH {_BUNCH} FROM {cursor}"))]
                    found = {row.id: row for row in map(table.row, client.ask(table.load(ids)))} if ids else {}
                yield from (found[id] for id in ids if id in found)
                if len(ids) < _BUNCH:
                    return
        finally:  # may run whenever the scan is collected, in the middle of another call: only noted here
            self._unfinished.append((client, cursor))

    def delete(self, view: View, ids: Iterable[Id]) -> None:
        gone = list(ids)
        if gone:
            with self._connected("delete") as client:
                client.ask(self._table(view).delete(gone))

    def drop(self, view: View) -> None:
        table = self._table(view)
        with self._connected("drop", table) as client:
            client.drop(table)

    def health(self) -> None:
        with self._connected("write") as client:
            client.execute("SELECT txid_current()")  # a transaction that must be written, and changes nothing

    def close(self) -> None:
        if self._client is not None:
            client, self._client = self._client, None
            client.close()

    def _table(self, view: View) -> Table:
        table = self._tables.get(view)
        if table is None:
            table = self._tables[view] = Table(self._settings.schema, view)
        return table

    def _declare(self, client: Client, ids: Statement) -> str:
        """A cursor that outlives its transaction: nothing is locked while the rows are read."""
        self._scans += 1
        name = f"drtc_scan_{self._scans}"
        with client.transaction(_SORTING):
            client.execute("SET LOCAL enable_seqscan = on")
            client.ask(Statement(f"DECLARE {name} NO SCROLL CURSOR WITH HOLD FOR {ids.sql}", ids.values))
        return name

    @contextmanager
    def _connected(self, doing: str, table: Table | None = None, rows: Sequence[Row] = (),
                   client: Client | None = None) -> Iterator[Client]:
        """The connection (``client``: no other), for one piece of work; after an error the next gets a new one."""
        from .postgresql_client import Client, translated

        with translated(self._settings, doing, table, rows):
            try:
                if client is not None and client is not self._client:
                    raise ConnectionError("the connection was lost in the middle of a scan")
                if self._client is None:
                    self._client = Client(self._settings)
                self._finish_scans(self._client)
                yield self._client
            except BaseException:
                self.close()
                raise

    def _finish_scans(self, client: Client) -> None:
        while self._unfinished:
            owner, cursor = self._unfinished.pop()
            if owner is client:
                client.execute(f"CLOSE {cursor}")
