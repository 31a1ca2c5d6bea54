"""Who is there: every kind of membership answers the same two questions, whom to connect to and how to be found."""
from __future__ import annotations

import os
import re
import socket
import time
from abc import ABC, abstractmethod
from typing import NamedTuple

from ..errors import ClusterError

JOIN_SECONDS = 10.0  # how long a start waits for a membership that does not answer, before it goes on without


class Member(NamedTuple):
    role: str
    node: str
    address: str  # host:port; empty where a role does not listen (a collector)
    capacity: float
    version: str
    started: float  # epoch seconds


class Membership(ABC):
    """Base of all kinds. Used by one thread, the role's event loop: only ``join``, ``look``, ``leave`` and ``close``
    may take time, and each says how much."""

    #: what is wrong now and may pass, such as "waiting for zookeeper 10.0.0.1:2181"; for ``drtc status``
    trouble = ""
    #: whether members of several machines meet in it, so that a name must be nobody else's on any of them
    wide = False

    @abstractmethod
    def join(self, member: Member) -> None:
        """Lets the others find us until ``leave`` or the end of this process. Called once.

        Returns after ``JOIN_SECONDS`` at the latest where the membership does not answer: we are found once it does.

        Raises:
            ClusterError: the name is taken by somebody alive, or the membership refuses us; trying again is no use.
        """

    @abstractmethod
    def members(self, role: str) -> list[Member]:
        """Those of the role that are there now, as far as is known.

        Called several times a second on the event loop: it never waits for anybody. While a membership cannot be
        reached these are the last that were known.
        """

    def look(self, role: str, patience: float = JOIN_SECONDS) -> list[Member]:
        """The same for somebody who asks once: waits until it is known who is there.

        Raises:
            ClusterError: it is not known after ``patience`` seconds.
        """
        return self.members(role)

    def check(self) -> None:
        """Called at every heartbeat: it never waits.

        Raises:
            ClusterError: what went wrong since ``join`` and will not mend, such as our name taken by somebody else.
        """

    @abstractmethod
    def leave(self) -> None:
        """We are found no more; ``members`` goes on. Waits a second at most. May be called again."""

    def close(self) -> None:
        """Leaves, and lets go of everything. The last call."""
        self.leave()


def member(role: str, node: str, address: str, capacity: float) -> Member:
    """A member that starts now.

    Raises:
        ClusterError: the node cannot be named so.
    """
    from .. import __version__

    if not re.fullmatch(r"[^\s/\x00-\x1f\x7f]+", node) or set(node) == {"."}:
        raise ClusterError(f"--name {node!r}: a node's name must have no spaces and no /, and must not be . or ..")
    return Member(role, node, address, capacity, __version__, time.time())


def taken(member: Member, cluster: str) -> ClusterError:
    """What ``join`` raises where somebody alive has the name."""
    return ClusterError(f"a {member.role} named {member.node!r} runs already in the cluster {cluster!r}: stop it or "
                        "give another --name")


def default_name(role: str) -> str:
    """A name that nobody else has, on any machine."""
    return f"{role}-{socket.gethostname()}-{os.getpid()}"
