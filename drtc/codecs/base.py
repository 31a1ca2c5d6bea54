"""What a codec is to a worker. A format of your own is a subclass that defines ``decode``."""
from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Sequence

import msgspec


class Codec(ABC):
    """Base of every codec. An object of it is made once per process and used by one thread."""

    #: the type of the events, where the codec knows it
    event: Any = None
    #: the names of an event's fields, where they are known beforehand
    fields: tuple[str, ...] | None = None

    @abstractmethod
    def decode(self, value: bytes) -> Any:
        """The event that a message holds.

        Raises:
            Exception: any, best a ValueError of one sentence; the message becomes a dead letter.
        """

    def decode_many(self, values: Sequence[bytes]) -> list[Any]:
        """The events of many messages, in order. Raises if one of them does not decode; they are then decoded one
        by one. A message without a body (None) raises too."""
        return list(map(self.decode, values))


def field_names(event: Any) -> tuple[str, ...] | None:
    """The fields that events of a type surely have: those of a msgspec struct; unknown of anything else."""
    if isinstance(event, type) and issubclass(event, msgspec.Struct):
        return event.__struct_fields__
    return None
