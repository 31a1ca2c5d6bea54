"""One connection to PostgreSQL: nothing waits for ever, and psycopg's errors become drtc's. Needs psycopg."""
from __future__ import annotations

import math
import re
import struct
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, Iterable, Iterator, Sequence, TypeVar

import msgspec

from ..errors import StoreError, StoreUnavailable
from .postgresql_table import Array, Statement, seconds

try:
    import psycopg
    from psycopg.adapt import Dumper, Loader
    from psycopg.pq import Format
except ImportError as error:
    raise StoreError("[store] type = postgresql needs psycopg: pip install 'drtc[postgresql]'") from error

if TYPE_CHECKING:
    from psycopg.abc import Buffer, DumperKey, PQGen, PyFormat
    from psycopg.rows import TupleRow

    from .base import Row
    from .postgresql import PostgreSQLSettings
    from .postgresql_table import Table

Answer = TypeVar("Answer")

# Rows are found by the index and locked in the order in which they are sent, whatever the statistics say; a version
# that moved is no error of the transaction
_SESSION = """\
SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_seqscan = off; SET jit = off;
SET default_transaction_isolation = 'read committed'; SET statement_timeout = {timeout}"""
_SERVER = """\
SELECT current_setting('server_encoding'), current_setting('fsync'), current_setting('synchronous_commit'),
current_setting('synchronous_standby_names')"""

# What may pass by itself, by SQLSTATE or its class: lost connections, deadlocks and serialization, no room, the
# operator's doing and time-outs, the system's errors, locks, a server that only reads (a standby before its promotion)
_PASSING = ("08", "40", "53", "57", "58", "55", "25006")
_AWAY = ": is it running? see [store] url"
# A refused connection has a text only
_FOREVER = {
    r"database .* does not exist": "make it (createdb), or change [store] url",
    r"authentication failed|no password supplied|role .* does not exist|not permitted to log in":
        "check the user in [store] url, and DRTC_STORE_PASSWORD or ~/.pgpass",
    r"pg_hba\.conf": "let the server's pg_hba.conf admit this user from this machine",
    r"permission denied for database": "grant CONNECT on it to this user",
    r"certificate|does not support SSL|root\.crt": "check sslmode and the certificates in [store] url",
    r"invalid (\S+ )?(value|port)\b|requires a value|unrecognized configuration parameter": "change [store] url",
}


class _Connection(psycopg.Connection["TupleRow"]):
    """Of which no answer is awaited for longer than ``limit`` seconds; it is lost then."""

    limit = 10.0

    def wait(self, gen: PQGen[Answer], *more: Any, **named: Any) -> Answer:
        try:
            return super().wait(_within(self.limit, gen), *more, **named)
        except TimeoutError:
            self.pgconn.finish()  # or the orderly end of a pipeline would wait once more
            raise


def _within(limit: float, gen: PQGen[Answer]) -> PQGen[Answer]:
    """The same, but it raises TimeoutError once it has waited so long. It is asked again every tenth of a second."""
    deadline = monotonic() + limit
    try:
        wish = next(gen)
        while True:
            ready = yield wish
            if not ready and monotonic() > deadline:
                raise TimeoutError(f"no answer within {limit:g} s")
            wish = gen.send(ready)
    except StopIteration as end:
        answer: Answer = end.value
        return answer


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def get_key(self, obj: Array, format: PyFormat) -> DumperKey:
        return (Array, _KINDS.setdefault(obj.oid, type(f"Array{obj.oid}", (), {})))

    def upgrade(self, obj: Array, format: PyFormat) -> Dumper:
        dumper = _ArrayDumper(Array)
        dumper.oid = obj.oid
        return dumper

    def dump(self, obj: Array) -> bytes:
        return obj.binary


_KINDS: dict[int, type] = {}  # psycopg tells dumpers apart by types


class _JsonLoader(Loader):
    format = Format.BINARY

    def load(self, binary: Buffer) -> Any:
        return msgspec.json.decode(binary)


class _TimestampLoader(Loader):
    format = Format.BINARY

    def load(self, binary: Buffer) -> float:
        return seconds(binary)


