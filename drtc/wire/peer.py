"""Links between roles: who listens, who connects, and the handshake that makes a connection a peer.

The listening side sends a Challenge, the other answers Hello, then Welcome or Refused. Until then frames are small,
the time is short and strangers are few; afterwards every frame that a peer of its role may send goes to our role.
"""
from __future__ import annotations

import asyncio
import os
import socket
from typing import Any, Callable

from .. import __version__
from ..batch import Payload
from ..errors import ClusterError, ConfigError, WireError
from ..observe.logs import Log
from .connection import SCRATCH, Connection
from .door import accept, bind
from .frames import MAX_GREETING
from .identity import Identity
from .limits import MOST_STRANGERS, Census, Quota, origin
from .messages import NONCE_BYTES, SAYS, Beat, Challenge, Hello, Message, Refused, Welcome
from .security import check_listen, prove, same
from .tls import SHUTDOWN_SECONDS, explain

GREETING_SECONDS = 5.0  # TLS included; also the longest that a status connection may last

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
        self._lines = Quota(burst=1000, rate=10.0)  # or strangers could fill the disk with our log
        self._doors: list[asyncio.Task[None]] = []
        self._census: Census[Guest] = Census(identity.max_connections, identity.max_connections_per_address)
        self.guests: set[Guest] = set()

    async def listen(self, address: str) -> str:
        """Listens on ``host:port`` (port 0: any free one) and returns the address in use.

        Raises:
            ClusterError: the address is taken, not ours, or beyond loopback without a secret.
            ConfigError: TLS is set up for connecting only.
        """
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        us = self.identity
        if us.tls is not None and us.tls.listening is None:
            raise ConfigError(f"cannot listen on {address} with [cluster] tls_ca alone: a {us.role} shows a "
                              "certificate, set tls_certificate and tls_key as well")
        check_listen(host, us.secret, us.tls is not None and us.tls.mutual)
        try:
            servers = bind(host, int(port))
        except OSError as error:
            raise ClusterError(f"cannot listen on {address}: {os.strerror(error.errno) if error.errno else error}; "
                               f"set another [{us.role}] listen") from error
        for server in servers:
            door = asyncio.create_task(accept(server, self._enter, self._no_room))
            door.add_done_callback(lambda _, server=server: server.close())  # type: ignore[misc]
            self._doors.append(door)
        bound = servers[0].getsockname()
        return f"[{bound[0]}]:{bound[1]}" if ":" in bound[0] else f"{bound[0]}:{bound[1]}"

    def close(self) -> None:
        for door in self._doors:
            door.cancel()
        for guest in list(self.guests):
            guest.connection.close("this role is stopping")
            guest.turn_out("this role is stopping")

    def _enter(self, sock: socket.socket, host: str, port: int) -> None:
        guest = Guest(self, f"{host}:{port}")
        self.arrived(guest, host)
        guest.enter(sock)

    def _no_room(self, why: str) -> None:
        self._say("no connection can be taken", why=why)

    def _say(self, words: str, **values: object) -> None:
        missed = self._lines.take(asyncio.get_running_loop().time())
        if missed is not None:
            self._log.warning(words, **values, **({"unsaid": missed} if missed else {}))

    # --- called by guests ---

    def arrived(self, guest: Guest, host: str) -> None:
        self.guests.add(guest)
        oldest = self._census.arrived(guest, origin(host))
        if oldest is not None:
            oldest.turn_out(f"more than {MOST_STRANGERS} connections have not greeted")

    def greeted(self, guest: Guest, nonce: bytes, hello: Hello) -> Peer:
        """Lets it in. Who does not know the secret learns no more than that.

        Raises:
            WireError: it is refused, and was told so.
        """
        us, connection = self.identity, guest.connection
        try:
            expected = prove(us.secret, "client", nonce, hello.nonce, hello.cluster, hello.role, hello.node, hello.view)
            if not same(hello.proof, expected):
                raise WireError("the secrets differ: see [cluster] secret")
            if hello.cluster != us.cluster:
                raise WireError(f"this is the cluster {us.cluster!r}, not {hello.cluster!r}: see [cluster] name")
            if hello.role != "status" and hello.view != us.view:
                raise WireError(f"this cluster computes {us.view}, not {hello.view}: all roles need the same [job]")
            window, places = self._welcome(hello)
            self._census.greeted(guest)
        except WireError as error:
            connection.send(Refused(str(error)))
            raise
        connection.send(Welcome(us.node, window, places, prove(us.secret, "server", hello.nonce, nonce, us.node)))
        connection.admit(us.max_frame, us.timeout)
        return Peer(connection, hello.role, hello.node, window, places)

    def left(self, guest: Guest, why: str) -> None:
        self.guests.discard(guest)
        self._census.left(guest)
        peer = guest.peer
        if peer is not None:
            self.on_gone(peer, why)
            if peer.role != "status":
                return  # the role itself says what it has lost
        if guest.failed or guest.connection.spoke and peer is None or guest.connection.ended:
            self._say("connection refused", peer=guest.name, why=why)


