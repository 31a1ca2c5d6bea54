"""What a system of processes costs: CPU of each role, exact CPU of all together, resident memory, from /proc.

Whoever measures becomes the parent of processes that outlive their own (Linux' "child subreaper"), so that the kernel
itself adds up all CPU time when they end; looking at /proc now and then only says which role had how much of it.
"""
from __future__ import annotations

import ctypes
import os
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Iterator, Mapping, Sequence

Spent = dict[str, float]  # CPU seconds of each role; of its first process' threads, oldest first, as ``role/0`` ...

TICK = 1 / os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
LOOK_SECONDS = 0.05
ORPHANS_SECONDS = 5.0
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER


@dataclass
class Seen:
    """What is known of one process."""

    pid: int
    parent: str  # the role of the process that started it
    role: str
    cpu: float = 0.0  # seconds
    resident: int = 0  # bytes, now
    peak: int = 0
    threads: dict[int, float] = field(default_factory=dict)  # CPU seconds by thread id


@dataclass
class Cost:
    """What a system cost from its start to its end."""

    code: int
    began: float  # epoch seconds
    ended: float
    cpu: float  # seconds, all processes, exact
    by_role: Spent  # as far as was seen
    history: list[tuple[float, Spent]]  # the same as it grew, with epoch seconds
    peak: int  # bytes resident, all processes together
    peak_by_role: dict[str, int]
    elsewhere: float  # processors that were busy with something else, on average

    def since(self, at: float) -> Spent:
        """What was spent after that time: the whole without what starting cost."""
        spent: Spent = {}
        for seen, by_role in self.history:
            if seen > at:
                break
            spent = by_role
        return {name: cpu - spent.get(name, 0.0) for name, cpu in self.by_role.items()}


class Watched:
    """A command that is running, watched until ``wait``. ``apart``: pids of others whose CPU is not ``elsewhere``."""

    def __init__(self, command: Sequence[str], cwd: Path, env: Mapping[str, str] | None = None,
                 output: Path | None = None, apart: Sequence[int] = (),
                 name_of: Callable[[int, str], str] | None = None) -> None:
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
        self._name_of = name_of or (lambda pid, parent: "loop")
        self._apart = apart
        self.seen: dict[int, Seen] = {}
        self.peak = 0
        self._history: list[tuple[float, Spent]] = []
        self._lock = threading.Lock()
        self._busy = machine_busy() - sum(map(cpu_of, apart))
        self.began = time.time()
        with open(output or os.devnull, "wb") as file:
            self.process = subprocess.Popen(command, cwd=cwd, env={**os.environ, **(env or {})}, stdout=file,
                                            stderr=subprocess.STDOUT if output else None)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)
        self._thread.start()

    def signal(self, number: int) -> None:
        """Sends the command a signal. (Popen's own would take the exit status, and the CPU time with it.)"""
        os.kill(self.process.pid, number)

    def resident(self) -> dict[str, int]:
        """Bytes resident now, by role."""
        with self._lock:
            found: dict[str, int] = {}
            for each in self.seen.values():
                found[each.role] = found.get(each.role, 0) + each.resident
            return found

    def wait(self, timeout: float) -> Cost:
        """Waits for the end of the command and of everything that it started.

        Raises:
            TimeoutError: it takes too long; all of it has been killed.
        """
        deadline = time.monotonic() + timeout
        while True:
            pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                self.kill()
                raise TimeoutError(f"{' '.join(self.process.args)} did not end within {timeout:g} s")  # type: ignore
            time.sleep(0.005)
        ended = time.time()
        self.process.returncode = os.waitstatus_to_exitcode(status)
        busy = machine_busy() - sum(map(cpu_of, self._apart)) - self._busy
        cpu = usage.ru_utime + usage.ru_stime + sum(self._orphans())
        self._over.set()
        self._thread.join()
        peaks: dict[str, int] = {}
        for each in self.seen.values():
            peaks[each.role] = peaks.get(each.role, 0) + each.peak
        elsewhere = max(0.0, busy - cpu) / (ended - self.began)
        return Cost(self.process.returncode, self.began, ended, cpu, self._spent(), self._history, self.peak, peaks,
                    elsewhere)

    def kill(self) -> None:
        """Ends every process of it at once."""
        self._over.set()
        self._thread.join()
        for pid in list(self.seen):
            if alive(pid):
                os.kill(pid, 9)
        list(self._orphans())

    def _orphans(self) -> Iterator[float]:
        """CPU seconds of what the command has left to us, once it has ended."""
        deadline = time.monotonic() + ORPHANS_SECONDS
        for pid in self.seen:
            while pid != self.process.pid:
                try:
                    ended, _, usage = os.wait4(pid, os.WNOHANG)
                except ChildProcessError:
                    break  # its own parent has seen to it
                if ended:
                    yield usage.ru_utime + usage.ru_stime
                    break
                if time.monotonic() > deadline:
                    os.kill(pid, 9)
                time.sleep(0.005)

    def _watch(self) -> None:
        while not self._over.is_set():
            with self._lock:
                self._look()
            self._over.wait(LOOK_SECONDS)

    def _look(self) -> None:
        todo = [(self.process.pid, "")] + [(pid, seen.parent) for pid, seen in self.seen.items()]
        done = set()
        while todo:
            pid, parent = todo.pop()
            if pid in done or not alive(pid):
                if pid in self.seen and pid not in done:
                    self.seen[pid].resident = 0
                continue
            done.add(pid)
            if pid not in self.seen:
                self.seen[pid] = Seen(pid, parent, "")
            seen = self.seen[pid]
            if seen.role in ("", parent):  # it is new, or it was seen between fork and exec
                seen.role = self._name_of(pid, parent)
            try:
                seen.cpu = max(seen.cpu, cpu_of(pid))
                seen.resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE
                seen.peak = max(seen.peak, seen.resident)
                for task in os.listdir(f"/proc/{pid}/task"):
                    seen.threads[int(task)] = cpu_of(pid, f"task/{task}/")
                    children = Path(f"/proc/{pid}/task/{task}/children").read_text().split()
                    todo += [(int(child), seen.role) for child in children]
            except (OSError, IndexError):
                continue  # it ended while it was looked at
        self.peak = max(self.peak, sum(self.seen[pid].resident for pid in done))
        self._history.append((time.time(), self._spent()))

    def _spent(self) -> Spent:
        found: Spent = {}
        for each in self.seen.values():
            if each.role not in found:
                found |= {f"{each.role}/{number}": each.threads[id] for number, id in enumerate(sorted(each.threads))}
            found[each.role] = found.get(each.role, 0.0) + each.cpu
        return found


def drtc_role(pid: int, parent: str) -> str:
    """Which role of drtc a process is, by its command line and the role of its parent."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return parent
    if "-m" in words[:-2] and words[words.index("-m") + 1] == "drtc":
        role = words[words.index("-m") + 2]
        return "supervisor" if role == "run" else role
    if parent in ("forkserver", "worker"):
        return "worker"
    return "forkserver" if parent else "supervisor"  # what else a compute node has: forkserver, resource tracker


def cpu_of(pid: int, task: str = "") -> float:
    """CPU seconds of a process or of one of its threads; 0 if there is none."""
    try:
        words = Path(f"/proc/{pid}/{task}stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(words[11]) + int(words[12])) * TICK


def machine_busy() -> float:
    """CPU seconds that all processors together have not been idle, theft by the hypervisor included."""
    words = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    user, nice, system, _, _, irq, soft, stolen = map(int, words)
    return (user + nice + system + irq + soft + stolen) * TICK


def alive(pid: int) -> bool:
    """Whether the process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False
