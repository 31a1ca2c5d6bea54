"""How batches are parted among workers: by ranges of offsets over the same bytes, so that nothing is copied."""
from __future__ import annotations

import msgspec

from ..batch import Batch, Lane
from ..encodings import unpack


def divide(batches: list[Batch], shares: int) -> list[list[Batch]]:
    """Deals batches out in at most ``shares`` shares of about the same size. A batch larger than its share is cut by
    ranges of offsets over the same payload: who unpacks it leaves the rest out."""
    if shares <= 1:
        return [batches]
    goal = sum(len(batch.payload) for batch in batches) / shares
    found: list[list[Batch]] = [[]]
    size = 0.0
    for batch in batches:
        cuts = min(shares, round(len(batch.payload) / goal)) if goal else 1
        for each in cut(batch, cuts):
            if size >= goal and len(found) < shares:
                found.append([])
                size = 0.0
            found[-1].append(each)
            size += len(batch.payload) / max(1, cuts)
    return separate(found)


def separate(shares: list[list[Batch]]) -> list[list[Batch]]:
    """Cuts of one lane that came to lie in the same share are made one again: a share has one batch for each lane."""
    result = []
    for share in shares:
        by_lane: dict[Lane, Batch] = {}
        for batch in share:
            first = by_lane.get(batch.header.lane)
            if first is not None:
                batch = Batch(msgspec.structs.replace(batch.header, first=first.header.first), batch.payload)
            by_lane[batch.header.lane] = batch
        result.append(list(by_lane.values()))
    return result


def cut(batch: Batch, cuts: int) -> list[Batch]:
    """Narrows a batch to equal ranges of offsets, in order."""
    header = batch.header
    width = (header.last - header.first + 1) // max(1, cuts)
    if cuts <= 1 or width == 0:
        return [batch]
    starts = [header.first + i * width for i in range(cuts)] + [header.last + 1]
    return [
        Batch(msgspec.structs.replace(header, first=start, last=end - 1, count=header.count // cuts), batch.payload)
        for start, end in zip(starts, starts[1:])
    ]


def halve(batches: list[Batch]) -> list[list[Batch]]:
    """Two halves of a piece, or the piece alone where it is a single message."""
    if len(batches) > 1:
        middle = len(batches) // 2
        return [batches[:middle], batches[middle:]]
    header, payload = batches[0]
    offsets = unpack(header.encoding, payload, header.first, header.last).offsets
    if len(offsets) < 2:
        return [batches]
    middle = offsets[len(offsets) // 2]
    return [
        [Batch(msgspec.structs.replace(header, last=middle - 1, count=len(offsets) // 2), payload)],
        [Batch(msgspec.structs.replace(header, first=middle, count=len(offsets) - len(offsets) // 2), payload)],
    ]