class Guest:
    """A connection that was accepted: a stranger until it has greeted, then a peer."""

    def __init__(self, listener: Listener, name: str) -> None:
        self.name = name
        self.connection = Connection(self._frame, self._closed, 0, MAX_GREETING, self._opened)
        self.peer: Peer | None = None
        self.failed = False  # before it was open
        self._listener = listener
        self._nonce = os.urandom(NONCE_BYTES)
        self._entering: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._why = ""

    def enter(self, sock: socket.socket) -> None:
        """Takes the socket in, by TLS where we speak it."""
        self._deadline = asyncio.get_running_loop().call_later(GREETING_SECONDS, self._late)
        self._entering = asyncio.create_task(self._enter(sock))
        self._entering.add_done_callback(self._entered)

    async def _enter(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        tls = self._listener.identity.tls
        if tls is None:
            await loop.connect_accepted_socket(lambda: self.connection, sock)
        else:
            await loop.connect_accepted_socket(lambda: self.connection, sock, ssl=tls.listening,
                                               ssl_shutdown_timeout=SHUTDOWN_SECONDS)

    def _entered(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            self.failed = True
            self._closed(self.connection, self._why or "this role is stopping")
            return
        error = task.exception()
        if isinstance(error, OSError):  # an SSLError is one
            self.failed = not isinstance(error, ConnectionError)  # who came, was silent and went is not worth a line
            self._closed(self.connection, explain(error))
        elif error is not None:
            raise error

    def turn_out(self, why: str) -> None:
        """At once, whether or not it has come in."""
        if self.connection.opened:
            self.connection.abort(why)
        elif self._entering is not None:
            self._why = self._why or why
            self._entering.cancel()

    def _opened(self, connection: Connection) -> None:
        tls = self._listener.identity.tls
        if tls is not None and tls.mutual:
            tls.check(connection.certificate)
        connection.send(Challenge(self._nonce, __version__))

    def _late(self) -> None:
        if self.peer is None:
            self.turn_out("no greeting arrived in time")
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
        self._listener.left(self, why)


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


class Call:
    """A connection that we make: greets, then hears a peer. ``ready`` becomes the peer, or the WireError that says why
    it is none; ``on_gone`` is called once if it was."""

    def __init__(self, identity: Identity, address: str, role: str, on_frame: OnFrame, on_gone: OnGone,
                 ready: asyncio.Future[Peer]) -> None:
        self.connection = Connection(self._frame, self._closed, 0, MAX_GREETING, self._opened)
        self.ready = ready
        self.peer: Peer | None = None
        self._us = identity
        self._address = address
        self._role = role
        self._on_frame = on_frame
        self._on_gone = on_gone
        self._ours = os.urandom(NONCE_BYTES)
        self._theirs: bytes | None = None

    @property
    def silence(self) -> str:
        """What to say where nothing came, "" where something did."""
        if self._theirs is not None or not self.connection.opened:
            return ""
        if self._us.tls is not None:
            return f"{self._address} speaks TLS and does not greet us: its log says why, perhaps for our certificate"
        return (f"{self._address} takes connections and does not greet us; does it speak TLS? see [cluster] "
                "tls_certificate and tls_ca")

    def _opened(self, connection: Connection) -> None:
        if self._us.tls is not None:
            self._us.tls.check(connection.certificate)

    def _frame(self, connection: Connection, message: Message, payload: Payload) -> None:
        us = self._us
        if self.peer is not None:
            hear(self.peer, message, payload, self._on_frame)
        elif isinstance(message, Challenge) and self._theirs is None:
            self._theirs = message.nonce
            proof = prove(us.secret, "client", message.nonce, self._ours, us.cluster, us.role, us.node, us.view)
            connection.send(Hello(us.cluster, us.role, us.node, us.view, __version__, self._ours, proof))
        elif isinstance(message, Welcome) and self._theirs is not None:
            if not same(message.proof, prove(us.secret, "server", self._ours, self._theirs, message.node)):
                raise WireError(f"{self._address} does not know the secret: see [cluster] secret")
            if self.ready.done():
                raise WireError("its welcome came too late")
            connection.admit(us.max_frame, us.timeout)
            self.peer = Peer(connection, self._role, message.node, message.window, message.places)
            self.ready.set_result(self.peer)
        elif isinstance(message, Refused):
            raise WireError(f"{self._address} refused us: {message.reason}")
        else:
            raise WireError(f"{self._address} sent a {type(message).__name__} frame before its greeting")

    def _closed(self, connection: Connection, why: str) -> None:
        if self.peer is not None:
            self._on_gone(self.peer, why)
        elif not self.ready.done():
            named = why if self._address in why else f"{self._address}: {why}"
            self.ready.set_exception(WireError(named if connection.spoke or connection.ended else
                                               self.silence or named))


async def connect(identity: Identity, address: str, role: str, on_frame: OnFrame, on_gone: OnGone) -> Peer:
    """Connects to the ``role`` that listens at ``address``. ``on_gone`` is called once, if it succeeds.

    Raises:
        WireError: refused by the peer, or it is not what it should be. OSError, TimeoutError: nobody there.
    """
    loop = asyncio.get_running_loop()
    call = Call(identity, address, role, on_frame, on_gone, loop.create_future())
    tls = identity.tls
    host, _, port = address.rpartition(":")
    secured: dict[str, Any] = {}
    if tls is not None:
        secured = {"ssl": tls.calling, "ssl_shutdown_timeout": SHUTDOWN_SECONDS}
    try:
        async with asyncio.timeout(GREETING_SECONDS):
            await loop.create_connection(lambda: call.connection, host.strip("[]"), int(port), **secured)
            return await asyncio.shield(call.ready)
    except UnicodeError as error:
        raise WireError(f"{address}: no host can have this name") from error
    except TimeoutError:
        if call.silence:
            raise WireError(call.silence) from None
        raise
    except OSError as error:
        if tls is not None and not isinstance(error, ConnectionRefusedError):
            raise WireError(f"{address}: {explain(error)}") from error
        raise
    finally:
        if call.peer is None:
            call.connection.abort("not a peer")
            if not call.ready.cancel() and not call.ready.cancelled():
                call.ready.exception()  # nobody else asks for it where we are cancelled at this very moment