class Client:
    """Raises psycopg's errors, and TimeoutError. To be closed after any of them."""

    def __init__(self, settings: PostgreSQLSettings) -> None:
        self._where = settings.where
        self._connection = _Connection.connect(
            settings.url, autocommit=True, client_encoding="UTF8", password=settings.password or None,
            connect_timeout=math.ceil(settings.timeout))  # whole seconds, for libpq two at least
        self._connection.limit = settings.timeout
        adapters = self._connection.adapters
        adapters.register_dumper(Array, _ArrayDumper)
        adapters.register_loader("json", _JsonLoader)
        adapters.register_loader("timestamptz", _TimestampLoader)
        try:
            self.execute(_SESSION.format(timeout=_milliseconds(settings.timeout)))
            encoding, *durability = self.execute(_SERVER)[0]
            if encoding != "UTF8":
                raise StoreError(f"{settings.where}: the database is encoded in {encoding} and cannot hold every text:"
                                 " make one with ENCODING 'UTF8', and change [store] url")
        except BaseException:
            self.close()
            raise
        #: what "stored" survives with the server's settings
        self.survives = survives(*durability)

    def execute(self, sql: str) -> list[tuple[Any, ...]]:
        """One statement or several, what the last of them returns as text or numbers."""
        return _fetched(self._connection.execute(sql.encode()))

    def ask(self, statement: Statement) -> list[tuple[Any, ...]]:
        return _fetched(self._send(statement))

    def ask_all(self, statements: Iterable[Statement]) -> list[tuple[Any, ...]]:
        """What all of them return (and each returns rows), in one transaction and one round trip."""
        each = list(statements)
        if len(each) == 1:
            return self.ask(each[0])
        with self._connection.pipeline():
            return [row for cursor in [self._send(statement) for statement in each] for row in cursor.fetchall()]

    def drop(self, table: Table) -> None:
        try:
            self.execute(table.drop)
        except psycopg.errors.InsufficientPrivilege as error:
            owner = "".join(name for name, in self.ask(table.owner))
            raise StoreError(f"{self._where}: cannot drop: {error.diag.message_primary}: let the table's owner"
                             f"{owner and f', {owner},'} run drtc reset") from error

    @contextmanager
    def transaction(self, patience: int = 1) -> Iterator[None]:
        """A transaction whose statements may take ``patience`` times the timeout."""
        limit = self._connection.limit
        with self._connection.transaction():
            self.execute(f"SET LOCAL statement_timeout = {_milliseconds(limit * patience)}")
            self._connection.limit = limit * patience
            try:
                yield
            finally:
                self._connection.limit = limit

    def close(self) -> None:
        self._connection.close()

    def _send(self, statement: Statement) -> psycopg.Cursor[TupleRow]:
        return psycopg.RawCursor(self._connection).execute(
            statement.sql.encode(), statement.values, prepare=statement.prepared, binary=True)


def survives(fsync: str, synchronous: str, standbys: str) -> str:
    """What a commit survives with these settings of the server."""
    if synchronous == "off":
        return "a killed process; a crash of the server takes its last moments (synchronous_commit = off)"
    if fsync == "off":
        return "a killed process and a killed server, no power cut (fsync = off)"
    if standbys and synchronous != "local":
        return "a killed process, a power cut and the loss of this server (synchronous standby)"
    return "a killed process and a power cut"


@contextmanager
def translated(settings: PostgreSQLSettings, doing: str, table: Table | None, rows: Sequence[Row]) -> Iterator[None]:
    """Makes drtc's errors of psycopg's, and of what rows hold that PostgreSQL has no place for."""
    try:
        yield
    except (ConnectionError, TimeoutError) as error:
        raise StoreUnavailable(f"{settings.where}: cannot {doing} now: {error}") from error
    except (ValueError, TypeError, OverflowError, struct.error) as error:
        refused = table.refused(rows) if table is not None else ""
        raise StoreError(f"{settings.where}: cannot {doing}: {refused or error}") from error
    except psycopg.Error as error:
        raise _translate(settings, doing, table, rows, error) from error


def _translate(settings: PostgreSQLSettings, doing: str, table: Table | None, rows: Sequence[Row],
               error: psycopg.Error) -> StoreError:
    code = error.sqlstate or ""
    reason = error.diag.message_primary or re.sub(r"^connection failed: |\s*\n.*", "", str(error), flags=re.DOTALL)
    cannot = f"{settings.where}: cannot {doing}: {reason}"
    if code.startswith(_PASSING):
        return StoreUnavailable(f"{settings.where}: cannot {doing} now: {reason}")
    if not code:
        for pattern, remedy in _FOREVER.items():
            if re.search(pattern, str(error)):
                return StoreError(f"{cannot}: {remedy}")
        if isinstance(error, psycopg.ProgrammingError):
            return StoreError(f"{cannot}: change [store] url")
        away = "" if "FATAL:" in str(error) else _AWAY  # which the server itself has said, such as: too many clients
        return StoreUnavailable(f"{settings.where}: cannot {doing} now: {reason}{away}")
    if code == "42501" and doing == "prepare":
        return StoreError(f"{cannot}: let a user who may create tables run drtc init-store, or grant USAGE and"
                          f" CREATE on the schema {settings.schema} to this one")
    if code == "42501":
        return StoreError(f"{cannot}: grant SELECT, INSERT, UPDATE and DELETE on drtc's tables to this user")
    if code == "42701":
        return StoreError(f"{cannot}: call the Job's field something else")
    if code in ("42P01", "3F000"):
        return StoreError(f"{cannot} (was it reset while in use?): start drtc again")
    if code.startswith(("22", "54")) and table is not None and rows:
        return StoreError(f"{cannot}: {table.refused(rows)}")
    return StoreError(cannot)


def _fetched(cursor: psycopg.Cursor[TupleRow]) -> list[tuple[Any, ...]]:
    return cursor.fetchall() if cursor.description is not None else []


def _milliseconds(seconds: float) -> int:
    return max(1, math.ceil(seconds * 1000))
