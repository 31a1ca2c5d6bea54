"""What the cluster says of itself: asked of the coordinators, which hear from everybody."""
from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ..batch import Payload
from ..cluster.membership import open_membership
from ..errors import ClusterError, WireError
from ..role import Who
from ..wire.messages import Message, StatusReply, StatusRequest
from ..wire.peer import Peer, connect
from .progress import Snapshot

if TYPE_CHECKING:
    from ..config import Config


def fetch(config: Config) -> dict[str, Any]:
    """``{"view": .., "members": [reports], "departed": [last reports]}``, each member once.

    Raises:
        ClusterError: no coordinator answers.
    """
    return asyncio.run(Watch(config).ask())


class Watch:
    """Asks as often as it is told to."""

    def __init__(self, config: Config) -> None:
        self._membership = open_membership(config)
        cluster = config.cluster
        self._who = Who(cluster.name, "status", "status", config.view, cluster.secret, cluster.max_frame_bytes)

    async def ask(self) -> dict[str, Any]:
        coordinators = self._membership.members("coordinator")
        if not coordinators:
            raise ClusterError(f"no coordinator of the cluster {self._who.cluster!r} is running here: start it by "
                               "drtc run or drtc coordinator")
        answers = await asyncio.gather(*(self._ask(member.address) for member in coordinators), return_exceptions=True)
        documents = [answer for answer in answers if isinstance(answer, dict)]
        if not documents:
            raise ClusterError(f"no coordinator answers: {answers[0]}")
        members: dict[tuple[str, str], dict[str, Any]] = {}
        for document in documents:
            for report in document["members"]:
                members[report["role"], report["node"]] = report
        departed = [report for document in documents for report in document["departed"]]
        return {"view": documents[0]["view"], "members": list(members.values()), "departed": departed}

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


def summarize(status: dict[str, Any]) -> Snapshot:
    """The whole cluster in one snapshot. Rates are for the caller to add: a status has no memory."""
    collectors = [report for report in status["members"] if report["role"] == "collector"]
    computes = [report for report in status["members"] if report["role"] == "compute"]
    partitions = [partition for report in collectors for partition in report["partitions"].values()]
    known = [partition for partition in partitions if partition["end"] is not None]
    bounded = bool(collectors) and all(report["bounded"] for report in collectors)
    troubles = [report["waiting"] for report in collectors] + [report["trouble"] for report in computes]
    return Snapshot(
        events=sum(report["events"] for report in collectors),
        lag=sum(max(0, partition["end"] - partition["offset"]) for partition in known) if known else None,
        total=sum(max(0, partition["end"] - partition["start"]) for partition in known) if bounded and known else None,
        position=sum(partition["offset"] - partition["start"] for partition in known) if bounded and known else None,
        oldest_unacknowledged=max((report["oldest"] for report in collectors), default=0.0),
        workers=sum(report["workers"] for report in computes),
        dead=sum(report["dead"] for report in collectors),
        stalled=any(report["stalled"] for report in collectors),
        waiting=next((trouble for trouble in troubles if trouble), ""),
    )
