"""``drtc run`` as a whole: a Job with side effects, the status, a second run, and processes that are left alone."""
from __future__ import annotations

import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from .running import Cluster, Process, until

COUNT = """
import drtc

class Job(drtc.Job):
    decode = drtc.text()
    events = drtc.Count()

    def map(self, line):
        yield line[0], {"events": 1}
"""
EFFECTS = """
import os
import drtc

class Job(drtc.Job):
    decode = drtc.text()

    def open(self, context):
        self.file = open(context.base / f"effects-{os.getpid()}.txt", "a", buffering=1)

    def run(self, batch):
        lines = batch.events()
        for line in lines:
            if line.startswith("raise"):
                raise ValueError(f"no {line}")
            if line.startswith("kill"):
                os._exit(9)
        for line in lines:
            self.file.write(f"{line}\\n")
"""


def family(process: Process) -> list[psutil.Process]:
    """The process and all below it, those of the compute node's forkserver included."""
    top = psutil.Process(process.pid)
    return [top, *top.children(recursive=True)]


def follow(path: str, **source: Any) -> dict[str, dict[str, Any]]:
    return {"source": {"type": "files", "path": path, "follow": "yes", **source}}


def effects(directory: Path) -> list[list[str]]:
    """What each worker wrote, in order."""
    return [path.read_text().splitlines() for path in sorted(directory.glob("effects-*.txt"))]


@pytest.mark.parametrize("route", ["partition", "csv:0"])
def test_run_has_every_event_in_order_at_least_once(tmp_path: Path, route: str) -> None:
    files = {f"in-{number}.txt": [f"{number}-{key},{at}" for at in range(3000) for key in range(3)]
             for number in range(4)}
    for name, lines in files.items():
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
    collector = {"route": route, "batch_bytes": "4K"}
    with Cluster(tmp_path, EFFECTS, {"source": {"type": "files", "path": "in-*.txt"}, "collector": collector,
                                     "coordinator": {"batch_bytes": "4K"}}) as cluster:
        code, said = cluster.run()
    assert code == 0 and "36,000 events stored" in said, said
    written = effects(tmp_path)
    assert Counter(line for lines in written for line in lines) == Counter(
        line for lines in files.values() for line in lines)  # nothing died: exactly once
    for lines in written:  # a worker sees a lane's events in order; which worker has it may change
        last: dict[str, int] = {}
        for line in lines:
            key, _, at = line.partition(",")
            assert last.get(key, -1) < int(at), f"{line} after {last[key]}"
            last[key] = int(at)


def test_an_event_that_raises_in_run_is_found_by_halves_and_the_others_are_not_lost(tmp_path: Path) -> None:
    lines = [f"{number}" for number in range(2000)]
    lines[7], lines[1234], lines[1999] = "raise 7", "raise 1234", "raise 1999"
    (tmp_path / "in.txt").write_text("".join(f"{line}\n" for line in lines))
    with Cluster(tmp_path, EFFECTS, {"source": {"type": "files", "path": "in.txt"}}) as cluster:
        code, said = cluster.run()
        letters = cluster.letters()
    assert code == 0 and "3 dead letters" in said, said
    assert [letter["raw"] for letter in letters] == ["raise 7", "raise 1234", "raise 1999"]
    assert letters[0]["error"] == "ValueError: no raise 7" and "in run" in letters[0]["traceback"]
    assert sorted({line for each in effects(tmp_path) for line in each}, key=int) == [
        line for line in lines if line.isdigit()]


def test_an_event_that_kills_run_s_worker_is_found_and_the_others_have_happened(tmp_path: Path) -> None:
    lines = [f"{number}" for number in range(500)]
    lines[123] = "kill 123"
    (tmp_path / "in.txt").write_text("".join(f"{line}\n" for line in lines))
    with Cluster(tmp_path, EFFECTS, {"source": {"type": "files", "path": "in.txt"}}) as cluster:
        code, said = cluster.run()
        letters = cluster.letters()
    assert code == 0, said
    assert [(letter["raw"], letter["error"]) for letter in letters] == [("kill 123", "it killed its worker 3 times")]
    assert {line for each in effects(tmp_path) for line in each} == set(lines) - {"kill 123"}


def test_the_status_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("a\nb\na\n")
    with Cluster(tmp_path, COUNT, follow("in.txt")) as cluster:
        assert "no coordinator of the cluster 'drtc' is running here: start it by" in cluster.ask("status", code=7)
        process = cluster.start("run")
        until(lambda: process.popen.poll() is None and "listening" in process.said
              and cluster.report("collector").get("events") == 3 and cluster.report("compute"), "three events")
        document = cluster.status()
        assert document["view"] == "job_v1"
        assert sorted(member["role"] for member in document["members"]) == ["collector", "compute", "coordinator"]
        collector = cluster.report("collector")
        assert collector["partitions"] == {"in.txt": {"offset": 6, "end": 6, "start": 0}}
        assert not collector["stalled"] and collector["waiting"] == "" and collector["dead"] == 0
        compute = cluster.report("compute")
        assert compute["workers"] == 2 and compute["trouble"] == "" and len(compute["pids"]) == 2
        shown = cluster.ask("status")
        assert all(word in shown for word in ("job_v1", "collector-1", "coordinator-1", "compute-1"))
        process.send(signal.SIGTERM)
        assert process.wait() == 0
        assert "drtc: 3 events stored in" in process.said


