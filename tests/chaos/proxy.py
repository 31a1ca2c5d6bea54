"""A TCP proxy between two roles, and what may happen to a link: cut in the middle of a frame, slow, or silent.

Loss cannot be had below TCP without the kernel's help, so it is modelled as what TCP makes of it: a segment that is
lost holds up everything behind it for a retransmission time-out, which doubles with each further loss.
"""
from __future__ import annotations

import asyncio
import random
import threading
from typing import Coroutine

from ..services.base import free_port

SEGMENT = 1448  # bytes
CHUNK = 64 * 1024
HEAD = b"drtc"  # a frame begins with it
HEAD_BYTES = 16


class Link:
    """One connection through a proxy. ``deaf``: what arrives is swallowed, and nothing is closed."""

    def __init__(self, proxy: Proxy) -> None:
        self.deaf = False
        self._proxy = proxy
        self._writers: list[asyncio.StreamWriter] = []

    async def run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self.deaf = self._proxy.silent
        if self.deaf:
            while await reader.read(CHUNK):
                pass
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._proxy.to)
        except OSError:
            return
        self._writers.append(far_writer)
        await asyncio.gather(self._pump(reader, far_writer, True), self._pump(far_reader, writer, False))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, inward: bool) -> None:
        """Passes on what arrives, in order, each chunk not before its time."""
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(256)
        sender = asyncio.create_task(self._send(queue, writer))
        loop = asyncio.get_running_loop()
        due = 0.0
        try:
            while chunk := await reader.read(CHUNK):
                if self.deaf:
                    continue
                cut = self._proxy.cut(chunk) if inward else None
                if cut is not None:
                    writer.write(chunk[:cut])
                    self.abort()
                    return
                due = max(due, loop.time() + self._proxy.delay(len(chunk)))
                await queue.put((due, chunk))
        except OSError:
            pass  # reset by somebody: as good as an end
        finally:
            if not self.deaf:  # the end is passed on behind everything else
                await queue.put((due, b""))
                await asyncio.wait([sender])
            sender.cancel()

    async def _send(self, queue: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                due, chunk = await queue.get()
                if due > loop.time():
                    await asyncio.sleep(due - loop.time())
                if self.deaf:
                    continue
                if not chunk:
                    writer.close()
                    return
                writer.write(chunk)
                await writer.drain()
        except OSError:
            self.abort()

    def abort(self) -> None:
        """Ends both sides at once."""
        for writer in self._writers:
            writer.transport.abort()


class Proxy:
    """Listens on ``port`` and connects to ``to``, both on loopback. Set ``silent``, ``latency`` and ``loss`` from any
    thread; they concern every link, ``silent`` only those that are there or come while it holds, but for ever."""

    def __init__(self, to: int, dice: random.Random) -> None:
        self.to = to
        self.port = free_port()
        self.silent = False
        self.latency = 0.0  # seconds, each way
        self.loss = 0.0  # of segments
        self.links: set[Link] = set()
        self._dice = dice
        self._cuts = 0

    async def listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(self)
        self.links.add(link)
        try:
            await link.run(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # cancelled when all proxies close; asyncio would complain of a callback that was
        finally:
            link.abort()
            self.links.discard(link)

    def cut_one(self) -> None:
        """The next frame toward the listener that has more than a head is cut in its middle, and its link ends."""
        self._cuts += 1

    def cut(self, chunk: bytes) -> int | None:
        """After how many bytes of the chunk its link is to end."""
        if not self._cuts or not chunk.startswith(HEAD) or len(chunk) <= HEAD_BYTES:
            return None
        frame = HEAD_BYTES + int.from_bytes(chunk[8:12], "big") + int.from_bytes(chunk[12:16], "big")
        self._cuts -= 1
        return self._dice.randrange(1, min(len(chunk), frame))

    def delay(self, size: int) -> float:
        """Seconds that a chunk takes."""
        wait = self.latency
        timeout = 2 * self.latency + 0.2
        for _ in range(-(-size // SEGMENT)):
            again = timeout
            while self.loss and self._dice.random() < self.loss:
                wait += again
                again *= 2
        return wait

    def hush(self) -> None:
        """Both directions fall silent, on every link, and nobody is told."""
        self.silent = True
        for link in list(self.links):
            link.deaf = True


class Proxies:
    """Proxies by name, all on one thread."""

    def __init__(self) -> None:
        self._proxies: dict[str, Proxy] = {}
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies")
        self._thread.start()

    def __getitem__(self, name: str) -> Proxy:
        return self._proxies[name]

    def add(self, name: str, to: int, dice: random.Random) -> Proxy:
        """A proxy that listens."""
        proxy = self._proxies[name] = Proxy(to, dice)
        self._servers.append(self._do(proxy.listen()))
        return proxy

    def _do(self, work: Coroutine[None, None, asyncio.Server]) -> asyncio.Server:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
