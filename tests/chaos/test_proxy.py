"""What the links' proxies do to a link: against a real listener on loopback."""
from __future__ import annotations

import random
import socket
import time
from typing import Iterator

import pytest

from .proxy import Proxies, Proxy

FRAME = b"drtc\x01\x05\x00\x00" + (4).to_bytes(4, "big") + (40).to_bytes(4, "big") + bytes(range(44))


class Line:
    """A connection through a proxy, both ends of it."""

    def __init__(self, proxy: Proxy, listener: socket.socket) -> None:
        self.near = socket.create_connection(("127.0.0.1", proxy.port), 10)
        self.near.settimeout(10)
        self.far, _ = listener.accept()
        self.far.settimeout(10)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        yield server


@pytest.fixture
def proxy(listener: socket.socket) -> Iterator[Proxy]:
    proxies = Proxies()
    yield proxies.add("listener", listener.getsockname()[1], random.Random(1))
    proxies.close()


@pytest.fixture
def line(proxy: Proxy, listener: socket.socket) -> Iterator[Line]:
    line = Line(proxy, listener)
    yield line
    line.near.close()
    line.far.close()


def received(sock: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size and (more := sock.recv(size - len(found))):
        found += more
    return found


def test_bytes_pass_both_ways_and_so_does_the_end(line: Line) -> None:
    sent = random.Random(2).randbytes(1_000_000)
    line.near.sendall(b"there")
    assert received(line.far, 5) == b"there"
    line.far.sendall(sent[:300_000])
    assert received(line.near, 300_000) == sent[:300_000]
    line.far.close()
    assert line.near.recv(1) == b""


def test_a_frame_is_cut_in_its_middle_and_only_one(proxy: Proxy, line: Line, listener: socket.socket) -> None:
    proxy.cut_one()
    line.near.sendall(FRAME)
    arrived = b""
    try:
        while more := line.far.recv(100):
            arrived += more
    except ConnectionResetError:
        pass  # what was under way may go down with the link
    assert FRAME.startswith(arrived) and len(arrived) < len(FRAME)
    with pytest.raises(OSError):
        while line.near.recv(1) != b"":
            pass
        raise ConnectionResetError
    again = Line(proxy, listener)
    again.near.sendall(FRAME)
    assert received(again.far, len(FRAME)) == FRAME
    again.near.close()
    again.far.close()


def test_loss_and_delay_keep_the_order(proxy: Proxy, line: Line) -> None:
    proxy.latency, proxy.loss = 0.001, 0.05
    for number in range(40):
        line.near.sendall(number.to_bytes(2, "big"))
    assert received(line.far, 80) == b"".join(number.to_bytes(2, "big") for number in range(40))


def test_a_longer_way_and_losses_cost_time(proxy: Proxy) -> None:
    assert proxy.delay(100_000) == 0.0
    proxy.latency = 0.2
    assert proxy.delay(100_000) == 0.2
    proxy.loss = 0.05
    waits = [proxy.delay(1000) for _ in range(2000)]
    assert 0.03 < sum(wait > 0.2 for wait in waits) / 2000 < 0.07
    assert min(wait for wait in waits if wait > 0.2) == pytest.approx(0.8), "twice the delay and 0.2 s more"


def test_silence_stays_on_links_that_met_it(proxy: Proxy, line: Line, listener: socket.socket) -> None:
    line.near.sendall(b"before")
    assert received(line.far, 6) == b"before"
    proxy.hush()
    line.near.sendall(b"lost")
    line.far.sendall(b"lost")
    stranger = socket.create_connection(("127.0.0.1", proxy.port), 10)
    stranger.sendall(b"lost")
    while len(proxy.links) < 2:
        time.sleep(0.01)
    proxy.silent = False
    again = Line(proxy, listener)  # the stranger never got through, so this is the next one that is accepted
    again.near.sendall(b"after")
    assert received(again.far, 5) == b"after"
    line.near.sendall(b"lost")
    for sock in (line.near, line.far, stranger):
        sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            sock.recv(1)
    for sock in (stranger, again.near, again.far):
        sock.close()
