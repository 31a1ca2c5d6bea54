"""Files that do not change while they are read: all that match at the start, each to its end."""
from __future__ import annotations

from typing import Callable, Mapping

from ..errors import SourceError
from ..stores.offsets import Entry
from .content import open_content
from .finding import Directory, unreadable
from .ledger import Ledger
from .rotation import Card, Seen
from .tail import Tail


def find(directory: Directory, entries: Mapping[str, Entry], ledger: Ledger,
         warn: Callable[[str], None]) -> list[Tail]:
    """The files that match, each with what was committed for it.

    Raises:
        SourceError: no file matches, or one is not what it was when it was read.
    """
    seen = directory.see(directory.matches())
    if not seen:
        raise directory.none()
    tails = []
    fresh: dict[str, Entry] = {}
    first: dict[tuple[int, int], str] = {}
    for file in seen:
        if file.identity in first:
            warn(f"{file.path} is the same file as {first[file.identity]}: it is read once")
            continue
        first[file.identity] = file.path
        entry = entries.get(file.path)
        if entry is None:
            entry = fresh[file.path] = Entry(0, "", _card(directory, file).plain())
        tails.append(Tail(file.path, entry))
        _check(directory, file, tails[-1])
    ledger.register(fresh)
    return tails


def _card(directory: Directory, file: Seen) -> Card:
    path = directory.absolute(file.path)
    try:
        content = open_content(path)
    except OSError as error:
        raise unreadable(path, error) from error
    try:
        return Card(file.path, 0, content.identity, (content.head(),))
    finally:
        content.close()


def _check(directory: Directory, file: Seen, tail: Tail) -> None:
    path = directory.absolute(file.path)
    remedy = ("put the old file back, give the new one another name, set [source] follow = yes if files are rotated, "
              "or run drtc reset to count everything anew")
    if file.size < tail.committed and not file.path.endswith(".gz"):
        raise SourceError(f"{path}: has {file.size} bytes now, and {tail.committed} bytes of it were counted: {remedy}")
    if not file.holds(tail.card.marks):
        raise SourceError(f"{path}: is not the file that was counted up to byte {tail.committed}: {remedy}")
