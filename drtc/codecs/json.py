"""Messages that are JSON documents."""
from __future__ import annotations

from typing import Any

import msgspec

from .base import Codec
from .typed import Typed


def json(event: Any = None) -> Codec:
    """Decodes JSON into ``event``, a subclass of drtc.Event (or any type that msgspec decodes); without one into plain
    dicts, lists and values."""
    return Typed("json", msgspec.json.Decoder, event)
