"""How a family of exchangeable parts (sources, stores) is found by the ``type`` in its section of the INI file.

drtc's own parts stand in the family's package. Another package adds a type by an entry point of the group
``drtc.FAMILYs``: its name is the type, it loads the part's class, and that class has its settings dataclass as the
attribute ``Settings``.
"""
from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, Mapping, NamedTuple, TypeVar

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

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
        self._group = f"drtc.{family}s"

    def names(self) -> tuple[str, ...]:
        """The values that ``type`` can have: drtc's own, then those of other packages."""
        return *self._entries, *(name for name in sorted(self._plugins()) if name not in self._entries)

    def own_names(self) -> tuple[str, ...]:
        """drtc's own alone, the same on every machine."""
        return tuple(self._entries)

    def settings_class(self, name: str) -> type[Any]:
        """The dataclass of the family's section for this type.

        Raises:
            ConfigError: there is none of that name, or the package that has it does not fit.
        """
        if name in self._entries:
            entry = self._entries[name]
            found: type[Any] = getattr(self._module(entry), entry.settings)
        else:
            found = getattr(self.part_class(name), "Settings")
        return found

    def part_class(self, name: str) -> type[Part]:
        """The class of this type's parts. Raises as ``settings_class``."""
        found: type[Part]
        if name in self._entries:
            entry = self._entries[name]
            found = getattr(self._module(entry), entry.part)
            return found
        plugins = self._plugins()
        if name in plugins:
            found = self._loaded(plugins[name])
            return found
        from .errors import ConfigError
        from .names import did_you_mean

        hint = did_you_mean(name, self.names()) or f" (known: {', '.join(self.names())})"
        raise ConfigError(f"[{self._family}] type = {name}: there is no such {self._family}{hint}")

    def make(self, settings: Any, context: Any) -> Part:
        """The part for these settings (an object of one of the settings classes), not opened."""
        cls = type(settings)
        made: Part
        for entry in self._entries.values():
            if entry.settings == cls.__name__ and getattr(self._module(entry), entry.settings) is cls:
                made = getattr(self._module(entry), entry.part)(settings, context)
                return made
        for plugin in self._plugins().values():
            part = self._loaded(plugin)
            if part.Settings is cls:
                made = part(settings, context)
                return made
        raise TypeError(f"{settings!r} are not the settings of a {self._family}")

    def _module(self, entry: Entry) -> Any:
        return import_module(f"{self._package}.{entry.module}")

    def _plugins(self) -> dict[str, EntryPoint]:
        from importlib.metadata import entry_points

        return {each.name: each for each in entry_points(group=self._group)}

    def _loaded(self, plugin: EntryPoint) -> Any:
        """The class of another package. Whatever that package raises is a sentence that names it."""
        from .errors import ConfigError

        where = f"[{self._family}] type = {plugin.name}: {plugin.value}"
        try:
            part = plugin.load()
        except Exception as error:
            raise ConfigError(f"{where} cannot be imported: {type(error).__name__}: {error}") from error
        if not isinstance(getattr(part, "Settings", None), type):
            raise ConfigError(f"{where} has no dataclass named Settings: docs/stores.md says what a {self._family}'s "
                              "class must have")
        missing = sorted(getattr(part, "__abstractmethods__", ()))
        if missing:
            raise ConfigError(f"{where} does not define {', '.join(missing)}")
        return part
