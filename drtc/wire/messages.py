"""The messages that roles send each other: typed structs, so that a malformed one is refused when it is decoded."""
from __future__ import annotations

from typing import Annotated, Any, Union

import msgspec

from ..batch import Header, Stored

NONCE_BYTES = 16
ENCODINGS = frozenset({"kafka", "lines", "messages"})  # those of protocol version 1 (drtc.encodings)

Nonce = Annotated[bytes, msgspec.Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]
#: what a peer calls itself: it is logged and compared, so it is short and holds no control characters
Name = Annotated[str, msgspec.Meta(max_length=250, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*\Z")]
#: a sentence of a peer that may be a stranger: it is shown to people
Sentence = Annotated[str, msgspec.Meta(max_length=4000, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*\Z")]
Natural = Annotated[int, msgspec.Meta(ge=0)]
Leaf = Union[None, bool, int, float, str]
Branch = Union[Leaf, list[Leaf], dict[str, Leaf]]
#: plain values three deep: what is passed on to others must not be able to exhaust their stack
Report = dict[str, Union[Leaf, list[Branch], dict[str, Branch]]]


class Message(msgspec.Struct, frozen=True, array_like=True):
    """Base of all messages; a frame's kind byte names the subclass."""


class Challenge(Message, frozen=True):
    """The listening side speaks first."""

    nonce: Nonce
    drtc: Name  # version of drtc


class Hello(Message, frozen=True):
    """The connecting side says who it is. ``proof`` is empty where no secret is set (drtc.wire.security)."""

    cluster: Name
    role: Name  # collector, coordinator, compute or status
    node: Name
    view: Name
    drtc: Name
    nonce: Nonce
    proof: bytes


class Welcome(Message, frozen=True):
    """``window``: bytes that may be on their way unanswered; ``places``: tasks likewise (0: no limit)."""

    node: Name
    window: Natural
    places: Natural
    proof: bytes


class Refused(Message, frozen=True):
    reason: Sentence


class Batches(Message, frozen=True):
    """Batches of several lanes, at most one for each lane; the payload holds theirs one behind another."""

    task: int
    headers: list[Header]

    def __post_init__(self) -> None:
        for each in self.headers:
            if min(each.size, each.slot, each.seq, each.first, each.count) < 0 or each.last < each.first:
                raise ValueError(f"the numbers of the batch of lane {each.lane} make no sense")
            if each.encoding not in ENCODINGS:
                raise ValueError(f"the batch of lane {each.lane} has the unknown encoding {each.encoding!r:.40}")
        if len(self.headers) > 1 and len({each.lane for each in self.headers}) < len(self.headers):
            raise ValueError("a lane stands twice in it")


class Answer(Message, frozen=True):
    """Everything of the task is stored."""

    task: int
    stored: list[Stored]


class Window(Message, frozen=True):
    """The number of bytes that may be on their way has changed."""

    bytes: Natural


class Beat(Message, frozen=True):
    """A sign of life every heartbeat, with what the sender reports of itself (drtc.observe.status)."""

    report: Report


class StatusRequest(Message, frozen=True):
    pass


class StatusReply(Message, frozen=True):
    document: dict[str, Any]


class Drain(Message, frozen=True):
    """``drtc drain``: this member is to drain and end, as SIGTERM makes it. Coordinators pass it on to collectors."""

    role: Name
    node: Name


class Draining(Message, frozen=True):
    """The sender takes nothing new, and still answers for what it has. The peer says the same in return, behind the
    last that it gives: so the sender knows when nothing more is on its way."""


# --- on the pipe between a compute node and its workers ---


class Ready(Message, frozen=True):
    """The worker has opened its job and its store. ``writers`` and ``survives`` as the store says (Store)."""

    writers: int | None
    survives: str


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
    10: StatusReply, 11: Drain, 12: Draining, 32: Ready, 33: Failed, 34: Map, 35: Mapped, 36: Merge, 37: Merged,
    38: Need, 39: Supply, 40: Trouble, 41: Stop,
}

#: what each role may send to its peers, the greeting apart
SAYS: dict[str, frozenset[type[Message]]] = {
    "collector": frozenset({Batches, Beat, Draining}),
    "coordinator": frozenset({Batches, Beat, Answer, Window, StatusReply, Drain, Draining}),
    "compute": frozenset({Answer, Window, Beat, Draining}),
    "status": frozenset({StatusRequest, Drain}),
}
