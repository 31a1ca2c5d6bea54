"""Makes a role of drtc die, or stand still, at a named point. The product knows nothing of it.

Python imports this module at its start where its directory is on PYTHONPATH; the workers' forkserver inherits it.

DRTC_CHAOS        faults, separated by commas: ``role:point:edge:n[:stop]``, such as ``worker:save:after:17``: at the
                  17th time that one process of the role gets there, kill -9, or SIGSTOP where it says ``stop``
DRTC_CHAOS_MARKS  a directory: a fault that has happened leaves a file with the process id there, and happens only once
DRTC_CHAOS_STORE  the class of the trial's store, as ``module:Class``, where it is not SQLite's
DRTC_CHAOS_BREAK  what is broken on purpose, to see that the suite notices: ``fence``, ``commits`` or ``versions``
DRTC_CHAOS_CLOCK  a file with the seconds by which this process's wall clock is wrong; it may change at any time
"""
from __future__ import annotations

import os
import signal
import sys
import time
from functools import wraps
from importlib import import_module
from typing import Any, Callable


def _role() -> str:
    """The role that this process has or will have; "" for any other."""
    words = sys.orig_argv
    if any("multiprocessing.forkserver" in word for word in words):
        return "worker"
    if "drtc" in words and words.index("drtc") + 1 < len(words):
        return words[words.index("drtc") + 1]
    return ""


class _Fault:
    """Happens once in the life of a trial, whichever process gets there first."""

    def __init__(self, text: str) -> None:
        self.role, self.point, self.edge, count, *action = text.split(":")
        self._left = int(count)
        self._signal = signal.SIGSTOP if action == ["stop"] else signal.SIGKILL
        self._mark = os.path.join(os.environ["DRTC_CHAOS_MARKS"], text.replace(":", "-"))

    def reached(self) -> None:
        self._left -= 1
        if self._left > 0:
            return
        try:
            mark = os.open(self._mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return
        os.write(mark, b"%d" % os.getpid())
        os.close(mark)
        os.kill(os.getpid(), self._signal)


def _watch(method: str, message: str, before: list[_Fault], after: list[_Fault]) -> None:
    where, _, name = method.rpartition(".")
    module, _, cls = where.partition(":")
    owner = getattr(import_module(module), cls)
    original: Callable[..., Any] = getattr(owner, name)

    @wraps(original)
    def watched(*args: Any, **named: Any) -> Any:
        concerned = not message or any(type(arg).__name__ == message for arg in args)
        if concerned:
            for fault in before:
                fault.reached()
        result = original(*args, **named)
        if concerned:
            for fault in after:
                fault.reached()
        return result

    setattr(owner, name, watched)


def _install(role: str) -> None:
    from chaos_points import POINTS, STORE

    store = os.environ.get("DRTC_CHAOS_STORE", STORE)

    faults = [_Fault(text) for text in os.environ.get("DRTC_CHAOS", "").split(",") if text.startswith(f"{role}:")]
    for name in dict.fromkeys(fault.point for fault in faults):
        here = [fault for fault in faults if fault.point == name]
        point = POINTS[role][name]
        for method in point.methods:
            _watch(method.replace(STORE, store), point.message, [fault for fault in here if fault.edge == "before"],
                   [fault for fault in here if fault.edge == "after"])
    broken = os.environ.get("DRTC_CHAOS_BREAK", "")
    if broken == "fence" and role == "worker":
        merge: Any = import_module("drtc.compute.merge")
        merge.fence_verdict = lambda fence, spans, touched: "new"
    if broken == "versions" and role == "worker":
        _overwrite(store)
    if broken == "commits" and role == "collector":
        flow: Any = import_module("drtc.collector.flow")
        flow.Flow.frontiers = lambda self: {name: state.position for name, state in self._partitions.items()}


def _overwrite(store: str) -> None:
    """A save that finds its version moved overwrites what somebody else has saved."""
    module, _, name = store.partition(":")
    cls: Any = getattr(import_module(module), name)
    save = cls.save

    def careless(self: Any, view: Any, rows: Any) -> Any:
        moved = save(self, view, rows)
        while moved:
            there = self.load(view, list(moved))
            rows = [row._replace(version=there[row.id].version) for row in rows if row.id in moved]
            moved = save(self, view, rows)
        return moved

    cls.save = careless


def _shift_clock(path: str) -> None:
    """``time.time`` and ``time.time_ns`` jump when the file's content does, looked at every 0.1 s; what asks the
    system by itself (a log line's stamp) is right all the time."""
    right, right_ns, steady = time.time, time.time_ns, time.monotonic
    look, shift = 0.0, 0.0

    def off() -> float:
        nonlocal look, shift
        if steady() >= look:
            look = steady() + 0.1
            try:
                with open(path) as file:
                    shift = float(file.read() or shift)
            except FileNotFoundError:
                pass  # right so far
        return shift

    time.time = lambda: right() + off()
    time.time_ns = lambda: right_ns() + int(off() * 1e9)


if "DRTC_CHAOS_CLOCK" in os.environ and _role():
    _shift_clock(os.environ["DRTC_CHAOS_CLOCK"])
if "DRTC_CHAOS_MARKS" in os.environ and _role():
    try:
        _install(_role())
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(99)  # Python itself would go on without us, and the trial would prove nothing
