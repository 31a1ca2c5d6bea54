"""Hostile and mistaken peers at the ports of real roles: one line in the log, a closed connection, and nothing else."""
from __future__ import annotations

import os
import resource
import socket
import struct
import threading
from pathlib import Path
from typing import Any, Iterator, Sequence

import msgspec
import psutil
import pytest

from drtc.batch import Header
from drtc.wire.frames import HEAD, MAX_HEADER, encode
from drtc.wire.messages import (
    NONCE_BYTES, Answer, Batches, Beat, Challenge, Hello, Merge, Message, Refused, StatusReply, StatusRequest, Stop,
    Welcome, Window)

from .running import ANY_JOB, Caller, Cluster, Process, until

SECRET = "open sesame"
HEADER = Header("p", 0, "s.1", 0, 0, 9, 10, "messages", 3)


def sections(directory: Path) -> dict[str, dict[str, Any]]:
    return {"source": {"type": "files", "path": "none.txt"},
            "cluster": {"directory": str(directory / "members"), "heartbeat": 0.5}}


class Roles:
    """A coordinator and a compute node, with a secret."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.processes = {role: cluster.start(role, "--name", f"{role}-1") for role in ("coordinator", "compute")}
        self.addresses = {role: process.await_words(r"listening .*address=(\S+)")[1]
                          for role, process in self.processes.items()}
        self.processes["coordinator"].await_words("link up")

    def call(self, role: str) -> Caller:
        return Caller(self.addresses[role])

    def peer(self, to: str, role: str, **others: str) -> Caller:
        caller = self.call(to)
        welcome = caller.greet(role, SECRET, **others)
        assert isinstance(welcome, Welcome), welcome
        return caller

    def status(self) -> dict[str, Any]:
        """Asked by hand, which shows that a role goes on and lets good peers in."""
        caller = self.peer("coordinator", "status")
        caller.pipe.send(StatusRequest())
        reply = caller.receive().message
        assert isinstance(reply, StatusReply)
        caller.close()
        return reply.document


@pytest.fixture(scope="module")
def roles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Roles]:
    directory = tmp_path_factory.mktemp("wire")
    with Cluster(directory, ANY_JOB, sections(directory), {"DRTC_CLUSTER_SECRET": SECRET}) as cluster:
        yield Roles(cluster)


@pytest.fixture(autouse=True)
def all_goes_on(request: pytest.FixtureRequest) -> Iterator[None]:
    """Around every test with roles: a peer that behaves stays connected, and the role answers afterwards."""
    if "roles" not in request.fixturenames:
        yield
        return
    roles: Roles = request.getfixturevalue("roles")
    bystander = roles.peer("coordinator", "collector", node="bystander")
    yield
    bystander.pipe.send(Beat({"node": "bystander", "marked": True}))
    until(lambda: any(report.get("marked") for report in roles.status()["members"]), "the bystander is still heard", 5)
    bystander.close()
    for process in roles.processes.values():
        assert process.popen.poll() is None and "Traceback" not in process.said, process.said


def refused(process: Process, caller: Caller, why: str) -> None:
    """Closed, with one line that says why."""
    name = caller.name
    assert caller.ended()
    process.await_words(rf"warning: connection refused .*peer={name} why=.*{why}", 5)
    assert process.said.count(f"peer={name} ") == 1
    caller.close()


TLS = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32)
GARBAGE = {
    "http": (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "something else speaks on this port"),
    "tls": (TLS, "the peer speaks TLS and this side does not"),
    "random": (b"\xde\xad\xbe\xef" * 5000, "something else speaks on this port"),
    "another version": (HEAD.pack(b"drtc", 2, 2, 0, 10, 0), "speaks version 2 of the protocol"),
    "unknown kind": (HEAD.pack(b"drtc", 1, 77, 0, 10, 0), "unknown kind 77"),
    "huge header": (HEAD.pack(b"drtc", 1, 2, 0, MAX_HEADER, 0), "at most 4096 are taken"),
    "huge payload": (HEAD.pack(b"drtc", 1, 2, 0, 10, 2 ** 32 - 1), "at most 0 are taken"),
    "malformed": (HEAD.pack(b"drtc", 1, 2, 0, 4, 0) + b"\xc1\xc1\xc1\xc1", "a Hello frame is malformed"),
    "list of billions": (HEAD.pack(b"drtc", 1, 2, 0, 5, 0) + b"\xdd\xff\xff\xff\xff", "a Hello frame is malformed"),
    "deeply nested": (HEAD.pack(b"drtc", 1, 8, 0, 4004, 0) + b"\x91\x81\xa1a" + b"\x91" * 4000,
                      "a Beat frame is malformed"),
    "no greeting": (encode(Batches(1, [])), "a Batches frame arrived before the greeting"),
    "a worker's frame": (encode(Stop()), "a Stop frame arrived before the greeting"),
    "our own words": (encode(Challenge(b"n" * NONCE_BYTES, "0")), "a Challenge frame arrived before the greeting"),
}


@pytest.mark.parametrize("role", ["coordinator", "compute"])
@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_closes_the_connection_with_one_line(roles: Roles, role: str, what: str) -> None:
    garbage, why = GARBAGE[what]
    caller = roles.call(role)
    caller.sock.sendall(garbage)
    refused(roles.processes[role], caller, why)


def test_half_a_frame_is_not_waited_for_forever(roles: Roles) -> None:
    half, silent = roles.call("coordinator"), roles.call("coordinator")
    half.sock.sendall(encode(half.hello("collector", SECRET))[:-1])
    refused(roles.processes["coordinator"], half, "no greeting arrived in time")
    refused(roles.processes["coordinator"], silent, "no greeting arrived in time")


def test_half_a_frame_and_the_end_is_said(roles: Roles) -> None:
    caller = roles.call("coordinator")
    caller.sock.sendall(encode(caller.hello("collector", SECRET))[:-1])
    caller.sock.shutdown(socket.SHUT_WR)
    refused(roles.processes["coordinator"], caller, "in the middle of a frame")


@pytest.mark.parametrize("others, why", [
    ({"secret": "wrong"}, "the secrets differ"),
    ({"secret": ""}, "the secrets differ"),
    ({"cluster": "other"}, "this is the cluster 'drtc', not 'other'"),
    ({"view": "job_v2"}, "this cluster computes job_v1, not job_v2"),
    ({"role": "compute"}, "this is a coordinator: a compute has nothing to do here"),
    ({"role": "emperor"}, "this is a coordinator: a emperor has nothing to do here"),
    ({"view": ""}, "this cluster computes job_v1, not "),
])
def test_a_stranger_is_told_why_it_is_refused(roles: Roles, others: dict[str, str], why: str) -> None:
    caller = roles.call("coordinator")
    reply = caller.greet(**{"role": "collector", "secret": SECRET, **others})
    assert isinstance(reply, Refused) and why in reply.reason
    refused(roles.processes["coordinator"], caller, why.replace("'", "."))


def test_a_recorded_proof_is_worth_nothing(roles: Roles) -> None:
    first = roles.call("coordinator")
    hello = first.hello("collector", SECRET)
    first.pipe.send(hello)
    assert isinstance(first.receive().message, Welcome)
    second = roles.call("coordinator")
    second.pipe.send(hello)
    reply = second.receive().message
    assert isinstance(reply, Refused) and "the secrets differ" in reply.reason
    refused(roles.processes["coordinator"], second, "the secrets differ")
    first.close()


def test_our_own_proof_sent_back_is_worth_nothing(roles: Roles) -> None:
    """What the role itself proves as a client to one listener, or as a listener to a client, opens no other door."""
    first, second = roles.call("coordinator"), roles.call("coordinator")
    reply = first.greet("collector", SECRET)
    assert isinstance(reply, Welcome)
    second.pipe.send(msgspec.structs.replace(second.hello("collector"), proof=reply.proof))
    assert isinstance(second.receive().message, Refused)
    refused(roles.processes["coordinator"], second, "the secrets differ")
    first.close()


def test_who_does_not_know_the_secret_learns_nothing_else(roles: Roles) -> None:
    caller = roles.call("coordinator")
    reply = caller.greet("collector", "wrong", cluster="other", view="other")
    assert reply == Refused("the secrets differ: see [cluster] secret")
    refused(roles.processes["coordinator"], caller, "the secrets differ")


def test_a_proof_holds_for_what_it_was_made_for(roles: Roles) -> None:
    caller = roles.call("coordinator")
    hello = msgspec.structs.replace(caller.hello("status", SECRET), role="collector")
    caller.pipe.send(hello)
    assert isinstance(caller.receive().message, Refused)
    refused(roles.processes["coordinator"], caller, "the secrets differ")


class Impostor(threading.Thread):
    """Listens where a coordinator should, and answers a greeting as well as one can without the secret."""

    def __init__(self, answers: Sequence[Message]) -> None:
        super().__init__(daemon=True)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self._server.getsockname()[1]
        self._answers = answers

    def run(self) -> None:
        sock, _ = self._server.accept()
        with sock:
            sock.sendall(encode(Challenge(os.urandom(NONCE_BYTES), "0.1.0")))
            sock.recv(1 << 16)
            sock.sendall(b"".join(map(encode, self._answers)))
            sock.recv(1 << 16)
        self._server.close()


@pytest.mark.parametrize("answers, why", [
    ([Welcome("coordinator-1", 1, 1, b"")], "does not know the secret"),
    ([Welcome("coordinator-1", 1, 1, b"p" * 32), StatusReply({})], "does not know the secret"),
    ([StatusReply({"members": []})], "sent a StatusReply frame before its greeting"),
    ([Challenge(b"n" * NONCE_BYTES, "0")], "sent a Challenge frame before its greeting"),
    ([Refused("go away")], "refused us: go away"),
])
def test_who_connects_wants_a_proof_as_well(roles: Roles, answers: list[Message], why: str) -> None:
    impostor = Impostor(answers)
    impostor.start()
    sets = ("cluster.membership=static", "cluster.computes=127.0.0.1:1", f"cluster.coordinators={impostor.address}")
    text = roles.cluster.ask("status", *(word for each in sets for word in ("--set", each)), code=7)
    assert why in text
    impostor.join(10)


@pytest.mark.parametrize("to, role, message", [
    ("coordinator", "collector", Answer(1, [])),
    ("coordinator", "collector", StatusRequest()),
    ("coordinator", "collector", Stop()),
    ("coordinator", "collector", Hello("drtc", "collector", "x", "job_v1", "0", b"n" * NONCE_BYTES, b"")),
    ("coordinator", "collector", Merge(1, [], 0)),
    ("coordinator", "collector", Refused("no")),
    ("compute", "coordinator", Window(5)),
])
def test_a_frame_that_is_not_its_role_s_ends_a_peer(roles: Roles, to: str, role: str, message: Message) -> None:
    peer = roles.peer(to, role, node="confused")
    peer.pipe.send(message)
    assert peer.ended()
    frame = type(message).__name__
    roles.processes[to].await_words(
        rf"{role} lost .*{role}=confused why=.*(no business sending|no use for) a {frame} frame", 5)
    peer.close()


@pytest.mark.parametrize("to, message", [("coordinator", Batches(0, [HEADER])), ("coordinator", Beat({})),
                                         ("compute", StatusRequest()), ("compute", Batches(0, [HEADER]))])
def test_who_only_asks_for_the_status_may_do_nothing_else(roles: Roles, to: str, message: Message) -> None:
    peer = roles.peer(to, "status")
    peer.pipe.send(message, [b"abc"] if isinstance(message, Batches) else ())
    refused(roles.processes[to], peer, f"a {type(message).__name__} frame")


def changed(**fields: Any) -> list[Header]:
    return [msgspec.structs.replace(HEADER, **fields)]


@pytest.mark.parametrize("headers, payload, why", [
    (changed(size=2), b"abc", "add up to 2 bytes, its payload has 3"),
    (changed(size=4), b"abc", "add up to 4 bytes, its payload has 3"),
    (changed(size=2 ** 63), b"abc", "add up to .* bytes, its payload has 3"),
    (changed(size=-1), b"abc", "make no sense"),
    (changed(first=10), b"abc", "make no sense"),
    (changed(encoding="pickle"), b"abc", "unknown encoding .*pickle"),
    (changed() * 2, b"abcabc", "stands twice"),
])
@pytest.mark.parametrize("to, role", [("coordinator", "collector"), ("compute", "coordinator")])
def test_headers_that_do_not_add_up_end_a_peer(roles: Roles, to: str, role: str, headers: list[Header], payload: bytes,
                                               why: str) -> None:
    peer = roles.peer(to, role, node="careless")
    raw = msgspec.msgpack.encode([1, headers])  # as Batches would refuse to be made
    peer.sock.sendall(HEAD.pack(b"drtc", 1, 5, 0, len(raw), len(payload)) + raw + payload)
    assert peer.ended()
    roles.processes[to].await_words(rf"{role} lost .*{role}=careless why=.*{why}", 5)
    peer.close()


def test_a_gap_in_a_stream_ends_a_collector(roles: Roles) -> None:
    peer = roles.peer("coordinator", "collector", node="forgetful")
    for seq in (0, 2):
        header = msgspec.structs.replace(HEADER, partition="gap", seq=seq, first=seq * 10, last=seq * 10 + 9, size=0)
        peer.pipe.send(Batches(0, [header]))
    assert peer.ended()
    roles.processes["coordinator"].await_words("collector=forgetful why=.*batch 2 came where 1 was due", 5)
    peer.close()


@pytest.mark.parametrize("frame, why", [
    (struct.pack(">4sBBHII", b"drtc", 1, 5, 0, 10, 1 << 31), "at most 67108864 are taken here"),
    (struct.pack(">4sBBHII", b"drtc", 1, 5, 0, (4 << 20) + 1, 0), "at most 4194304 are taken here"),
    (HEAD.pack(b"drtc", 1, 8, 0, 904, 0) + b"\x91\x81\xa1a" + b"\x91" * 900, "a Beat frame is malformed"),
    (b"\r\n\r\n" * 100, "something else speaks on this port"),
])
def test_a_peer_that_turns_bad_is_cut_off(roles: Roles, frame: bytes, why: str) -> None:
    peer = roles.peer("coordinator", "collector", node="turncoat")
    peer.sock.sendall(frame)
    assert peer.ended()
    roles.processes["coordinator"].await_words(f"collector=turncoat why=.*{why}", 5)
    peer.close()


def test_a_peer_that_falls_silent_is_given_up(tmp_path: Path) -> None:
    settings = sections(tmp_path)
    settings["cluster"] |= {"heartbeat": 0.2, "timeout": 1}
    with Cluster(tmp_path, ANY_JOB, settings) as cluster:
        coordinator = cluster.start("coordinator")
        caller = Caller(coordinator.await_words(r"listening .*address=(\S+)")[1])
        assert isinstance(caller.greet("collector"), Welcome)
        caller.sock.sendall(encode(Beat({}))[:-1])
        assert caller.ended()
        coordinator.await_words("collector lost .*why=.silent for 1 s")
        caller.close()


@pytest.fixture
def brisk(tmp_path: Path) -> Iterator[tuple[Process, str]]:
    """A coordinator that gives up after a second, and its address."""
    settings = sections(tmp_path)
    settings["cluster"] |= {"heartbeat": 0.2, "timeout": 1, "max_connections": 3, "max_connections_per_address": 2}
    with Cluster(tmp_path, ANY_JOB, settings) as cluster:
        coordinator = cluster.start("coordinator")
        yield coordinator, coordinator.await_words(r"listening .*address=(\S+)")[1]
        assert "Traceback" not in coordinator.said


@pytest.mark.parametrize("begun", [
    HEAD.pack(b"drtc", 1, 8, 0, 1 << 20, 0), HEAD.pack(b"drtc", 1, 8, 0, 4, 1 << 20) + b"\x91\x81\xa1a",
    HEAD.pack(b"drtc", 1, 8, 0, 3, 60) + b"\x91\x80"], ids=["header", "payload", "small"])
def test_a_frame_that_comes_byte_by_byte_ends_a_peer(brisk: tuple[Process, str], begun: bytes) -> None:
    coordinator, address = brisk
    caller = Caller(address)
    assert isinstance(caller.greet("collector"), Welcome)
    caller.sock.settimeout(0.1)
    sent = []

    def closed() -> bool:  # it is never silent for long
        try:
            caller.sock.sendall(begun[len(sent):len(sent) + 1] or b"x")
            sent.append(1)
            while caller.sock.recv(1 << 16):
                pass
            return True
        except TimeoutError:
            return False
        except OSError:
            return True

    until(closed, "it is closed", 20)
    coordinator.await_words("collector lost .*why=.a frame of its did not get on for 1 s")
    caller.close()


def test_peers_are_only_so_many_of_one_address(brisk: tuple[Process, str]) -> None:
    coordinator, address = brisk
    first, second, third = Caller(address), Caller(address), Caller(address)
    assert isinstance(first.greet("collector"), Welcome) and isinstance(second.greet("collector"), Welcome)
    reply = third.greet("collector")
    assert isinstance(reply, Refused) and "2 peers of 127.0.0.1 are connected here already" in reply.reason
    refused(coordinator, third, "see .cluster. max_connections_per_address")
    first.close()
    coordinator.await_words("collector lost")
    fourth = Caller(address)
    assert isinstance(fourth.greet("collector"), Welcome)
    for caller in (second, fourth):
        caller.close()


def test_an_asker_that_does_not_read_is_cut_off(roles: Roles) -> None:
    process = psutil.Process(roles.processes["coordinator"].pid)
    before = process.memory_info().rss
    peer = roles.peer("coordinator", "status")
    questions = encode(StatusRequest()) * 1000
    with pytest.raises(OSError):
        while True:
            peer.sock.sendall(questions)
    roles.processes["coordinator"].await_words(rf"peer={peer.name} why=.*it asks", 8)
    assert process.memory_info().rss - before < 50 << 20
    peer.close()


def test_an_asker_may_not_stay(roles: Roles) -> None:
    peer = roles.peer("coordinator", "status")
    refused(roles.processes["coordinator"], peer, "it asks for longer than a status takes")


def test_many_strangers_cost_little_and_shut_nobody_out(roles: Roles) -> None:
    process = psutil.Process(roles.processes["coordinator"].pid)
    before = process.memory_info().rss
    strangers = [roles.call("coordinator") for _ in range(600)]
    for stranger in strangers[-150:]:
        stranger.sock.sendall(HEAD.pack(b"drtc", 1, 2, 0, 4096, 0) + bytes(4000))
    roles.status()
    assert process.num_fds() < 300
    assert process.memory_info().rss - before < 20 << 20
    for stranger in strangers[:300]:
        assert stranger.ended()
    for stranger in strangers:
        stranger.close()
    until(lambda: process.num_fds() < 60, "all strangers are gone")


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_no_file_descriptor_left_is_waited_out(tmp_path: Path, loop: str) -> None:
    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))

    with Cluster(tmp_path, ANY_JOB, sections(tmp_path)) as cluster:
        if loop == "asyncio":
            (tmp_path / "uvloop.py").write_text("raise ImportError")
            cluster.environ["PYTHONPATH"] += f":{tmp_path}"
        coordinator = cluster.start("coordinator", preexec_fn=few)
        address = coordinator.await_words(r"listening .*address=(\S+)")[1]
        host, _, port = address.rpartition(":")
        strangers = [socket.create_connection((host, int(port)), 5.0) for _ in range(60)]
        until(lambda: psutil.Process(coordinator.pid).num_fds() >= 47, "it has none left")
        for stranger in strangers:
            stranger.close()
        assert cluster.report("coordinator")["role"] == "coordinator"
        assert "Traceback" not in coordinator.said


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
@pytest.mark.parametrize("role", ["coordinator", "compute"])
def test_strangers_are_not_listened_to_without_a_secret(tmp_path: Path, role: str, host: str) -> None:
    with Cluster(tmp_path, ANY_JOB, sections(tmp_path)) as cluster:
        shown = f"[{host}]" if ":" in host else host
        text = cluster.ask(role, "--listen", f"{shown}:0", code=7)
    assert f"refusing to listen on {host} without a secret: set [cluster] secret" in text
    assert "DRTC_CLUSTER_SECRET" in text and "or listen on 127.0.0.1" in text


def test_a_secret_that_can_be_guessed_is_not_enough_beyond_loopback(tmp_path: Path) -> None:
    with Cluster(tmp_path, ANY_JOB, sections(tmp_path), {"DRTC_CLUSTER_SECRET": "fifteen letters"}) as cluster:
        text = cluster.ask("coordinator", "--listen", "0.0.0.0:0", code=7)
    assert "refusing to listen on 0.0.0.0 with a secret of 15 characters, which can be guessed" in text


@pytest.mark.parametrize("address, why", [
    ("192.0.2.1:0", "cannot listen on 192.0.2.1:0: Cannot assign requested address; set another [coordinator] listen"),
    ("no.such.host.invalid:0", "the host 'no.such.host.invalid' is not known here"),
    ("a..b:0", "the host 'a..b' is not known here"),
])
def test_an_address_that_is_not_ours_is_a_sentence(tmp_path: Path, address: str, why: str) -> None:
    with Cluster(tmp_path, ANY_JOB, sections(tmp_path), {"DRTC_CLUSTER_SECRET": "0123456789abcdef"}) as cluster:
        assert why in cluster.ask("coordinator", "--listen", address, code=7)


def test_a_port_in_use_is_a_sentence(tmp_path: Path) -> None:
    with Cluster(tmp_path, ANY_JOB, sections(tmp_path)) as cluster, socket.create_server(("127.0.0.1", 0)) as taken:
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        text = cluster.ask("coordinator", "--listen", address, code=7)
    assert f"cannot listen on {address}: Address already in use; set another [coordinator] listen" in text
