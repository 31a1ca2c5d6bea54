"""How a family of exchangeable parts (sources, stores) is found by the ``type`` in its section of the INI file."""
from __future__ import annotations

from importlib import import_module
from typing import Any, Generic, Mapping, NamedTuple, TypeVar

Part = TypeVar("Part")


class Entry(NamedTuple):
    """Where a part stands: a module of the family's package, its settings dataclass, its class."""

    module: str
    settings: str
    part: str


class Registry(Generic[Part]):
    """One family. A module is imported when its part is asked for, so that nobody pays for what is not used."""

    def __init__(self, family: str, package: str, entries: Mapping[str, Entry]) -> None:
        self._family = family
        self._package = package
        self._entries = entries
        #: the values that ``type`` can have
        self.names = tuple(entries)

    def settings_class(self, name: str) -> type[Any]:
        """The dataclass of the family's section for this type.

        Raises:
            ConfigError: there is none of that name.
        """
        entry = self._entry(name)
        found: type[Any] = getattr(self._module(entry), entry.settings)
        return found

    def part_class(self, name: str) -> type[Part]:
        """The class of this type's parts. Raises as ``settings_class``."""
        entry = self._entry(name)
        found: type[Part] = getattr(self._module(entry), entry.part)
        return found

    def make(self, settings: Any, context: Any) -> Part:
        """The part for these settings (an object of one of the settings classes), not opened."""
        for entry in self._entries.values():
            if type(settings).__name__ == entry.settings:
                made: Part = getattr(self._module(entry), entry.part)(settings, context)
                return made
        raise TypeError(f"{settings!r} are not the settings of a {self._family}")

    def _entry(self, name: str) -> Entry:
        if name in self._entries:
            return self._entries[name]
        from .errors import ConfigError
        from .names import did_you_mean

        hint = did_you_mean(name, self.names) or f" (known: {', '.join(self.names)})"
        raise ConfigError(f"[{self._family}] type = {name}: there is no such {self._family}{hint}")

    def _module(self, entry: Entry) -> Any:
        return import_module(f"{self._package}.{entry.module}")
