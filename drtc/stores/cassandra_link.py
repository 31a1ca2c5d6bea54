"""The driver's session: made when it is needed, thrown away when it was lost, and its errors in our words."""
from __future__ import annotations

import logging
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Iterable, Iterator, Sequence

from ..errors import StoreError, StoreUnavailable

if TYPE_CHECKING:
    from .base import Id
    from .cassandra import CassandraSettings
    from .cassandra_table import Call

try:
    from cassandra import (AuthenticationFailed, ConsistencyLevel, DependencyException, DriverException,
                           InvalidRequest, OperationTimedOut, RequestExecutionException, Unauthorized,
                           UnresolvableContactPoints)
    from cassandra.auth import PlainTextAuthProvider
    from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
    from cassandra.connection import ConnectionException
    from cassandra.policies import (ConstantReconnectionPolicy, DCAwareRoundRobinPolicy, FallthroughRetryPolicy,
                                    TokenAwarePolicy)
    from cassandra.protocol import ErrorMessage, ServerError
    from cassandra.query import UNSET_VALUE, BatchStatement, BatchType, tuple_factory
except ImportError as error:
    raise StoreError("[store] type = cassandra needs cassandra-driver: pip install 'drtc[cassandra]'") from error

_LOST = (NoHostAvailable, ConnectionException, OperationTimedOut, OSError)
_PROTOCOL = 4  # what every server since Cassandra 2.2 knows, and those that only speak like one
_UNDER_WAY = 256  # statements sent and not yet answered
_RECONNECT_SECONDS = 1.0  # between two looks at a node that is down while others work
_UNUSABLE = (TypeError, ValueError, OverflowError, ArithmeticError)  # values that do not fit their column


class Missing(StoreError):
    """A table or keyspace that is not there."""


