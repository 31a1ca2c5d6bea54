"""The connection to Redis: many commands in one round trip, to one server or to every node that has keys of them.

What redis-py raises and what a server answers becomes a sentence here, and nowhere else.
"""
from __future__ import annotations

import re
import ssl
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Callable, Iterable, Iterator

from redis import Redis, exceptions
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot
from redis.exceptions import ResponseError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from ..errors import StoreError, StoreUnavailable
from .redis_address import Target
from .redis_scripts import NO_VIEW, Call, Command, Script

_AWAY = "is it running? see [store] url"
_PASSING = {
    "LOADING": "it is loading its content",
    "READONLY": "it is a replica now, which takes no writes",
    "MISCONF": "it cannot write to its disk",
    "OOM": "its memory is full (maxmemory): give it more, or remove something",
    "BUSY": "a script keeps it busy",
    "NOREPLICAS": "it has too few replicas (min-replicas-to-write)",
    "MASTERDOWN": "it has lost its master",
    "CLUSTERDOWN": "the cluster does not work",
    "TRYAGAIN": "the cluster is moving these keys",
    "ASK": "the cluster is moving these keys",
    "MOVED": "the cluster has moved these keys",
    "UNBLOCKED": "its role is changing",
}


@dataclass(frozen=True)
class Access:
    """Who asks, and how."""

    user: str
    password: str
    sentinel_password: str
    tls_ca: str | None
    tls_certificate: str | None
    tls_key: str | None
    timeout: float
    replicas: int


