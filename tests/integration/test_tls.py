"""TLS between real roles and in one process: who is let in, and what each side says of one who is not."""
from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import socket
import ssl
from pathlib import Path
from typing import Any, AsyncIterator, Callable, NamedTuple

import pytest
import trustme

from drtc import config
from drtc.batch import Header, Payload
from drtc.errors import ClusterError, ConfigError, WireError
from drtc.wire.identity import Identity, identity
from drtc.wire.limits import Census
from drtc.wire.messages import Batches, Message, Window
from drtc.wire.peer import Listener, Peer, connect
from drtc.wire.tls import Tls

from .running import ANY_JOB, Cluster

HEADER = Header("p", 0, "s.1", 0, 0, 9, 10, "messages", 0)
LARGE = 8 << 20
LOOPS = ["asyncio", "uvloop"]


class Files(NamedTuple):
    """What a machine's INI file names."""

    certificate: str = ""
    key: str = ""
    ca: str = ""
    names: str = ""


class Authority:
    """Signs certificates, and keeps them as files."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._ca = trustme.CA()
        self._name = name
        self.ca = str(directory / f"{name}.pem")
        self._ca.cert_pem.write_to_path(self.ca)

    def issue(self, *names: str, days: int = 1) -> Files:
        expiry = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
        issued = self._ca.issue_cert(*names, not_after=expiry)
        stem = self._directory / f"{self._name}-{os.urandom(4).hex()}"
        with open(f"{stem}.crt", "wb") as file:
            file.writelines(blob.bytes() for blob in issued.cert_chain_pems)
        issued.private_key_pem.write_to_path(f"{stem}.key")
        return Files(f"{stem}.crt", f"{stem}.key", self.ca)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours"), "ours")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("theirs"), "theirs")


def who(directory: Path, role: str, files: Files | None, **cluster: Any) -> Identity:
    """A role's identity, by way of an INI file."""
    ini = directory / "job.ini"
    lines = [f"{key} = {value}" for key, value in cluster.items()]
    lines += [f"tls_{key} = {value}" for key, value in (files or Files())._asdict().items() if value]
    ini.write_text("\n".join(["[job]", "class = job:Job", "[source]", "type = files", "path = none", "[store]",
                              "type = sqlite", "path = results.db", "[cluster]", *lines]))
    return identity(config.load(ini, environ={}), role, f"{role}-1")


def on(loop: str, body: Callable[[], Any]) -> Any:
    """Runs on one of the loops; whatever it complains of is a failure."""
    if loop == "uvloop":
        import uvloop

        factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    else:
        factory = asyncio.new_event_loop
    complaints: list[dict[str, Any]] = []
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.get_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        result = runner.run(body())
    assert complaints == []
    return result


class Host:
    """A listener in this process, and what happened there."""

    def __init__(self, identity: Identity, answer: bool = False) -> None:
        self.peers: list[Peer] = []
        self.payloads: list[bytes] = []
        self.lost: list[str] = []
        self._answer = answer
        self.listener = Listener(identity, lambda hello: (1 << 30, 0), self.peers.append, self._heard,
                                 lambda peer, why: self.lost.append(why))

    def _heard(self, peer: Peer, message: Message, payload: Payload) -> None:
        if isinstance(message, Batches):
            self.payloads.append(bytes(payload))
            if self._answer:
                peer.send(Batches(message.task, message.headers), [payload])

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        try:
            yield await self.listener.listen("127.0.0.1:0")
        finally:
            self.listener.close()
            await asyncio.sleep(0.05)


