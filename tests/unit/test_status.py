"""Several coordinators' answers become one status, and what a person and a script are told of it."""
from __future__ import annotations

import io
from typing import Any

import pytest

from drtc.cluster.membership import Member
from drtc.errors import DrtcError, Incomplete, Stalled
from drtc.observe import overview
from drtc.observe.overview import figures, headline, print_overview, problem
from drtc.observe.status import lacking, merge, summarize

Report = dict[str, Any]


def collector(node: str = "collector-1", **others: Any) -> Report:
    return {"role": "collector", "node": node, "started": 10.0, "uptime": 65.0, "version": "0.1.0", "pid": 12345,
            "state": "running", "stalled": False, "rate": 1000.0, "events": 5000, "dead": 1, "oldest": 0.25,
            "pending": 100, "flying": 24, "waiting": "", "bounded": False, "last_error": "",
            "partitions": {"ads-0": {"offset": 90, "end": 100, "start": 0},
                           "ads-1": {"offset": 50, "end": None, "start": 0}}, **others}


def coordinator(node: str = "coordinator-1", **others: Any) -> Report:
    return {"role": "coordinator", "node": node, "started": 10.0, "uptime": 65.0, "address": "127.0.0.1:7401",
            "state": "running", "stalled": False, "depth": 3 << 20, "memory": 1 << 20, "disk": 2 << 20,
            "lanes": {"ads-0#1": "compute-1", "ads-1#2": ""},
            "nodes": {"compute-1": {"tasks": 1, "bytes": 9, "share": 0.5}}, "last_error": "", **others}


def compute(node: str = "compute-1", **others: Any) -> Report:
    return {"role": "compute", "node": node, "started": 10.0, "uptime": 65.0, "address": "127.0.0.1:7411",
            "state": "running", "stalled": False, "workers": 2, "bytes": 2048, "deaths": 0, "trouble": "",
            "last_error": "lost coordinator-9: gone", **others}


def document(*members: Report, departed: tuple[Report, ...] = ()) -> dict[str, Any]:
    return {"view": "ads_v1", "members": list(members), "departed": list(departed)}


def member(role: str, node: str, address: str = "") -> Member:
    return Member(role, node, address, 1.0, "", 0.0)


LISTED = {"collector": [member("collector", "collector-1")], "compute": [member("compute", "compute-1", "1.2.3.4:5")]}


def whole(*documents: dict[str, Any], **listed: list[Member]) -> dict[str, Any]:
    return merge(documents or (document(coordinator(), collector(), compute()),), [], {**LISTED, **listed})


def names(status: dict[str, Any], part: str = "members") -> list[tuple[str, str]]:
    return sorted((each["role"], each["node"]) for each in status[part])


# --- several answers ---

def test_each_member_stands_there_once_as_it_was_heard_last() -> None:
    first = document(coordinator("coordinator-1"), compute(uptime=65.0, deaths=1), collector(events=1))
    second = document(coordinator("coordinator-2"), compute(uptime=65.5, deaths=2), collector(uptime=3, started=70.0))
    for documents in ((first, second), (second, first)):
        status = whole(*documents)
        assert names(status) == [("collector", "collector-1"), ("compute", "compute-1"),
                                 ("coordinator", "coordinator-1"), ("coordinator", "coordinator-2")]
        assert next(each for each in status["members"] if each["role"] == "compute")["deaths"] == 2
        assert next(each for each in status["members"] if each["role"] == "collector")["started"] == 70.0
        assert status["missing"] == []


def test_who_left_one_coordinator_and_is_at_another_has_not_departed() -> None:
    first = document(coordinator(), compute(), departed=(collector(), collector("collector-2", stopped=5.0)))
    second = document(coordinator("coordinator-2"), compute(), collector(),
                      departed=(collector("collector-2", stopped=6.0, events=7),))
    status = whole(first, second)
    assert names(status, "departed") == [("collector", "collector-2")]
    assert status["departed"][0]["events"] == 7


# --- who is missing ---

def test_who_is_listed_and_not_heard_from_is_missing() -> None:
    listed = [member("compute", "compute-1"), member("compute", "compute-2", "1.2.3.4:6")]
    status = whole(compute=listed)
    assert status["missing"] == [lacking("compute", "compute-2", "no coordinator hears from it")]
    assert isinstance(problem(status), Incomplete)


def test_a_role_that_nobody_fills_is_missing() -> None:
    status = whole(document(coordinator(nodes={})), collector=[], compute=[])
    assert [(each["role"], each["why"]) for each in status["missing"]] == [
        ("collector", "none is running"), ("compute", "none is running")]
    assert str(problem(status)) == "ads_v1 is incomplete: collector: none is running; compute: none is running"


@pytest.mark.parametrize("listed, listening", [
    ("127.0.0.1:7411", "127.0.0.1:7411"), ("10.0.0.3:7411", "0.0.0.0:7411"), ("[fd00::3]:7411", "[::]:7411"),
    ("node-three:7411", "10.0.0.3:7411")])
def test_a_static_address_is_known_again(listed: str, listening: str) -> None:
    """Also where it is listened on everywhere, or the INI file has the name of a host: as many as listed are there."""
    status = whole(document(coordinator(), collector(), compute(address=listening)),
                   compute=[member("compute", listed, listed)])
    assert status["missing"] == []


