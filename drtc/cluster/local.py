"""``membership = local``: roles on one machine, found by a directory.

Each keeps one small file there and holds a lock on it, which the kernel lets go when the process dies, however it
dies.
"""
from __future__ import annotations

import fcntl
import json
import time
from pathlib import Path
from typing import IO

from ..errors import ClusterError
from .membership import Member, Membership, taken


class Local(Membership):
    def __init__(self, directory: Path, cluster: str) -> None:
        self._directory = directory / cluster
        self._held: list[tuple[Path, IO[str]]] = []

    def join(self, member: Member) -> None:
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = self._directory / f"{member.role}-{member.node}.json"
            file = open(path, "a+")  # noqa: SIM115  held open: the lock lives as long as the file does
        except OSError as error:
            raise ClusterError(f"{self._directory}: {error.strerror}: roles find each other here; "
                               "set [cluster] directory") from error
        if not _lock(file):
            file.close()
            raise taken(member, self._directory.name)
        file.seek(0)
        file.truncate()
        json.dump(member._asdict(), file)
        file.flush()
        self._held.append((path, file))

    def members(self, role: str) -> list[Member]:
        found = []
        for path in sorted(self._directory.glob(f"{role}-*.json")):
            try:
                with open(path) as file:
                    if self._held_by_somebody(file):
                        found.append(Member(**json.load(file)))
            except (OSError, ValueError, TypeError):
                continue  # being written or removed at this moment: the next look sees it
        return found

    def _held_by_somebody(self, file: IO[str]) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        return False

    def leave(self) -> None:
        for path, file in self._held:
            path.unlink(missing_ok=True)
            file.close()
        self._held.clear()


def _lock(file: IO[str]) -> bool:
    """Takes the lock; somebody who only looks holds it for microseconds, so a second try is worth it."""
    for _ in range(20):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(0.01)
        else:
            return True
    return False
