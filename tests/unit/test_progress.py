"""How a run is shown: live on a terminal, by log lines elsewhere."""
from __future__ import annotations

import io
import json
import logging
from typing import Iterator

import pytest

from drtc.observe.banner import Banner
from drtc.observe.logs import Log, start
from drtc.observe.progress import Progress, Snapshot, line, summary, trouble


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    root, ours = logging.getLogger(), logging.getLogger("drtc")
    handlers, level = list(root.handlers), ours.level
    start("text", stream)
    yield stream
    root.handlers[:] = handlers
    ours.setLevel(level)


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


def shown(snapshot: Snapshot) -> str:
    from rich.console import Console

    console = Console(file=io.StringIO(), width=160)
    with console.capture() as capture:
        console.print(line("flights_v1", snapshot))
    return capture.get().strip()


def test_a_log_line_now_and_then(log: io.StringIO) -> None:
    clock = Clock()
    with Progress("flights_v1", io.StringIO(), every=5, clock=clock) as progress:
        for step in range(40):  # ten seconds
            progress.update(Snapshot(events=step * 1000, events_per_second=9999.7, lag=5, workers=2))
            clock.now += 0.25
    lines = log.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[1].split(" ", 1)[1] == ("run progress view=flights_v1 events=20000 events_per_second=10000 lag=5 "
                                         "oldest=0.0s workers=2 dead=0")


def test_trouble_is_told_at_once_and_so_is_its_end(log: io.StringIO) -> None:
    clock = Clock()
    with Progress("v", io.StringIO(), every=5, clock=clock) as progress:
        progress.update(Snapshot(1))
        progress.update(Snapshot(1, waiting="waiting for kafka localhost:9092, attempt 3, next in 4 s"))
        progress.update(Snapshot(1, waiting="waiting for kafka localhost:9092, attempt 3, next in 4 s"))
        progress.update(Snapshot(2))
    lines = log.getvalue().splitlines()
    assert len(lines) == 3
    assert 'warning: progress' in lines[1]
    assert 'trouble="waiting for kafka localhost:9092, attempt 3, next in 4 s"' in lines[1]


def test_the_live_line_leaves_nothing_behind_and_is_not_drawn_too_often() -> None:
    clock, stream = Clock(), Terminal()
    with Progress("flights_v1", stream, clock=clock) as progress:
        progress.update(Snapshot(1234, 100, total=4936))
        progress.update(Snapshot(9999, 100, total=4936))
        drawn = stream.getvalue()
    assert "1,234 events" in drawn and "9,999" not in drawn and "25 %" in drawn
    assert stream.getvalue().endswith("\x1b[2K")


def test_the_live_line_says_what_matters() -> None:
    assert shown(Snapshot(151234, 107_949.2, lag=12, oldest_unacknowledged=0.24, workers=2)) == (
        "flights_v1 151,234 events · 108,000/s · lag 12 · oldest 0.2 s · 2 workers · 0 dead")
    bounded = shown(Snapshot(7, total=400, position=100, lag=300, workers=1, dead=3))
    assert bounded.startswith("flights_v1 ━━━") and " 25 % 7 events · " in bounded
    assert "lag" not in bounded and "1 worker ·" in bounded and "3 dead" in bounded
    assert "stalled: nothing is being stored · " in shown(Snapshot(1, stalled=True))


def test_the_end_is_known_or_not() -> None:
    assert Snapshot(5).fraction is None
    assert Snapshot(5, total=0).fraction == 1.0
    assert Snapshot(15, total=10).fraction == 1.0
    assert Snapshot(5, total=10).fraction == 0.5
    assert Snapshot(5, total=1000, position=250).fraction == 0.25


def test_trouble_names_what_is_waited_for() -> None:
    assert trouble(Snapshot(1)) == ""
    assert trouble(Snapshot(1, waiting="waiting for topic ads")) == "waiting for topic ads"
    assert trouble(Snapshot(1, waiting="sqlite is locked", stalled=True)) == "stalled: sqlite is locked"


@pytest.mark.parametrize("events, seconds, dead, sentence", [
    (336776, 3.1, 0, "336,776 events stored in 3.1 s (109,000/s), 0 dead letters"),
    (1, 0.5, 1, "1 event stored in 0.5 s (2/s), 1 dead letter (drtc dead list shows them)"),
    (0, 0.4, 0, "nothing new to store (0.4 s), 0 dead letters"),
    (5, 0.0, 0, "5 events stored in 0.0 s, 0 dead letters"),
])
def test_the_last_line(events: int, seconds: float, dead: int, sentence: str) -> None:
    assert summary(events, seconds, dead) == sentence


def test_the_words_of_a_log_line_never_change_with_its_values(log: io.StringIO) -> None:
    Log("collector", node="n 1").warning("batch refused 100%", lane="ads-0#3", seq=7, reason='say "no"', age=0.12345)
    assert log.getvalue().split(" ", 1)[1] == (
        'collector warning: batch refused 100% node="n 1" lane=ads-0#3 seq=7 reason="say \\"no\\"" age=0.123\n')


def test_on_a_terminal_a_log_line_clears_the_progress_line_of_another_process(log: io.StringIO) -> None:
    terminal = Terminal()
    start("text", terminal)
    Log("collector").warning("read")
    assert terminal.getvalue().startswith("\r\x1b[2K2") and terminal.getvalue().endswith("warning: read\n")


def test_a_value_cannot_forge_a_second_line(log: io.StringIO) -> None:
    Log("collector").info("read", partition="a\nb")
    assert log.getvalue().count("\n") == 1


def test_json_lines_are_objects(log: io.StringIO) -> None:
    start("json", log)
    start("json", log)  # twice is once
    try:
        raise ValueError("x")
    except ValueError:
        Log("compute").exception("save failed", batch=5, words="not mine")
    found = json.loads(log.getvalue())
    assert (found["level"], found["role"], found["words"], found["batch"]) == ("error", "compute", "save failed", 5)
    assert "ValueError: x" in found["traceback"] and found["time"].endswith("Z")


def test_libraries_are_heard_only_when_they_warn(log: io.StringIO) -> None:
    logging.getLogger("library").info("chatter")
    logging.getLogger("library").warning("trouble")
    Log("compute").debug("detail")
    assert [each.split(" ", 1)[1] for each in log.getvalue().splitlines()] == ["library warning: trouble"]


def test_the_banner_says_what_is_in_force() -> None:
    text = str(Banner("0.1.0", "run", "flights:Flights", "flights_v1", "files path=a.csv", "sqlite path=b.db",
                      "exactly once: offsets of the source, fences in every record", "a power cut"))
    assert text.splitlines() == [
        "drtc 0.1.0 · run", "  job        flights:Flights, view flights_v1", "  source     files path=a.csv",
        "  store      sqlite path=b.db · survives a power cut",
        "  guarantee  exactly once: offsets of the source, fences in every record"]
