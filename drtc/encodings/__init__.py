"""How a batch's bytes hold its messages, and how they are taken apart.

Every encoding is closed under concatenation: the payloads of consecutive batches, put one behind the other, are
the payload of the joined batch. That is what lets a middle hop join batches without looking into them.
"""
from __future__ import annotations

from typing import Callable, NamedTuple

from ..batch import Payload


class Damage(NamedTuple):
    """A stretch of a payload that cannot be taken apart; it becomes one dead letter, whole."""

    first: int
    last: int
    raw: bytes
    error: str


class Messages(NamedTuple):
    """The messages of a payload in order; ``offsets[i]`` belongs to ``values[i]``. A value of None has no body."""

    offsets: list[int]
    values: list[bytes | None]
    damaged: list[Damage]


Unpack = Callable[[Payload, int, int], Messages]


def unpack(encoding: str, payload: Payload, first: int, last: int) -> Messages:
    """The messages with ``first <= offset <= last``. Damaged stretches are returned, never raised or skipped.

    Raises:
        WireError: the encoding is unknown here (a peer of another version).
    """
    return _find(encoding)(payload, first, last)


def _find(encoding: str) -> Unpack:
    from ..errors import WireError

    if encoding == "kafka":
        from . import kafka

        return kafka.unpack
    if encoding == "lines":
        from . import lines

        return lines.unpack
    if encoding == "messages":
        from . import messages

        return messages.unpack
    raise WireError(f"a batch has the unknown encoding {encoding!r}: all roles must run the same version of drtc")
