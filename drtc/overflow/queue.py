"""The queue: a ledger that decides, a shelf that keeps the rows, a place that holds them."""
from __future__ import annotations

import builtins
import os
import sqlite3
from pathlib import Path
from typing import Callable, Iterable, Sequence

from ..errors import Damaged, QueueError, QueueFull
from .base import Bytes, Overflow
from .ledger import MARK, Ledger
from .place import Place
from .sealed import seal, unseal
from .shelf import Shelf, is_damage, is_full, translate

_TROUBLE = (sqlite3.Error, OSError, OverflowError)


class DiskQueue(Overflow):
    """An open queue in a place of its own. ``limit`` is the most bytes of items that it takes.

    ``make_shelf`` gives the shelf for the directory of its files.
    """

    def __init__(self, place: Place, make_shelf: Callable[[Path], Shelf], limit: int) -> None:
        self.damaged = 0
        self._place = place
        self._limit = limit
        self._log = place.log
        made = None if place.queue.exists() else self._made(make_shelf)
        self._shelf = make_shelf(place.queue)
        self._ledger = self._opened(made)
        self._file = self._identity()
        place.reserve()

    @property
    def depth(self) -> int:
        return len(self._ledger)

    @property
    def bytes(self) -> int:
        return self._ledger.bytes

    def append(self, items: Sequence[Bytes]) -> list[int]:
        sizes = [memoryview(item).nbytes for item in items]
        if self._ledger.bytes + sum(sizes) > self._limit:
            raise QueueFull(f"{self._place.root}: {sum(sizes)} bytes do not fit: {self._ledger.bytes} of "
                            f"disk_bytes = {self._limit} are in use")
        if not items:
            return []
        self._still_there()
        numbers = self._ledger.numbers(len(items))
        puts = {number: seal(number, item) for number, item in zip(numbers, items)}
        owed = self._ledger.owed()
        if owed is not None:
            puts |= owed.puts
        puts |= self._ledger.mark(len(items))
        try:
            self._shelf.write(puts, owed.removes if owed is not None else ())
        except _TROUBLE as error:
            raise translate("write", self._shelf.path, error) from error
        self._ledger.paid()
        self._ledger.appended(sizes)
        self._place.reserve()
        return numbers

    def read(self, number: int) -> builtins.bytes:
        if number not in self._ledger:
            if number in self._ledger.aside():
                raise Damaged(f"{self._place.root}: item {number} was damaged and set aside")
            raise QueueError(f"{self._place.root}: item {number} is not in the queue")
        row: builtins.bytes | None = None
        try:
            row = self._shelf.get(number)
            if row is not None:
                return unseal(number, row)
            reason = "it is missing"
        except (ValueError, *_TROUBLE) as error:
            if not is_damage(error):
                raise translate("read", self._shelf.path, error) from error
            reason = str(error)
        self._set_aside(number, row, reason)
        raise Damaged(f"{self._place.root}: item {number} is damaged: {reason}; it was set aside")

    def discard(self, numbers: Iterable[int]) -> None:
        self._ledger.discard(numbers)
        self._pay()
        if not self._ledger and not self._ledger.aside():
            try:
                self._shelf.compact()
            except _TROUBLE as error:
                self._log.warning("room not given back", why=str(error))

    def pending(self) -> list[int]:
        return self._ledger.pending()

    def gaps(self) -> list[tuple[int, int]]:
        return list(self._ledger.gaps)

    def close(self) -> None:
        self._shelf.close()
        self._place.close()

    # --- opening ---

    def _made(self, make_shelf: Callable[[Path], Shelf]) -> Ledger:
        """Makes the files under another name first: those of a half-made queue are not taken for a damaged one."""
        draft, first = self._place.begin()
        ledger, shelf = Ledger(first, self._place.durable), make_shelf(draft)
        try:
            shelf.create()
            shelf.open()
            shelf.write(ledger.mark(), ())
        except _TROUBLE as error:
            raise translate("make", shelf.path, error) from error
        finally:
            shelf.close()
        self._place.establish(draft)
        return ledger

    def _opened(self, made: Ledger | None) -> Ledger:
        """What an earlier process left, in durable mode; files that are not whole are set aside, aloud."""
        try:
            if made is not None:
                self._shelf.open()
                return made
            ledger = Ledger(0, durable=True)
            self._shelf.check()
            self._shelf.open()
            ledger.recover(self._shelf.get(MARK), self._shelf.rows())
        except (ValueError, *_TROUBLE) as error:
            self._shelf.close()
            if made is not None or (self._shelf.path.exists() and not is_damage(error)):
                raise translate("open", self._shelf.path, error) from error
            kept = self._place.set_aside()
            self._log.error("queue damaged, set aside", path=str(kept), why=str(error))
            raise QueueError(f"{self._shelf.path}: the durable queue is damaged ({error}) and was set aside as {kept}: "
                             "what was in it is not delivered; look at it, then start again with an empty queue"
                             ) from error
        for first, last in ledger.gaps:
            self._log.error("items missing", first=first, last=last)
        return ledger

    # --- trouble ---

    def _set_aside(self, number: int, row: builtins.bytes | None, reason: str) -> None:
        self.damaged += 1
        self._log.error("item damaged, set aside", number=number, why=reason)
        self._place.keep(number, row or b"", reason)
        self._ledger.set_aside(number)
        self._pay()

    def _pay(self) -> None:
        """Writes what discards owe. A full disk is no trouble of the caller's: room held in reserve is given up."""
        owed = self._ledger.owed()
        if owed is None:
            return
        for release in (self._place.release, None):
            try:
                self._shelf.write(*owed)
                self._ledger.paid()
                return
            except _TROUBLE as error:
                if release is None or not is_full(error):
                    self._log.warning("discards not written yet", why=str(error))
                    return
                release()

    def _still_there(self) -> None:
        """SQLite would go on writing to a file that nobody can find again."""
        if self._identity() != self._file:
            raise QueueError(f"{self._shelf.path}: the file was removed or replaced while it was in use: start drtc "
                             "again")

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._shelf.path)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino
