"""Links between roles: who listens, who connects, and the handshake that makes a connection a peer.

The listening side sends a Challenge, the other answers Hello, then Welcome or Refused. Until then frames are small and the
time is short; afterwards every frame goes to the role.
"""
from __future__ import annotations

import asyncio
import os
from typing import Any, Callable, Protocol

from .. import __version__
from ..batch import Payload
from ..errors import ClusterError, WireError
from ..observe.logs import Log
from .connection import SCRATCH, Connection
from .messages import NONCE_BYTES, SAYS, Beat, Challenge, Hello, Message, Refused, Welcome
from .security import check_listen, prove, same

GREETING_BYTES = 4096  # of a header; no payload is due before the handshake is done
GREETING_SECONDS = 5.0  # also the longest that a status connection may last
MOST_STRANGERS = 200  # connections that have not greeted: of more, the oldest is closed


class Identity(Protocol):
    """Who we are, in a handshake."""

    @property
    def cluster(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def node(self) -> str: ...
    @property
    def view(self) -> str: ...
    @property
    def secret(self) -> str: ...
    @property
    def max_frame(self) -> int: ...


OnFrame = Callable[["Peer", Message, Payload], None]
OnGone = Callable[["Peer", str], None]


class Peer:
    """A connection whose other end is known."""

    def __init__(self, connection: Connection, role: str, node: str, window: int, places: int) -> None:
        self.connection = connection
        self.role = role
        self.node = node
        self.window = window  # what may be on its way unanswered: bytes
        self.places = places  # and tasks, 0: no limit
        self.report: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"<{self.role} {self.node} at {self.connection.peer}>"

    def send(self, message: Message, payloads: tuple[Payload, ...] | list[Payload] = ()) -> None:
        self.connection.send(message, payloads)


class Listener:
    """Accepts peers. ``welcome(hello)`` returns the window and the places to grant, or raises WireError with
    the reason to refuse."""

    def __init__(self, identity: Identity, welcome: Callable[[Hello], tuple[int, int]], joined: Callable[[Peer], None],
                 on_frame: OnFrame, on_gone: OnGone) -> None:
        self._identity = identity
        self._welcome = welcome
        self._joined = joined
        self._on_frame = on_frame
        self._on_gone = on_gone
        self._log = Log(identity.role, node=identity.node)
        self._server: asyncio.Server | None = None
        self._strangers: dict[Connection, None] = {}  # the oldest first
        self.connections: set[Connection] = set()

    async def listen(self, address: str) -> str:
        """Listens on ``host:port`` (port 0: any free one) and returns the address in use.

        Raises:
            ClusterError: the address is taken, not ours, or beyond loopback without a secret.
        """
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        check_listen(host, self._identity.secret)
        try:
            self._server = await asyncio.get_running_loop().create_server(self._accept, host, int(port))
        except OSError as error:
            raise ClusterError(f"cannot listen on {address}: {os.strerror(error.errno) if error.errno else error}; "
                               f"set another [{self._identity.role}] listen") from error
        bound = self._server.sockets[0].getsockname()
        return f"[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"{bound[0]}:{bound[1]}"

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.close("this role is stopping")

    def _accept(self) -> Connection:
        nonce = os.urandom(NONCE_BYTES)
        peers: list[Peer] = []
        deadlines: list[asyncio.TimerHandle] = []

        def on_open(connection: Connection) -> None:
            self.connections.add(connection)
            self._strangers[connection] = None
            if len(self._strangers) > MOST_STRANGERS:
                next(iter(self._strangers)).abort(f"more than {MOST_STRANGERS} connections have not greeted")
            connection.send(Challenge(nonce, __version__))
            deadlines.append(asyncio.get_running_loop().call_later(GREETING_SECONDS, too_late, connection))

        def too_late(connection: Connection) -> None:
            connection.abort("it asks for longer than a status takes" if peers else "no greeting arrived in time")

        def on_frame(connection: Connection, message: Message, payload: Payload) -> None:
            if peers:
                if peers[0].role == "status" and connection.unsent > SCRATCH:
                    raise WireError("it asks and does not read the answers")
                _hear(peers[0], message, payload, self._on_frame)
            elif isinstance(message, Hello):
                peers.append(self._greet(connection, nonce, message))
                self._strangers.pop(connection, None)
                if message.role != "status":
                    deadlines.pop().cancel()
                connection.admit(self._identity.max_frame)
                self._joined(peers[0])
            else:
                raise WireError(f"a {type(message).__name__} frame arrived before the greeting")

        def on_close(connection: Connection, why: str) -> None:
            self.connections.discard(connection)
            self._strangers.pop(connection, None)
            for deadline in deadlines:
                deadline.cancel()
            if peers:
                self._on_gone(peers[0], why)
            elif connection.spoke:
                self._log.warning("connection refused", peer=connection.peer, why=why)
            else:
                self._log.debug("connection without a word", peer=connection.peer, why=why)

        return Connection(on_frame, on_close, 0, GREETING_BYTES, on_open)

    def _greet(self, connection: Connection, nonce: bytes, hello: Hello) -> Peer:
        us = self._identity
        try:
            if hello.cluster != us.cluster:
                raise WireError(f"this is the cluster {us.cluster!r}, not {hello.cluster!r:.80}: see [cluster] name")
            expected = prove(us.secret, "client", nonce, hello.nonce, hello.cluster, hello.role, hello.node, hello.view)
            if not same(hello.proof, expected):
                raise WireError("the secrets differ: see [cluster] secret")
            if hello.role != "status" and hello.view != us.view:
                raise WireError(f"this cluster computes {us.view}, not {hello.view:.80}: all roles need the same [job]")
            window, places = self._welcome(hello)
        except WireError as error:
            connection.send(Refused(str(error)))
            raise
        connection.send(Welcome(us.node, window, places, prove(us.secret, "server", hello.nonce, nonce, us.node)))
        return Peer(connection, hello.role, hello.node, window, places)


async def connect(identity: Identity, address: str, role: str, on_frame: OnFrame, on_gone: OnGone) -> Peer:
    """Connects to the ``role`` that listens at ``address``. ``on_gone`` is called once, if it succeeds.

    Raises:
        WireError: refused by the peer, or it is not what it should be. OSError, TimeoutError: nobody there.
    """
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[Peer] = loop.create_future()
    ours = os.urandom(NONCE_BYTES)
    nonces: list[bytes] = []

    def frame(connection: Connection, message: Message, payload: Payload) -> None:
        if ready.done():
            _hear(ready.result(), message, payload, on_frame)
        elif isinstance(message, Challenge) and not nonces:
            nonces.append(message.nonce)
            us = identity
            proof = prove(us.secret, "client", message.nonce, ours, us.cluster, us.role, us.node, us.view)
            connection.send(Hello(us.cluster, us.role, us.node, us.view, __version__, ours, proof))
        elif isinstance(message, Welcome) and nonces:
            if not same(message.proof, prove(identity.secret, "server", ours, nonces[0], message.node)):
                raise WireError(f"{address} does not know the secret: see [cluster] secret")
            connection.admit(identity.max_frame)
            ready.set_result(Peer(connection, role, message.node, message.window, message.places))
        elif isinstance(message, Refused):
            raise WireError(f"{address} refused us: {message.reason}")
        else:
            raise WireError(f"{address} sent a {type(message).__name__} frame before its greeting")

    def gone(connection: Connection, why: str) -> None:
        if ready.done() and not ready.cancelled() and ready.exception() is None:
            on_gone(ready.result(), why)
        elif not ready.done():
            ready.set_exception(WireError(why))

    host, _, port = address.rpartition(":")
    transport, _ = await loop.create_connection(lambda: Connection(frame, gone, 0, GREETING_BYTES), host.strip("[]"),
                                                int(port))
    try:
        return await asyncio.wait_for(asyncio.shield(ready), GREETING_SECONDS)
    except BaseException:
        transport.abort()
        ready.cancel()
        raise


def _hear(peer: Peer, message: Message, payload: Payload, on_frame: OnFrame) -> None:
    """Passes on what a role of the peer's kind may say."""
    if type(message) not in SAYS.get(peer.role, ()):
        raise WireError(f"a {peer.role} has no business sending a {type(message).__name__} frame")
    if isinstance(message, Beat):
        peer.report = message.report
    on_frame(peer, message, payload)
