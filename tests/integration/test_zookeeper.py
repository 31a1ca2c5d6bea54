"""Membership by a real ZooKeeper: outages, lost sessions, names, credentials; and a whole job over it."""
from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest
from kazoo.exceptions import NoAuthError

from drtc.cluster.membership import Membership, member
from drtc.cluster.trace import trace
from drtc.cluster.zookeeper import ZooKeeper as Members
from drtc.errors import ClusterError
from drtc.settings import Cluster as Settings

from ..services import ZooKeeper
from ..services.base import free_port
from ..services.zookeeper import PASSWORD, USER
from .running import ROOT, Cluster, Process, until

SESSION = 1.0  # seconds; the shortest that the tests' server grants
Opened = Callable[..., Members]


@pytest.fixture
def opened(zookeeper: ZooKeeper) -> Iterator[Opened]:
    """Opens memberships of one chroot, which are closed when the test ends."""
    everything: list[Membership] = []
    chroot = ""

    def open_one(**settings: Any) -> Members:
        nonlocal chroot
        if "zookeeper" not in settings:
            chroot = chroot or zookeeper.chroot()
            settings["zookeeper"] = zookeeper.address + chroot
        everything.append(Members(Settings(membership="zookeeper", zookeeper_timeout=SESSION, **settings)))
        return everything[-1]

    yield open_one
    for each in everything:
        each.close()


def compute(number: int) -> Any:
    return member("compute", f"compute-{number}", f"127.0.0.1:{7200 + number}", 2.0)


def session_of(membership: Members) -> int:
    return membership._session


def see(membership: Members, *numbers: int) -> None:
    """Exactly these are there, in the end."""
    wanted = [f"compute-{number}" for number in numbers]
    until(lambda: [each.node for each in membership.members("compute")] == wanted, f"{wanted}", 15.0)


class Gaze(threading.Thread):
    """Looks all the time whether somebody who is there is missing."""

    def __init__(self, membership: Members, *numbers: int) -> None:
        super().__init__()
        self._membership = membership
        self._wanted = [f"compute-{number}" for number in numbers]
        self._over = threading.Event()
        self.missed: list[list[str]] = []
        self.slowest = 0.0

    def run(self) -> None:
        while not self._over.wait(0.002):
            began = time.perf_counter()
            found = [each.node for each in self._membership.members("compute")]
            self.slowest = max(self.slowest, time.perf_counter() - began)
            if found != self._wanted:
                self.missed.append(found)

    def __enter__(self) -> Gaze:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self.join()


# --- what is written ---

def test_a_member_is_an_ephemeral_node_of_json(zookeeper: ZooKeeper, opened: Opened) -> None:
    ours = opened(name="flights")
    us = member("compute", "compute-1", "0.0.0.0:7201", 4.0)
    ours.join(us)
    chroot = ours._ensemble.chroot
    with zookeeper.client() as client:
        content, stat = client.get(f"{chroot}/flights/compute/compute-1")
    found = json.loads(content)
    host, _, port = found.pop("address").rpartition(":")
    assert host not in ("", "0.0.0.0") and port == "7201"  # others could not reach that
    assert found == {"capacity": 4.0, "version": us.version, "started": us.started, "process": trace()}
    assert stat.ephemeralOwner == session_of(ours)
    ours.leave()
    with zookeeper.client() as client:
        assert client.get_children(f"{chroot}/flights/compute") == []


def test_nodes_of_others_are_left_alone_and_not_taken_for_members(zookeeper: ZooKeeper, opened: Opened) -> None:
    ours = opened()
    ours.join(compute(1))
    with zookeeper.client() as client:
        path = f"{ours._ensemble.chroot}/drtc/compute"
        for number, content in enumerate((b"", b"\xff", b"[]", b'{"address": "a:1"}')):
            client.create(f"{path}/other-{number}", content)
        ours._changed("compute")
        see(ours, 1)
        client.set(f"{path}/other-0", b"still")
    other = opened()
    assert [each.node for each in other.look("compute")] == ["compute-1"]


