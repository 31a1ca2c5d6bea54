"""The chaos table: every fault so many times, each in a cluster's life, and the page that shows what came of it."""
from __future__ import annotations

import os
import shutil
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Sequence

from ..services import Kafka
from ..services.zookeeper import ZooKeeper
from . import course, faults_disk, faults_links, faults_processes, faults_services
from .crew import Failed
from .fault import Fault
from .life import COLLECTORS, COMPUTES, COORDINATORS, PARTITIONS, SLOTS, Life, Run, Times, live
from .proxy import SEGMENT

FAULTS: list[Fault] = [*faults_processes.FAULTS, *faults_services.FAULTS, *faults_disk.FAULTS, *faults_links.FAULTS]


@dataclass
class Row:
    """A fault and its runs; ``missing`` says why there are none."""

    fault: Fault
    runs: list[Run] = field(default_factory=list)
    missing: str = ""

    @property
    def right(self) -> bool:
        """Whether it went as promised."""
        return not self.missing and not any(run.events.lost or run.events.doubled for run in self.runs)


@dataclass
class Plan:
    """How a report is made: a life for each fault, so many runs in it."""

    times: Times
    seed: int
    runs: int
    rate: int

    def rows(self, faults: Sequence[Fault], directory: Path, kafka: Kafka, zookeeper: ZooKeeper | None,
             said: Callable[[str], None]) -> list[Row]:
        """A life for each of the faults. One that fails does not keep the others from being tried."""
        return [self._row(fault, directory / fault.name, kafka, zookeeper, said) for fault in faults]

    def _row(self, fault: Fault, directory: Path, kafka: Kafka, zookeeper: ZooKeeper | None,
             said: Callable[[str], None]) -> Row:
        row = Row(fault)
        if fault.absent():
            row.missing = f"ABSENT: {fault.absent()}"
            return row
        try:
            life = Life(directory, fault.stage, self.times, self.seed, kafka, zookeeper, self.rate)
            row.runs = live(life, [fault], self.runs, said)
        except (Failed, AssertionError) as failure:
            row.missing = f"FAILED: {str(failure).partition(chr(10))[0]}"
            said(f"{fault.name} (seed {self.seed}): {failure}")
        if row.right:
            shutil.rmtree(directory)
        return row


HEAD = """\
# Reliability

What drtc does when things break, measured. Written by `python -m tests.chaos --report docs/reliability.md`; do not
edit.

A cluster of {collectors} collectors, {coordinators} coordinators and {computes} compute nodes with two workers each
counts {rate:,} events a second from a Kafka topic with {partitions} partitions, routed by key over {slots} slots, into
SQLite; Kafka and ZooKeeper are real ones, everything runs on one machine with {processors} processors. A role that
dies is started again at once, as systemd would. Time-outs: a peer that is silent for {timeout:g} s is taken for gone
(`[cluster] timeout`; heartbeats every {heartbeat:g} s), sessions of ZooKeeper and of Kafka's group last {session:g} s.
Seed {seed}.

| fault | runs | events sent | stored | lost | duplicated | time to detect | back to 95 % of throughput | largest \
backlog |
|---|---|---|---|---|---|---|---|---|
"""
TAIL = """
Seconds are given as median / worst of the runs.

- **Lost, duplicated**: the events of each run have keys of their own, and every record of the store is held against
  what it must be, computed by the sender: number, sum, and the last {recent} in order. The counts are per key: a loss
  here does not make up for a double there. A record that is right in number and wrong in content fails the report.
- **Time to detect**: from the stroke to the first line in the log of any role that names it, logs being read every
  {look:g} s: `link lost` or `collector lost` with the name of who was struck, `worker died`, `source waits`,
  `store waits`, a line about ZooKeeper or the overflow. A worker that stands still is named by no log (it may just
  as well be mapping for long): there it is `drtc status`, asked four times a second, that shows a batch which has been
  waiting for longer than `[cluster] timeout`. A dash: nobody has to notice. "never": nobody did.
- **Back to 95 % of throughput**: from the stroke to the end of the last dip. A dip is a window of {window:g} s in which
  less than {share:.0%} of what was sent in so long was stored, read from the store itself {often:.0f} times a second;
  0: no window was that low. How long a fault lasts is in it.
- **Largest backlog**: the most events that had been sent and were not stored, those that the sender itself held while
  the broker was away among them; worst of the runs.
- **A link with delay and loss** is a TCP proxy that holds every chunk back for {latency:g} s, each way; a segment of
  {segment} bytes that is lost (probability {loss:.0%}) holds it and all behind it up for a retransmission time-out of
  twice the delay and 0.2 s, doubled for each further loss. The congestion window is not modelled.
- **Half-open** links end in a proxy that swallows everything and closes nothing; connections that were there stay deaf
  when it is over.
- **Clocks** are those that Python's `time.time` shows to a role and its workers.
"""


def page(rows: Sequence[Row], plan: Plan) -> str:
    """The report, as Markdown."""
    times = plan.times
    text = HEAD.format(collectors=number(COLLECTORS), coordinators=number(COORDINATORS), computes=number(COMPUTES),
                       partitions=number(PARTITIONS), slots=SLOTS, rate=plan.rate, processors=os.cpu_count(),
                       timeout=times.timeout, heartbeat=times.heartbeat, session=times.session, seed=plan.seed)
    text += "".join(f"| {' | '.join(cells(row, times))} |\n" for row in rows)
    return text + TAIL.format(recent=number(5), look=0.05, window=course.WINDOW, share=course.SHARE, often=20,
                              latency=faults_links.LATENCY, loss=faults_links.LOSS, segment=SEGMENT)


def cells(row: Row, times: Times) -> list[str]:
    told = row.fault.told.format(minute=times.minute, stop=times.stop, timeout=times.timeout)
    if row.missing:
        return [told, "0", row.missing.replace("|", "/"), *[""] * 6]
    events = [run.events for run in row.runs]
    totals = [sum(getattr(tally, what) for tally in events) for what in ("sent", "stored", "lost", "doubled")]
    return [told, str(len(row.runs)), *(f"{total:,}" for total in totals), _detected(row.runs),
            seconds([run.back for run in row.runs]), f"{max(run.backlog for run in row.runs):,}"]


def _detected(runs: Sequence[Run]) -> str:
    if not any(run.watched for run in runs):
        return "–"
    found = [run.noticed for run in runs if run.noticed is not None]
    missed = sum(run.noticed is None for run in runs)
    return ", ".join([*([seconds(found)] if found else []), *([f"{missed} never"] if missed else [])])


def seconds(values: Sequence[float]) -> str:
    """Median and worst."""
    return f"{statistics.median(values):.1f} / {max(values):.1f}"


def number(value: int) -> str:
    return ("no", "one", "two", "three", "four", "five")[value] if value <= 5 else str(value)
