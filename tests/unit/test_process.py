"""Roles that share a process: who drains when, and with which end. The roles are played; no signal is sent."""
from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest

from drtc.collector.service import Collector
from drtc.config import load
from drtc.errors import ClusterError, ConfigError, DrtcError, SourceError
from drtc.observe.logs import Log
from drtc.process import _Process


class Played:
    """As much of a role as a process knows."""

    patience = 30.0

    def __init__(self, node: str, said: list[str], failure: DrtcError | None = None) -> None:
        self.node = node
        self.log = Log("collector", node=node)
        self.said = said
        self.failure = failure
        self.told = asyncio.Event()

    async def live(self) -> None:
        if self.failure is None:
            await self.told.wait()
        self.said.append(f"{self.node} ends")
        if self.failure is not None:
            raise self.failure

    @property
    def draining(self) -> bool:
        return self.told.is_set()

    def asked_to_drain(self, **by: str) -> None:
        self.said.append(f"{self.node} drains {by}")
        self.told.set()

    def finish(self) -> None:
        self.told.set()


def process(*roles: Any) -> _Process:
    return _Process(roles)


def test_a_signal_drains_one_behind_the_other() -> None:
    said: list[str] = []
    made = process(Played("c", said), Played("a", said))

    async def live() -> None:
        asyncio.get_running_loop().call_soon(made._signalled, signal.SIGTERM)
        await made.run()

    asyncio.run(live())
    assert said == ["c drains {'signal': 'SIGTERM'}", "c ends", "a drains {'after': 'c'}", "a ends"]


def test_the_one_behind_may_end_alone() -> None:
    said: list[str] = []
    first, second = Played("c", said), Played("a", said)
    made = process(first, second)

    async def live() -> None:
        second.told.set()
        life = asyncio.create_task(made.run())
        while "a ends" not in said:
            await asyncio.sleep(0)
        assert not first.draining
        made._signalled(signal.SIGINT)
        await life

    asyncio.run(live())
    assert said == ["a ends", "c drains {'signal': 'SIGINT'}", "c ends"]


@pytest.mark.parametrize("first, second", [(SourceError("no topic"), None), (None, ClusterError("port taken"))])
def test_one_that_fails_ends_the_other_and_gives_its_error(first: DrtcError | None, second: DrtcError | None) -> None:
    said: list[str] = []
    with pytest.raises((SourceError, ClusterError)) as raised:
        asyncio.run(process(Played("c", said, first), Played("a", said, second)).run())
    assert raised.value is (first or second)
    assert {"c ends", "a ends"} <= {*said}


def test_without_a_supervisor_all_have_little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    first, second = Played("c", said), Played("a", said)
    made = process(first, second)

    async def live() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "remove_reader", lambda _: None)
        asyncio.get_running_loop().call_soon(made._orphaned)
        await made.run()

    asyncio.run(live())
    assert first.patience == second.patience == 5.0
    assert said == ["c ends", "a drains {'after': 'c'}", "a ends"]


def test_a_collector_lingers_for_less_than_what_looks_like_a_stall(tmp_path: Path) -> None:
    path = tmp_path / "job.ini"
    path.write_text("[job]\nclass = job:Job\n[source]\ntype = files\npath = *.csv\n"
                    "[store]\ntype = sqlite\npath = r.db\n[collector]\nlinger = 10\n")
    with pytest.raises(ConfigError, match=r"\[collector\] linger: must be shorter than \[cluster\] timeout \(10 s\)"):
        Collector(load(str(path)), "c1", False)
