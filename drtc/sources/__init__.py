"""Where messages come from: one contract (``base``), a module for each kind, found by ``[source] type``."""
from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..stores.offsets import Offsets
    from .base import Source

#: [source] type -> module, settings class, source class
_SOURCES = {
    "files": ("files", "FilesSettings", "FilesSource"),
    "kafka": ("kafka", "KafkaSettings", "KafkaSource"),
}

#: the values that ``[source] type`` can have
NAMES = tuple(_SOURCES)


@dataclass(frozen=True, slots=True)
class SourceContext:
    """What a source may know of the job that it reads for."""

    base: Path  # relative paths are relative to this directory, the INI file's
    view: str
    offsets: Offsets | None  # for a source that keeps no offsets itself; None: begin at the start, remember nothing
    bounded: bool  # the run ends when everything that is there now is stored


def settings_class(name: str) -> type[Any]:
    """The dataclass of ``[source]`` for this type.

    Raises:
        ConfigError: no source has that name.
    """
    if name not in _SOURCES:
        from difflib import get_close_matches

        from ..errors import ConfigError

        close = get_close_matches(name, NAMES, 1)
        hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(NAMES)}"
        raise ConfigError(f"[source] type = {name}: there is no such source ({hint})")
    module, settings, _ = _SOURCES[name]
    found: type[Any] = getattr(import_module(f"{__name__}.{module}"), settings)
    return found


def source_class(name: str) -> type[Source]:
    """The class of this type's sources, for what it says of itself."""
    settings_class(name)
    module, _, source = _SOURCES[name]
    found: type[Source] = getattr(import_module(f"{__name__}.{module}"), source)
    return found


def open_source(settings: Any, context: SourceContext) -> Source:
    """The source for these settings (one of the settings classes), not yet opened: its reader does that."""
    for module, settings_name, source_name in _SOURCES.values():
        if type(settings).__name__ == settings_name:
            source: Source = getattr(import_module(f"{__name__}.{module}"), source_name)(settings, context)
            return source
    raise TypeError(f"{settings!r} are not the settings of a source")
