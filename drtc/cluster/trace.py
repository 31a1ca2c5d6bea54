"""The trace of a process: what tells one that is dead from one that lives, for whoever looks from the same machine.

A process id alone is given again, and means nothing in another container; with the machine's boot, the namespace of
process ids and the time of its start it names one process for ever.
"""
from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class Trace(NamedTuple):
    boot: str
    namespace: str
    pid: str
    started: str  # ticks since the boot


def trace() -> str:
    """This process's; empty where the system does not tell."""
    here = _trace(str(os.getpid()))
    return " ".join(here) if here else ""


def is_dead(left: str) -> bool:
    """Whether the process that left this trace is known to be gone. False where it lives, or nobody here can tell."""
    here = _trace(str(os.getpid()))
    words = left.split(" ")
    if here is None or len(words) != len(Trace._fields):
        return False
    there = Trace(*words)
    return there[:2] == here[:2] and there != _trace(there.pid)


def _trace(pid: str) -> Trace | None:
    """That of a process of this machine; None where there is no such process."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return Trace(boot, os.readlink("/proc/self/ns/pid"), pid, stat[19]) if stat[0] not in "ZX" else None
    except (OSError, IndexError):
        return None
