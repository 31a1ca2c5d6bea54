"""The small HTTP port of a role: ``/health``, ``/live``, ``/metrics``. It only tells, and asks nobody who they are.

It runs in a thread with a loop of its own, so that it still answers, and says so, when the role's loop hangs. The role
hands its report over at every beat; nothing else is shared.
"""
from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Callable, Mapping, NamedTuple

from ..errors import ClusterError
from ..values import Address
from .health import document, heard
from .logs import Log

if TYPE_CHECKING:
    from .metrics import Exporter

MOST_CONNECTIONS = 32  # at a time: of more, each is closed as it comes
MOST_REQUEST = 8192  # bytes of a request's head
PATIENCE = 5.0  # seconds that a connection may last, however busy it seems
PLAIN, JSON = "text/plain; charset=utf-8", "application/json"


class Reply(NamedTuple):
    status: HTTPStatus
    kind: str
    body: bytes


class Board:
    """Where a role's last report hangs. One thread writes, another reads: what hangs there is never changed."""

    def __init__(self, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout = timeout
        self._clock = clock
        self._last: tuple[dict[str, Any], float] = {}, clock()
        self._exporter: Exporter | None = None

    def post(self, report: Mapping[str, Any]) -> None:
        """Hangs a copy up: what the role goes on changing may not change here."""
        self._last = _copy(report), self._clock()

    def reply(self, path: str) -> Reply:
        """What is answered to a GET."""
        report, at = self._last
        age = self._clock() - at
        health = heard(report, age, self._timeout)
        if path == "/health":
            status = HTTPStatus.OK if health.well else HTTPStatus.SERVICE_UNAVAILABLE
            body = json.dumps(document(report, health), ensure_ascii=False, default=str)
            return Reply(status, JSON, body.encode() + b"\n")
        if path == "/live":
            if health.alive:
                return Reply(HTTPStatus.OK, PLAIN, b"alive\n")
            return Reply(HTTPStatus.SERVICE_UNAVAILABLE, PLAIN, f"{health.why}\n".encode())
        if path == "/metrics":
            return self._metrics(report, age)
        return Reply(HTTPStatus.NOT_FOUND, PLAIN, b"here are /health, /live and /metrics\n")

    def _metrics(self, report: Mapping[str, Any], age: float) -> Reply:
        try:
            from .metrics import Exporter
        except ImportError:
            return Reply(HTTPStatus.NOT_IMPLEMENTED, PLAIN,
                         b"metrics need prometheus_client: pip install 'drtc[metrics]'\n")
        if self._exporter is None:
            self._exporter = Exporter()
        kind, body = self._exporter.expose(report, age, heard(report, age, self._timeout).well)
        return Reply(HTTPStatus.OK, kind, body)


class Monitor:
    """A role's board, and the thread that shows it at an address; without an address it does nothing.

    Args:
        log: the role's; a section of the INI file bears the same name.
        timeout: seconds without a beat after which the role's loop hangs.
    """

    def __init__(self, log: Log, address: Address | None, timeout: float) -> None:
        self.listening = ""  # the address in use
        self._address = address
        self._board = Board(timeout)
        self._log = log
        self._connections = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._problem = ""

    def open(self, report: Mapping[str, Any]) -> None:
        """Listens; ``report`` hangs there until the first beat.

        Raises:
            ClusterError: the address is taken, or not ours.
        """
        if self._address is None:
            return
        self.post(report)
        ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(self._address, ready), name="drtc monitor",
                                        daemon=True)
        self._thread.start()
        ready.wait()
        if self._problem:
            raise ClusterError(f"cannot listen on {self._address}: {self._problem}; "
                               f"set another [{self._log.role}] http")
        self._log.info("monitor listening", address=self.listening)

    def post(self, report: Mapping[str, Any]) -> None:
        """Hands over the last beat's report; called on the role's loop."""
        if self._address is not None:
            self._board.post(report)

    def close(self) -> None:
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(PATIENCE)

    # --- in the thread ---

    def _serve(self, address: Address, ready: threading.Event) -> None:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            loop = runner.get_loop()
            loop.set_exception_handler(
                lambda _, context: self._log.warning("monitor error", why=str(context.get("exception") or context)))
            try:
                server = loop.run_until_complete(
                    asyncio.start_server(self._answer, address.host, address.port, limit=MOST_REQUEST))
            except (OSError, UnicodeError) as error:
                number = getattr(error, "errno", None) or 0
                self._problem = os.strerror(number) if number > 0 else "the host is not known here"
                return
            else:
                self.listening = str(Address(*server.sockets[0].getsockname()[:2]))
                self._loop = loop
            finally:
                ready.set()
            loop.run_forever()
            server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._connections >= MOST_CONNECTIONS:
            writer.transport.abort()
            return
        self._connections += 1
        try:
            async with asyncio.timeout(PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(respond(head, self._board))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            pass  # a stranger who does not get to the point is not worth a word
        except Exception:
            self._log.exception("monitor failed")
        finally:
            self._connections -= 1
            writer.transport.abort()


def respond(head: bytes, board: Board) -> bytes:
    """A whole response to a whole request."""
    method, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
    path = rest.partition(" ")[0].partition("?")[0]
    if not rest.endswith(("HTTP/1.1", "HTTP/1.0")):
        reply = Reply(HTTPStatus.BAD_REQUEST, PLAIN, b"this is HTTP/1.1\n")
    elif method not in ("GET", "HEAD"):
        reply = Reply(HTTPStatus.METHOD_NOT_ALLOWED, PLAIN, b"only GET and HEAD are answered\n")
    else:
        reply = board.reply(path)
    lines = [f"HTTP/1.1 {reply.status.value} {reply.status.phrase}", f"Content-Type: {reply.kind}",
             f"Content-Length: {len(reply.body)}", "Cache-Control: no-store", "X-Content-Type-Options: nosniff",
             "Connection: close"]
    if reply.status is HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append("Allow: GET, HEAD")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (b"" if method == "HEAD" else reply.body)


def _copy(value: Any) -> Any:
    """A report is plain values, a few levels deep."""
    if isinstance(value, Mapping):
        return {key: _copy(part) for key, part in value.items()}
    return [_copy(part) for part in value] if isinstance(value, (list, tuple)) else value
