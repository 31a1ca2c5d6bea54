"""Flights from files, in pieces of every size: a chunk is a batch, from a few dozen lines to 100,000 and more."""
from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from .exactness import check, flights_csv, read_lines, run, truth

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("chunk", "lines", "route", "workers", "fork"), [
    ("4K", 20_000, "partition", 2, "0"),
    ("4K", 20_000, "csv:9", 4, "256K"),
    ("1M", 60_000, "csv:9", 1, "0"),
    ("1M", 60_000, "message", 2, "256K"),
    ("32M", 120_000, "partition", 4, "0"),
    ("32M", 120_000, "csv:9", 2, "1G"),
])
def test_chunks_of_every_size(chunk: str, lines: int, route: str, workers: int, fork: str, tmp_path: Path) -> None:
    """Three files, one of them compressed."""
    flights = read_lines(flights_csv(), lines)
    ends = (lines // 6, lines // 3, lines)
    for number, (start, end) in enumerate(zip((0, *ends), ends)):
        share = b"".join(line + b"\n" for line in flights[start:end])
        if number == 1:
            (tmp_path / "flights-1.csv.gz").write_bytes(gzip.compress(share, 1))
        else:
            (tmp_path / f"flights-{number}.csv").write_bytes(share)
    source = {"type": "files", "path": "flights-*", "chunk_bytes": chunk, "max_line_bytes": "32M"}
    database = run(tmp_path, {
        "job": {"class": "drtc.examples.flights:Flights"}, "source": source,
        "collector": {"route": route, "batch_bytes": chunk}, "coordinator": {"batch_bytes": chunk},
        "compute": {"workers": workers, "fork_bytes": fork}})
    check(database, truth(flights))