def test_a_second_run_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("a\n")
    with Cluster(tmp_path, COUNT, follow("in.txt")) as cluster:
        first = cluster.start("run")
        first.await_words("partition assigned")
        second = cluster.start("run")
        assert second.wait() == 7
        assert "the cluster 'drtc' is run already, since " in second.said and "Traceback" not in second.said
        assert "listening" not in second.said
        with open(tmp_path / "in.txt", "a") as file:
            file.write("b\n")
        until(lambda: cluster.records() == {"a": {"window": None, "events": 1}, "b": {"window": None, "events": 1}},
              "the first still counts")
        other = cluster.start("run", "--set", "cluster.name=other", "--set", "store.path=other.db")
        other.await_words("partition assigned")
        for process in (first, other):
            process.send(signal.SIGINT)
        assert [process.wait() for process in (first, other)] == [0, 0]


def test_roles_and_workers_end_when_their_supervisor_is_killed_and_the_next_run_is_exact(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("a\n" * 1000)
    with Cluster(tmp_path, COUNT, follow("in.txt")) as cluster:
        first = cluster.start("run")
        until(lambda: "coordinator listening" in first.said and cluster.report("collector").get("events") == 1000,
              "a thousand events")
        everybody = family(first)
        first.send(signal.SIGKILL)
        with open(tmp_path / "in.txt", "a") as file:
            file.write("a\n" * 500)
        second = cluster.start("run", "--until-end")  # at once: it waits for the orphans
        assert second.wait() == 0, second.said
        gone, alive = psutil.wait_procs(everybody, 10)
        assert not alive
        assert cluster.records()["a"]["events"] == 1500
        assert "supervisor gone, draining" in first.said


def test_a_run_waits_for_the_orphans_of_one_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("a\n" * 1000)
    with Cluster(tmp_path, COUNT, follow("in.txt")) as cluster:
        first = cluster.start("run")
        first.await_words("link up .*role=compute")
        everybody = family(first)
        slow = psutil.Process(until(lambda: cluster.report("compute").get("pid"), "the status shows the node"))
        slow.suspend()
        try:
            first.send(signal.SIGKILL)
            second = cluster.start("run", "--until-end")
            second.await_words("waiting for an earlier run's roles to end roles=compute-1")
        finally:
            slow.resume()
        assert second.wait() == 0, second.said
        assert cluster.records()["a"]["events"] == 1000
        assert not psutil.wait_procs(everybody, 10)[1]


def test_workers_end_when_their_node_is_killed_even_in_the_middle_of_a_map(tmp_path: Path) -> None:
    job = COUNT.replace("        yield", "        while line == 'for ever': pass\n        yield")
    (tmp_path / "in.txt").write_text("for ever\n")
    with Cluster(tmp_path, job, follow("in.txt")) as cluster:
        process = cluster.start("run")
        process.await_words("link up .*role=compute")
        until(lambda: cluster.report("compute").get("pieces"), "the piece is being mapped")
        node = psutil.Process(cluster.report("compute")["pid"])
        workers = node.children(recursive=True)
        assert len(workers) >= 3  # the forkserver and two workers
        node.kill()
        gone, alive = psutil.wait_procs(workers, 10)
        assert not alive
        process.await_words("role died .*role=compute")
        process.send(signal.SIGKILL)


def test_a_killed_role_is_started_again_and_nothing_is_lost(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("a\n")
    with Cluster(tmp_path, COUNT, follow("in.txt")) as cluster:
        process = cluster.start("run")
        until(lambda: "coordinator listening" in process.said and cluster.report("collector").get("events") == 1, "one")
        for number, role in enumerate(("collector", "compute", "coordinator")):
            victim = until(lambda: cluster.report(role).get("pid"), f"{role} is there")
            psutil.Process(victim).kill()
            process.await_words(f"role died role={role}")
            with open(tmp_path / "in.txt", "a") as file:
                file.write("a\n")
            until(lambda: cluster.records()["a"]["events"] == number + 2, f"counted after {role} was killed")
        process.send(signal.SIGTERM)
        assert process.wait() == 0, process.said
        assert cluster.records()["a"]["events"] == 4


def test_the_second_signal_ends_at_once(tmp_path: Path) -> None:
    job = COUNT.replace("        yield", "        while line == 'for ever': pass\n        yield")
    (tmp_path / "in.txt").write_text("for ever\n")
    with Cluster(tmp_path, job, follow("in.txt")) as cluster:
        process = cluster.start("run")
        process.await_words("link up .*role=compute")
        everybody = family(process)
        process.send(signal.SIGINT)
        process.await_words("run draining")
        time.sleep(0.3)  # two signals of one kind at the same time are one signal
        process.send(signal.SIGINT)
        assert process.wait(10) == 130
        assert not psutil.wait_procs(everybody, 10)[1]
