"""Fuzz targets for the wire: frame decoder, connection, and the handshake from both ends. No sockets.

Each target takes one input and raises what it finds: any exception but the WireError of the protocol, a peer that was
let in without the secret, a frame that its role may not send, a buffer past its limit, a connection that can neither
go on nor end. ``Bounds`` watches memory and time around them.
"""
from __future__ import annotations

import asyncio
import os
import random
import resource
import signal
import time
from typing import Any, Callable

import msgspec

from drtc.batch import Counts, Header, Payload, Stored
from drtc.errors import WireError
from drtc.wire.connection import SCRATCH, Connection
from drtc.wire.frames import HEAD, MAX_GREETING, MAX_HEADER, encode, parse_head, parse_header
from drtc.wire.identity import Identity
from drtc.wire.messages import (
    KINDS, NONCE_BYTES, SAYS, Answer, Batches, Beat, Challenge, Drain, Draining, Hello, Merge, Message, Refused,
    StatusReply, StatusRequest, Stop, Supply, Trouble, Welcome, Window)
from drtc.wire.peer import Call, Guest, Listener, Peer
from drtc.wire.security import prove

from .mutation import mutate, pieces

SECRET = "the secret of the fuzzers"
MOST = 1 << 20  # bytes of a payload
SLOWEST = 5.0  # seconds for one input
MEMORY = 512 << 20  # bytes that the process may grow by: a single frame's limits and what its header may become
NONCE = b"n" * NONCE_BYTES
HEADER = Header("p", 3, "s.1", 0, 10, 19, 10, "lines", 3)

Target = Callable[[random.Random], bytes]


class Finding(AssertionError):
    """What should never happen has."""


class Transport(asyncio.Transport):
    """Counts what is written and whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closing = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 1234) if name == "peername" else default

    def write(self, data: Any) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    abort = close


def seeds() -> list[bytes]:
    """A frame of each shape, with and without payload."""
    headers = [HEADER, msgspec.structs.replace(HEADER, partition="p\x9b\n", slot=4, size=2, watermark=1.5)]
    frames: list[tuple[Message, bytes]] = [
        (Challenge(NONCE, "0.1.0"), b""), (Welcome("node", 1 << 20, 3, b"p" * 32), b""), (Refused("no"), b""),
        (Hello("drtc", "collector", "c-1", "v_v1", "0.1.0", NONCE, b"p" * 32), b""),
        (Hello("drtc", "status", "status", "", "0.1.0", NONCE, b""), b""),
        (Batches(7, headers), b"abcde"), (Batches(0, []), b""), (Window(5), b""), (StatusRequest(), b""),
        (Answer(7, [Stored("p", 3, "s.1", 0, 19, 1.5, Counts(10, 1))]), b""), (Draining(), b""),
        (Beat({"role": "compute", "pids": [1, 2], "partitions": {"p": {"offset": 1, "end": None}}}), b""),
        (StatusReply({"members": [{"a": [1, {"b": 2.5}]}]}), b""), (Drain("compute", "node"), b""),
        (Trouble("store"), b""), (Stop(), b""), (Merge(1, [], 0), b""), (Supply(1, headers), b"abcde"),
    ]
    return [encode(message, [payload]) + payload for message, payload in frames]


SEEDS = seeds()


def feed(connection: Connection, transport: Transport, source: random.Random, raw: bytes, most_scratch: int) -> None:
    """As an event loop would, and looks at the connection's buffers all the while."""
    for piece in pieces(source, raw):
        at = 0
        while at < len(piece) and not transport.closing:
            buffer = connection.get_buffer(-1)
            if not len(buffer):
                raise Finding("the connection offers no room and does not close: it would hang")
            if len(connection._scratch) > most_scratch or len(connection._body or b"") > connection.max_payload:
                raise Finding(f"buffers of {len(connection._scratch)} and {len(connection._body or b'')} bytes")
            taken = min(len(buffer), len(piece) - at)
            buffer[:taken] = piece[at:at + taken]
            connection.buffer_updated(taken)
            at += taken
    if connection.eof_received():
        raise Finding("a connection stays open after its end")
    connection.connection_lost(None)


