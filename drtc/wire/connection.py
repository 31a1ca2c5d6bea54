"""One end of a connection: frames in, frames out, on asyncio. Nothing is decided here."""
from __future__ import annotations

import asyncio
import os
import socket
import struct
from typing import Any, Callable, Sequence

from ..batch import Payload
from ..errors import ConfigError, WireError
from .frames import HEAD, MAX_HEADER, encode, parse_head, parse_header
from .limits import LOOKS, Pace
from .messages import Message
from .tls import explain

_ACKNOWLEDGED = struct.Struct("=120xQ")  # Linux: tcpi_bytes_acked of struct tcp_info

SCRATCH = 1 << 16  # bytes read at a time while a frame's size is not known


class Connection(asyncio.BufferedProtocol):
    """Calls ``on_frame(connection, message, payload)`` for each frame in order and ``on_close(connection, why)`` once.

    A large payload is received straight into its own buffer, which is then the receiver's to keep.
    ``on_frame`` may raise WireError: the connection is closed with that reason. ``on_open`` likewise.
    """

    def __init__(self, on_frame: Callable[[Connection, Message, Payload], None],
                 on_close: Callable[[Connection, str], None], max_payload: int, max_header: int = MAX_HEADER,
                 on_open: Callable[[Connection], None] | None = None) -> None:
        self.max_payload = max_payload
        self.max_header = max_header
        self.on_frame = on_frame
        self.on_close = on_close
        self.on_open = on_open
        self.peer = "?"
        self.heard = 0.0  # loop time of the last byte
        self._transport: asyncio.Transport | None = None
        self._scratch = bytearray(min(SCRATCH, HEAD.size + max_header))
        self._view = memoryview(self._scratch)
        self._have = 0  # bytes in the scratch
        self._body: bytearray | None = None
        self._filled = 0
        self._message: Message | None = None
        self._why = ""
        self._need = HEAD.size  # bytes that the scratch must hold before anything can be done with them
        self._received = 0  # bytes in all
        self._paces = Pace(), Pace()  # in, out
        self._watch: asyncio.TimerHandle | None = None
        self.spoke = False  # it has sent anything
        self.ended = False  # by us, not by the peer

    # --- asyncio's side ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        peer = transport.get_extra_info("peername")
        self.peer = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "pipe"
        self.heard = asyncio.get_running_loop().time()
        if self.on_open is not None:
            try:
                self.on_open(self)
            except WireError as error:
                self.close(str(error))

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._body is not None:
            return memoryview(self._body)[self._filled:]
        return self._view[self._have:]

    def buffer_updated(self, nbytes: int) -> None:
        self.heard = asyncio.get_running_loop().time()
        self.spoke = True
        self._received += nbytes
        if self.closed:  # under TLS what was on its way still comes: the scratch stays as it is, and so has room
            return
        try:
            if self._body is not None:
                self._filled += nbytes
                if self._filled == len(self._body):
                    self._deliver()
                return
            self._have += nbytes
            self._parse()
        except WireError as error:
            self.close(str(error))

    def eof_received(self) -> bool:
        if self._have or self._body is not None:
            self._why = self._why or "the peer closed the connection in the middle of a frame"
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._watch is not None:
            self._watch.cancel()
        self._scratch, self._body = bytearray(), None  # a closed connection is garbage that may lie about for long
        self._view = memoryview(self._scratch)
        self.on_close(self, self._why or (explain(exc) if exc else "the peer closed the connection"))

    def _parse(self) -> None:
        """Takes frames out of the scratch until it holds no whole one."""
        at = 0
        self._need = HEAD.size
        while self._have - at >= HEAD.size and not self.closed:
            kind, header_size, size = parse_head(self._view[at:at + HEAD.size], self.max_payload, self.max_header)
            start = at + HEAD.size
            if start + header_size > self._have:
                self._need = HEAD.size + header_size
                if HEAD.size + header_size > len(self._scratch):
                    self._grow(HEAD.size + header_size)
                break
            self._message = parse_header(kind, self._view[start:start + header_size])
            start += header_size
            there = min(size, self._have - start)
            self._body = bytearray(size)
            self._body[:there] = self._view[start:start + there]
            self._filled = there
            at = start + there
            if there < size:
                break
            self._deliver()
        rest = self._have - at
        if at:
            self._scratch[:rest] = self._scratch[at:self._have]
            self._have = rest

    def admit(self, max_payload: int, timeout: float) -> None:
        """The greeting is over: larger frames are welcome. From now on it is aborted when a frame that has begun, or
        what was sent, does not get on for ``timeout`` seconds (drtc.wire.limits.Pace)."""
        self.max_payload, self.max_header = max_payload, MAX_HEADER
        self._grow(max(SCRATCH, len(self._scratch)))
        loop = asyncio.get_running_loop()

        def look() -> None:
            self._watch = loop.call_later(timeout / LOOKS, look)
            incoming, outgoing = self._paces
            if incoming.stuck(self._due, self._received):
                self.abort(f"a frame of its did not get on for {timeout:g} s")
            elif outgoing.stuck(self.unsent, self._taken):
                self.abort(f"it took nothing of what it was sent for {timeout:g} s")

        self._watch = loop.call_later(timeout / LOOKS, look)

    @property
    def _taken(self) -> int:
        """Bytes in all that the peer's kernel has acknowledged: the transport cannot tell, as under TLS it counts but
        what its inner transport did not take at once."""
        assert self._transport is not None
        with socket.socket(fileno=os.dup(self._transport.get_extra_info("socket").fileno())) as sock:
            acknowledged: int = _ACKNOWLEDGED.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128))[0]
        return acknowledged

    @property
    def _due(self) -> int:
        """Bytes that are still to come of the frame that has begun, as far as is known."""
        if self._body is not None:
            return len(self._body) - self._filled
        return self._need - self._have if self._have else 0

    def _grow(self, size: int) -> None:
        grown = bytearray(size)
        grown[:self._have] = self._view[:self._have]
        self._scratch, self._view = grown, memoryview(grown)

    def _deliver(self) -> None:
        message, body = self._message, self._body
        self._message = self._body = None
        assert message is not None and body is not None
        self.on_frame(self, message, body)

    # --- our side ---

    @property
    def opened(self) -> bool:
        """It has been open; it may have closed since."""
        return self.peer != "?"

    @property
    def closed(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    @property
    def certificate(self) -> dict[str, Any] | None:
        """The peer's, verified, where it showed one by TLS."""
        shown: dict[str, Any] | None = self._transport.get_extra_info("peercert") if self._transport else None
        return shown

    def send(self, message: Message, payloads: Sequence[Payload] = ()) -> None:
        """Queues a frame. On a closed connection it is dropped: ``on_close`` is or was called, and that is what
        the sender acts on.

        Raises:
            ConfigError: the peer would have to refuse it, now and whenever it is sent again.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        size = sum(map(len, payloads))
        if size > self.max_payload:
            raise ConfigError(f"a {type(message).__name__} frame of {size} bytes cannot be sent, as [cluster] "
                              f"max_frame_bytes is {self.max_payload}: raise it on every node")
        head = encode(message, payloads)
        if size <= SCRATCH:
            transport.write(b"".join([head, *payloads]))
        else:
            transport.write(head)
            for payload in payloads:
                transport.write(payload)

    @property
    def unsent(self) -> int:
        """Bytes that the kernel has not taken yet; under TLS without those that wait in its inner transport."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def close(self, why: str) -> None:
        """Closes after what was queued has been sent."""
        if self._transport is not None:
            self._why = self._why or why
            self.ended = True
            self._transport.close()

    def abort(self, why: str) -> None:
        """Closes at once."""
        if self._transport is not None:
            self._why = self._why or why
            self.ended = True
            self._transport.abort()