def refusal(loop: str, host: Identity, caller: Identity, log: pytest.LogCaptureFixture) -> tuple[str, str]:
    """What the caller says, and what the listener logs."""
    async def body() -> str:
        async with Host(host).listening() as address:
            gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            try:
                await connect(caller, address, "coordinator", lambda *frame: None,
                              lambda peer, why: gone.set_result(why))
            except WireError as error:
                await asyncio.sleep(0.1)
                return str(error)
            except TimeoutError:
                return "nobody there"
            return "connected"

    log.clear()
    said = on(loop, body)
    lines = [record for record in log.records if record.name == "drtc.coordinator"]
    assert len(lines) <= 1 and not any(record.exc_info for record in lines)
    return said, str(lines[0].__dict__["drtc_values"]["why"]) if lines else ""


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("mutual", [True, False], ids=["mutual", "one-sided"])
def test_large_frames_pass_both_ways(tmp_path: Path, authority: Authority, loop: str, mutual: bool) -> None:
    files = authority.issue("127.0.0.1")
    host = who(tmp_path, "coordinator", files if mutual else files._replace(ca=""))
    caller = who(tmp_path, "collector", files if mutual else Files(ca=authority.ca))
    sizes = [0, 1, 65536, LARGE, 3, LARGE + 1]
    payloads = [os.urandom(1) * size for size in sizes]

    async def body() -> list[bytes]:
        place = Host(host, answer=True)
        async with place.listening() as address:
            back: list[bytes] = []
            done = asyncio.Event()

            def heard(peer: Peer, message: Message, payload: Payload) -> None:
                back.append(bytes(payload))
                if len(back) == len(sizes):
                    done.set()

            peer = await connect(caller, address, "coordinator", heard, lambda peer, why: done.set())
            for number, payload in enumerate(payloads):
                peer.send(Batches(number, [HEADER]), [payload])
            await done.wait()
            assert place.payloads == payloads and not place.lost
            peer.connection.close("done")
            while not place.lost:
                await asyncio.sleep(0.01)
            assert place.lost == ["the peer closed the connection"]
            return back

    assert on(loop, body) == payloads


ISSUER = "its certificate is signed by an authority that is not in [cluster] tls_ca"
UNGREETED = "speaks TLS and does not greet us: its log says why, perhaps for our certificate"


@pytest.mark.parametrize("loop", LOOPS)
def test_who_shows_the_wrong_certificate_is_refused_with_a_line(
        tmp_path: Path, authority: Authority, stranger: Authority, loop: str, caplog: pytest.LogCaptureFixture) -> None:
    good = authority.issue("127.0.0.1")
    expired, foreign = authority.issue("127.0.0.1", days=-1), stranger.issue("127.0.0.1")
    misnamed = authority.issue("node.example")
    cases: dict[str, tuple[Files, Files, str, str]] = {  # listener's, caller's, what the caller says, the listener logs
        "expired listener": (expired, good, "its certificate has expired", ""),
        "expired caller": (good, expired, UNGREETED, "its certificate has expired"),
        "foreign listener": (foreign._replace(ca=authority.ca), good, ISSUER, ""),
        "foreign caller": (good, foreign._replace(ca=authority.ca), UNGREETED, ISSUER),
        "misnamed listener": (misnamed, good, "is not for the host that was called", ""),
        "no certificate": (good, Files(ca=authority.ca), UNGREETED, "it showed no certificate"),
        "names": (good._replace(names="127.0.0.1, other"), misnamed._replace(names="127.0.0.1"), UNGREETED,
                  "its certificate is for node.example and not for 127.0.0.1 or other: see [cluster] tls_names"),
        "called by names": (good, good._replace(names="node.example"),
                            "its certificate is for 127.0.0.1 and not for node.example", ""),
    }
    for case, (host, caller, said, logged) in cases.items():
        what = refusal(loop, who(tmp_path, "coordinator", host), who(tmp_path, "collector", caller), caplog)
        assert said in what[0] and what[0].startswith("127.0.0.1:"), (case, what)
        assert logged in what[1], (case, what)
        assert "Traceback" not in caplog.text, case


@pytest.mark.parametrize("loop", LOOPS)
def test_who_is_called_by_another_name_is_taken_by_it(tmp_path: Path, authority: Authority, loop: str,
                                                      caplog: pytest.LogCaptureFixture) -> None:
    files = authority.issue("node.example")._replace(names="other, Node.Example.")
    assert refusal(loop, who(tmp_path, "coordinator", files), who(tmp_path, "collector", files), caplog) == (
        "connected", "")


