"""drtc: distributed real-time computing over mini-batches, exact to the event.

What a Job needs is here: ``drtc.Job``, aggregates, windows, codecs, event times. Each is imported when first used.
"""
from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .aggregates import (Aggregate, Count, First, Histogram, Last, Max, Mean, Min, Recent, Set, Sum)
    from .codecs.base import Codec
    from .codecs.csv import csv
    from .codecs.json import json
    from .codecs.msgpack import msgpack
    from .codecs.text import text
    from .errors import DrtcError, JobError
    from .event import Event, iso, millis
    from .job import Context, Job, RawBatch
    from .sketches import Distinct, Quantiles, TopK
    from .windows import Sliding, Tumbling

__version__ = "0.1.0"

__all__ = [
    "Aggregate", "Codec", "Context", "Count", "Distinct", "DrtcError", "Event", "First", "Histogram", "Job", "JobError",
    "Last", "Max", "Mean", "Min", "Quantiles", "RawBatch", "Recent", "Set", "Sliding", "Sum", "TopK", "Tumbling", "csv",
    "iso", "json", "millis", "msgpack", "text",
]

_HOMES = {
    "aggregates": ("Aggregate", "Count", "First", "Histogram", "Last", "Max", "Mean", "Min", "Recent", "Set", "Sum"),
    "codecs.base": ("Codec",), "codecs.csv": ("csv",), "codecs.json": ("json",), "codecs.msgpack": ("msgpack",),
    "codecs.text": ("text",),
    "errors": ("DrtcError", "JobError"),
    "event": ("Event", "iso", "millis"),
    "job": ("Context", "Job", "RawBatch"),
    "sketches": ("Distinct", "Quantiles", "TopK"),
    "windows": ("Sliding", "Tumbling"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "testing":
        return import_module(".testing", __name__)
    if name not in _HOME:
        later = ", which this version does not have yet" if name in ("Session", "avro", "protobuf") else ""
        raise AttributeError(f"module 'drtc' has no attribute {name!r}{later}")
    value = globals()[name] = getattr(import_module(f".{_HOME[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
