"""Real drtc processes for the tests, each cluster in a directory of its own, and peers that break the rules."""
from __future__ import annotations

import configparser
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, Mapping, TypeVar

from drtc.compute.pipe import Frame, Pipe
from drtc.wire.messages import NONCE_BYTES, Challenge, Hello, Message
from drtc.wire.security import prove

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0  # seconds; for what takes milliseconds on a quiet machine
T = TypeVar("T")
#: the simplest Job there is
ANY_JOB = """
import drtc

class Job(drtc.Job):
    decode = drtc.text()
    events = drtc.Count()

    def map(self, line):
        yield line, {"events": 1}
"""


def until(look: Callable[[], T], what: str, patience: float = PATIENCE) -> T:
    """What ``look`` returns once it is true."""
    deadline = time.monotonic() + patience
    while not (found := look()):
        assert time.monotonic() < deadline, f"not after {patience:g} s: {what}"
        time.sleep(0.02)
    return found


class Process:
    """One drtc process; its stdout and stderr go to a file."""

    def __init__(self, argv: list[str], log: Path, environ: Mapping[str, str], **popen: Any) -> None:
        self._log = log
        with open(log, "wb") as output:
            self.popen = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environ,
                                          **popen)

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def await_words(self, pattern: str, patience: float = PATIENCE) -> re.Match[str]:
        """Until a line of its log matches."""
        try:
            return until(lambda: re.search(pattern, self.said), pattern, patience)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.said}") from None

    def wait(self, patience: float = PATIENCE) -> int:
        """Its exit code; a process that does not end in time fails the test."""
        try:
            return self.popen.wait(patience)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {patience:g} s\n{self.said}") from None

    def send(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def end(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()


class Cluster:
    """A directory with an INI file and a job, and the drtc processes that were started on it."""

    def __init__(self, directory: Path, job: str, sections: Mapping[str, Mapping[str, Any]],
                 environ: Mapping[str, str] | None = None) -> None:
        self.directory = directory
        self.ini = directory / "job.ini"
        self.environ = {**os.environ, "PYTHONPATH": str(ROOT), **(environ or {})}
        self.processes: list[Process] = []
        (directory / "job.py").write_text(job)
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_dict({"job": {"class": "job:Job"}, "store": {"type": "sqlite", "path": "results.db"},
                          "compute": {"workers": 2}, **sections})
        with open(self.ini, "w") as file:
            parser.write(file)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        for process in self.processes:
            process.end()

    def argv(self, *arguments: str) -> list[str]:
        command, *others = arguments
        words = command.split()
        return [sys.executable, "-m", "drtc", *words, "-c", str(self.ini), *others]

    def start(self, *arguments: str, **popen: Any) -> Process:
        """A process that goes on: ``start("run", "--until-end")``."""
        log = self.directory / f"{len(self.processes)}-{arguments[0]}.log"
        process = Process(self.argv(*arguments), log, self.environ, **popen)
        self.processes.append(process)
        return process

    def run(self, *arguments: str, patience: float = 90.0) -> tuple[int, str]:
        """A bounded run from start to end: its exit code and what it said. No traceback is ever right."""
        process = self.start("run", "--until-end", *arguments)
        code = process.wait(patience)
        assert "Traceback" not in process.said, process.said
        return code, process.said

    def ask(self, *arguments: str, code: int = 0) -> str:
        """A command that answers at once: ``ask("dead list", "--format", "json")``. Its stdout, or, where it fails
        as expected, its stderr."""
        done = subprocess.run(self.argv(*arguments), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              env=self.environ, timeout=60)
        assert done.returncode == code and "Traceback" not in done.stderr, (done.returncode, done.stdout, done.stderr)
        return done.stderr if code else done.stdout

    def records(self) -> dict[str, dict[str, Any]]:
        """The results by key, without the key."""
        rows = [json.loads(line) for line in self.ask("query", "--format", "json").splitlines()]
        return {row.pop("key"): row for row in rows}

    def letters(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.ask("dead list", "--format", "json", "--limit", "1000").splitlines()]

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ask("status", "--format", "json"))
        return found

    def report(self, role: str) -> dict[str, Any]:
        """What ``drtc status`` shows of a role; {} where it shows nothing of it yet."""
        members: list[dict[str, Any]] = self.status()["members"]
        return next((member for member in members if member["role"] == role), {})


class Caller:
    """A connection to a role, by hand: frames, or whatever bytes one likes."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.sock = socket.create_connection((host, int(port)), 5.0)
        self.pipe = Pipe(self.sock)
        self.sock.settimeout(PATIENCE)
        message = self.pipe.receive().message
        assert isinstance(message, Challenge)
        self.challenge = message

    @property
    def name(self) -> str:
        """As the role's log calls us."""
        host, port = self.sock.getsockname()
        return f"{host}:{port}"

    def hello(self, role: str, secret: str = "", cluster: str = "drtc", view: str = "job_v1",
              node: str = "caller-1") -> Hello:
        ours = os.urandom(NONCE_BYTES)
        proof = prove(secret, "client", self.challenge.nonce, ours, cluster, role, node, view)
        return Hello(cluster, role, node, view, "0.1.0", ours, proof)

    def greet(self, role: str, secret: str = "", **others: str) -> Message:
        """Says hello; the answer is Welcome or Refused."""
        self.pipe.send(self.hello(role, secret, **others))
        return self.receive().message

    def receive(self) -> Frame:
        return self.pipe.receive()

    def ended(self) -> bool:
        """Reads until the other side closes."""
        try:
            while self.sock.recv(1 << 16):
                pass
        except ConnectionResetError:
            pass
        return True

    def close(self) -> None:
        self.sock.close()
