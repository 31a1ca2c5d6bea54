"""Looks at a cluster several times a second: what is sent, what is stored, what the roles' logs say."""
from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

from .asking import Asking
from .course import Heard, Sample
from .stream import Stream

EVERY_SECONDS = 0.05
STORED = "SELECT sum(events) FROM tally_v1 WHERE key LIKE 'group %'"  # every event is in one group


class Meter:
    """Reads the store itself, without drtc, and the logs of ``directory``; on a thread of its own."""

    def __init__(self, directory: Path, stream: Stream) -> None:
        self.samples: list[Sample] = []
        self.heard: list[Heard] = []
        self.asking: Asking | None = None  # asks for the status as well
        self._directory = directory
        self._stream = stream
        self._connection: sqlite3.Connection | None = None
        self._stored = 0
        self._read: dict[Path, int] = {}
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="meter")

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._ending.wait(EVERY_SECONDS):
            self._listen()
            if self.asking is not None:
                self.heard += self.asking.heard()
            sent = self._stream.sent
            stored = self._look()
            self.samples.append(Sample(time.monotonic(), sent, stored))
        if self._connection is not None:
            self._connection.close()

    def _look(self) -> int:
        """Events in the store; what was seen last where it cannot be read now."""
        try:
            if self._connection is None:
                uri = f"file:{self._directory / 'results.db'}?mode=ro"
                self._connection = sqlite3.connect(uri, uri=True, timeout=1.0)
            self._stored = self._connection.execute(STORED).fetchone()[0] or 0
        except sqlite3.OperationalError:
            pass  # nothing was stored yet, or the file is in use
        return self._stored

    def _listen(self) -> None:
        for log in sorted(self._directory.glob("*.log")):
            with open(log, "rb") as file:
                file.seek(self._read.get(log, 0))
                text = file.read()
            whole = text[:text.rfind(b"\n") + 1]
            self._read[log] = self._read.get(log, 0) + len(whole)
            now = time.monotonic()
            self.heard += [Heard(now, log.stem, line) for line in whole.decode("utf-8", "replace").splitlines()]