class Link:
    """One session at a time. Every statement waits at most ``timeout``; after it the next call begins anew."""

    def __init__(self, settings: CassandraSettings) -> None:
        self.where = ", ".join(map(str, settings.hosts))
        self._settings = settings
        self._cluster: Any = None
        self._session: Any = None
        self._prepared: dict[str, Any] = {}
        self._about: Id | None = None  # the record whose answer is awaited, for errors
        self.unset = UNSET_VALUE  # as a value: leave the column as it is
        # What the driver would say about lost connections, we say in a sentence
        logging.getLogger("cassandra").setLevel(logging.CRITICAL)

    def ask(self, call: Call) -> list[tuple[Any, ...]]:
        """The rows that answer one statement."""
        return self.all([[call]])[0]

    def all(self, calls: Iterable[Sequence[Call]]) -> list[list[tuple[Any, ...]]]:
        """The rows that answer each; several statements together are a batch, of one partition. All are under way
        at the same time. After an error the others have ended as well, one way or the other."""
        answers = []
        pending: deque[Any] = deque()
        with self._translated() as session:
            try:
                for call in calls:
                    if len(pending) == _UNDER_WAY:
                        answers.append(self._rows(*pending.popleft()))
                    pending.append((call, session.execute_async(self._statement(call))))
                while pending:
                    answers.append(self._rows(*pending.popleft()))
            finally:
                for _, future in pending:
                    _await(future)
        return answers

    def change(self, cql: str) -> None:
        """Changes the schema, and returns when all nodes know it."""
        with self._translated() as session:
            future = session.execute_async(cql)
            future.result()
        if not future.is_schema_agreed:
            raise StoreUnavailable(f"{self.where}: the nodes do not agree on the schema yet")

    def close(self) -> None:
        self._prepared.clear()
        if self._cluster is not None:
            cluster, self._cluster, self._session = self._cluster, None, None
            cluster.shutdown()

    def _rows(self, call: Sequence[Call], future: Any) -> list[tuple[Any, ...]]:
        self._about = call[0].id
        return list(future.result())

    def _statement(self, calls: Sequence[Call]) -> Any:
        if len(calls) == 1:
            return self._bound(calls[0])
        batch = BatchStatement(BatchType.UNLOGGED)
        for call in calls:
            batch.add(self._bound(call))
        return batch

    def _bound(self, call: Call) -> Any:
        prepared = self._prepared.get(call.cql)
        if prepared is None:
            prepared = self._prepared[call.cql] = self._session.prepare(call.cql)
        try:
            return prepared.bind(call.values)
        except _UNUSABLE as error:
            raise StoreError(f"{self.where}: Cassandra cannot keep {_record(call.id)}: {error}") from error

    @contextmanager
    def _translated(self) -> Iterator[Any]:
        try:
            yield self._connected()
        except (DriverException, DependencyException, NoHostAvailable, ConnectionException, ErrorMessage,
                OSError) as error:
            translated = self._translate(error)
            if self._session is None or isinstance(error, _LOST):
                self.close()
            raise translated from error

    def _connected(self) -> Any:
        if self._session is None:
            self._cluster = self._made()
            self._session = self._cluster.connect()
        return self._session

    def _made(self) -> Any:
        own = self._settings
        local = own.consistency == "local_serial"
        profile = ExecutionProfile(
            load_balancing_policy=TokenAwarePolicy(DCAwareRoundRobinPolicy(own.local_dc)),
            retry_policy=FallthroughRetryPolicy(),  # who calls us tries again, and knows what that means
            consistency_level=ConsistencyLevel.LOCAL_QUORUM if local else ConsistencyLevel.QUORUM,
            serial_consistency_level=ConsistencyLevel.LOCAL_SERIAL if local else ConsistencyLevel.SERIAL,
            request_timeout=own.timeout, row_factory=tuple_factory)
        return Cluster(
            [tuple(host) for host in own.hosts], own.hosts[0].port, protocol_version=_PROTOCOL, compression=False,
            auth_provider=PlainTextAuthProvider(own.user, own.password) if own.user else None,
            execution_profiles={EXEC_PROFILE_DEFAULT: profile}, connect_timeout=own.timeout,
            control_connection_timeout=own.timeout, max_schema_agreement_wait=own.timeout,
            reconnection_policy=ConstantReconnectionPolicy(_RECONNECT_SECONDS, max_attempts=None))

    def _translate(self, error: Exception) -> StoreError:
        found = error.errors if isinstance(error, NoHostAvailable) else None
        causes = [*found.values()] if isinstance(found, dict) and found else [error]  # it may be a list of hosts
        for cause in causes:
            if isinstance(cause, AuthenticationFailed) and "Unable to perform" not in str(cause):
                return StoreError(f"{self.where}: Cassandra refuses the user {self._settings.user or '(none)'!r}: set"
                                  f" [store] user and password ({_words(cause)})")
        cause = causes[0]
        words = _words(cause)
        if isinstance(error, NoHostAvailable) and self._settings.local_dc and self._others():
            return StoreError(f"{self.where}: [store] local_dc = {self._settings.local_dc}: there is no such data"
                              f" center, it is one of {', '.join(self._others())}")
        if isinstance(cause, Unauthorized):
            return StoreError(f"{self.where}: no permission: grant it to the user {self._settings.user} ({words})")
        if isinstance(cause, InvalidRequest):
            if "unconfigured table" in words or "does not exist" in words:
                return Missing(f"{self.where}: {words} (was it reset while in use?): start drtc again")
            return StoreError(f"{self.where}: Cassandra refuses {_record(self._about)}: {words}")
        if isinstance(cause, OperationTimedOut):
            return StoreUnavailable(f"{self.where}: no answer within {self._settings.timeout:g} s")
        if isinstance(cause, (NoHostAvailable, ConnectionException, OSError, UnresolvableContactPoints,
                              AuthenticationFailed)):
            return StoreUnavailable(f"{self.where}: cannot be reached: {words}: is it running? see [store] hosts")
        if isinstance(cause, (RequestExecutionException, ServerError)) or getattr(cause, "code", 0) >> 8 == 0x10:
            return StoreUnavailable(f"{self.where}: not now: {words}")
        return StoreError(f"{self.where}: {words}")

    def _others(self) -> list[str]:
        """The data centers that were found, if ours is not among them."""
        hosts = self._cluster.metadata.all_hosts() if self._cluster is not None else ()
        found = {host.datacenter for host in hosts if host.datacenter}
        return [] if self._settings.local_dc in found else sorted(found)


def _await(future: Any) -> None:
    """Returns when it has ended, however."""
    try:
        future.result()
    except Exception:
        pass


def _record(id: Id | None) -> str:
    if id is None:
        return "this"
    key = repr(id.key)
    return f"the record {key if len(key) <= 100 else key[:100] + '..'}"


def _words(error: BaseException) -> str:
    return " ".join(str(error.args[0] if len(error.args) > 1 and isinstance(error, NoHostAvailable) else error).split())
