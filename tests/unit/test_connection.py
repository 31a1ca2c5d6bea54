"""A connection's end: frames arrive whole and in order however their bytes are split, and nothing else ever happens."""
from __future__ import annotations

import asyncio
import gc
import tracemalloc
from typing import Any, Callable, Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drtc.batch import Header, Payload
from drtc.errors import ConfigError, WireError
from drtc.wire.connection import SCRATCH, Connection
from drtc.wire.frames import HEAD, MAX_HEADER, encode
from drtc.wire.messages import Batches, Message, Trouble, Window

MOST = 2 << 20


class Transport(asyncio.Transport):
    """Keeps what is written and whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closing = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1234)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    abort = close


class End:
    """A connection without a socket, and all that it delivered."""

    def __init__(self, max_payload: int = MOST, max_header: int = MAX_HEADER,
                 on_frame: Callable[[Connection, Message], None] | None = None) -> None:
        self.frames: list[tuple[Message, bytes]] = []
        self.closed: list[str] = []
        self.on_frame = on_frame
        self.transport = Transport()
        self.connection = Connection(self._frame, lambda _, why: self.closed.append(why), max_payload, max_header)
        self.connection.connection_made(self.transport)

    def _frame(self, connection: Connection, message: Message, payload: Payload) -> None:
        self.frames.append((message, bytes(payload)))
        if self.on_frame is not None:
            self.on_frame(connection, message)

    def receive(self, stream: bytes, splits: Iterable[int] = ()) -> None:
        """As an event loop would: as much as fits in the buffer that the connection offers, or less."""
        sizes = iter(splits)
        at = 0
        while at < len(stream) and not self.transport.closing:
            buffer = self.connection.get_buffer(-1)
            assert len(buffer), "an event loop cannot go on with an empty buffer"
            taken = min(len(buffer), len(stream) - at, next(sizes, len(stream)))
            buffer[:taken] = stream[at:at + taken]
            self.connection.buffer_updated(taken)
            at += taken

    def lose(self) -> str:
        self.connection.eof_received()
        self.connection.connection_lost(None)
        return self.closed[0]


def looped(test: Callable[[], None]) -> None:
    """Runs a test's body where there is a loop, which only lends its clock."""
    async def body() -> None:
        test()

    asyncio.run(body())


def frame(number: int, payload: bytes, more: int = 0) -> bytes:
    return encode(Trouble(f"{number} " + "x" * more), [payload]) + payload


def pattern(size: int, seed: int) -> bytes:
    return bytes([(seed + 1) % 256]) * (size // 2) + bytes([seed % 256]) * (size - size // 2)


sizes = st.one_of(
    st.integers(0, 40),
    st.integers(-3, 3).map(lambda around: SCRATCH - HEAD.size + around),
    st.integers(-20, 20).map(lambda around: SCRATCH + around),
    st.integers(-2, 2).map(lambda around: (1 << 20) + around),
)
splits = st.lists(st.one_of(st.integers(1, 40), st.integers(SCRATCH - 20, SCRATCH + 20), st.just(MOST)), max_size=60)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(sizes, sizes), min_size=1, max_size=5), splits)
def test_frames_arrive_whole_and_in_order(shape: Sequence[tuple[int, int]], splits: list[int]) -> None:
    expected = []
    stream = bytearray()
    for number, (size, more) in enumerate(shape):
        payload = pattern(size, number)
        expected.append((Trouble(f"{number} " + "x" * more), payload))
        stream += frame(number, payload, more)

    def body() -> None:
        end = End()
        end.receive(bytes(stream), splits)
        assert end.frames == expected and not end.transport.closing

    looped(body)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.binary(max_size=60) | st.builds(frame, st.integers(0, 9), st.binary(max_size=30)), max_size=5),
       st.integers(0, 300), st.integers(0, 255), splits)
def test_whatever_arrives_there_are_only_frames_and_a_clean_end(pieces: list[bytes], at: int, by: int,
                                                                splits: list[int]) -> None:
    stream = bytearray(b"".join(pieces))
    if at < len(stream):
        stream[at] ^= by

    def body() -> None:
        end = End(max_payload=1000)
        end.receive(bytes(stream), splits)
        if end.transport.closing:
            assert end.lose() and end.connection.ended
        assert len(end.closed) <= 1

    looped(body)


