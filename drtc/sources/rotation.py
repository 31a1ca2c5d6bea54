"""Which content is in which file, after files were rotated, copied, truncated or compressed. Decides; touches no file.

A content keeps its name, whatever happens to its file. It is known again by device and inode, or by its path, and
always by its marks (checksums of stretches that were read): inodes and paths are used again for other contents.
"""
from __future__ import annotations

from typing import Any, Callable, Iterable, Mapping, NamedTuple

from .content import Mark


ROTATED = (".", "-", "_", "~")  # what a rotated file's name goes on with; "day-10" is no copy of "day-1"


class Card(NamedTuple):
    """What is remembered of a content, beside its offset."""

    home: str  # the path where it was first seen
    generation: int  # the how-manieth content of that path, from 0
    identity: tuple[int, int]  # device and inode of the file it was last read from
    marks: tuple[Mark, ...]
    finished: bool = False  # its file was rotated away, and all of it is stored

    def plain(self) -> dict[str, Any]:
        """For the store."""
        return {**self._asdict(), "identity": list(self.identity), "marks": [list(mark) for mark in self.marks]}


def card(plain: Mapping[str, Any]) -> Card:
    return Card(**{**plain, "identity": tuple(plain["identity"]),
                   "marks": tuple(Mark(*mark) for mark in plain["marks"])})


class Seen(NamedTuple):
    """A file that is there now."""

    path: str
    identity: tuple[int, int]
    size: int
    holds: Callable[[tuple[Mark, ...]], bool]


def recognize(cards: Mapping[str, Card], seen: Iterable[Seen]) -> dict[str, Seen]:
    """For each content that is found, its file. A file has one content at most.

    A file under the same inode comes first (renamed), then one under the same path (restored from elsewhere), then one
    whose name begins with the path (copied before the original was truncated, or compressed).
    """
    found: dict[str, Seen] = {}
    free = list(seen)
    best_known = sorted(cards, key=lambda name: -sum(mark.size for mark in cards[name].marks))
    for fits in (_same_file, _same_path, _derived):
        for name in best_known:
            known = cards[name]
            if name not in found:
                file = next((file for file in free if fits(known, file) and file.holds(known.marks)), None)
                if file is not None:
                    found[name] = file
                    free.remove(file)
    return found


def is_copy(file: Seen, cards: Iterable[Card]) -> bool:
    """Whether the file only repeats a content that is known under the path it is named after."""
    return any(_derived(known, file) and file.holds(known.marks) for known in cards)


def name_of(home: str, cards: Mapping[str, Card]) -> tuple[str, int]:
    """Name and generation for a new content at the path ``home``: a name that none had before."""
    generation = 1 + max((known.generation for known in cards.values() if known.home == home), default=-1)
    name = home if generation == 0 else f"{home}@{generation}"
    while name in cards:  # a file that is really called so
        name += "@"
    return name, generation


def forgettable(cards: Mapping[str, Card], found: Mapping[str, Seen]) -> list[str]:
    """Contents that are finished and gone; the last of each path stays, so that no name is given out again."""
    last: dict[str, int] = {}
    for known in cards.values():
        last[known.home] = max(known.generation, last.get(known.home, 0))
    return [name for name, known in cards.items()
            if known.finished and name not in found and known.generation < last[known.home]]


def _same_file(known: Card, file: Seen) -> bool:
    return file.identity == known.identity


def _same_path(known: Card, file: Seen) -> bool:
    return file.path == known.home


def _derived(known: Card, file: Seen) -> bool:
    """Only contents with something to know them by: an empty one is in every file."""
    if known.finished and file.path.endswith(".gz"):
        return False  # nothing is left to read of it, and looking would mean decompressing
    tail = file.path.removeprefix(known.home)
    return file.path.startswith(known.home) and tail[:1] in ROTATED and any(mark.size for mark in known.marks)
