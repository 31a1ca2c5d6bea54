"""A worker's end of its pipe: the frames of drtc.wire, read and written without an event loop."""
from __future__ import annotations

import select
import socket
from typing import NamedTuple, Sequence

from ..batch import Payload
from ..wire.frames import HEAD, encode, parse_head, parse_header
from ..wire.messages import Message

MOST = 1 << 40  # bytes: the other end is our own node


class Frame(NamedTuple):
    message: Message
    payload: Payload


class Pipe:
    """Blocking frames over a connected socket. EOFError when the other end is gone."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(True)
        self._sock = sock

    def ready(self, timeout: float | None) -> bool:
        """Whether something can be read, within so many seconds (None: however long it takes)."""
        return bool(select.select([self._sock], [], [], timeout)[0])

    def receive(self) -> Frame:
        kind, header, payload = parse_head(self._read(HEAD.size), MOST)
        message = parse_header(kind, self._read(header))
        return Frame(message, self._read(payload))

    def send(self, message: Message, payloads: Sequence[Payload] = ()) -> None:
        try:
            self._sock.sendall(b"".join([encode(message, payloads), *payloads]))
        except OSError as error:
            raise EOFError from error

    def _read(self, size: int) -> bytes:
        whole = b""
        while len(whole) < size:
            try:
                got = self._sock.recv(size - len(whole), socket.MSG_WAITALL)
            except OSError as error:
                raise EOFError from error
            if not got:
                raise EOFError
            whole = whole + got if whole else got  # nearly always all came at once, and nothing is copied
        return whole
