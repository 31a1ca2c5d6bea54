from __future__ import annotations

from pathlib import Path

from drtc.codecs.csv import Csv
from drtc.examples.flights import COLUMNS, Flight, Flights
from drtc.job import describe
from drtc.loading import load_job

LINES = [
    b"2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z",
    b"2013,1,1,533,529,4,850,830,20,UA,1714,N24211,LGA,IAH,227,1416,5,29,2013-01-01T10:00:00Z",
    b"2013,1,1,NA,1210,NA,NA,1330,NA,UA,3461,NA,LGA,BNA,NA,764,12,10,2013-01-01T17:00:00Z",
]


def test_a_line_becomes_a_flight() -> None:
    codec = describe(Flights).codec
    assert isinstance(codec, Csv) and len(COLUMNS) == 19
    flights = [Flight(2013, 1, 1, 517, 2, "UA", "IAH"), Flight(2013, 1, 1, 533, 4, "UA", "IAH"),
               Flight(2013, 1, 1, None, None, "UA", "BNA")]
    assert codec.decode_many(LINES) == list(map(codec.decode, LINES)) == flights


def test_a_day_of_a_carrier() -> None:
    spec = describe(load_job("drtc.examples.flights:Flights", Path()))
    job = spec.cls()
    read = spec.bind(job)
    assert read is not None and spec.window is not None
    states = {name: aggregate.zero() for name, aggregate in spec.fields.items()}
    for flight in spec.codec.decode_many(LINES):
        assert spec.window.bounds(spec.window.index(read(flight))) == (1356998400, 1357084800)
        [(key, fields)] = job.map(flight) or ()
        assert key == "UA"
        for name, value in fields.items():
            states[name] = spec.fields[name].add(states[name], value)
    assert {name: spec.fields[name].show(state) for name, state in states.items()} == {
        "flights": 3, "cancellations": 1, "mean_delay": 3.0, "worst_delay": 4,
        "delays": {"p50": 2.0, "p90": 4.0, "p99": 4.0}, "destinations": [["IAH", 2], ["BNA", 1]]}
