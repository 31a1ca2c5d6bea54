"""Links between roles: who listens, who connects, and the handshake that makes a connection a peer.

The listening side sends a Challenge, the other answers Hello, then Welcome or Refused. Until then frames are small,
the time is short and strangers are few; afterwards every frame that a peer of its role may send goes to our role.
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
        self.identity = identity
        self.joined = joined
        self.on_frame = on_frame
        self.on_gone = on_gone
        self._welcome = welcome
        self._log = Log(identity.role, node=identity.node)
        self._server: asyncio.Server | None = None
        self._strangers: dict[_Guest, None] = {}  # the oldest first
        self.connections: set[Connection] = set()

    async def listen(self, address: str) -> str:
        """Listens on ``host:port`` (port 0: any free one) and returns the address in use.

        Raises:
            ClusterError: the address is taken, not ours, or beyond loopback without a secret.
        """
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        check_listen(host, self.identity.secret)
        try:
            self._server = await asyncio.get_running_loop().create_server(self._accept, host, int(port))
        except OSError as error:
            raise ClusterError(f"cannot listen on {address}: {os.strerror(error.errno) if error.errno else error}; "
                               f"set another [{self.identity.role}] listen") from error
        bound = self._server.sockets[0].getsockname()
        return f"[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"{bound[0]}:{bound[1]}"

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.close("this role is stopping")

    def _accept(self) -> Connection:
        return _Guest(self).connection

    # --- called by guests ---

    def opened(self, guest: _Guest) -> None:
        self.connections.add(guest.connection)
        self._strangers[guest] = None
        if len(self._strangers) > MOST_STRANGERS:
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            oldest.connection.abort(f"more than {MOST_STRANGERS} connections have not greeted")

    def greeted(self, guest: _Guest, nonce: bytes, hello: Hello) -> Peer:
        """Lets it in.

        Raises:
            WireError: it is refused, and was told so.
        """
        us, connection = self.identity, guest.connection
        try:
            if hello.cluster != us.cluster:
                raise WireError(f"this is the cluster {us.cluster!r}, not {hello.cluster!r}: see [cluster] name")
            expected = prove(us.secret, "client", nonce, hello.nonce, hello.cluster, hello.role, hello.node, hello.view)
            if not same(hello.proof, expected):
                raise WireError("the secrets differ: see [cluster] secret")
            if hello.role != "status" and hello.view != us.view:
                raise WireError(f"this cluster computes {us.view}, not {hello.view}: all roles need the same [job]")
            window, places = self._welcome(hello)
        except WireError as error:
            connection.send(Refused(str(error)))
            raise
        self._strangers.pop(guest, None)
        connection.send(Welcome(us.node, window, places, prove(us.secret, "server", hello.nonce, nonce, us.node)))
        connection.admit(us.max_frame)
        return Peer(connection, hello.role, hello.node, window, places)

    def closed(self, guest: _Guest, why: str) -> None:
        self.connections.discard(guest.connection)
        self._strangers.pop(guest, None)
        peer = guest.peer
        if peer is not None:
            self.on_gone(peer, why)
            if peer.role != "status":
                return  # the role itself says what it has lost
        if guest.connection.spoke and peer is None or guest.connection.ended:
            self._log.warning("connection refused", peer=guest.connection.peer, why=why)


class _Guest:
    """A connection that was accepted: a stranger until it has greeted, then a peer."""

    def __init__(self, listener: Listener) -> None:
        self.connection = Connection(self._frame, self._closed, 0, GREETING_BYTES, self._opened)
        self.peer: Peer | None = None
        self._listener = listener
        self._nonce = os.urandom(NONCE_BYTES)
        self._deadline: asyncio.TimerHandle | None = None

    def _opened(self, connection: Connection) -> None:
        self._deadline = asyncio.get_running_loop().call_later(GREETING_SECONDS, self._late)
        connection.send(Challenge(self._nonce, __version__))
        self._listener.opened(self)

    def _late(self) -> None:
        if self.peer is None:
            self.connection.abort("no greeting arrived in time")
        elif self.peer.role == "status":
            self.connection.abort("it asks for longer than a status takes")

    def _frame(self, connection: Connection, message: Message, payload: Payload) -> None:
        if self.peer is not None:
            if self.peer.role == "status" and connection.unsent > SCRATCH:
                raise WireError("it asks and does not read the answers")
            hear(self.peer, message, payload, self._listener.on_frame)
        elif isinstance(message, Hello):
            self.peer = self._listener.greeted(self, self._nonce, message)
            self._listener.joined(self.peer)
        else:
            raise WireError(f"a {type(message).__name__} frame arrived before the greeting")

    def _closed(self, connection: Connection, why: str) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._listener.closed(self, why)


def hear(peer: Peer, message: Message, payload: Payload, on_frame: OnFrame) -> None:
    """Passes on what a role of the peer's kind may say.

    Raises:
        WireError: it may not say this.
    """
    if type(message) not in SAYS.get(peer.role, ()):
        raise WireError(f"a {peer.role} has no business sending a {type(message).__name__} frame")
    if isinstance(message, Beat):
        peer.report = message.report
    on_frame(peer, message, payload)


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
            hear(ready.result(), message, payload, on_frame)
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
    connection = Connection(frame, gone, 0, GREETING_BYTES)
    try:
        transport, _ = await loop.create_connection(lambda: connection, host.strip("[]"), int(port))
    except UnicodeError as error:
        raise WireError(f"{address}: no host can have this name") from error
    try:
        return await asyncio.wait_for(asyncio.shield(ready), GREETING_SECONDS)
    except BaseException:
        transport.abort()
        ready.cancel()
        raise