def decoder(source: random.Random) -> bytes:
    """A head and a header become a message of its kind, which can be sent on, or a WireError that can be shown."""
    raw = mutate(source, SEEDS)
    try:
        kind, header, payload = parse_head(raw[:HEAD.size].ljust(HEAD.size, b"\0"), MOST)
        if header > MAX_HEADER or payload > MOST:
            raise Finding(f"a head of {header} and {payload} bytes is taken")
        message = parse_header(kind, raw[HEAD.size:HEAD.size + header])
        if type(message) is not KINDS[kind]:
            raise Finding(f"{message!r} came of kind {kind}")
        encode(message)
    except WireError as error:
        if not str(error).isprintable() or len(str(error)) > 500:
            raise Finding(f"what is wrong cannot be shown: {str(error)!r:.100}") from error
    return raw


def stream(source: random.Random) -> bytes:
    """An open connection delivers frames, or closes with a reason."""
    raw = b"".join(mutate(source, SEEDS) for _ in range(source.randint(1, 3)))
    transport, ends = Transport(), []

    def deliver(connection: Connection, message: Message, payload: Payload) -> None:
        if len(payload) > MOST:
            raise Finding(f"a payload of {len(payload)} bytes was delivered")

    connection = Connection(deliver, lambda _, why: ends.append(why), MOST)
    connection.connection_made(transport)
    feed(connection, transport, source, raw, HEAD.size + MAX_HEADER)
    if len(ends) != 1 or not ends[0]:
        raise Finding(f"the end was told as {ends}")
    return raw


def _host(secret: str) -> tuple[Listener, list[Peer], list[tuple[Peer, Message]]]:
    joined: list[Peer] = []
    heard: list[tuple[Peer, Message]] = []
    us = Identity("drtc", "coordinator", "coordinator-1", "v_v1", secret, MOST)

    def welcome(hello: Hello) -> tuple[int, int]:
        if hello.role not in ("collector", "status"):
            raise WireError(f"this is a coordinator: a {hello.role} has nothing to do here")
        return 1 << 20, 0

    listener = Listener(us, welcome, joined.append, lambda peer, message, payload: heard.append((peer, message)),
                        lambda peer, why: None)
    return listener, joined, heard


def _guest(listener: Listener) -> tuple[Guest, Transport, bytes]:
    guest, transport = Guest(listener, "192.0.2.1:1234"), Transport()
    listener.arrived(guest, "192.0.2.1")
    guest.connection.connection_made(transport)
    challenge = parse_header(1, bytes(transport.written[HEAD.size:]))
    assert isinstance(challenge, Challenge)
    return guest, transport, challenge.nonce


def stranger(source: random.Random) -> bytes:
    """Who does not know the secret is never let in, whatever it sends, and costs no more than a greeting."""
    listener, joined, heard = _host(SECRET)
    guest, transport, nonce = _guest(listener)
    forged = prove(source.choice((SECRET[:-1], "", "x")), "client", nonce, NONCE, "drtc", "collector", "c-1", "v_v1")
    reflected = prove(SECRET, "server", nonce, NONCE, "coordinator-1")
    stale = prove(SECRET, "client", NONCE, NONCE, "drtc", "collector", "c-1", "v_v1")
    proof = source.choice((forged, reflected, stale, nonce * 2, b""))
    hello = encode(Hello("drtc", "collector", "c-1", "v_v1", "0.1.0", NONCE, proof))
    raw = mutate(source, [hello, hello, *SEEDS])
    feed(guest.connection, transport, source, raw, HEAD.size + MAX_GREETING)
    if joined or heard:
        raise Finding("a stranger was let in")
    if len(transport.written) > 16384:
        raise Finding(f"a stranger was sent {len(transport.written)} bytes")
    if listener.guests:
        raise Finding("a stranger that has gone is still counted")
    return raw


def member(source: random.Random) -> bytes:
    """Who knows the secret may say what its role says, and nothing else reaches ours."""
    listener, joined, heard = _host(SECRET)
    guest, transport, nonce = _guest(listener)
    role = source.choice(("collector", "status", "compute"))
    proof = prove(SECRET, "client", nonce, NONCE, "drtc", role, "c-1", "v_v1")
    hello = encode(Hello("drtc", role, "c-1", "v_v1", "0.1.0", NONCE, proof))
    raw = hello + b"".join(mutate(source, SEEDS) for _ in range(source.randint(1, 3)))
    feed(guest.connection, transport, source, raw, max(SCRATCH, HEAD.size + MAX_HEADER))
    if bool(joined) != (role != "compute"):
        raise Finding(f"a {role} was {'let in' if joined else 'refused'}")
    for peer, message in heard:
        if type(message) not in SAYS[role]:
            raise Finding(f"a {type(message).__name__} frame of a {role} was passed on")
    return raw


