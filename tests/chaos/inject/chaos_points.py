"""The named points of each role at which a chaos run kills or stops it. Plain names: nothing of drtc is imported here.

A point is a method through which every event has to pass; ``message`` narrows a method that sends frames of many kinds
to one kind. Both edges of the call are points: ``before`` nothing of it has happened, ``after`` all of it has.
"""
from __future__ import annotations

from typing import NamedTuple


class Point(NamedTuple):
    """Methods are given as ``module:Class.method``; the point is met in whichever of them is called."""

    methods: tuple[str, ...]
    message: str = ""  # the class of the frame that is sent


STORE = "drtc.stores.sqlite:SQLiteStore"  # DRTC_CHAOS_STORE names the one of a trial with another
SOURCES = ("drtc.sources.kafka:KafkaSource", "drtc.sources.files:FilesSource")

POINTS: dict[str, dict[str, Point]] = {
    "collector": {
        "read": Point(tuple(f"{source}.read" for source in SOURCES)),
        "accept": Point(("drtc.collector.flow:Flow.read",)),
        "send": Point(("drtc.wire.peer:Peer.send",), "Batches"),
        "answer": Point(("drtc.collector.flow:Flow.stored",)),
        "commit": Point(tuple(f"{source}.commit" for source in SOURCES)),
    },
    "coordinator": {
        "accept": Point(("drtc.coordinator.dispatch:Dispatch.accept",)),
        "send": Point(("drtc.wire.peer:Peer.send",), "Batches"),
        "stored": Point(("drtc.coordinator.dispatch:Dispatch.answered",)),
        "answer": Point(("drtc.wire.peer:Peer.send",), "Answer"),
    },
    "compute": {
        "accept": Point(("drtc.compute.plan:Plan.arrived",)),
        "map": Point(("drtc.compute.pool:Pool.send",), "Map"),
        "mapped": Point(("drtc.compute.plan:Plan.mapped",)),
        "save": Point(("drtc.compute.pool:Pool.send",), "Merge"),
        "stored": Point(("drtc.compute.plan:Plan.merged",)),
        "answer": Point(("drtc.wire.peer:Peer.send",), "Answer"),
    },
    "worker": {
        "map": Point(("drtc.compute.mapper:Mapper.map",)),
        "send": Point(("drtc.compute.pipe:Pipe.send",), "Mapped"),
        "accept": Point(("drtc.compute.merge:Merger.add",)),
        "save": Point((f"{STORE}.save",)),
        "write": Point(("drtc.stores.sqlite_table:Table.update",)),  # SQLite only; after: before COMMIT
        "answer": Point(("drtc.compute.pipe:Pipe.send",), "Merged"),
    },
}
EDGES = ("before", "after")
