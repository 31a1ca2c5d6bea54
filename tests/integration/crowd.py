"""A small crowd at a slow job: several roles of each kind, told apart by their names, and the truth at the end."""
from __future__ import annotations

from pathlib import Path
from typing import Any

from ..chaos.trial import files_source
from ..chaos.truth import Account, Events, judge, make, records
from .running import Cluster, Process, until

EVENTS, PARTITIONS, SEED = 24_000, 3, 11
JOB = '''
import time

from tests.chaos import job


class Tally(job.Tally):
    def open(self, context):
        self.hurry = context.base / "hurry"

    def map(self, entry):
        if not self.hurry.exists():
            time.sleep(0.0005)
        return super().map(entry)
'''


class Crowd(Cluster):
    """Two coordinators, two compute nodes and a collector at a slow job, each told apart by its name."""

    def __init__(self, directory: Path, **cluster: Any) -> None:
        small = {"batch_bytes": "2K", "memory_bytes": "16K"}
        super().__init__(directory, JOB, {
            "job": {"class": "job:Tally"}, "cluster": {"heartbeat": 0.2, "timeout": 5, **cluster},
            "source": files_source(directory / "part-*.csv"), "coordinator": small,
            "collector": {"slots": 8, "route": "csv:0", **small}, "compute": {"workers": 1, "memory_bytes": "16K"}})
        self.made: Events = make(SEED, EVENTS, PARTITIONS)
        for number, lines in enumerate(self.made.lines):
            (directory / f"part-{number}.csv").write_bytes(b"".join(line + b"\n" for _, line in lines))
        self.roles: dict[str, Process] = {}

    def __enter__(self) -> Crowd:
        super().__enter__()
        return self

    def start_all(self) -> None:
        for role, *names in (("coordinator", "a1", "a2"), ("compute", "n1", "n2")):
            for name in names:
                self.start_role(role, name)
        for name in ("a1", "a2"):
            self.roles[name].await_words("link up .*node=n1")
            self.roles[name].await_words("link up .*node=n2")
        self.start_role("collector", "c1", "--until-end")

    def start_role(self, role: str, name: str, *others: str) -> Process:
        process = self.roles[name] = self.start(role, "--name", name, *others)
        return process

    def found(self) -> dict[str, Account]:
        path = self.directory / "results.db"
        return records(path) if path.exists() else {}

    def stored(self) -> int:
        return sum(account.events for key, account in self.found().items() if not key.startswith("group"))

    def await_stored(self, number: int) -> None:
        until(lambda: self.stored() >= number, f"{number} events are stored", 60)
        assert self.stored() < EVENTS, "the job was through before the test began"

    def finish(self, process: Process) -> None:
        """Lets a bounded collector come to its end, at full speed now: every record equals the truth, and so does the
        order in which a key's events came."""
        (self.directory / "hurry").touch()
        assert process.wait(60) == 0, process.said
        verdict = judge(self.found(), self.made.truth)
        assert verdict.right, verdict
