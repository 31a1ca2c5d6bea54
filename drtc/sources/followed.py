"""Files that grow, appear and are rotated while they are read, by renaming or by copying and truncating."""
from __future__ import annotations

from typing import Callable, Mapping

from ..stores.offsets import Entry
from .content import mark
from .finding import Directory, unreadable
from .ledger import Ledger
from .rotation import Card, Seen, card, forgettable, is_copy, name_of, recognize
from .tail import Tail


class Followed:
    """Keeps the tails of all contents that are known; ``look`` compares them with the files that are there."""

    def __init__(self, directory: Directory, entries: Mapping[str, Entry], ledger: Ledger,
                 warn: Callable[[str], None]) -> None:
        self._directory = directory
        self._ledger = ledger
        self._warn = warn
        self._sizes: dict[str, int] = {}  # at the last look
        self._told: set[str] = set()
        matches = set(directory.matches())
        self.tails: dict[str, Tail] = {}
        for name, entry in entries.items():
            home = card(entry.detail).home
            if home in matches or directory.may_match(home):
                self.tails[name] = Tail(name, entry)
        self.undecided = False  # a file was seen of which the next look will tell whether it is a copy
        self._looked = False

    def look(self, now: float) -> list[Tail]:
        """Opens what is found, and returns the tails that can be read from now on."""
        matches = set(self._directory.matches())
        names = set(matches)
        for home in {tail.card.home for tail in self.tails.values()}:
            names.update(self._directory.derived(home))
        seen = self._directory.see(names)
        free = self._held(seen, now)
        closed = {name: tail.card for name, tail in self.tails.items() if tail.content is None}
        found = recognize(closed, free)
        ready = [self.tails[name] for name, file in found.items() if self._take_up(self.tails[name], file, now)]
        if not self._looked:
            self._looked = True
            self._miss(found)
        self.undecided = False
        known = [file.identity for file in found.values()]
        ready += self._begin([file for file in free if file.path in matches and file.identity not in known], now)
        self._sizes = {file.path: file.size for file in seen}
        return ready

    def _held(self, seen: list[Seen], now: float) -> list[Seen]:
        """Says of open tails whether their file was moved; returns the files that are not open."""
        paths: dict[tuple[int, int], list[str]] = {}
        for file in seen:
            paths.setdefault(file.identity, []).append(file.path)
        held = set()
        for tail in self.tails.values():
            if tail.content is not None:
                held.add(tail.content.identity)
                rotated = tail.card.home not in paths.get(tail.content.identity, [])
                if rotated and not tail.rotated:
                    tail.quiet_since = now
                tail.rotated = rotated
        free: dict[tuple[int, int], Seen] = {}
        for file in seen:
            if file.identity not in held:
                free.setdefault(file.identity, file)
        return list(free.values())

    def _take_up(self, tail: Tail, file: Seen, now: float) -> bool:
        """Opens the file for a known content, unless there is nothing left to read; says whether it did."""
        compressed = file.path.endswith(".gz")
        if tail.card.finished and (compressed or file.size <= tail.position):
            return False
        if not self._open(tail, file):
            return False
        tail.rotated = file.path != tail.card.home
        tail.quiet_since = now
        tail.card = tail.card._replace(identity=file.identity, finished=False)
        return True

    def _miss(self, found: Mapping[str, Seen]) -> None:
        """At the first look: contents that are gone."""
        for name, tail in self.tails.items():
            if name not in found and not tail.card.finished:
                self._warn(f"{self._directory.absolute(tail.card.home)}: what was read up to byte {tail.committed}"
                           f" ({name}) is not there any more; if it had grown since, the rest is lost")
        gone = forgettable({name: tail.card for name, tail in self.tails.items()}, found)
        if gone:
            self._ledger.forget(gone)
            for name in gone:
                del self.tails[name]

    def _begin(self, files: list[Seen], now: float) -> list[Tail]:
        """Tails for files that hold something new; durable before a byte of them is handed out."""
        begun: dict[str, Tail] = {}
        cards = {name: tail.card for name, tail in self.tails.items()}
        for file in files:
            if not self._is_new(file, cards):
                continue
            name, generation = name_of(file.path, cards)
            cards[name] = Card(file.path, generation, file.identity, (mark(0, b""),))
            begun[name] = Tail(name, Entry(0, "", cards[name].plain()))
            if self._open(begun[name], file):
                content = begun[name].content
                assert content is not None
                cards[name] = begun[name].card = cards[name]._replace(marks=(content.head(),))
                begun[name].quiet_since = now
            else:
                del begun[name], cards[name]
        entries = {name: Entry(0, "", tail.card.plain()) for name, tail in begun.items()}
        if entries and not self._ledger.register(entries):
            return []
        self.tails.update(begun)
        return list(begun.values())

    def _is_new(self, file: Seen, cards: Mapping[str, Card]) -> bool:
        if file.path.endswith(".gz"):
            if file.path not in self._told:
                self._told.add(file.path)
                self._warn(f"{self._directory.absolute(file.path)}: compressed files are not followed; it is left out")
            return False
        if not any(file.path.startswith(known.home) and file.path != known.home for known in cards.values()):
            return True
        # Named like a rotated file: perhaps a copy, and perhaps one that is being written at this moment
        if self._sizes.get(file.path) != file.size:
            self.undecided = True
            return False
        return not is_copy(file, cards.values())

    def _open(self, tail: Tail, file: Seen) -> bool:
        path = self._directory.absolute(file.path)
        try:
            tail.open(path)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise unreadable(path, error) from error
        if tail.content is None or tail.content.identity != file.identity:
            tail.close()  # rotated at this moment: the next look will tell
            return False
        return True
