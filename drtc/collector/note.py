"""The note that is committed with every offset: for which view, and by which route and slots, what lies beyond it may
have been counted.

Lanes are made of partition and slot. If events beyond the committed offset were counted under other lanes, their fences
would not stop them from being counted again; so other settings are accepted only after a drain, when nothing is beyond.
"""
from __future__ import annotations

from typing import NamedTuple

from ..errors import SourceError
from ..sources.base import Position


class Note(NamedTuple):
    """``drained``: nothing past the offset was sent when it was committed."""

    view: str
    route: str
    slots: int
    drained: bool = False

    def __str__(self) -> str:
        return f"view={self.view};route={self.route};slots={self.slots}" + (";drained" if self.drained else "")


def parse_note(text: str) -> Note | None:
    """None where there is none, or it is not ours."""
    words = text.split(";")
    try:
        found = dict(word.split("=", 1) for word in words[:3])
        return Note(found["view"], found["route"], int(found["slots"]), "drained" in words[3:])
    except (ValueError, KeyError):
        return None


def check(partition: str, position: Position, ours: Note) -> None:
    """Refuses to begin a partition under other settings than those it was left with in mid-flight.

    Raises:
        SourceError: with what to do.
    """
    note = parse_note(position.note)
    if note is None:
        return
    if note.view != ours.view:
        raise SourceError(f"{partition} was read for the view {note.view} up to offset {position.offset}, and "
                          f"{ours.view} would miss what is before it: give it a [source] group of its own, or none")
    if note.drained or (note.route, note.slots) == (ours.route, ours.slots):
        return
    raise SourceError(
        f"{partition} was read with route={note.route} and slots={note.slots} and not drained: start once more with "
        f"route={note.route} and slots={note.slots}, let it drain, then change to route={ours.route} and "
        f"slots={ours.slots}")
