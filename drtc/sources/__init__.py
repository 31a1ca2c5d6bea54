"""Where messages come from: one contract (``base``), a module for each kind, found by ``[source] type``."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..registry import Entry, Registry

if TYPE_CHECKING:
    from ..stores.offsets import Offsets
    from .base import Source

_REGISTRY: Registry[Source] = Registry("source", __name__, {
    "files": Entry("files", "FilesSettings", "FilesSource"),
    "kafka": Entry("kafka", "KafkaSettings", "KafkaSource"),
})

#: the ``type`` where none is set: it must be
DEFAULT = ""
#: the values that ``type`` can have
names = _REGISTRY.names
own_names = _REGISTRY.own_names
settings_class = _REGISTRY.settings_class
source_class = _REGISTRY.part_class
#: the source for its settings and a SourceContext, not yet opened: its reader does that
make_source = _REGISTRY.make


@dataclass(frozen=True, slots=True)
class SourceContext:
    """What a source may know of the job that it reads for."""

    base: Path  # relative paths are relative to this directory, the INI file's
    view: str
    offsets: Offsets | None  # for a source that keeps no offsets itself; None: begin at the start, remember nothing
    bounded: bool  # the run ends when everything that is there now is stored
