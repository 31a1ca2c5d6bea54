"""drtc's roles as processes of a test: started as an operator starts them, killed as nobody should."""
from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Mapping, Sequence

import psutil

from ..services.base import Process

ROOT = Path(__file__).parents[2]
INJECT = Path(__file__).with_name("inject")


def ini(path: Path, sections: Mapping[str, Mapping[str, Any]]) -> Path:
    """Writes an INI file; returns its path."""
    text = [f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())
            for name, values in sections.items()]
    path.write_text("\n".join(text))
    return path


class RoleProcess(Process):
    """One ``drtc`` command. ``env`` may hold what inject/sitecustomize.py reads."""

    def __init__(self, arguments: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        path = os.pathsep.join([str(INJECT), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        super().__init__([sys.executable, "-m", "drtc", *arguments], log, {**(env or {}), "PYTHONPATH": path})

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._popen.poll()

    def wait(self, seconds: float) -> int:
        """Its exit code once it has ended.

        Raises:
            subprocess.TimeoutExpired: it goes on.
        """
        return self._popen.wait(seconds)


def workers(compute: int) -> list[int]:
    """Process ids of a compute node's workers: they are the forkserver's children, not its own."""
    try:
        family = psutil.Process(compute).children(recursive=True)
        return [each.pid for each in family if each.ppid() != compute]
    except psutil.NoSuchProcess:
        return []


def send(pid: int, number: signal.Signals) -> None:
    """Sends a signal to a process that may be gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def gone(pid: int, seconds: float) -> bool:
    """Whether the process ends within so many seconds."""
    deadline = time.monotonic() + seconds
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
