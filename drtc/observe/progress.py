"""How a run goes: a live line on a terminal, a log line now and then elsewhere, one sentence at the end."""
from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, TextIO

from .logs import Log
from .tables import counted

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How far a run is, at one moment."""

    events: int  # stored since the start
    events_per_second: float = 0.0
    lag: int | None = None  # messages behind the source's end, where known
    total: int | None = None  # what a bounded run will have done at its end; None: unbounded, or not known yet
    position: int | None = None  # how much of ``total`` is done, where it does not count events but bytes
    oldest_unacknowledged: float = 0.0  # seconds
    workers: int = 0
    dead: int = 0
    stalled: bool = False  # work is waiting and nothing has been stored for a while
    waiting: str = ""  # for what: "kafka localhost:9092, attempt 3, next in 4 s"

    @property
    def fraction(self) -> float | None:
        """0 to 1, None where the end is not known."""
        if self.total is None:
            return None
        done = self.events if self.position is None else self.position
        return min(1.0, done / self.total) if self.total > 0 else 1.0


class Progress:
    """Shows snapshots as they come; ``with Progress(...) as progress`` leaves the terminal clean. Starts no thread.

    Args:
        title: what runs, the view's name.
        stream: stderr, unless given.
        every: seconds between two log lines where the stream is not a terminal.
        clock: monotonic seconds.
    """

    def __init__(self, title: str, stream: TextIO | None = None, every: float = 5.0,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self.title = title
        self._stream = stream or sys.stderr
        self._every = every if not self._stream.isatty() else 0.1
        self._clock = clock
        self._next = clock()
        self._alarm = ""
        self._log = Log("run")
        self._live: Any = None

    def __enter__(self) -> Progress:
        if self._stream.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(file=self._stream), auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def update(self, snapshot: Snapshot) -> None:
        """Takes note. Cheap enough to call at any rate; a new trouble is shown at once, else the rate is bounded."""
        now = self._clock()
        alarm = trouble(snapshot)
        if now < self._next and alarm == self._alarm:
            return
        self._next = now + self._every
        self._alarm = alarm
        if self._live is not None:
            self._live.update(line(self.title, snapshot), refresh=True)
        else:
            self._write(snapshot, alarm)

    def _write(self, snapshot: Snapshot, alarm: str) -> None:
        values: dict[str, object] = {"view": self.title, "events": snapshot.events,
                                     "events_per_second": round(snapshot.events_per_second)}
        if snapshot.fraction is not None:
            values["percent"] = round(100 * snapshot.fraction)
        if snapshot.lag is not None:
            values["lag"] = snapshot.lag
        values |= {"oldest": f"{snapshot.oldest_unacknowledged:.1f}s", "workers": snapshot.workers,
                   "dead": snapshot.dead}
        if alarm:
            self._log.warning("progress", **values, trouble=alarm)
        else:
            self._log.info("progress", **values)


def trouble(snapshot: Snapshot) -> str:
    """What a person should know first, "" where all is well."""
    if snapshot.stalled:
        return f"stalled: {snapshot.waiting or 'nothing is being stored'}"
    return snapshot.waiting


def line(title: str, snapshot: Snapshot) -> RenderableType:
    """The live line: the title, a bar where the end is known, the figures, and trouble in red."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1))
    cells: list[RenderableType] = [Text(title, "bold")]
    if snapshot.fraction is not None:
        cells += [ProgressBar(total=1.0, completed=snapshot.fraction, width=24),
                  Text(f"{100 * snapshot.fraction:3.0f} %", "bold")]
    figures = Text(" · ".join(_figures(snapshot)), no_wrap=True, overflow="ellipsis")
    alarm = trouble(snapshot)
    if alarm:
        figures = Text(f"{alarm} · ", "bold red" if snapshot.stalled else "yellow", no_wrap=True,
                       overflow="ellipsis").append(figures.plain, "default")
    for _ in cells:
        grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    grid.add_row(*cells, figures)
    return grid


def summary(events: int, seconds: float, dead: int, ended: bool = True) -> str:
    """The last line: "336,776 events stored in 3.1 s (109,000/s), 0 dead letters". ``ended``: not before its time."""
    letters = counted(dead, "dead letter") + (" (drtc dead list shows them)" if dead else "")
    if not events and not dead:
        return f"{'nothing new to store' if ended else 'nothing stored'} ({seconds:.1f} s), {letters}"
    rate = f" ({_rounded(events / seconds):,}/s)" if seconds > 0 else ""
    return f"{counted(events, 'event')} stored in {seconds:.1f} s{rate}, {letters}"


def _figures(snapshot: Snapshot) -> list[str]:
    figures = [counted(snapshot.events, "event"), f"{_rounded(snapshot.events_per_second):,}/s"]
    if snapshot.lag is not None and snapshot.fraction is None:
        figures.append(f"lag {snapshot.lag:,}")
    figures.append(f"oldest {snapshot.oldest_unacknowledged:.1f} s")
    figures.append(counted(snapshot.workers, "worker"))
    figures.append(f"{snapshot.dead:,} dead")
    return figures


def _rounded(rate: float) -> int:
    """Three figures are enough for a person."""
    return int(float(f"{rate:.3g}"))