def test_a_stranger_costs_little_memory() -> None:
    def body() -> None:
        end = End(0, 4096)
        assert len(end.connection.get_buffer(-1)) == HEAD.size + 4096
        end.receive(HEAD.pack(b"drtc", 1, 2, 0, 4097, 0))
        assert "at most 4096 are taken here" in end.lose() and not end.frames

    looped(body)


def test_after_the_greeting_larger_frames_are_welcome_even_those_that_came_with_it() -> None:
    large = frame(1, b"p" * 5000, SCRATCH + 5)

    def body() -> None:
        end = End(0, 4096, lambda connection, _: connection.admit(MOST, 10.0) if connection.max_payload == 0 else None)
        end.receive(frame(0, b"") + large)
        assert [len(payload) for _, payload in end.frames] == [0, 5000]

    looped(body)


def test_what_is_left_of_a_closed_connection_is_small() -> None:
    """It is part of a cycle, which is collected some time later."""
    async def main() -> None:
        gc.disable()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            left = []
            for _ in range(20):
                end = End()
                end.connection.admit(MOST, 10.0)
                end.receive(encode(Batches(1, []), [bytes(MOST)])[:200])
                end.connection.connection_lost(None)
                left.append(end)
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            gc.enable()
        assert (after - before) / len(left) < 10_000

    asyncio.run(main())


def test_a_frame_that_is_cut_off_is_not_delivered_and_the_end_says_so() -> None:
    whole = frame(0, b"p" * 100)

    def body() -> None:
        for size in range(1, len(whole)):
            end = End()
            end.receive(whole[:size])
            assert end.lose() == "the peer closed the connection in the middle of a frame" and not end.frames
        end = End()
        end.receive(whole)
        assert end.lose() == "the peer closed the connection" and len(end.frames) == 1

    looped(body)


def test_a_frame_that_the_role_refuses_closes_and_what_came_behind_it_is_not_delivered() -> None:
    def refuse(connection: Connection, message: Message) -> None:
        raise WireError("not here")

    def body() -> None:
        end = End(on_frame=refuse)
        end.receive(frame(0, b"") + frame(1, b""))
        assert len(end.frames) == 1 and end.lose() == "not here"

    looped(body)


def test_nothing_is_delivered_after_the_role_has_closed() -> None:
    def body() -> None:
        end = End(on_frame=lambda connection, _: connection.close("enough"))
        end.receive(frame(0, b"") + frame(1, b""))
        assert len(end.frames) == 1 and end.lose() == "enough"

    looped(body)


def test_what_tls_still_hands_over_after_the_end_is_not_delivered() -> None:
    payload = frame(0, b"p" * 3)

    def body() -> None:
        for there in range(len(payload)):
            end = End()
            end.receive(payload[:there])
            end.connection.close("enough")
            for at in range(there, len(payload)):
                buffer = end.connection.get_buffer(-1)
                assert len(buffer)
                buffer[0] = payload[at]
                end.connection.buffer_updated(1)
            assert not end.frames and end.lose() == "enough"

    looped(body)


def test_what_is_sent_is_what_arrives() -> None:
    header = Header("p", 0, "s", 0, 0, 9, 10, "lines", 3)
    sent = [(Window(5), []), (Batches(1, [header]), [b"abc"]), (Batches(2, [header]), [b"x" * SCRATCH, b"y", b""])]

    def body() -> None:
        one, other = End(), End()
        for message, payloads in sent:
            one.connection.send(message, payloads)
        other.receive(bytes(one.transport.written))
        assert other.frames == [(message, b"".join(payloads)) for message, payloads in sent]

    looped(body)


def test_a_frame_that_the_peer_would_refuse_is_a_mistake_in_the_configuration() -> None:
    def body() -> None:
        end = End(max_payload=10)
        end.connection.send(Window(1), [b"x" * 10])
        with pytest.raises(ConfigError, match="frame of 11 bytes cannot be sent, as .* max_frame_bytes is 10: raise"):
            end.connection.send(Window(1), [b"x" * 10, b"y"])

    looped(body)


def test_sending_after_the_end_is_dropped() -> None:
    def body() -> None:
        end = End()
        end.connection.close("done")
        end.connection.send(Window(1))
        end.connection.connection_lost(None)
        end.connection.send(Window(1))
        end.connection.abort("again")
        assert not end.transport.written and end.closed == ["done"] and end.connection.unsent == 0

    looped(body)