def impostor(source: random.Random) -> bytes:
    """A listener that does not know the secret is no peer, whatever it answers to our greeting."""
    us = Identity("drtc", "collector", "c-1", "v_v1", SECRET, MOST)
    heard: list[Message] = []
    ready: asyncio.Future[Peer] = asyncio.get_running_loop().create_future()
    call = Call(us, "192.0.2.1:7401", "coordinator", lambda peer, message, payload: heard.append(message),
                lambda peer, why: None, ready)
    transport = Transport()
    call.connection.connection_made(transport)
    challenge = encode(Challenge(NONCE, "0.1.0"))
    proof = source.choice((prove(SECRET[:-1], "server", call._ours, NONCE, "n"), b"", NONCE * 2, call._ours * 2,
                           prove(SECRET, "client", NONCE, call._ours, "drtc", "collector", "c-1", "v_v1")))
    raw = challenge if source.random() < 0.7 else b""
    raw += mutate(source, [challenge, encode(Welcome("n", 1, 1, proof)), *SEEDS])
    feed(call.connection, transport, source, raw, HEAD.size + MAX_GREETING)
    if call.peer is not None or heard or not ready.done() or not isinstance(ready.exception(), WireError):
        raise Finding("an impostor was taken for a peer")
    if not str(ready.exception()).isprintable():
        raise Finding(f"what is wrong cannot be shown: {ready.exception()!r:.100}")
    return raw


TARGETS: dict[str, tuple[Target, int]] = {  # with the share of inputs that each gets
    "decoder": (decoder, 8), "stream": (stream, 3), "stranger": (stranger, 3), "member": (member, 3),
    "impostor": (impostor, 3)}


class Bounds:
    """Around all inputs: the address space is limited, so that what grows without bound fails where it does; memory in
    use is looked at; one input that takes too long is interrupted."""

    def __enter__(self) -> Bounds:
        self._before = resource.getrlimit(resource.RLIMIT_AS)
        with open("/proc/self/statm") as file:
            used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, self._before[1]))
        self._handler = signal.signal(signal.SIGALRM, self._late)
        self.start = self.memory()
        return self

    def __exit__(self, *error: object) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._handler)
        resource.setrlimit(resource.RLIMIT_AS, self._before)

    def once(self, target: Target, source: random.Random) -> int:
        """One input; its length."""
        signal.setitimer(signal.ITIMER_REAL, SLOWEST)
        return len(target(source))

    @staticmethod
    def _late(number: int, frame: Any) -> None:
        raise Finding(f"an input took longer than {SLOWEST:g} s")

    @staticmethod
    def memory() -> int:
        """Bytes in use now."""
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def run(inputs: int, seed: int, say: Callable[[str], None], only: str = "") -> dict[str, Any]:
    """Feeds so many inputs, each from a random source of its own, so that ``--seed S --at N`` repeats any.

    Raises:
        Finding: with the target and the number of the input.
    """
    chosen = [name for name, (_, share) in TARGETS.items() for _ in range(share) if only in ("", name)]
    counts = dict.fromkeys(chosen, 0)
    began, size = time.monotonic(), 0
    with Bounds() as bounds:
        settled = 0
        for number in range(inputs):
            size += one(bounds, seed, number, chosen, counts)
            if number % 1000 == 0:
                await asyncio.sleep(0)  # the loop forgets timers that were cancelled
            if number == min(20_000, inputs // 2):
                settled = bounds.memory()  # interpreter, caches and free lists have found their size
            if number and number % 250_000 == 0:
                say(f"{number} inputs, {time.monotonic() - began:.0f} s, {bounds.memory() >> 20} MiB")
        grown = bounds.memory() - settled
    if grown > 32 << 20:
        raise Finding(f"memory grew by {grown >> 20} MiB over {inputs} inputs")
    return {"inputs": inputs, "seed": seed, "bytes": size, "targets": counts, "grown": grown,
            "seconds": time.monotonic() - began}


def one(bounds: Bounds, seed: int, number: int, chosen: list[str], counts: dict[str, int]) -> int:
    """The input of this number."""
    source = random.Random(seed * 1_000_003 + number)
    name = source.choice(chosen)
    counts[name] += 1
    try:
        return bounds.once(TARGETS[name][0], source)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise Finding(f"{name}, input {number} (--seed {seed} --at {number}): "
                      f"{type(error).__name__}: {error}") from error
