"""Health is progress, seen from outside: HTTP ports, metrics and the exit code of ``drtc status`` of real roles."""
from __future__ import annotations

import http.client
import json
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from drtc.errors import ClusterError, Incomplete, Stalled
from drtc.observe.logs import Log
from drtc.observe.monitor import MOST_CONNECTIONS, Monitor
from drtc.values import Address

from ..services import Kafka
from .gated import Gated, Stream
from .running import Cluster, Process, until

pytestmark = pytest.mark.slow

ROLES = ("coordinator", "compute", "collector")
ANY = "127.0.0.1:0"
HTTP = [word for role in ROLES for word in ("--set", f"{role}.http={ANY}")]
EVENTS = 6_000
JOB = """
import drtc


class Job(drtc.Job):
    decode = drtc.text()
    count = drtc.Count()

    def map(self, word):
        yield word, {"count": 1}
"""


def get(address: str, path: str) -> tuple[int, str]:
    host, _, port = address.rpartition(":")
    with closing(http.client.HTTPConnection(host, int(port), timeout=10)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()


def health(address: str) -> tuple[int, dict[str, Any]]:
    status, body = get(address, "/health")
    return status, json.loads(body)


def metrics(address: str) -> dict[tuple[str, ...], float]:
    status, text = get(address, "/metrics")
    assert status == 200, text
    return {(sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text) for sample in family.samples}


def await_health(address: str, code: int, state: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        status, said = health(address)
        return said if (status, said["health"]) == (code, state) else None

    found = until(look, f"{address} is {state}")
    assert found is not None
    return found


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """One on a small growing file, with an HTTP port for each role."""
    (tmp_path / "in.txt").write_text("a\nb\na\n")
    with Cluster(tmp_path, JOB, {
            "cluster": {"heartbeat": 0.2, "timeout": 2},
            "source": {"type": "files", "path": "in.txt", "follow": "yes"},
            "collector": {"http": ANY}, "coordinator": {"http": ANY},
            "compute": {"http": ANY, "workers": 2}}) as cluster:
        yield cluster


def port(process: Process, role: str) -> str:
    return process.await_words(rf"{role} monitor listening .*address=(\S+)")[1]


def test_a_store_that_stops_is_seen_everywhere_and_so_is_its_return(tmp_path: Path) -> None:
    """The workers stand at the gate, so that every queue is full; then the store is locked and the gate opened."""
    stream = Stream("files", Kafka(), tmp_path, 7, EVENTS)  # a broker that is never started
    stream.write()
    with Gated(tmp_path, stream) as cluster:
        cluster.close_gate(EVENTS // 2)
        run = cluster.start("run", *HTTP)
        cluster.await_gate(run)
        ports = {role: port(run, role) for role in ROLES}
        for address in ports.values():
            said = await_health(address, 503, "stalled")
            assert said["why"] and get(address, "/live") == (200, "alive\n"), "starting it again would not help"
        assert "tally_v1 is stalled: " in cluster.ask("status", code=Stalled.exit_code)
        assert all(report["stalled"] for report in cluster.status()["members"])

        with closing(sqlite3.connect(tmp_path / "results.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            cluster.open_gate()
            until(lambda: "results.db" in health(ports["compute"])[1]["why"], "the store is named")
            before = {role: metrics(address) for role, address in ports.items()}
            assert "results.db" in await_health(ports["compute"], 503, "stalled")["why"]
            other.execute("ROLLBACK")
        assert all(found["drtc_stalled",] == 1 and found["drtc_healthy",] == 0 and found["drtc_idle_seconds",] > 2
                   for found in before.values())
        assert before["collector"]["drtc_oldest_unacknowledged_seconds",] > 2
        assert before["coordinator"]["drtc_queue_bytes", "memory"] > 0 and before["compute"]["drtc_in_hand_bytes",] > 0

        until(lambda: metrics(ports["collector"])["drtc_events_total",] == EVENTS, "the rest is stored")
        for address in ports.values():
            assert await_health(address, 200, "running")["why"] == ""
        shown = cluster.ask("status")
        assert shown.startswith(f"tally_v1 · running\n{EVENTS:,} events stored")
        after = {role: metrics(address) for role, address in ports.items()}
        cluster.check_all()
    for role in ROLES:
        counters = [key for key in before[role] if key[0].endswith("_total")]
        assert counters and all(after[role][key] >= before[role][key] for key in counters)
        assert after[role]["drtc_stalled",] == 0
    assert after["coordinator"]["drtc_members", "compute"] == after["collector"]["drtc_members", "coordinator"] == 1
    assert after["compute"]["drtc_workers",] == 2 and after["compute"]["drtc_stage_seconds_total", "map"] > 0
    assert {after[role]["drtc_handled_events_total",] for role in ("coordinator", "compute")} == {EVENTS}


def test_a_node_that_is_not_there_is_seen_until_it_comes(cluster: Cluster) -> None:
    coordinator = cluster.start("coordinator", "--name", "coordinator-1")
    address = port(coordinator, "coordinator")
    coordinator.await_words("coordinator listening")
    collector = cluster.start("collector", "--name", "collector-1")
    await_health(port(collector, "collector"), 503, "stalled")
    assert "waiting for a compute node" in await_health(address, 503, "stalled")["why"]
    assert cluster.status()["missing"] == [{"role": "compute", "node": "", "why": "none is running"}]
    cluster.ask("status", code=Stalled.exit_code)
    compute = cluster.start("compute", "--name", "compute-1")
    await_health(address, 200, "running")
    until(lambda: cluster.report("collector").get("events") == 3 and not cluster.status()["missing"], "all is stored")
    assert "running" in cluster.ask("status")
    compute.end()
    until(lambda: not cluster.report("compute"), "its end is heard of")
    text = cluster.ask("status", code=Incomplete.exit_code)
    assert text == "drtc: job_v1 is incomplete: compute: none is running\n"


def test_a_port_in_use_is_a_sentence(cluster: Cluster) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        for role in ROLES:
            text = cluster.ask(role, "--set", f"{role}.http={address}", code=7)
            assert f"cannot listen on {address}: Address already in use; set another [{role}] http" in text


# --- the port itself ---

@pytest.fixture
def monitor() -> Iterator[Monitor]:
    monitor = Monitor(Log("compute"), Address("127.0.0.1", 0), 0.2)
    monitor.open({"role": "compute", "node": "n1", "state": "running"})
    yield monitor
    monitor.close()


def test_it_answers_and_says_so_when_the_role_s_loop_hangs(monitor: Monitor) -> None:
    """Nobody beats here: that is what a hung loop looks like."""
    until(lambda: health(monitor.listening)[0] == 503, "the loop is taken for hung")
    assert health(monitor.listening)[1]["health"] == "silent"
    assert get(monitor.listening, "/live")[0] == 503


def test_strangers_who_say_nothing_are_few_and_do_not_stay(monitor: Monitor) -> None:
    host, _, port = monitor.listening.rpartition(":")
    strangers = [socket.create_connection((host, int(port)), 10) for _ in range(MOST_CONNECTIONS + 8)]
    for stranger in strangers[:4]:
        stranger.sendall(b"GET /health HTTP/1.1\r\n")  # and no end
    for stranger in strangers:
        assert ended(stranger)
        stranger.close()
    assert get(monitor.listening, "/health")[0] in (200, 503)


def test_a_request_without_an_end_is_cut_off(monitor: Monitor) -> None:
    host, _, port = monitor.listening.rpartition(":")
    with socket.create_connection((host, int(port)), 10) as stranger:
        with pytest.raises(OSError):
            for _ in range(1000):
                stranger.sendall(b"x" * 65536)
    assert get(monitor.listening, "/nothing")[0] == 404


def test_an_address_that_is_not_ours_is_a_sentence() -> None:
    for address, why in ((Address("192.0.2.1", 0), "Cannot assign requested address"),
                         (Address("no.such.host.invalid", 0), "the host is not known here")):
        with pytest.raises(ClusterError, match=f"cannot listen on {address}: {why}; set another .compute. http"):
            Monitor(Log("compute"), address, 1.0).open({})


def ended(sock: socket.socket) -> bool:
    """Reads until the other side closes."""
    try:
        while sock.recv(1 << 16):
            pass
    except ConnectionResetError:
        pass
    return True
