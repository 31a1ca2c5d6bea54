"""Runs that stand at a gate: everything up to an event is being counted, nothing beyond, until the test says so.

What happens "in the middle" then happens there on every machine: the workers are inside ``map``, every queue is full.
"""
from __future__ import annotations

import signal
from pathlib import Path
from typing import Any, Callable, Mapping

import psutil

from ..chaos.roles import send
from ..chaos.trial import files_source, kafka_source
from ..chaos.truth import Account, Verdict, judge, make, records, rows
from ..services import Kafka
from .running import Cluster, Process, until

PARTITIONS = 2
JOB = '''
import time

from tests.chaos import job


class Tally(job.Tally):
    def open(self, context):
        self.gate, self.met = context.base / "gate", context.base / "met"
        self.look()

    def look(self):
        try:
            self.most = int(self.gate.read_text() or "0")
        except FileNotFoundError:
            self.most = float("inf")

    def map(self, entry):
        while entry.number >= self.most:
            self.met.touch()
            time.sleep(0.01)
            self.look()
        return super().map(entry)
'''


class Stream:
    """Events in a Kafka topic or in growing files, some of them now, others later."""

    def __init__(self, kind: str, kafka: Kafka, directory: Path, seed: int, events: int) -> None:
        self.events = make(seed, events, PARTITIONS)
        self._kafka = kafka
        self._paths = [directory / f"part-{partition}.csv" for partition in range(PARTITIONS)]
        self._topic = self._group = ""
        self._done = 0
        self.source: Mapping[str, Any] = {**files_source(directory / "part-*.csv"), "follow": "yes"}
        if kind == "kafka":
            self._topic = kafka.create_topic(kafka.fresh("gated"), PARTITIONS)
            self._group = kafka.fresh("gated")
            self.source = kafka_source(kafka.address, self._topic, self._group)

    def write(self, until: int | None = None) -> None:
        """Appends the events up to this number, or all that are left."""
        end = self.events.count if until is None else until
        for partition, lines in enumerate(self.events.lines):
            fresh = [(key, line) for key, line in lines if self._done <= int(line.split(b",")[1]) < end]
            if self._topic:
                self._kafka.produce(self._topic, fresh, partition, config={"batch.num.messages": 200})
                continue
            with open(self._paths[partition], "ab") as file:
                file.write(b"".join(line + b"\n" for _, line in fresh))
        self._done = end

    def committed(self) -> dict[int, tuple[int, str]]:
        """What the Kafka group has committed, offset and note; files keep it in the store."""
        found = self._kafka.committed(self._group, self._topic) if self._topic else {}
        # confluent-kafka reads metadata beyond their end, and a topic's id of six letters is the end of ours
        return {partition: (offset, note[:note.index(";topic=") + 13]) for partition, (offset, note) in found.items()}


class Gated(Cluster):
    """A cluster that counts a stream, with queues so small that most of it is still unread at the gate."""

    def __init__(self, directory: Path, stream: Stream, **collector: Any) -> None:
        small = {"batch_bytes": "4K", "memory_bytes": "16K"}
        super().__init__(directory, JOB, {
            "job": {"class": "job:Tally"}, "cluster": {"heartbeat": 0.2, "timeout": 2}, "source": stream.source,
            "collector": {"slots": 4, **small, **collector}, "coordinator": small,
            "compute": {"workers": 2, "memory_bytes": "16K"}})
        self._stream = stream
        self._gate, self._met = directory / "gate", directory / "met"

    def __enter__(self) -> Gated:
        super().__enter__()
        return self

    def close_gate(self, number: int) -> None:
        """Event ``number`` and later ones are not counted by who is started from now on."""
        self._met.unlink(missing_ok=True)
        self._gate.write_text(str(number))

    def open_gate(self) -> None:
        self._gate.unlink()

    def await_gate(self, process: Process) -> None:
        """Until a worker stands at the gate and something that was before it is stored."""
        try:
            until(lambda: self._met.exists() and self.counted(), "a worker stands at the gate")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{process.said}") from None

    def counted(self) -> dict[str, Account]:
        """The records as they are in the store now."""
        path = self.directory / "results.db"
        return records(path) if path.exists() else {}

    def verdict(self) -> Verdict:
        return judge(self.counted(), self._stream.events.truth)

    def check_part(self) -> None:
        """Some events are counted, not all, and none twice."""
        verdict = self.verdict()
        assert self.counted() and verdict.lost and not verdict.doubled, verdict

    def check_all(self) -> None:
        """Every record equals the truth, and nothing became a dead letter."""
        verdict = self.verdict()
        assert verdict.right, verdict
        assert self.letters() == []

    def finish(self, *arguments: str) -> None:
        """Runs to the end; every record equals the truth."""
        code, said = self.run(*arguments)
        assert code == 0, said
        self.check_all()

    def events(self) -> int:
        """How many are stored; the groups' records are counts of the same ones."""
        return sum(account.events for key, account in self.counted().items() if not key.startswith("group"))

    def await_events(self, number: int) -> None:
        until(lambda: self.events() == number, f"{number} events are stored")

    def content(self) -> tuple[list[tuple[Any, ...]], dict[int, tuple[int, str]]]:
        """All that outlives a run: records with their versions and fences, dead letters, offsets with their notes."""
        path = self.directory / "results.db"
        tables = [name for name, in rows(path, "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        # A start notes that something may be sent now, an end that nothing was: only that entry's version tells
        kept = {"tally_v1_offsets": "key, offset, note, detail"}
        return ([(table, *row) for table in tables
                 for row in rows(path, f"SELECT {kept.get(table, '*')} FROM {table} ORDER BY key")],
                self._stream.committed())

    def drain_at(self, number: int, *arguments: str, ends: signal.Signals = signal.SIGTERM,
                 meanwhile: Callable[[], None] = lambda: None) -> None:
        """Runs as far as the gate, and there is told to stop: what was begun is finished, and nothing else.
        ``meanwhile`` is done after the start."""
        self.close_gate(number)
        run = self.start("run", *arguments)
        meanwhile()
        self.await_gate(run)
        run.send(ends)
        run.await_words("collector draining")
        self.open_gate()
        assert run.wait() == 0, run.said
        self.check_part()
        latest = max(number for account in self.counted().values() for number in account.recent)
        assert latest >= number, "what was in a worker's hands is not stored"

    def die_at(self, number: int) -> None:
        """Runs as far as the gate, and there everything is killed."""
        self.close_gate(number)
        run = self.start("run", "--until-end")
        self.await_gate(run)
        kill_all(run)
        self.open_gate()
        self.check_part()


def family(process: Process) -> list[psutil.Process]:
    """The process and all below it, workers included."""
    top = psutil.Process(process.pid)
    return [top, *top.children(recursive=True)]


def kill_all(process: Process) -> None:
    """kill -9 of a whole run, as a power cut would."""
    everybody = family(process)
    for each in everybody:
        send(each.pid, signal.SIGKILL)
    process.wait()
    assert not psutil.wait_procs(everybody[1:], 10)[1]