@pytest.mark.parametrize("loop", LOOPS)
def test_tls_on_one_side_only_is_told_by_the_side_that_can_tell(
        tmp_path: Path, authority: Authority, loop: str, caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drtc.wire.peer.GREETING_SECONDS", 0.5)
    secured, plain = authority.issue("127.0.0.1"), None
    said, logged = refusal(loop, who(tmp_path, "coordinator", plain), who(tmp_path, "collector", secured), caplog)
    assert "it does not speak TLS: set [cluster] tls_certificate" in said and "the peer speaks TLS and this" in logged
    said, logged = refusal(loop, who(tmp_path, "coordinator", secured), who(tmp_path, "collector", plain), caplog)
    assert "does not greet us; does it speak TLS? see [cluster] tls_certificate" in said
    assert logged == "" or "no greeting arrived in time" in logged


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("words, why", [
    (b"GET / HTTP/1.1\r\n\r\n", "it speaks HTTP, not TLS"), (b"drtc\x01\x02" + bytes(40), "it does not speak TLS"),
    (b"\x16\x03\x01\xff\xff" + bytes(600), "TLS failed")])
def test_what_speaks_no_tls_is_turned_away_at_once(
        tmp_path: Path, authority: Authority, loop: str, words: bytes, why: str,
        caplog: pytest.LogCaptureFixture) -> None:
    host = who(tmp_path, "coordinator", authority.issue("127.0.0.1"))

    async def body() -> None:
        async with Host(host).listening() as address:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
            writer.write(words)
            with contextlib.suppress(ConnectionError):
                await reader.read()
            writer.close()
            while not caplog.records:
                await asyncio.sleep(0.01)

    on(loop, body)
    line, = caplog.records
    assert why in line.__dict__["drtc_values"]["why"]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("secured", [True, False], ids=["tls", "plain"])
def test_a_peer_that_takes_nothing_is_cut_off(tmp_path: Path, authority: Authority, loop: str, secured: bool) -> None:
    files = authority.issue("127.0.0.1") if secured else None
    host = who(tmp_path, "coordinator", files, heartbeat="0.1s", timeout="0.5s")
    caller = who(tmp_path, "collector", files)

    async def body() -> None:
        place = Host(host)
        async with place.listening() as address:
            deaf = await connect(caller, address, "coordinator", lambda *frame: None, lambda *gone: None)
            assert deaf.connection._transport is not None
            deaf.connection._transport.pause_reading()
            place.peers[0].send(Batches(0, [HEADER]), [bytes(32 << 20)])
            while not place.lost:
                deaf.send(Batches(0, [HEADER]))  # it is not silent
                for peer in place.peers:
                    peer.send(Window(1))  # as a role's beats
                await asyncio.sleep(0.02)
            assert place.lost == ["it took nothing of what it was sent for 0.5 s"]
            deaf.connection.abort("enough")

    on(loop, body)


@pytest.mark.parametrize("loop", LOOPS)
def test_many_handshakes_that_do_not_end_shut_nobody_out(
        tmp_path: Path, authority: Authority, loop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files = authority.issue("127.0.0.1")
    host, caller = who(tmp_path, "coordinator", files), who(tmp_path, "collector", files)

    async def body() -> None:
        place = Host(host)
        monkeypatch.setattr(place.listener, "_census", Census(5, 5, most_strangers=20))
        async with place.listening() as address:
            silent = [socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) for _ in range(100)]
            await asyncio.sleep(0.3)
            assert len(place.listener.guests) <= 21
            await connect(caller, address, "coordinator", lambda *frame: None, lambda *gone: None)
            assert len(place.peers) == 1
            for sock in silent:
                sock.close()

    on(loop, body)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_handshake_that_does_not_end_is_given_up(tmp_path: Path, authority: Authority, loop: str,
                                                   caplog: pytest.LogCaptureFixture,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drtc.wire.peer.GREETING_SECONDS", 0.3)
    host = who(tmp_path, "coordinator", authority.issue("127.0.0.1"))

    async def body() -> None:
        place = Host(host)
        async with place.listening() as address:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
            writer.write(b"\x16\x03\x01\x02\x00\x01")
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()
            assert not place.listener.guests

    on(loop, body)
    line, = caplog.records
    assert line.__dict__["drtc_values"]["why"] == "no greeting arrived in time"


def test_tls_1_1_is_refused(tmp_path: Path, authority: Authority) -> None:
    files = authority.issue("127.0.0.1")
    tls = who(tmp_path, "coordinator", files).tls
    assert isinstance(tls, Tls) and tls.listening is not None
    assert tls.listening.minimum_version == tls.calling.minimum_version == ssl.TLSVersion.TLSv1_2


# --- where a role listens ---

@pytest.mark.parametrize("files, secret, allowed", [
    ("mutual", "", True), ("mutual", "short", True), ("one-sided", "", False), ("one-sided", "0123456789abcdef", True)])
def test_beyond_loopback_callers_prove_something(tmp_path: Path, authority: Authority, files: str, secret: str,
                                                 allowed: bool) -> None:
    issued = authority.issue("127.0.0.1")
    us = who(tmp_path, "coordinator", issued if files == "mutual" else issued._replace(ca=""), secret=secret)

    async def body() -> None:
        host = Host(us)
        try:
            await host.listener.listen("0.0.0.0:0")
        finally:
            host.listener.close()
            await asyncio.sleep(0)

    if allowed:
        on("asyncio", body)
    else:
        with pytest.raises(ClusterError, match="without a secret: set .* or tls_certificate, tls_key and tls_ca"):
            on("asyncio", body)


def test_an_authority_alone_is_for_those_who_only_connect(tmp_path: Path, authority: Authority) -> None:
    us = who(tmp_path, "coordinator", Files(ca=authority.ca))
    with pytest.raises(ConfigError, match="a coordinator shows a certificate, set tls_certificate and tls_key"):
        on("asyncio", Host(us).listening().__aenter__)


# --- the configuration ---

@pytest.mark.parametrize("lines, why", [
    ({"certificate": "a.pem"}, "tls_certificate: is nothing without tls_key: set both, or neither"),
    ({"key": "a.pem"}, "tls_key: is nothing without tls_certificate: set both, or neither"),
    ({"names": "a"}, "tls_names: says nothing without TLS"),
    ({"ca": "absent.pem"}, "tls_ca: .*absent.pem: No such file or directory"),
    ({"ca": "job.ini"}, "tls_ca: .*job.ini holds no certificates in PEM"),
    ({"certificate": "job.ini", "key": "job.ini"}, "must hold a certificate .* and its key in PEM"),
])
def test_half_a_configuration_is_a_sentence(tmp_path: Path, lines: dict[str, str], why: str) -> None:
    with pytest.raises(ConfigError, match=rf"job.ini(:\d+)?: \[cluster\] (tls_certificate, )?.*{why}") as caught:
        who(tmp_path, "coordinator", Files(**lines))
    assert str(caught.value).count("\n") == 0


def test_a_key_of_another_certificate_is_a_sentence(tmp_path: Path, authority: Authority) -> None:
    one, other = authority.issue("a"), authority.issue("b")
    with pytest.raises(ConfigError, match=r"tls_key: \S+ is not the key of \S+$"):
        who(tmp_path, "coordinator", one._replace(key=other.key))


def test_a_key_with_a_passphrase_is_not_asked_for_at_the_terminal(tmp_path: Path, authority: Authority) -> None:
    from cryptography.hazmat.primitives import serialization

    files = authority.issue("a")
    key = serialization.load_pem_private_key(Path(files.key).read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                         serialization.BestAvailableEncryption(b"passphrase")))
    with pytest.raises(ConfigError, match="locked.key is encrypted: give the key without a passphrase"):
        who(tmp_path, "coordinator", files._replace(key=str(locked)))


def test_paths_are_relative_to_the_ini_file(tmp_path: Path, authority: Authority) -> None:
    issued = authority.issue("127.0.0.1")
    for name, path in (("a.crt", issued.certificate), ("a.key", issued.key), ("ca.pem", issued.ca)):
        (tmp_path / name).write_bytes(Path(path).read_bytes())
    assert who(tmp_path, "coordinator", Files("a.crt", "a.key", "ca.pem")).tls is not None


# --- real roles ---

def test_a_whole_run_by_mutual_tls(tmp_path: Path, authority: Authority) -> None:
    files = authority.issue("127.0.0.1")
    (tmp_path / "events.txt").write_text("a\nb\na\n" * 1000)
    settings = {"source": {"type": "files", "path": "events.txt"},
                "cluster": {"tls_certificate": files.certificate, "tls_key": files.key, "tls_ca": files.ca}}
    with Cluster(tmp_path, ANY_JOB, settings) as cluster:
        code, said = cluster.run()
        assert code == 0, said
        assert {key: record["events"] for key, record in cluster.records().items()} == {"a": 2000, "b": 1000}
        coordinator = cluster.start("coordinator")
        address = coordinator.await_words(r"listening .*address=(\S+)")[1]
        assert cluster.report("coordinator")["address"] == address
        tools = ("--set", "cluster.tls_certificate=", "--set", "cluster.tls_key=")
        assert UNGREETED in cluster.ask("status", *tools, code=7)
        coordinator.await_words("connection refused .*why=.it showed no certificate")
