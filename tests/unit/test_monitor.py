"""The HTTP port's answers, and the verdict in them: no socket, a clock that is set by hand."""
from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from drtc.observe.health import Health, heard, judge
from drtc.observe.monitor import Board, respond

TIMEOUT = 10.0
REPORT: dict[str, Any] = {"role": "compute", "node": "n1", "state": "running", "stalled": False, "idle": 0.0,
                          "trouble": "", "last_error": "lost c1", "seconds": {"map": 1.5}, "lanes": {"a#1": "n1"}}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board(clock: Clock) -> Board:
    board = Board(TIMEOUT, clock)
    board.post(REPORT)
    return board


def health(board: Board) -> tuple[int, dict[str, Any]]:
    reply = board.reply("/health")
    return reply.status, json.loads(reply.body)


@pytest.mark.parametrize("changed, verdict, well", [
    ({}, Health("running"), True),
    ({"state": "draining"}, Health("draining"), True),
    ({"stalled": True, "idle": 12.3}, Health("stalled", "nothing was stored for 12 s though there is work"), False),
    ({"stalled": True, "trouble": "sqlite is locked"}, Health("stalled", "sqlite is locked"), False),
    ({"trouble": "sqlite is locked"}, Health("trouble", "sqlite is locked"), False),
    ({"waiting": "waiting for kafka"}, Health("trouble", "waiting for kafka"), False),
    ({"state": "draining", "trouble": "sqlite is locked"}, Health("trouble", "sqlite is locked"), False),
])
def test_health_is_progress(changed: dict[str, Any], verdict: Health, well: bool) -> None:
    found = judge({**REPORT, **changed})
    assert found == verdict and found.well is well and found.alive


def test_a_report_of_another_version_is_judged_by_what_it_says() -> None:
    assert judge({"role": "compute", "node": "n1"}) == Health("running")


def test_a_loop_that_hangs_is_seen() -> None:
    assert heard(REPORT, TIMEOUT, TIMEOUT).alive
    hung = heard(REPORT, 11.0, TIMEOUT)
    assert hung == Health("silent", "its loop has not come round for 11 s") and not hung.well and not hung.alive


def test_a_start_that_takes_long_is_not_well_and_is_alive() -> None:
    starting = {**REPORT, "state": "starting"}
    assert heard(starting, 1.0, TIMEOUT).well
    late = heard(starting, 11.0, TIMEOUT)
    assert late == Health("starting", "it has been starting for 11 s") and not late.well and late.alive


def test_health_answers_200_or_503(board: Board, clock: Clock) -> None:
    status, said = health(board)
    assert status == 200 and said["health"] == "running" and said["node"] == "n1" and said["last_error"] == "lost c1"
    assert "seconds" not in said and "lanes" not in said
    board.post({**REPORT, "stalled": True, "idle": 30.0})
    status, said = health(board)
    assert status == 503 and said["health"] == "stalled" and "30 s" in said["why"]
    assert board.reply("/live").status == 200, "starting it again would not help"
    clock.now += 11
    assert health(board)[0] == 503 and board.reply("/live").status == 503


def test_what_the_role_goes_on_changing_does_not_change_what_hangs_there() -> None:
    board, seconds = Board(TIMEOUT), {"map": 1.0}
    board.post({**REPORT, "seconds": seconds})
    seconds["merge"] = 2.0
    assert b'stage="map"' in board.reply("/metrics").body
    assert b'stage="merge"' not in board.reply("/metrics").body


def test_metrics_without_their_library_say_what_to_install(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "drtc.observe.metrics", raising=False)
    reply = board.reply("/metrics")
    assert (reply.status, reply.body) == (501, b"metrics need prometheus_client: pip install 'drtc[metrics]'\n")
    assert board.reply("/health").status == 200


@pytest.mark.parametrize("head, status", [
    (b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 200), (b"GET /health?a=b HTTP/1.0\r\n\r\n", 200),
    (b"HEAD /health HTTP/1.1\r\n\r\n", 200), (b"GET / HTTP/1.1\r\n\r\n", 404),
    (b"GET /../etc/passwd HTTP/1.1\r\n\r\n", 404), (b"POST /health HTTP/1.1\r\n\r\n", 405),
    (b"\xff\xfe\x00\r\n\r\n", 400), (b"\r\n\r\n", 400), (b"GET /health\r\n\r\n", 400),
    (b"drtc\x01\x02\r\n\r\n", 400),
])
def test_every_request_gets_a_whole_answer(board: Board, head: bytes, status: int) -> None:
    answer = respond(head, board)
    first, _, rest = answer.partition(b"\r\n")
    heads, _, body = rest.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 %d " % status) and b"Connection: close" in heads
    length = int(heads.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
    assert len(body) == (0 if head.startswith(b"HEAD") else length) and length > 0
