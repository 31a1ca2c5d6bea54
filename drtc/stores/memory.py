"""A store in this process's memory: for tests. Objects with the same name share their content."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Iterable, Iterator, Sequence

from ..errors import StoreError, StoreUnavailable
from .base import Id, Key, Row, Store, View, other_columns
from .ids import order, shares


@dataclass(frozen=True, slots=True)
class MemorySettings:
    #: stores of one process that have the same name are one store
    name: str = "default"


class Content:
    """What a named store holds, and the switch that takes it away for a while in tests."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.views: dict[str, View] = {}
        self.rows: dict[str, dict[Id, Row]] = {}
        self.unavailable = ""  # a reason here makes every call raise StoreUnavailable


_contents: dict[str, Content] = {}


def content(name: str) -> Content:
    """The content of the store of that name, made where it is missing."""
    return _contents.setdefault(name, Content())


def forget(name: str) -> None:
    """Empties the store of that name, for the next test; objects that are open keep the old content."""
    _contents.pop(name, None)


class MemoryStore(Store):
    """May be shared between threads: every call is atomic."""

    shared = False
    survives = "nothing: results are gone with the process"

    def __init__(self, settings: MemorySettings, base: Path = Path()) -> None:
        self._content = content(settings.name)

    def open(self) -> None:
        self.health()

    def prepare(self, view: View) -> None:
        with self._content.lock:
            self._check()
            known = self._content.views.setdefault(view.name, view)
            if known != view:
                raise other_columns(view)
            self._content.rows.setdefault(view.name, {})

    def load(self, view: View, ids: Sequence[Id]) -> dict[Id, Row]:
        with self._content.lock:
            rows = self._rows(view)
            return {id: rows[id] for id in ids if id in rows}

    def save(self, view: View, rows: Sequence[Row]) -> set[Id]:
        moved = set()
        with self._content.lock:
            kept = self._rows(view)
            for row in rows:
                there = kept.get(row.id)
                if (there.version if there else 0) != row.version:
                    moved.add(row.id)
                else:
                    kept[row.id] = row._replace(version=row.next, hidden=bytes(row.hidden), first=1)
        return moved

    def scan(self, view: View, key: Key | None = None, during: tuple[float, float] | None = None,
             limit: int | None = None) -> Iterator[Row]:
        with self._content.lock:
            found = [row for row in self._rows(view).values()
                     if (key is None or row.id.key == key) and (during is None or shares(row, *during))]
        return iter(sorted(found, key=lambda row: order(row.id))[:limit])

    def delete(self, view: View, ids: Iterable[Id]) -> None:
        with self._content.lock:
            rows = self._rows(view)
            for id in ids:
                rows.pop(id, None)

    def drop(self, view: View) -> None:
        with self._content.lock:
            self._check()
            self._content.views.pop(view.name, None)
            self._content.rows.pop(view.name, None)

    def health(self) -> None:
        with self._content.lock:
            self._check()

    def close(self) -> None:
        pass

    def _check(self) -> None:
        if self._content.unavailable:
            raise StoreUnavailable(self._content.unavailable)

    def _rows(self, view: View) -> dict[Id, Row]:
        self._check()
        try:
            return self._content.rows[view.name]
        except KeyError:
            raise StoreError(f"the view {view.name} does not exist (was it reset while in use?): start again") from None
