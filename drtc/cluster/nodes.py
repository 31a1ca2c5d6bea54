"""Members as ephemeral nodes of ZooKeeper: ``/CLUSTER/ROLE/NODE``, below the chroot.

Works on a client that is connected; whatever goes wrong is raised as kazoo raises it. Used by one thread.
"""
from __future__ import annotations

import json
import socket
from typing import Any, Callable, TypeVar

from kazoo.client import KazooClient
from kazoo.exceptions import NodeExistsError, NoNodeError

from .known import Listing, unread
from .membership import Member
from .trace import is_dead, trace

T = TypeVar("T")
ANSWER_SECONDS = 10.0  # an answer that takes longer is taken for lost


class NoChroot(Exception):
    """The path that the INI file names does not exist."""


class Nodes:
    """Reads and writes the nodes of one cluster. ``changed`` is called, on kazoo's thread, when anything has."""

    def __init__(self, client: KazooClient, cluster: str, changed: Callable[[str], None]) -> None:
        self._client = client
        self._root = f"/{cluster}"
        self._changed = changed
        self._watches: dict[str, Callable[[Any], None]] = {}
        self._seen: dict[str, Listing] = {}

    def begin(self) -> None:
        """A session has begun: nothing that was read in an earlier one counts.

        Raises:
            NoChroot: and we do not make it, it may be misspelled.
        """
        self._seen.clear()
        if self._client.chroot and self._answer(self._client.exists_async("/")) is None:
            raise NoChroot

    def register(self, member: Member, session: int) -> bool:
        """Makes our node, or sees that it is there; False where another session has it, which may be about to end."""
        path = self._path(member)
        for _ in range(3):  # each time with one obstacle less
            try:
                self._answer(self._client.create_async(path, _encode(member), ephemeral=True))
                return True
            except NoNodeError:
                self._answer(self._client.ensure_path_async(f"{self._root}/{member.role}"))
                continue
            except NodeExistsError:
                pass
            try:
                content, stat = self._answer(self._client.get_async(path))
                if stat.ephemeralOwner == session:
                    return True  # made by a call whose answer was lost
                if not is_dead(_trace_in(content)):
                    return False
                self._answer(self._client.delete_async(path))  # or we would wait for its session to time out
            except NoNodeError:
                continue
        return False

    def is_registered(self, member: Member, session: int) -> bool:
        """Whether our node is there and ours; asks to be told when that changes."""
        stat = self._answer(self._client.exists_async(self._path(member), self._watch("")))
        return stat is not None and stat.ephemeralOwner == session

    def remove(self, member: Member, session: int) -> None:
        """Removes our node, if it is ours."""
        try:
            if self.is_registered(member, session):
                self._answer(self._client.delete_async(self._path(member)))
        except NoNodeError:
            pass

    def read(self, role: str) -> dict[str, Member]:
        """Everybody of a role; asks to be told when somebody comes or goes."""
        path, watch = f"{self._root}/{role}", self._watch(role)
        try:
            names, stat = self._answer(self._client.get_children_async(path, watch, include_data=True))
        except NoNodeError:
            self._seen.pop(role, None)
            # who makes it between the two calls is seen at once, by a second reading
            return self.read(role) if self._answer(self._client.exists_async(path, watch)) else {}
        before = self._seen.get(role)
        asked = unread(before, stat.czxid, stat.cversion, names)
        found = {name: before.members[name] for name in names if name not in asked} if before else {}
        answers = [(name, self._client.get_async(f"{path}/{name}")) for name in sorted(asked)]  # in one go
        for name, answer in answers:
            try:
                found[name] = _decode(role, name, self._answer(answer)[0])
            except NoNodeError:
                continue  # it has gone meanwhile, and the watch tells
        if len(found) == len(names):
            self._seen[role] = Listing(stat.czxid, stat.cversion, found)
        else:
            self._seen.pop(role, None)
        return {name: member for name, member in found.items() if member.version}

    def _path(self, member: Member) -> str:
        return f"{self._root}/{member.role}/{member.node}"

    def _watch(self, role: str) -> Callable[[Any], None]:
        """The same object each time: kazoo keeps a set of them for each path."""
        return self._watches.setdefault(role, lambda event: self._changed(role))

    def _answer(self, asked: Any) -> Any:
        return asked.get(timeout=ANSWER_SECONDS)


def _encode(member: Member) -> bytes:
    host, _, port = member.address.rpartition(":")
    address = f"{socket.getfqdn()}:{port}" if host in ("0.0.0.0", "[::]") else member.address
    return json.dumps({"address": address, "capacity": member.capacity, "version": member.version,
                       "started": member.started, "process": trace()}).encode()


def _decode(role: str, node: str, content: bytes) -> Member:
    """A member without a version where the node is none of ours."""
    try:
        found = json.loads(content)
        return Member(role, node, str(found["address"]), float(found["capacity"]), str(found["version"]),
                      float(found["started"]))
    except (ValueError, LookupError, TypeError):
        return Member(role, node, "", 0.0, "", 0.0)


def _trace_in(content: bytes) -> str:
    try:
        return str(json.loads(content)["process"])
    except (ValueError, LookupError, TypeError):
        return ""