# --- outages ---

def test_members_stay_while_zookeeper_is_away_and_when_it_comes_back(zookeeper: ZooKeeper, opened: Opened) -> None:
    ours, other = opened(), opened()
    ours.join(compute(1))
    other.join(compute(2))
    see(ours, 1, 2)
    with Gaze(ours, 1, 2) as gaze:
        zookeeper.kill()
        until(lambda: "waiting for zookeeper " + zookeeper.address in ours.trouble, "it says so")
        time.sleep(2 * SESSION)
        ours.check()
        zookeeper.start()
        until(lambda: not ours.trouble and not other.trouble, "they have met again")
        time.sleep(2 * SESSION)  # longer than a session that nobody kept alive
    assert not gaze.missed
    third = opened()
    third.join(compute(3))
    see(ours, 1, 2, 3)


def test_a_zookeeper_that_hangs_is_away(zookeeper: ZooKeeper, opened: Opened) -> None:
    ours = opened()
    ours.join(compute(1))
    see(ours, 1)
    with Gaze(ours, 1) as gaze:
        zookeeper.freeze()
        try:
            until(lambda: "waiting for zookeeper" in ours.trouble, "it says so")
            began = time.monotonic()
            ours.leave()
            assert time.monotonic() - began < 5  # the role that stops is not held up
        finally:
            zookeeper.thaw()
    assert not gaze.missed
    see(ours)


def test_a_wiped_zookeeper_knows_everybody_again(zookeeper: ZooKeeper, opened: Opened) -> None:
    with zookeeper.client() as client:  # more transactions than the wiped one sees in this test
        client.create("/before")
        for done in [client.set_async("/before", b"") for _ in range(5000)]:
            done.get(timeout=30)
    both = [opened(zookeeper=zookeeper.address) for _ in range(2)]  # a chroot would be gone with the rest
    for number, each in enumerate(both):
        each.join(compute(number))
    for each in both:
        see(each, 0, 1)
    before = [session_of(each) for each in both]
    with Gaze(both[0], 0, 1) as gaze:
        zookeeper.wipe()
        until(lambda: zookeeper.owner("/drtc/compute/compute-0") and zookeeper.owner("/drtc/compute/compute-1"),
              "both are registered again")
        until(lambda: not any(each.trouble for each in both), "all is well")
        time.sleep(0.5)
    assert not gaze.missed
    assert not set(before) & {session_of(each) for each in both}


def test_a_wiped_zookeeper_without_the_chroot_is_told_and_work_goes_on(zookeeper: ZooKeeper, opened: Opened) -> None:
    ours = opened()
    ours.join(compute(1))
    see(ours, 1)
    with Gaze(ours, 1) as gaze:
        zookeeper.wipe()
        until(lambda: f"has no {ours._ensemble.chroot}: create it" in ours.trouble, "it says so")
        ours.check()
        with zookeeper.client() as client:
            client.create(ours._ensemble.chroot)
        until(lambda: not ours.trouble, "all is well")
    assert not gaze.missed
    assert zookeeper.owner(f"{ours._ensemble.chroot}/drtc/compute/compute-1") == session_of(ours)


def test_an_expired_session_is_followed_by_another(zookeeper: ZooKeeper, opened: Opened) -> None:
    ours, other = opened(), opened()
    ours.join(compute(1))
    other.join(compute(2))
    see(ours, 1, 2)
    path = f"{ours._ensemble.chroot}/drtc/compute/compute-1"
    for _ in range(3):
        before = zookeeper.owner(path)
        with Gaze(ours, 1, 2) as gaze:
            zookeeper.expire(before)
            until(lambda: zookeeper.owner(path) not in (0, before), "registered again")
        assert not gaze.missed  # not even ourselves
        see(other, 1, 2)
    ours.check()


