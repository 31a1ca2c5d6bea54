"""What every real server of the tests has in common: where it is kept, how it is started, awaited and ended.

A service is installed once (``python -m tests.services install``, kept in ``cache()``), started on first use and
stopped by its process id. Where ``DRTC_TEST_<NAME>`` holds a host:port, that server is used and nothing is started.
"""
from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Callable, Mapping, Sequence, TypeVar

from typing_extensions import Self


Served = TypeVar("Served", bound="Service")


class Absent(Exception):
    """A service that cannot be had on this machine; the text is the reason. A skip locally, a failure in CI."""


class ByAddress(Absent):
    """A service that no package gives: only ``DRTC_TEST_<NAME>`` names one. A visible skip, in CI too."""


class Broken(Exception):
    """A service that is installed and does not do its work; the text ends with the last lines of its log."""


def cache() -> Path:
    """Where installed services are kept between runs: ``DRTC_CACHE``, else ``drtc`` in the user's cache directory."""
    chosen = os.environ.get("DRTC_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "drtc"


def need(program: str, remedy: str) -> str:
    """The path of a program.

    Raises:
        Absent: it is not installed; ``remedy`` is the command that mends it.
    """
    path = shutil.which(program)
    if path is None:
        raise Absent(f"there is no {program} on the PATH ({remedy})")
    return path


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on.

    Taken from below the range that the system gives to outgoing connections: a server that is started again must
    find its port free, and a client that knocks while it is down must not end up connected to itself.
    """
    while True:
        port = random.SystemRandom().randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Process:
    """A server's process: its output goes to a log file, and it does not outlive the thread that started it
    (which is therefore the main thread, or one that lives as long)."""

    def __init__(self, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.log = log
        # A test run that is killed leaves nothing behind, where there is a setpriv (it keeps the process id).
        guard = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
        with open(log, "ab") as output:
            self._popen = subprocess.Popen(
                [*guard, *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=log.parent,
                start_new_session=True,  # Ctrl-C is for the tests, which still need their servers to end well
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    def running(self) -> bool:
        return self._popen.poll() is None

    def signal(self, number: int) -> None:
        """Sends a signal; nothing happens where the process has ended."""
        self._popen.send_signal(number)

    def end(self, patience: float) -> None:
        """Asks it to stop, and kills it after ``patience`` seconds; returns when it is gone."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            self._popen.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kills it at once; returns when it is gone."""
        self.signal(signal.SIGKILL)
        self._popen.wait()

    def tail(self, lines: int = 15) -> str:
        """The last lines of its log."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])


class Service(ABC):
    """A real server on loopback. ``with Kafka() as kafka:`` starts it and removes everything it wrote at the end.

    ``stop``, ``kill`` and ``start`` may alternate: address and content stay the same between them.
    """

    name: str  # as in DRTC_TEST_<NAME> in capitals
    start_seconds = 60.0
    stop_seconds = 20.0
    long = False  # only the tests that DRTC_LONG=1 adds use it

    def __init__(self) -> None:
        self._outside = os.environ.get(self.variable())
        self._directory: Path | None = None
        self._process: Process | None = None
        self.port = 0

    @classmethod
    def variable(cls) -> str:
        """The name of the environment variable that holds the address of a server to use instead."""
        return f"DRTC_TEST_{cls.name.upper()}"

    @classmethod
    @abstractmethod
    def install(cls) -> str:
        """Puts what the server needs into ``cache()``, once; returns one line saying what it is and where.

        Raises:
            Absent: it cannot be had here, and why.
        """

    @abstractmethod
    def argv(self, directory: Path) -> Sequence[str]:
        """The command that runs the server on ``self.port`` with its content in ``directory``. At every start.

        Raises:
            Absent: it is not installed.
        """

    @abstractmethod
    def answers(self) -> bool:
        """Whether it answers a real request now. False, never an exception, while it does not."""

    @property
    def address(self) -> str:
        """Where it is reached, host:port."""
        return self._outside or f"127.0.0.1:{self.port}"

    def listens(self) -> bool:
        """Whether somebody accepts connections at the address: what ``answers`` may look at first, being quick."""
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), 2).close()
        except OSError:
            return False
        return True

    @property
    def pid(self) -> int:
        """The server's process id. Only of a server that was started here and is running."""
        assert self._process is not None, f"{self.name} is not running"
        return self._process.pid

    def start(self) -> None:
        """Starts the server, the first time or again; returns once it answers. Nothing happens if it is running.

        Raises:
            Absent: it is not installed, or ``DRTC_TEST_<NAME>`` names one that does not answer.
            Broken: it ended, or did not answer in time.
        """
        if self._outside:
            if not self.answers():
                raise Absent(f"{self.variable()}={self._outside} does not answer")
            return
        if self._process is not None and self._process.running():
            return
        if self._directory is None:
            self.port = free_port()
            self._directory = Path(tempfile.mkdtemp(prefix=f"drtc-{self.name}-"))
        self._process = Process(self.argv(self._directory), self._directory / "log")
        await_true(self.answers, self.start_seconds, self.name, self._process)

    def stop(self) -> None:
        """Ends the server as its operator would; what it holds stays for the next ``start``."""
        self._own().end(self.stop_seconds)

    def kill(self) -> None:
        """Ends the server as a power cut would (kill -9)."""
        self._own().kill()

    def freeze(self) -> None:
        """Lets the server hang (SIGSTOP): connections stay open, nothing is answered until ``thaw``."""
        self._own().signal(signal.SIGSTOP)
        await_stopped(self.pid)

    def thaw(self) -> None:
        """Ends what ``freeze`` began."""
        self._own().signal(signal.SIGCONT)

    def close(self) -> None:
        """Stops the server if it was started here and removes what it wrote."""
        if self._process is not None:
            self._process.end(self.stop_seconds)
            self._process = None
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def _own(self) -> Process:
        if self._outside:
            raise Absent(f"a {self.name} that is not ours ({self.variable()}) cannot be stopped")
        assert self._process is not None, f"{self.name} was never started"
        return self._process

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


class Servers:
    """The session's servers, a service each, started when the first test asks for it."""

    def __init__(self) -> None:
        self._running: dict[type[Service], Service] = {}

    def get(self, kind: type[Served]) -> Served:
        """The server of that service. Whoever stops it starts it again.

        Raises:
            Absent: it cannot be had here.
        """
        if kind not in self._running:
            server = kind()
            server.__enter__()
            self._running[kind] = server
        found = self._running[kind]
        assert isinstance(found, kind)
        if not found._outside:
            found.start()  # where a test that failed has left it dead, the next ones need not fail as well
        return found

    def close(self) -> None:
        """Ends all of them."""
        while self._running:
            self._running.popitem()[1].close()


def await_stopped(pid: int) -> None:
    """Until every thread of a process stands still: its signal is on its way when kill() returns, and a save takes less
    time than it does."""
    await_true(lambda: all(task.read_text().rpartition(")")[2].split()[0] == "T"
                           for task in Path(f"/proc/{pid}/task").glob("*/stat")), 5, "the frozen state")


def await_true(condition: Callable[[], bool], seconds: float, what: str, process: Process | None = None) -> None:
    """Asks until the condition holds.

    Raises:
        Broken: it does not hold after ``seconds``, or the process has ended.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if process is not None and not process.running():
            raise Broken(f"{what} ended while it was awaited:\n{process.tail()}")
        if time.monotonic() > deadline:
            log = f":\n{process.tail()}" if process is not None else ""
            raise Broken(f"{what} did not answer within {seconds:g} s{log}")
        time.sleep(0.05)