def test_addresses_that_say_nothing_are_counted() -> None:
    listed = [member("compute", name, name) for name in ("a:1", "b:1", "c:1")]
    status = whole(compute=listed)
    assert status["missing"] == [lacking("compute", "a:1, b:1, c:1", "no coordinator hears from 2 of these")]


def test_a_node_that_one_coordinator_does_not_reach_is_told() -> None:
    status = whole(document(coordinator(), collector(), compute()), document(coordinator("coordinator-2", nodes={})))
    assert status["missing"] == [lacking("compute", "compute-1", "is not connected to coordinator-2")]


def test_a_coordinator_that_does_not_answer_is_missing() -> None:
    silent = [lacking("coordinator", "coordinator-2", "does not answer at 127.0.0.1:1: refused")]
    status = merge([document(coordinator(), collector(), compute())], silent, LISTED)
    assert str(problem(status)) == ("ads_v1 is incomplete: coordinator coordinator-2: does not answer at 127.0.0.1:1: "
                                    "refused")


# --- what is told ---

def test_all_is_well() -> None:
    status = whole()
    assert problem(status) is None and headline(status) == "ads_v1 · running"
    assert figures(status) == ("5,000 events stored · 1,000/s · lag 10 · oldest unacknowledged 0.2 s · "
                               "queued 1 MiB in memory, 2 MiB on disk · 1 dead letter")


@pytest.mark.parametrize("sick", [coordinator(stalled=True, idle=12.0), collector(stalled=True, idle=12.0),
                                  compute(stalled=True, idle=12.0)])
def test_each_role_can_say_that_it_stalls(sick: Report) -> None:
    well = [each for each in (coordinator(), collector(), compute()) if each["role"] != sick["role"]]
    status = whole(document(*well, sick), compute=[])
    found = problem(status)
    assert isinstance(found, Stalled)
    assert headline(status) == str(found) == (
        f"ads_v1 is stalled: {sick['node']}: nothing was stored for 12 s though there is work")
    assert summarize(status).stalled


def test_who_waits_and_is_not_stalled_yet_is_no_problem_and_is_told() -> None:
    status = whole(document(coordinator(), collector(), compute(trouble="sqlite is locked")))
    assert problem(status) is None and headline(status) == "ads_v1 · sqlite is locked"


def test_a_sentence_names_a_few_and_counts_the_rest() -> None:
    nodes = [compute(f"compute-{number}", stalled=True, trouble="locked") for number in range(8)]
    found = problem(whole(document(coordinator(nodes={each["node"]: {} for each in nodes}), collector(), *nodes)))
    assert isinstance(found, DrtcError) and str(found).count("locked") == 3 and str(found).endswith("; and 5 more")


def test_the_codes_differ() -> None:
    assert len({0, 7, Stalled.exit_code, Incomplete.exit_code}) == 4


def printed(status: dict[str, Any]) -> str:
    stream = io.StringIO()
    print_overview(status, stream)
    return stream.getvalue()


def test_the_tables_show_who_has_what() -> None:
    status = whole(document(coordinator(), collector(), compute(),
                            departed=(collector("collector-9", stopped=1.0, events=7),)),
                   compute=[*LISTED["compute"], member("compute", "compute-2")])
    lines = [" ".join(line.split()) for line in printed(status).splitlines()]
    assert "role node address version uptime state events/s in hand share says" in lines
    assert "collector collector-1 – 0.1.0 1 min 5 s running 1,000 124 bytes – –" in lines
    assert "coordinator coordinator-1 127.0.0.1:7401 – 1 min 5 s running 0 3 MiB – –" in lines
    assert ("compute compute-1 127.0.0.1:7411 – 1 min 5 s running 0 2 KiB 50 % earlier: lost coordinator-9: gone"
            in lines)
    assert "compute compute-2 – – – MISSING – – – no coordinator hears from it" in lines
    assert "collector collector-9 – – – left – – – 7 events stored" in lines
    assert "ads-0#1 coordinator-1 compute-1" in lines and "ads-1#2 coordinator-1 –" in lines
    assert "ads-0 collector-1 90 100 10" in lines and "ads-1 collector-1 50 – –" in lines


def test_a_pid_is_no_quantity() -> None:
    assert "12,345" not in printed(whole())


def test_long_lists_are_cut_and_say_so() -> None:
    many = {f"p-{number}": {"offset": 0, "end": number, "start": 0} for number in range(50)}
    text = printed(whole(document(coordinator(lanes={f"p#{number}": "compute-1" for number in range(1000)}),
                                  collector(partitions=many), compute())))
    assert "… and 980 more: --format json shows all" in text and "… and 30 more" in text
    assert "p-49 " in text and "p-1 " not in text, "those that are furthest behind are shown"
    assert len(text.splitlines()) < 70


def test_reports_of_another_version_of_drtc_are_shown_as_far_as_they_go() -> None:
    bare = [{"role": role, "node": f"{role}-1"} for role in overview.ROLES]
    status = merge([{"view": "ads_v1", "members": bare, "departed": []}], [], LISTED)
    assert problem(status) is not None or "compute-1" in printed(status)
    assert "compute-1" in printed(status)