def test_who_is_late_after_a_lost_session_is_not_missed_for_a_while(zookeeper: ZooKeeper, opened: Opened) -> None:
    ours, other = opened(name="late", zookeeper=zookeeper.address), opened(name="late", zookeeper=zookeeper.address)
    ours.join(compute(1))
    other.join(compute(2))
    see(ours, 1, 2)
    zookeeper.kill()
    other.close()
    zookeeper.wipe()
    until(lambda: zookeeper.owner("/late/compute/compute-1"), "registered again")
    assert [each.node for each in ours.members("compute")] == ["compute-1", "compute-2"]  # it may still come
    see(ours, 1)


def test_a_node_that_somebody_removed_is_made_again(zookeeper: ZooKeeper, opened: Opened) -> None:
    ours = opened()
    ours.join(compute(1))
    path = f"{ours._ensemble.chroot}/drtc/compute/compute-1"
    with zookeeper.client() as client:
        client.delete(path)
    until(lambda: zookeeper.owner(path) == session_of(ours), "made again")
    ours.check()


def test_a_start_without_zookeeper_goes_on_and_registers_later(opened: Opened, caplog: pytest.LogCaptureFixture,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drtc.cluster.zookeeper.JOIN_SECONDS", 4.0)
    server = ZooKeeper()
    server.install()
    with server:
        server.stop()
        ours = opened(zookeeper=server.address)
        with caplog.at_level(logging.INFO, "drtc"):
            ours.join(compute(1))
            ours.check()
            assert ours.members("compute") == []
            with pytest.raises(ClusterError, match=f"zookeeper {server.address} does not answer: start it, or"):
                ours.look("compute", 0.1)
            server.start()
            see(ours, 1)
    said = [f"{record.message} {getattr(record, 'drtc_values', '')}" for record in caplog.records]
    assert any(f"waiting for zookeeper {server.address}, attempt 1, next in 2 s" in line for line in said), said
    assert any("zookeeper answers" in line for line in said)


# --- what is wrong for good ---

def test_a_chroot_that_does_not_exist_is_not_made(zookeeper: ZooKeeper, opened: Opened) -> None:
    ours = opened(zookeeper=f"{zookeeper.address}/prod/flihgts")
    with pytest.raises(ClusterError, match=f"^zookeeper {zookeeper.address} has no /prod/flihgts: create it .*zkCli.sh "
                                           f"-server {zookeeper.address} create /prod/flihgts.*, or correct"):
        ours.join(compute(1))
    with zookeeper.client() as client:
        assert client.exists("/prod") is None


@pytest.mark.parametrize("sasl", [False, True])
def test_only_who_has_the_credentials_reads_or_writes(zookeeper: ZooKeeper, opened: Opened, sasl: bool) -> None:
    auth = {"zookeeper_auth": f"{USER}:{PASSWORD}", "zookeeper_sasl": sasl}
    ours, other = opened(**auth), opened(**auth)
    ours.join(compute(1))
    assert [each.node for each in other.look("compute")] == ["compute-1"]
    path = f"{ours._ensemble.chroot}/drtc"
    with zookeeper.client() as client:
        for each in (path, f"{path}/compute", f"{path}/compute/compute-1"):
            for forbidden in (client.get, client.get_children, client.get_acls, lambda path: client.set(path, b"")):
                with pytest.raises(NoAuthError):
                    forbidden(each)
        with pytest.raises(NoAuthError):
            client.create(f"{path}/compute/compute-2", b"{}")
    refused = "refuses the credentials in .cluster. zookeeper_auth: set those that its nodes were made by"
    for settings, why in (({}, "is not open to everybody: set .cluster. zookeeper_auth = USER:PASSWORD"),
                          ({**auth, "zookeeper_auth": "other:words"}, refused),
                          ({**auth, "zookeeper_auth": f"{USER}:wrong"}, refused)):
        stranger = opened(**settings)
        began = time.monotonic()
        with pytest.raises(ClusterError, match=f"^zookeeper {zookeeper.address} at {path} {why}$"):
            stranger.join(compute(2))
        assert time.monotonic() - began < 8  # at once, not after all patience
        with pytest.raises(ClusterError, match=why):
            opened(**settings).look("compute")
    see(ours, 1)


def test_a_namesake_that_takes_the_name_of_one_that_was_cut_off_ends_it(zookeeper: ZooKeeper, opened: Opened) -> None:
    ours, namesake = opened(), opened()
    ours.join(compute(1))
    see(ours, 1)
    path = f"{ours._ensemble.chroot}/drtc/compute/compute-1"
    with zookeeper.client() as client:  # a name that is taken the moment it is free
        transaction = client.transaction()
        transaction.delete(path)
        transaction.create(path, b"{}", ephemeral=True)
        assert transaction.commit()[1] == path

        def ended() -> bool:
            try:
                ours.check()
            except ClusterError as error:
                return "a compute named 'compute-1' runs already in the cluster 'drtc'" in str(error)
            return False

        until(ended, "the name is taken", 15.0)
    namesake.join(compute(1))  # and free again


def test_the_name_of_a_process_that_was_killed_here_is_free_at_once(zookeeper: ZooKeeper, opened: Opened,
                                                                    tmp_path: Path) -> None:
    chroot = zookeeper.chroot()
    program = f"""
import time
from drtc.cluster.membership import member
from drtc.cluster.zookeeper import ZooKeeper
from drtc.settings import Cluster
ours = ZooKeeper(Cluster(membership="zookeeper", zookeeper="{zookeeper.address}{chroot}", zookeeper_timeout=10))
ours.join(member("compute", "compute-1", "127.0.0.1:1", 1.0))
print("joined", flush=True)
time.sleep(60)
"""
    first = Process([sys.executable, "-c", program], tmp_path / "log", {**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        first.await_words("joined")
        second = opened(zookeeper=f"{zookeeper.address}{chroot}")
        with pytest.raises(ClusterError, match="runs already"):
            second.join(compute(1))  # it lives
    finally:
        first.end()
    third = opened(zookeeper=f"{zookeeper.address}{chroot}")
    path = f"{chroot}/drtc/compute/compute-1"
    orphan = zookeeper.owner(path)
    third.join(compute(1))
    assert orphan and zookeeper.owner(path) == session_of(third)


def test_somebody_else_at_that_port_is_not_a_zookeeper(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drtc.cluster.zookeeper.JOIN_SECONDS", 3.0)
    with socket.create_server(("127.0.0.1", free_port())) as server:
        def answer() -> None:
            try:
                while True:
                    caller, _ = server.accept()
                    caller.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    caller.close()
            except OSError:
                pass

        threading.Thread(target=answer, daemon=True).start()
        ours = opened(zookeeper="127.0.0.1:%d" % server.getsockname()[1])
        ours.join(compute(1))
        assert "waiting for zookeeper" in ours.trouble
        server.shutdown(socket.SHUT_RDWR)


# --- a whole job ---

COUNT = """
import time
import drtc

class Job(drtc.Job):
    decode = drtc.text()
    events = drtc.Count()

    def map(self, line):
        yield line.split()[0], {"events": 1}
"""


def sections(zookeeper: ZooKeeper, path: str = "in.txt") -> dict[str, dict[str, Any]]:
    return {"cluster": {"membership": "zookeeper", "zookeeper": zookeeper.address + zookeeper.chroot(),
                        "zookeeper_timeout": "1s", "heartbeat": "200ms", "timeout": "5s"},
            "source": {"type": "files", "path": path, "follow": "yes"}, "collector": {"route": "message", "slots": 8}}


def add(path: Path, count: int) -> None:
    with open(path, "a") as file:
        file.write("".join(f"{number % 7} event\n" for number in range(count)))


@pytest.mark.slow
def test_a_job_goes_on_while_zookeeper_is_killed_and_is_exact(zookeeper: ZooKeeper, tmp_path: Path) -> None:
    add(tmp_path / "in.txt", 7000)
    with Cluster(tmp_path, COUNT, sections(zookeeper)) as cluster:
        roles = {name: cluster.start(name.partition("-")[0], "--name", name)
                 for name in ("coordinator-1", "coordinator-2", "compute-1", "compute-2", "collector-1")}

        def counted() -> int:
            return sum(record["events"] for record in cluster.records().values())

        roles["collector-1"].await_words("link up .*node=coordinator-2")
        for coordinator in ("coordinator-1", "coordinator-2"):
            roles[coordinator].await_words("link up .*node=compute-1")
            roles[coordinator].await_words("link up .*node=compute-2")
        until(lambda: counted() == 7000, "the first are counted")
        members = cluster.status()["members"]
        assert sorted((each["role"], each["node"]) for each in members) == sorted(
            (name.partition("-")[0], name) for name in roles)
        zookeeper.kill()
        try:
            add(tmp_path / "in.txt", 7000)
            until(lambda: counted() == 14000, "counted without ZooKeeper")
            roles["coordinator-1"].await_words("zookeeper warning: membership waits")
            assert "zookeeper" in cluster.ask("status", code=7)  # who comes anew cannot know who is there
        finally:
            zookeeper.start()
        add(tmp_path / "in.txt", 7000)
        until(lambda: counted() == 21000, "counted with ZooKeeper again")
        roles["compute-2"].popen.kill()
        roles["compute-2"].popen.wait()
        roles["compute-2"] = cluster.start("compute", "--name", "compute-2")
        roles["compute-2"].await_words("listening")
        add(tmp_path / "in.txt", 7000)
        until(lambda: counted() == 28000, "counted after a node was killed and started again")
        for name, process in roles.items():
            assert "link lost" not in process.said or name.startswith("coordinator"), process.said
            assert "reading again" not in process.said, process.said
        for name in ("collector-1", "coordinator-1", "coordinator-2", "compute-1", "compute-2"):
            roles[name].send(signal.SIGTERM)
            assert roles[name].wait() == 0, roles[name].said
        assert {key: record["events"] for key, record in cluster.records().items()} == {
            str(key): 4000 for key in range(7)}


@pytest.mark.slow
def test_drtc_run_over_zookeeper(zookeeper: ZooKeeper, tmp_path: Path) -> None:
    add(tmp_path / "in.txt", 700)
    with Cluster(tmp_path, COUNT, sections(zookeeper)) as cluster:
        first = cluster.start("run")
        until(lambda: first.popen.poll() is None and "partition assigned" in first.said, "it runs")
        second = cluster.start("run")
        assert second.wait() == 7
        assert "the cluster 'drtc' is run already, since " in second.said and "Traceback" not in second.said
        until(lambda: sum(record["events"] for record in cluster.records().values()) == 700, "all is counted")
        first.send(signal.SIGKILL)
        add(tmp_path / "in.txt", 700)
        third = cluster.start("run", "--until-end")
        assert third.wait() == 0, third.said
        assert sum(record["events"] for record in cluster.records().values()) == 1400
        assert "Traceback" not in third.said


@pytest.mark.parametrize("setting, why", [
    ("zookeeper=127.0.0.1:2181/a,b:2181/c", "must end with one chroot"),
    ("zookeeper=nowhere", "must be host:port, or several"),
    ("zookeeper=", "zookeeper needs zookeeper, such as host:2181"),
    ("zookeeper_auth=me", "zookeeper_auth: must be user:password"),
    ("zookeeper_sasl=yes", "zookeeper_sasl: needs zookeeper_auth"),
])
def test_settings_that_do_not_fit(setting: str, why: str, tmp_path: Path) -> None:
    with Cluster(tmp_path, COUNT, {"cluster": {"membership": "zookeeper", "zookeeper": "127.0.0.1:1"},
                                   "source": {"type": "files", "path": "in.txt"}}) as cluster:
        assert why in cluster.ask("config", "--set", f"cluster.{setting}", code=2)
