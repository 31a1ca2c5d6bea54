"""Messages that are msgpack documents."""
from __future__ import annotations

from typing import Any

import msgspec

from .base import Codec
from .typed import Typed


def msgpack(event: Any = None) -> Codec:
    """Decodes msgpack into ``event``, a subclass of drtc.Event (or any type that msgspec decodes); without one into
    plain dicts, lists and values."""
    return Typed("msgpack", msgspec.msgpack.Decoder, event)
