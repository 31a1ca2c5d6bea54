"""Where results are kept: one contract (``base``), a module for each database, found by ``[store] type``."""
from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import Store

#: [store] type -> module, settings class, store class
_STORES = {
    "memory": ("memory", "MemorySettings", "MemoryStore"),
    "sqlite": ("sqlite", "SQLiteSettings", "SQLiteStore"),
}

#: the values that ``[store] type`` can have
NAMES = tuple(_STORES)


def settings_class(name: str) -> type[Any]:
    """The dataclass of ``[store]`` for this type.

    Raises:
        ConfigError: no store has that name.
    """
    module, settings, _ = _find(name)
    found: type[Any] = getattr(import_module(f"{__name__}.{module}"), settings)
    return found


def open_store(settings: Any, base: Path) -> Store:
    """The open store for these settings (one of the settings classes); relative paths are relative to ``base``.

    Raises:
        StoreUnavailable: not now. StoreError: never with these settings.
    """
    store = make_store(settings, base)
    store.open()
    return store


def make_store(settings: Any, base: Path) -> Store:
    """The store for these settings, not opened."""
    for module, settings_name, store_name in _STORES.values():
        if type(settings).__name__ == settings_name:
            store: Store = getattr(import_module(f"{__name__}.{module}"), store_name)(settings, base)
            return store
    raise TypeError(f"{settings!r} are not the settings of a store")


def _find(name: str) -> tuple[str, str, str]:
    from ..errors import ConfigError

    if name in _STORES:
        return _STORES[name]
    from difflib import get_close_matches

    close = get_close_matches(name, NAMES, 1)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(NAMES)}"
    raise ConfigError(f"[store] type = {name}: there is no such store ({hint})")