class Link:
    """Connects when it is first asked; after any trouble with a connection the next question makes new ones, and asks
    anew where the master or the slots are."""

    def __init__(self, target: Target, access: Access) -> None:
        self._target = target
        self._access = access
        self._server: Redis | None = None
        self._cluster: Any = None  # RedisCluster, Sentinel: most of theirs has no types
        self._sentinel: Any = None
        #: CLUSTER KEYSLOT, where there is a cluster
        self.slot: Callable[[bytes], int] | None = key_slot if target.kind == "cluster" else None

    def run(self, script: Script, calls: Iterable[Call], *, replicated: bool = False) -> list[Any]:
        """The script's answer to each call, all in one round trip; in two where a server does not know it yet.
        ``replicated``: as ``ask``."""
        sent: list[Call] = []

        def commands() -> Iterator[Command]:
            for call in calls:
                sent.append(call)
                yield call.command("EVALSHA", script.sha)

        answers = self._exchange(commands(), replicated)
        unknown = [at for at, answer in enumerate(answers) if isinstance(answer, exceptions.NoScriptError)]
        again = self._exchange((sent[at].command("EVAL", script.source) for at in unknown), replicated)
        for at, answer in zip(unknown, again):
            answers[at] = answer
        return self._checked(answers)

    def ask(self, commands: Iterable[Command], *, replicated: bool = False) -> list[Any]:
        """The answer to each command, all in one round trip. ``replicated``: as many replicas as are asked for have
        all that the answers rest on, whoever wrote it.

        Raises:
            StoreUnavailable: not now; that many replicas do not have it.
        """
        return self._checked(self._exchange(commands, replicated))

    def servers(self) -> list[Redis]:
        """A client for each server that has keys: the one, the master, or the cluster's primaries."""
        with self.translated():
            self._connect()
            if self._cluster is None:
                assert self._server is not None
                return [self._server]
            return [self._cluster.get_redis_connection(node) for node in self._cluster.get_primaries()]

    def close(self) -> None:
        with ExitStack() as stack:
            for each in (self._server, self._cluster, self._sentinel):
                if each is not None:
                    stack.callback(each.close)
            self._server = self._cluster = self._sentinel = None

    @contextmanager
    def translated(self) -> Iterator[None]:
        """What redis-py raises becomes a sentence; the connections are closed then, whatever state they were in."""
        try:
            yield
        except (exceptions.RedisError, exceptions.RedisClusterException, OSError) as error:
            self.close()
            raise self._translate(error) from error

    def _connect(self) -> None:
        if self._server is not None or self._cluster is not None:
            return
        access, target = self._access, self._target
        tls: dict[str, Any] = {}
        if target.tls:
            tls = {"ssl": True, "ssl_ca_certs": access.tls_ca, "ssl_certfile": access.tls_certificate,
                   "ssl_keyfile": access.tls_key}
        common: dict[str, Any] = {"socket_timeout": access.timeout, "socket_connect_timeout": access.timeout,
                                  "protocol": 2, **tls}
        who: dict[str, Any] = {"username": access.user or None, "password": access.password or None}
        once = Retry(NoBackoff(), 0)  # who asks repeats: its saves are conditional
        if target.kind == "cluster":
            nodes = [ClusterNode(*each) for each in target.hosts]  # type: ignore[no-untyped-call]
            self._cluster = RedisCluster(startup_nodes=nodes, retry=once, **common, **who)
        elif target.kind == "sentinel":
            asked = {**common, "password": access.sentinel_password or None, "retry": once}
            self._sentinel = Sentinel(target.hosts, sentinel_kwargs=asked)  # type: ignore[no-untyped-call]
            self._server = self._sentinel.master_for(target.master, db=target.database, retry=once, **common, **who)
        else:
            host, port = target.hosts[0]
            self._server = Redis(host, port, db=target.database, retry=once, **common, **who)

    def _exchange(self, commands: Iterable[Command], replicated: bool) -> list[Any]:
        """Sends everything, each command as soon as it is made, then reads everything; an error that a server answers
        takes its command's place."""
        connections: dict[Redis, Any] = {}
        asked = []
        marked: list[tuple[Any, str]] = []  # connections, and a key of theirs to write
        with self.translated(), ExitStack() as stack:
            for command in commands:
                server = self._server_of(command.key)
                if server not in connections:
                    connections[server] = stack.enter_context(_connection(server))
                    if replicated and self._access.replicas:
                        marked.append((connections[server], f"{command.key}.mark"))
                asked.append(connections[server])
                asked[-1].send_packed_command(asked[-1].pack_command(*command.words))
            patience = int(self._access.timeout * 900)  # ms, less than our own
            for connection, mark in marked:
                # WAIT asks only for what its connection wrote. The mark stands behind all that was met here, so that
                # what somebody else wrote, or we before a WAIT that fell short, is waited for too.
                for words in (("SET", mark, "", "PX", 1), ("WAIT", self._access.replicas, patience)):
                    connection.send_packed_command(connection.pack_command(*words))
            answers = [_answer(connection) for connection in asked]
            for connection, _ in marked:
                self._check_replicas(_answer(connection), _answer(connection))
        return answers

    def _server_of(self, key: str) -> Redis:
        self._connect()
        if self._cluster is None:
            assert self._server is not None
            return self._server
        node = self._cluster.get_node_from_key(key)
        if node is None:
            raise exceptions.ClusterDownError("no node has some of the slots")
        server: Redis = self._cluster.get_redis_connection(node)
        return server

    def _check_replicas(self, mark: Any, count: Any) -> None:
        for answer in (mark, count):
            if isinstance(answer, Exception):
                raise answer
        if count < self._access.replicas:
            raise StoreUnavailable(f"{self._target}: {count} of the {self._access.replicas} replicas that [store]"
                                   f" replicas asks for had everything within {self._access.timeout:g} s")

    def _checked(self, answers: list[Any]) -> list[Any]:
        with self.translated():
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
        return answers

    def _translate(self, error: Exception) -> StoreError:
        where, said = self._target, str(error)
        in_script = _IN_SCRIPT.match(said)
        word = in_script[1] if in_script else said.partition(" ")[0]
        if word == NO_VIEW:
            return StoreError(f"{where}: the view does not exist any more (was it reset while in use?):"
                              f" start drtc again")
        if self._target.kind != "cluster" and (
                isinstance(error, (exceptions.MovedError, exceptions.AskError, exceptions.ClusterCrossSlotError))):
            return StoreError(f"{where}: that is a node of a cluster: write redis+cluster:// in [store] url")
        if "cluster support disabled" in said or "Cluster mode is not enabled" in said:
            return StoreError(f"{where}: that is no cluster: write redis:// in [store] url")
        if _wrong_certificate(error):
            return StoreError(f"{where}: the server's certificate does not fit: see [store] tls_ca, and the host in url"
                              f" ({said})")
        if "without any password configured" in said or "no password is set" in said:
            its = "sentinel_password" if isinstance(error, MasterNotFoundError) else "password"
            return StoreError(f"{where}: that server has no password: leave [store] {its} empty ({said})")
        if isinstance(error, (exceptions.AuthenticationError, exceptions.AuthenticationWrongNumberOfArgsError)):
            return StoreError(f"{where} refuses the user or the password: set [store] user and password ({said})")
        if isinstance(error, exceptions.NoPermissionError):
            return StoreError(f"{where}: the user may not do that: docs/store_redis.md has the rights that it needs"
                              f" ({said})")
        if "DB index is out of range" in said or "Invalid Database" in said or "invalid DB index" in said:
            return StoreError(f"{where} has no database {where.database}: change the number in [store] url")
        if word == "WRONGTYPE":
            return StoreError(f"{where}: a key of drtc's holds something else: change [store] prefix ({said})")
        for kind, reason in _KINDS:
            if isinstance(error, kind):
                return StoreUnavailable(f"{where}: not now: {reason} ({said})")
        if word in _PASSING:
            return StoreUnavailable(f"{where}: not now: {_PASSING[word]} ({said})")
        if isinstance(error, MasterNotFoundError):
            return StoreUnavailable(f"{where}: they know no working master of that name now ({said})")
        if isinstance(error, exceptions.TimeoutError):
            return StoreUnavailable(f"{where} did not answer within {self._access.timeout:g} s ({said}): {_AWAY}")
        if isinstance(error, (exceptions.ConnectionError, exceptions.RedisClusterException, exceptions.ClusterError,
                              OSError)):
            return StoreUnavailable(f"{where} cannot be reached now ({said}): {_AWAY}")
        return StoreError(f"{where} refuses what is asked: {said}")


#: how Redis 6 wraps what a script's command was answered
_IN_SCRIPT = re.compile(r"Error running script \(.*?\): .*?: -?([A-Z]{2,})\b")

#: answers that redis-py turns into a class of their own, without the word
_KINDS: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.BusyLoadingError, _PASSING["LOADING"]),
    (exceptions.ReadOnlyError, _PASSING["READONLY"]),
    (exceptions.OutOfMemoryError, _PASSING["OOM"]),
    (exceptions.TryAgainError, _PASSING["TRYAGAIN"]),
    (exceptions.AskError, _PASSING["MOVED"]),
    (exceptions.ClusterDownError, _PASSING["CLUSTERDOWN"]),
)


@contextmanager
def _connection(server: Redis) -> Iterator[Any]:
    """A connection of the server's, closed if not every answer was read from it."""
    pool = server.connection_pool
    connection: Any = pool.get_connection()
    try:
        yield connection
    except BaseException:
        connection.disconnect()
        raise
    finally:
        pool.release(connection)


def _answer(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error


def _wrong_certificate(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
