"""The main job over all its real input: each of 5,466 records equals what SQLite works out from the same lines."""
from __future__ import annotations

from pathlib import Path

import pytest

from ..services import Kafka
from .exactness import check, flights_csv, read_lines, run, truth

JOB = {"job": {"class": "drtc.examples.flights:Flights"}}

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("route", ["partition", "csv:9"])
def test_all_flights_from_a_file(tmp_path: Path, route: str) -> None:
    path = flights_csv()
    database = run(tmp_path, {**JOB, "source": {"type": "files", "path": path, "skip_lines": 1},
                              "collector": {"route": route}, "compute": {"workers": 2}})
    check(database, truth(read_lines(path)))


def test_all_flights_through_kafka(kafka: Kafka, tmp_path: Path) -> None:
    lines = read_lines(flights_csv())
    topic = kafka.create_topic(kafka.fresh("flights"), 2)
    for partition in range(2):
        kafka.produce(topic, lines[partition::2], partition, compression="zstd")
    database = run(tmp_path, {**JOB, "source": {"type": "kafka", "brokers": kafka.address, "topic": topic}})
    check(database, truth(lines))
