"""The offsets of files in the store, with the patience that a source needs: a store that is away is waited for."""
from __future__ import annotations

import threading
from typing import Callable, Iterable, Mapping, TypeVar

from ..errors import StoreUnavailable
from ..stores.offsets import Entry, Offsets

T = TypeVar("T")
_LONGEST_WAIT = 10.0  # seconds between two attempts
_RETRY = 1.0


class Ledger:
    """Used by the reader's thread; ``closed`` is set from any. ``clock`` gives seconds."""

    def __init__(self, offsets: Offsets, closed: threading.Event, warn: Callable[[str], None],
                 clock: Callable[[], float]) -> None:
        self._offsets = offsets
        self._closed = closed
        self._warn = warn
        self._clock = clock
        self._left: dict[str, Entry] = {}  # what could not be saved yet
        self._next = float("-inf")

    def load(self) -> dict[str, Entry] | None:
        """Every entry; waits for the store. None where it was closed meanwhile."""
        return self._patiently(self._offsets.load)

    def register(self, entries: Mapping[str, Entry]) -> bool:
        """Saves what must be durable before anything that rests on it may happen; waits for the store.

        Returns False where it was closed meanwhile.
        """
        def commit() -> bool:
            self.commit(entries)
            return True
        return bool(self._patiently(commit))

    def commit(self, entries: Mapping[str, Entry]) -> None:
        """Saves now; raises StoreUnavailable where it is not known to be durable."""
        self._offsets.save(entries)
        for name in entries:
            self._left.pop(name, None)

    def save_later(self, entries: Mapping[str, Entry]) -> None:
        """Saves what is only good to know; where the store is away, a later ``retry`` does."""
        self._left.update(entries)
        self._next = float("-inf")
        self.retry()

    def retry(self) -> None:
        """Saves what is left, now and then."""
        if not self._left or self._clock() < self._next:
            return
        try:
            self._offsets.save(self._left)
            self._left.clear()
        except StoreUnavailable as error:
            self._next = self._clock() + _RETRY
            self._warn(f"what is known of finished files is saved later: {error}")

    def forget(self, names: Iterable[str]) -> None:
        """Removes entries; where the store is away, a later run does."""
        try:
            self._offsets.forget(names)
        except StoreUnavailable as error:
            self._warn(f"old offsets are removed later: {error}")

    def close(self) -> None:
        self._offsets.close()

    def _patiently(self, work: Callable[[], T]) -> T | None:
        wait, attempt = 0.1, 1
        while not self._closed.is_set():
            try:
                return work()
            except StoreUnavailable as error:
                self._warn(f"waiting for the store, which keeps the offsets of files, attempt {attempt},"
                           f" next in {wait:g} s: {error}")
            self._closed.wait(wait)
            wait, attempt = min(2 * wait, _LONGEST_WAIT), attempt + 1
        return None
