"""The messages that roles send each other: typed structs, so that a malformed one is refused when it is decoded."""
from __future__ import annotations

from typing import Any

import msgspec

from ..batch import Header, Stored


class Message(msgspec.Struct, frozen=True, array_like=True):
    """Base of all messages; a frame's kind byte names the subclass."""


class Challenge(Message, frozen=True):
    """The listening side speaks first."""

    nonce: bytes
    drtc: str  # version of drtc


class Hello(Message, frozen=True):
    """The connecting side says who it is. ``proof`` is empty where no secret is set (drtc.wire.security)."""

    cluster: str
    role: str  # collector, coordinator, compute or status
    node: str
    view: str
    drtc: str
    nonce: bytes
    proof: bytes


class Welcome(Message, frozen=True):
    """``window``: bytes that may be on their way unanswered; ``places``: tasks likewise (0: no limit)."""

    node: str
    window: int
    places: int
    proof: bytes


class Refused(Message, frozen=True):
    reason: str


class Batches(Message, frozen=True):
    """Batches of several lanes, at most one for each lane; the payload holds theirs one behind another."""

    task: int
    headers: list[Header]


class Answer(Message, frozen=True):
    """Everything of the task is stored."""

    task: int
    stored: list[Stored]


class Window(Message, frozen=True):
    """The number of bytes that may be on their way has changed."""

    bytes: int


class Beat(Message, frozen=True):
    """A sign of life every heartbeat, with what the sender reports of itself (drtc.observe.status)."""

    report: dict[str, Any]


class StatusRequest(Message, frozen=True):
    pass


class StatusReply(Message, frozen=True):
    document: dict[str, Any]


# --- on the pipe between a compute node and its workers ---


class Ready(Message, frozen=True):
    """The worker has opened its job and its store. ``writers`` as the store says (Store.writers)."""

    writers: int | None


class Failed(Message, frozen=True):
    """The worker cannot go on: a mistake of the user's, or a store that refuses for good."""

    reason: str
    exit_code: int


class Map(Message, frozen=True):
    """Map the batches in the payload; parts are wanted apart for each of ``owners`` owners of keys."""

    piece: int
    owners: int
    headers: list[Header]


class MappedSpan(Message, frozen=True):
    """What a piece's span came to."""

    partition: str
    slot: int
    first: int
    last: int
    time: float | None
    messages: int
    dead: int
    skipped: int


class Mapped(Message, frozen=True):
    """The payload holds the parts for each owner, then the dead letters (all msgpack), of these sizes."""

    piece: int
    spans: list[MappedSpan]
    sizes: list[int]
    dead: int  # bytes
    seconds: dict[str, float]


class Merge(Message, frozen=True):
    """Bring these parts and dead letters into the store; both lie in the payload."""

    piece: int
    spans: list[MappedSpan]
    dead: int  # bytes at the end of the payload


class Merged(Message, frozen=True):
    """The pieces are stored as far as this worker owns them."""

    pieces: list[int]
    saved: list[int]
    replayed: list[int]
    seconds: dict[str, float]


class Need(Message, frozen=True):
    """The worker must map a piece again and asks for its batches."""

    piece: int


class Supply(Message, frozen=True):
    """The answer to Need."""

    piece: int
    headers: list[Header]


class Trouble(Message, frozen=True):
    """What the worker waits for; "" when it goes on."""

    reason: str


class Stop(Message, frozen=True):
    pass


KINDS: dict[int, type[Message]] = {
    1: Challenge, 2: Hello, 3: Welcome, 4: Refused, 5: Batches, 6: Answer, 7: Window, 8: Beat, 9: StatusRequest,
    10: StatusReply, 32: Ready, 33: Failed, 34: Map, 35: Mapped, 36: Merge, 37: Merged, 38: Need, 39: Supply,
    40: Trouble, 41: Stop,
}
