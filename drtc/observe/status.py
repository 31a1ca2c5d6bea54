"""What the cluster says of itself: asked of the coordinators, which hear from everybody, and held against the
membership, which knows who should be there."""
from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Iterable, Mapping, Sequence

from ..batch import Payload
from ..cluster.kinds import open_membership
from ..cluster.membership import Member
from ..errors import ClusterError, WireError
from ..wire.identity import identity
from ..wire.messages import Message, StatusReply, StatusRequest
from ..wire.peer import Peer, connect
from .health import lags, trouble_of
from .progress import Snapshot

if TYPE_CHECKING:
    from ..config import Config

ROLES = ("collector", "coordinator", "compute")
ANYWHERE = ("0.0.0.0", "[::]")  # listened on, but nobody's address

Report = dict[str, Any]


def fetch(config: Config) -> dict[str, Any]:
    """``{"view": .., "members": [reports], "departed": [last reports], "missing": [{"role", "node", "why"}]}``, each
    member once.

    Raises:
        ClusterError: no coordinator answers.
    """
    return asyncio.run(Watch(config).ask())


class Watch:
    """Asks as often as it is told to."""

    def __init__(self, config: Config) -> None:
        self._membership = open_membership(config)
        self._who = identity(config, "status", "status")

    async def ask(self) -> dict[str, Any]:
        coordinators = await asyncio.to_thread(self._membership.look, "coordinator")  # waits where it is not known yet
        if not coordinators:
            raise ClusterError(f"no coordinator of the cluster {self._who.cluster!r} is running here: start it by "
                               "drtc run or drtc coordinator")
        answers = await asyncio.gather(*(self._ask(member.address) for member in coordinators), return_exceptions=True)
        documents = [answer for answer in answers if isinstance(answer, dict)]
        if not documents:
            raise ClusterError(f"no coordinator answers: {answers[0]}")
        silent = [lacking("coordinator", member.node, f"does not answer at {member.address}: {why or 'no answer'}")
                  for member, why in zip(coordinators, answers) if isinstance(why, BaseException)]
        listed = {role: await asyncio.to_thread(self._membership.look, role) for role in ("collector", "compute")}
        return merge(documents, silent, listed)

    async def _ask(self, address: str) -> dict[str, Any]:
        reply: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

        def on_frame(peer: Peer, message: Message, payload: Payload) -> None:
            if isinstance(message, StatusReply) and not reply.done():
                reply.set_result(message.document)

        def on_gone(peer: Peer, why: str) -> None:
            if not reply.done():
                reply.set_exception(WireError(why))

        peer = await connect(self._who, address, "coordinator", on_frame, on_gone)
        try:
            peer.send(StatusRequest())
            return await asyncio.wait_for(reply, 5.0)
        finally:
            peer.connection.close("asked and answered")


def lacking(role: str, node: str, why: str) -> dict[str, str]:
    """Somebody who should be there and is not, or is not connected to somebody."""
    return {"role": role, "node": node, "why": why}


def merge(documents: Sequence[Mapping[str, Any]], silent: Iterable[dict[str, str]],
          listed: Mapping[str, Sequence[Member]]) -> dict[str, Any]:
    """One status of what several coordinators say, of those that do not answer, and of those that the membership
    lists."""
    members = _latest((report for document in documents for report in document["members"]), "uptime")
    departed = _latest((report for document in documents for report in document["departed"]), "stopped")
    missing = [*silent, *_not_there(listed, members.values()), *_not_connected(members.values())]
    return {"view": documents[0]["view"], "members": list(members.values()),
            "departed": [report for key, report in departed.items() if key not in members], "missing": missing}


def _latest(reports: Iterable[Report], age: str) -> dict[tuple[str, str], Report]:
    """The newest report of each: of its last start, and there the one made last."""
    found: dict[tuple[str, str], Report] = {}
    for report in reports:
        key = report["role"], report["node"]
        if key not in found or _order(report, age) > _order(found[key], age):
            found[key] = report
    return found


def _order(report: Report, age: str) -> tuple[float, float]:
    return report.get("started", 0.0), report.get(age, 0.0)


def _not_there(listed: Mapping[str, Sequence[Member]], reports: Iterable[Report]) -> list[dict[str, str]]:
    found = []
    for role, members in listed.items():
        there = [report for report in reports if report["role"] == role]
        unseen = [member for member in members if not any(_same(member, report) for report in there)]
        absent = len(members) - len(there)
        if not members and not there:
            found.append(lacking(role, "", "none is running"))
        elif unseen and len(unseen) == absent:
            found += [lacking(role, member.node, "no coordinator hears from it") for member in unseen]
        elif unseen and absent > 0:  # addresses that do not say whose they are: names of hosts, translated ones
            names = ", ".join(member.node for member in unseen)
            found.append(lacking(role, names, f"no coordinator hears from {absent} of these"))
    return found


def _same(member: Member, report: Report) -> bool:
    address = str(report.get("address", ""))
    host, _, port = address.rpartition(":")
    return (member.node == report["node"] or bool(address) and member.address == address
            or host in ANYWHERE and member.address.rpartition(":")[2] == port)


def _not_connected(reports: Iterable[Report]) -> list[dict[str, str]]:
    """Compute nodes that one coordinator hears from and another does not: half of a broken network."""
    reports = list(reports)
    nodes = [report["node"] for report in reports if report["role"] == "compute"]
    return [lacking("compute", node, f"is not connected to {report['node']}")
            for report in reports if report["role"] == "coordinator"
            for node in nodes if node not in report.get("nodes", {})]


def summarize(status: Mapping[str, Any]) -> Snapshot:
    """The whole cluster in one snapshot."""
    collectors, coordinators, computes = (
        [report for report in status["members"] if report["role"] == role] for role in ROLES)
    partitions = [partition for report in collectors for partition in report.get("partitions", {}).values()]
    known = [partition for partition in partitions if partition["end"] is not None]
    bounded = bool(collectors) and all(report.get("bounded") for report in collectors)
    troubles = map(trouble_of, [*collectors, *computes, *coordinators])
    return Snapshot(
        events=sum(report.get("events", 0) for report in collectors),
        events_per_second=sum(report.get("rate", 0.0) for report in collectors),
        lag=sum(sum(lags(report.get("partitions", {})).values()) for report in collectors) if known else None,
        total=sum(max(0, partition["end"] - partition["start"]) for partition in known) if bounded and known else None,
        position=sum(partition["offset"] - partition["start"] for partition in known) if bounded and known else None,
        oldest_unacknowledged=max((report.get("oldest", 0.0) for report in collectors), default=0.0),
        workers=sum(report.get("workers", 0) for report in computes),
        dead=sum(report.get("dead", 0) for report in collectors),
        stalled=any(report.get("stalled") for report in status["members"]),
        waiting=next(filter(None, troubles), ""),
    )
