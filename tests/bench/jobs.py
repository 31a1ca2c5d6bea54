"""The jobs that are measured. A run copies this file beside its INI file, as a user would have it."""
from __future__ import annotations

import json
from typing import Any, Iterator

import drtc


class AdEvent(drtc.Event):
    ad_id: str
    event_type: str
    event_time: int  # milliseconds


class CampaignViews(drtc.Job):
    """Views of each campaign in ten-second windows of event time: the Yahoo streaming benchmark."""

    decode = drtc.json(AdEvent)
    time = drtc.millis("event_time")
    window = drtc.Tumbling(seconds=10)

    views = drtc.Count()

    def open(self, context: drtc.Context) -> None:
        with open(context.options["campaigns"]) as file:
            self.campaign: dict[str, str] = json.load(file)

    def map(self, event: AdEvent) -> Iterator[tuple[str, dict[str, Any]]]:
        if event.event_type == "view":
            yield self.campaign[event.ad_id], {"views": 1}


class Action(drtc.Event):
    device: str
    doc: str
    type: str
    timestamp: float


class Profile(drtc.Job):
    """What each device viewed and collected: light_drtc's own example."""

    decode = drtc.csv(Action)

    views = drtc.Count()
    collects = drtc.Count()
    recent = drtc.Recent(20)

    def map(self, action: Action) -> Iterator[tuple[str, dict[str, Any]]]:
        yield action.device, {f"{action.type}s": 1, "recent": action.doc}
