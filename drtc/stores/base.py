"""The store contract: a versioned map. That is all that a store must do: one merging code serves every database.

A row has what people read (columns) and what only drtc needs (hidden: one opaque blob). What drtc decides by, it reads
from the hidden part alone.
"""
from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Iterable, Iterator, Literal, NamedTuple, Sequence, Union

from ..errors import StoreError

Key = Union[str, int]
Kind = Literal["integer", "real", "text", "json", "bytes"]


class Id(NamedTuple):
    """Which record of a view: its key and, in a windowed view, the start of its window (epoch seconds)."""

    key: Key
    start: float | None = None


class Column(NamedTuple):
    name: str
    kind: Kind  # json: lists and dicts of plain values, kept as the database's own document type or as JSON text


class View(NamedTuple):
    """The named results of one job version, or one of its companions (offsets, lanes, dead letters)."""

    name: str  # letters, digits and _ only
    columns: tuple[Column, ...]
    windowed: bool = False


class Row(NamedTuple):
    """One record as a store keeps it.

    ``version`` is, in a row that was loaded, what the store has now; in a row to save, what the store must still
    have (0: nothing under this id). The store writes ``next``.
    """

    id: Id
    end: float | None  # end of the window, epoch seconds
    version: int
    values: tuple[Any, ...]  # one for each column of the view, None where there is nothing yet
    hidden: bytes
    first: int = 1  # the version of a row that is new; see Store.forgets

    @property
    def next(self) -> int:
        """The version that a save gives it."""
        return self.version + 1 if self.version else self.first


def other_columns(view: View, changed: Iterable[str] = (), where: str = "") -> StoreError:
    """What ``prepare`` raises where the view is there with other columns; ``changed`` names them."""
    named = ", ".join(changed)
    return StoreError(f"{where}{': ' if where else ''}the view {view.name} exists with other columns"
                      f"{f' ({named})' if named else ''}: raise [job] version, or run drtc reset")


class Store(ABC):
    """Base of every store. One object per process; not shared between threads unless the class says so."""

    #: how many processes of a node should save at the same time; None: as many as there are workers
    writers: int | None = None
    #: whether other processes see what this one saves
    shared = True
    #: whether rows may vanish by themselves, as by a time to live. One that comes again under the same id must not meet
    #: the versions of the one before, or who still knows that would overwrite it: its ``first`` is a random number
    forgets = False
    #: what "stored" survives, for the banner: "a killed process and a power cut"
    survives = ""

    @abstractmethod
    def open(self) -> None:
        """Connects, checks that it is usable.

        Raises:
            StoreUnavailable: not now. StoreError: never with these settings.
        """

    @abstractmethod
    def prepare(self, view: View) -> None:
        """Creates what the view needs (a table, an index). Idempotent, and safe from several processes at once.

        Raises:
            StoreError: a view of that name exists with other columns (the sentence says: raise [job] version).
        """

    @abstractmethod
    def load(self, view: View, ids: Sequence[Id]) -> dict[Id, Row]:
        """Those of the rows that exist, in one round trip. Sees every save that was answered before, by anyone."""

    @abstractmethod
    def save(self, view: View, rows: Sequence[Row]) -> set[Id]:
        """Saves each row on condition that its version has not moved; returns the ids where it had. Each row is
        atomic, and durable when this returns. No id occurs twice in ``rows``.

        Raises:
            StoreUnavailable: the outcome is unknown for any of the rows (some, all or none were saved).
            StoreError: refused for good.
        """

    @abstractmethod
    def scan(self, view: View, key: Key | None = None, during: tuple[float, float] | None = None,
             limit: int | None = None) -> Iterator[Row]:
        """Rows ordered by key, then window start. ``key``: only that key's. ``during = (a, b)``: only windows that
        share an instant with ``[a, b)``; ``(t, t)`` means: that contain t."""

    @abstractmethod
    def delete(self, view: View, ids: Iterable[Id]) -> None:
        """Removes rows whatever their version; those that do not exist are passed over."""

    @abstractmethod
    def drop(self, view: View) -> None:
        """Removes the view with all its rows; idempotent."""

    @abstractmethod
    def health(self) -> None:
        """Returns if a save would probably be taken now; raises StoreUnavailable with the reason otherwise."""

    @abstractmethod
    def close(self) -> None: ...
