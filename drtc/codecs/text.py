"""Messages that are text."""
from __future__ import annotations

from .base import Codec


class Text(Codec):
    """UTF-8 text; the event is the whole message as a str."""

    event = str
    fields: tuple[str, ...] | None = ()

    def decode(self, value: bytes) -> str:
        try:
            return str(value, "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"not UTF-8: {error.reason} at byte {error.start}") from error

    def __repr__(self) -> str:
        return "drtc.text()"


def text() -> Codec:
    """Decodes UTF-8 text: the event is a str, the whole message."""
    return Text()
