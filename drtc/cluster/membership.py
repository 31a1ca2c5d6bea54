"""Who is there: every kind of membership answers the same two questions, whom to connect to and how to be found.

``local`` keeps one small file for each role in a directory; its owner holds a lock on it, which the kernel lets go
when the process dies, however it dies. ``static`` reads the addresses from the INI file.
"""
from __future__ import annotations

import fcntl
import json
import os
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from ..errors import ClusterError

if TYPE_CHECKING:
    from ..config import Config


class Member(NamedTuple):
    role: str
    node: str
    address: str  # host:port
    capacity: float
    version: str
    started: float  # epoch seconds


class Membership(ABC):
    """Base of all kinds. Used by one thread."""

    @abstractmethod
    def join(self, member: Member) -> None:
        """Lets the others find us until ``leave`` or the end of this process.

        Raises:
            ClusterError: the name is taken by somebody alive.
        """

    @abstractmethod
    def members(self, role: str) -> list[Member]:
        """Those of the role that are there now, as far as is known; cheap enough to ask several times a second."""

    @abstractmethod
    def leave(self) -> None: ...


class Local(Membership):
    """Roles on one machine, found by a directory."""

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
            raise ClusterError(f"a {member.role} named {member.node!r} runs already in the cluster "
                               f"{self._directory.name!r}: stop it or give another --name")
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


class Static(Membership):
    """Roles at addresses that the INI file names. A node's name is its address."""

    def __init__(self, config: Config) -> None:
        self._addresses = {"coordinator": config.cluster.coordinators, "compute": config.cluster.computes}

    def join(self, member: Member) -> None:
        pass  # the INI file has joined us already

    def members(self, role: str) -> list[Member]:
        return [Member(role, str(address), str(address), 1.0, "", 0.0) for address in self._addresses.get(role, ())]

    def leave(self) -> None:
        pass


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


def open_membership(config: Config) -> Membership:
    """The membership that ``[cluster] membership`` names."""
    if config.cluster.membership == "static":
        return Static(config)
    return Local(config.directory, config.cluster.name)


def member(role: str, node: str, address: str, capacity: float) -> Member:
    """A member that starts now."""
    from .. import __version__

    return Member(role, node, address, capacity, __version__, time.time())


def default_name(role: str) -> str:
    return f"{role}-{os.getpid()}"
