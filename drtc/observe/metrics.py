"""A role's report as Prometheus metrics. Every figure comes from the report; nothing is counted twice.

Counters are those of the report, which count from the start of the process and never go back.
"""
from __future__ import annotations

import platform
from typing import Any, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from .health import lags

MOST_SERIES = 200  # of one metric: what comes behind them is summed up as OTHER
OTHER = "other"

#: metric, key of the report, help
COUNTERS = (
    ("drtc_events", "events", "Events that a collector has read and that are stored."),
    ("drtc_handled_events", "handled", "Stored events that went through a coordinator or a compute node."),
    ("drtc_dead_letters", "dead", "Events that could not be counted and were set aside."),
    ("drtc_skipped", "skipped", "Messages without a body."),
    ("drtc_replayed", "replayed", "Records whose fence said: counted already."),
    ("drtc_saved", "saved", "Records saved."),
    ("drtc_worker_deaths", "deaths", "Worker processes that died."),
)
GAUGES = (
    ("drtc_stalled", "stalled", "1 while there is work and nothing is stored for [cluster] timeout."),
    ("drtc_idle_seconds", "idle", "How long nothing has moved though there is work."),
    ("drtc_oldest_unacknowledged_seconds", "oldest", "Age of the oldest batch that is sent and not stored."),
    ("drtc_uptime_seconds", "uptime", "Seconds since the role began."),
    ("drtc_draining", "draining", "1 while the role finishes what it has and takes nothing new."),
    ("drtc_pending_bytes", "pending", "Read and not sent."),
    ("drtc_in_flight_bytes", "flying", "Sent and not stored."),
    ("drtc_in_hand_bytes", "bytes", "Accepted by a compute node and not stored."),
    ("drtc_pieces", "pieces", "Pieces that a compute node has in hand."),
    ("drtc_workers", "workers", "Worker processes that are ready."),
)
#: whom a role is connected to where all is well: none of them is a figure as well
PEERS = {"collector": ("coordinator",), "coordinator": ("collector", "compute"), "compute": ("coordinator",)}
#: metric, key of the report, its value's key where it is one of several, label, help
TABLES = (
    ("drtc_node_bytes", "nodes", "bytes", "node", "What a compute node has in hand of this coordinator's."),
    ("drtc_node_tasks", "nodes", "tasks", "node", "Tasks that a compute node has in hand of this coordinator's."),
    ("drtc_node_share", "nodes", "share", "node", "What a compute node is given of its capacity, 0 to 1."),
)


class Exporter:
    """Exposes reports. Beside a role's own metrics stand those of its process, of Linux's /proc."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._source = _Source()
        self._registry.register(self._source)
        ProcessCollector(registry=self._registry)

    def expose(self, report: Mapping[str, Any], age: float, well: bool) -> tuple[str, bytes]:
        """Content type and body. ``age``: seconds since the report was made."""
        self._source.metrics = [*metrics(report), _gauge("drtc_beat_age_seconds", "Age of these figures.", age),
                                _gauge("drtc_healthy", "1 where /health answers 200.", well)]
        return CONTENT_TYPE_LATEST, generate_latest(self._registry)


class _Source(Collector):
    def __init__(self) -> None:
        self.metrics: list[Metric] = []

    def collect(self) -> Iterable[Metric]:
        return self.metrics


def metrics(report: Mapping[str, Any]) -> Iterator[Metric]:
    """What a report holds; what it does not hold is left out, so that a role shows only what is its own."""
    yield InfoMetricFamily("drtc_build", "What runs here.", {
        **{key: str(report.get(key, "")) for key in ("version", "role", "node", "view")},
        "python": platform.python_version()})
    for name, key, text in COUNTERS:
        if key in report:
            yield CounterMetricFamily(name, text, report[key])
    for name, key, text in GAUGES:
        if key in report:
            yield _gauge(name, text, report[key])
    if "depth" in report:
        queue = GaugeMetricFamily("drtc_queue_bytes", "Queued or under way at a coordinator.", labels=["where"])
        queue.add_metric(["memory"], report.get("memory", report["depth"]))
        queue.add_metric(["disk"], report.get("disk", 0))
        yield queue
    if "seconds" in report:
        stages = CounterMetricFamily("drtc_stage_seconds", "Where the workers' time went.", labels=["stage"])
        for stage, seconds in report["seconds"].items():
            stages.add_metric([stage], seconds)
        yield stages
    if "partitions" in report:
        yield _table("drtc_lag", "Offsets between what is stored and the end of a partition.", "partition",
                     lags(report["partitions"]))
    if "peers" in report:
        none = dict.fromkeys(PEERS.get(report.get("role", ""), ()), 0)
        yield _table("drtc_members", "Peers that are connected, by role.", "role", {**none, **report["peers"]})
    for name, key, part, label, text in TABLES:
        if key in report:
            values = {each: value.get(part) if part else value for each, value in report[key].items()}
            yield _table(name, text, label, {each: value for each, value in values.items() if value is not None})


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, float(value))


def _table(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    names = sorted(values, key=lambda each: (len(each), each))  # ads-9 before ads-10: the same ones at every scrape
    for each in names[:MOST_SERIES]:
        family.add_metric([each], values[each])
    if len(names) > MOST_SERIES:
        family.add_metric([OTHER], sum(values[each] for each in names[MOST_SERIES:]))
    return family
