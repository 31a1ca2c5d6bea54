"""A queue on disk for what memory cannot hold: one contract (``base``), a module for each kind."""
from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from .base import Overflow

_SHELVES = {"diskcache": "DiskcacheShelf", "sqlite": "SQLiteShelf"}  # module and class
NAMES = tuple(_SHELVES)


def open_overflow(kind: str, directory: Path, disk_bytes: int, durable: bool, name: str = "") -> Overflow:
    """The open queue of a kind (of NAMES) that holds up to so many bytes.

    ``name`` is its owner's: a directory of that name in ``directory``. A cache also empties those that owners of other
    names left when they died.

    Raises:
        QueueError: the directory cannot be used, is in use, or (durable) held damaged files, which were set aside.
    """
    from .place import Place, alone, sweep
    from .queue import DiskQueue

    shelf = getattr(import_module(f"{__name__}.{kind}"), _SHELVES[kind])
    parent = Path(os.path.abspath(directory))
    root = parent / _folder(name) if name else parent
    if name:
        with alone(parent):  # or what one owner opens this moment, another would sweep away
            place = Place(root, durable)
            if not durable:
                sweep(parent, root)
    else:
        place = Place(root, durable)
    try:
        return DiskQueue(place, lambda files: shelf(files / shelf.name, durable), disk_bytes)
    except BaseException:
        place.close()
        raise


def _folder(name: str) -> str:
    """The node's name as the name of one directory."""
    return quote(name, safe=" +@=,:").replace(".", "%2E") if name.startswith(".") else quote(name, safe=" +@=,:")
