"""Frames: a fixed head, a msgpack header, then the payload untouched.

The head is 16 bytes, big-endian: ``drtc``, protocol version, kind, two zero bytes, length of the header, length of the
payload. Limits are checked before a body is read; nothing here does I/O.
"""
from __future__ import annotations

import struct
from typing import Any, Sequence

import msgspec

from ..batch import Payload
from ..errors import WireError
from .messages import KINDS, Beat, Challenge, Hello, Message, Refused, StatusRequest, Welcome, Window

MAGIC = b"drtc"
VERSION = 1
HEAD = struct.Struct(">4sBBHII")
MAX_HEADER = 4 << 20  # bytes
MAX_GREETING = 4096  # bytes of a header; no payload is due before the handshake is done
MAX_REPORT = 1 << 20  # bytes of a beat; a status carries those of several roles
MOST_SAID = 300  # characters of what is wrong with a header: part of it may be the sender's own words

_CODES = {kind: code for code, kind in KINDS.items()}
_DECODERS: dict[int, msgspec.msgpack.Decoder[Any]] = {
    code: msgspec.msgpack.Decoder(kind) for code, kind in KINDS.items()
}
_ENCODER = msgspec.msgpack.Encoder()
_LIMITS: dict[type[Message], int] = {  # bytes of a header; what is kept or comes from a stranger is short
    Challenge: MAX_GREETING, Hello: MAX_GREETING, Welcome: MAX_GREETING, Refused: MAX_GREETING, Beat: MAX_REPORT,
    StatusRequest: 64, Window: 64,
}
_LIMIT = {code: _LIMITS.get(kind, MAX_HEADER) for code, kind in KINDS.items()}
_TLS = (b"\x15\x03", b"\x16\x03")  # how a TLS record begins: an alert, a handshake


def encode(message: Message, payloads: Sequence[Payload] = ()) -> bytes:
    """Head and header of a frame; the payloads are to be sent right behind it."""
    header = _ENCODER.encode(message)
    return HEAD.pack(MAGIC, VERSION, _CODES[type(message)], 0, len(header), sum(map(len, payloads))) + header


def sign_of_life(report: dict[str, Any]) -> Beat:
    """A beat that every peer takes: where a source has very many partitions, they are left out of it."""
    whole = Beat(report)
    if len(_ENCODER.encode(whole)) <= MAX_REPORT:
        return whole
    return Beat({**report, "partitions": {}, "watermarks": {}})


def parse_head(head: Payload, max_payload: int, max_header: int = MAX_HEADER) -> tuple[int, int, int]:
    """Kind, header length and payload length.

    Raises:
        WireError: not a drtc frame, another version, or past the limits.
    """
    magic, version, kind, _, header, payload = HEAD.unpack_from(head)
    if magic[:2] in _TLS:
        raise WireError("the peer speaks TLS and this side does not: set [cluster] tls_certificate, tls_key and tls_ca "
                        "on every node, or on none")
    if magic != MAGIC:
        raise WireError("what arrived is not a drtc frame: something else speaks on this port")
    if version != VERSION:
        raise WireError(f"the peer speaks version {version} of the protocol, this drtc version {VERSION}: "
                        "run the same drtc everywhere")
    if kind not in KINDS:
        raise WireError(f"a frame of the unknown kind {kind} arrived")
    if header > min(max_header, _LIMIT[kind]):
        raise WireError(f"a {KINDS[kind].__name__} frame with a header of {header} bytes arrived: at most "
                        f"{min(max_header, _LIMIT[kind])} are taken here")
    if payload > max_payload:
        raise WireError(f"a {KINDS[kind].__name__} frame with {payload} bytes arrived: at most {max_payload} are taken "
                        "here (peers need the same [cluster] max_frame_bytes)")
    return kind, header, payload


def parse_header(kind: int, header: Payload) -> Message:
    """The message of a frame.

    Raises:
        WireError: it is not what its kind says.
    """
    try:
        message: Message = _DECODERS[kind].decode(header)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WireError(f"a {KINDS[kind].__name__} frame is malformed: {legible(str(error))}") from error
    return message


def legible(words: str) -> str:
    """A peer's words as they can be shown to people: short, and nothing that a terminal would obey."""
    shown = words if len(words) <= MOST_SAID else f"{words[:MOST_SAID]} ..."
    return shown if shown.isprintable() else "".join(each if each.isprintable() else "?" for each in shown)


def cut(payload: Payload, sizes: Sequence[int]) -> list[memoryview]:
    """Parts of a payload, of these sizes, without copying.

    Raises:
        WireError: the sizes do not add up to the payload.
    """
    view = memoryview(payload)
    parts = []
    at = 0
    for size in sizes:
        if size < 0:
            raise WireError("a frame names a negative size")
        parts.append(view[at:at + size])
        at += size
    if at != len(view):
        raise WireError(f"a frame's parts add up to {at} bytes, its payload has {len(view)}")
    return parts
