"""What the self-describing formats share: msgspec decodes them and checks them against a type in one pass."""
from __future__ import annotations

from typing import Any, Callable

from ..errors import JobError
from .base import Codec, field_names


class Typed(Codec):
    """Wraps a decoder of msgspec. ``event`` is an Event or any other type that msgspec knows; None: plain values."""

    def __init__(self, name: str, decoder: Callable[[Any], Any], event: Any) -> None:
        self.event = event
        self.fields = field_names(event)
        self._name = name
        try:
            self._decode: Callable[[bytes], Any] = decoder(Any if event is None else event).decode
        except (TypeError, NameError) as error:
            raise JobError(f"{self!r}: {error}") from error
        setattr(self, "decode", self._decode)  # hides the method below: no Python frame for each event

    def decode(self, value: bytes) -> Any:
        return self._decode(value)

    def __repr__(self) -> str:
        return f"drtc.{self._name}({'' if self.event is None else getattr(self.event, '__name__', self.event)})"
