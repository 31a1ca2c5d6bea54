"""Where a partition of a topic is begun, and what is committed of it. Decides only; asks nobody."""
from __future__ import annotations

from typing import NamedTuple

from ..errors import SourceError
from .base import Position

_TOPIC = ";topic="  # parts the collector's note from the topic's id


class Extent(NamedTuple):
    """What a partition holds at this moment: offsets ``begin`` up to before ``end``."""

    begin: int
    end: int


def metadata(note: str, topic_id: str) -> str:
    """What stands beside a committed offset: the collector's note, and of which topic it is."""
    return note + _TOPIC + topic_id


def resume(where: str, offset: int, found: str, topic_id: str, extent: Extent) -> Position | None:
    """The position that was committed with the metadata ``found``; None if it is one of a former topic of that name.

    Args:
        where: the partition and the group, for the sentence.
        topic_id: of the topic as it is now, "" where the broker gives none.

    Raises:
        SourceError: the offset is not in the partition any more.
    """
    note, mark, of = found.rpartition(_TOPIC)
    if not mark:
        note, of = found, ""
    if of and topic_id and of != topic_id:
        return None
    if offset > extent.end:
        raise SourceError(f"{where}: the committed offset {offset} lies past the partition's end {extent.end}: the "
                          "topic was made again or has lost its end; run drtc reset to count it from the beginning")
    if offset < extent.begin:
        raise SourceError(f"{where}: the committed offset {offset} is no longer there, the partition begins at "
                          f"{extent.begin}: messages were deleted before they were counted; set the group's offset to "
                          f"{extent.begin} with kafka-consumer-groups to go on without them, or run drtc reset to "
                          "count what is left from the beginning")
    return Position(offset, note)
