"""The benchmarks themselves: their truth is true, a wrong answer is seen, and costs are added up as they should be."""
from __future__ import annotations

import csv
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drtc.stores.base import Store

from ..contract.backends import BACKENDS
from ..services import Servers
from . import hand, report, stores
from .latency import Sight, delays
from .processes import Watched
from .report import Report, quantile
from .streams import RECENT, WINDOW_MS, Actions, Campaigns, ProfileTruth

BURN = "import time; end = time.process_time() + {}\nwhile time.process_time() < end: pass"


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


@pytest.mark.parametrize("apart", [False, True])
def test_truth_of_campaigns_is_what_the_messages_say(apart: bool) -> None:
    campaigns = Campaigns(101_000, seed=5, apart=apart)  # just past the end of a window
    table = campaigns.table()
    counts: dict[tuple[str, int], int] = {}
    sizes = []
    for i, value in enumerate(value for chunk in campaigns.chunks() for value in chunk):
        event = json.loads(value)
        sizes.append(len(value))
        if event["event_type"] == "view":
            key = table[event["ad_id"]], event["event_time"] // WINDOW_MS * WINDOW_MS // 1000
            counts[key] = counts.get(key, 0) + 1
            assert not apart or campaigns.partition_of(key[0]) == i % 2
    assert len(sizes) == 101_000 and 243 < sum(sizes) / len(sizes) < 246
    assert counts == campaigns.truth()
    assert sum(campaigns.truth(1_000).values()) == int(campaigns.viewed[:1_000].sum())


def test_truth_of_profiles_is_what_the_lines_say(tmp_path: Path) -> None:
    actions = Actions(4_000, seed=5)
    actions.write(tmp_path / "actions.csv")
    answer: ProfileTruth = {}
    with open(tmp_path / "actions.csv") as file:
        for device, doc, kind, _ in csv.reader(file):
            views, collects, recent = answer.get(device, (0, 0, []))
            answer[device] = views + (kind == "view"), collects + (kind == "collect"), [*recent, doc][-RECENT:]
    assert answer == actions.truth()


def test_hand_written_loop_counts_right() -> None:
    campaigns = Campaigns(2_000)
    values = [value for chunk in campaigns.chunks() for value in chunk]
    polled = iter([[], *(values[at:at + 300] for at in range(0, 2_000, 300))])
    _, _, counts = hand.count(polled, campaigns.table(), 2_000)
    assert {(name, window * WINDOW_MS // 1000): views for (name, window), views in counts.items()} == campaigns.truth()


def test_wrong_answer_is_said_and_ends_with_one(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = Report("some", {})
    assert told.check("right", {"a": 1}, {"a": 1}) and told.right
    for found in ({"a": 2}, {}, {"a": 1, "b": 1}):
        assert not told.check("drtc", found, {"a": 1})
    assert told.close() == 1
    assert capsys.readouterr().out.count("WRONG: drtc: 1 of 1 records differ") == 3
    written, = results.iterdir()
    assert json.loads(written.read_text())["right"] is False


def test_cpu_of_orphans_is_counted(tmp_path: Path) -> None:
    """A child that outlives its parent, as a forkserver does, and one that is too short to be seen in /proc."""
    child = BURN.format(0.3)
    parent = f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {child!r}])\n{BURN.format(0.3)}"
    cost = Watched([sys.executable, "-c", parent], tmp_path).wait(60)
    assert cost.code == 0 and cost.cpu >= 0.6
    assert cost.since(0) == cost.by_role and cost.by_role["loop"] > 0.3


def test_delays_are_of_each_view() -> None:
    campaigns = Campaigns(40, apart=True)
    produced = np.arange(40.0)
    views = [[i for i in range(40) if i % 2 == partition and campaigns.viewed[i]] for partition in range(2)]
    sight: Any = Sight.__new__(Sight)
    sight.times = [100.0, 200.0]  # all of partition 0 was seen first, then all of partition 1
    sight.visible = [[len(views[0]), 0], [len(views[0]), len(views[1])]]
    at, waits = delays(campaigns, produced, sight, 0)
    assert at.tolist() == [*views[0], *views[1]]
    assert waits.tolist() == [(100 - i) * 1000 for i in views[0]] + [(200 - i) * 1000 for i in views[1]]
    sight.visible[1][1] -= 1  # the last one never came
    assert delays(campaigns, produced, sight, 0)[1].tolist().count(np.inf) == 1


def test_quantile_is_the_least_value_that_is_enough() -> None:
    values = [float(i) for i in range(1, 1001)]
    assert [quantile(values, q) for q in (0.5, 0.99, 0.999, 1.0)] == [500, 990, 999, 1000]
    assert quantile([7.0], 0.5) == 7


@pytest.mark.parametrize("name", ["memory", "sqlite"])
def test_a_store_is_measured_and_its_versions_add_up(name: str, tmp_path: Path) -> None:
    with BACKENDS[name](tmp_path, Servers()) as backend:
        store = backend.open()
        found = dict(stores.measure(backend, store, 20, 0.05, {}))
        store.close()
    assert set(found) == {kind for kind in stores.KINDS if backend.shared or "x2" not in kind}
    assert all(len(each.speeds) == stores.SLICES and each.records >= 40 for each in found.values())


def test_a_store_that_forgets_a_save_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with BACKENDS["memory"](tmp_path, Servers()) as backend:
        store = backend.open()
        save = type(store).save

        def forgetful(self: Store, view: Any, rows: Any) -> Any:
            return save(self, view, [row for row in rows if row.id.key != "row-7" or row.version < 2])

        monkeypatch.setattr(type(store), "save", forgetful)
        with pytest.raises(RuntimeError, match="the versions add up to"):
            list(stores.measure(backend, store, 20, 0.05, {}))


def test_speed_is_of_all_together() -> None:
    """Where one waits for a second while the other does ten rounds, both think that their usual round is quick."""
    def turns(first: int) -> stores.Tally:
        tally = stores.Tally()
        for at in range(10):
            parts = 10 if at % 2 == first else 1
            tally.rounds += [stores.Round(at + n / parts, at + (n + 1) / parts, 500) for n in range(parts)]
        return tally

    assert stores.Measured([turns(0), turns(1)]).speeds == pytest.approx([5500] * stores.SLICES)


@pytest.mark.parametrize("name", sorted(path.stem for path in Path(__file__).parent.glob("*.py")
                                        if not path.stem.startswith(("__", "test_"))))
def test_every_module_fits_the_code_of_today(name: str) -> None:
    """Benchmarks run seldom, and would otherwise notice last that something has another name now."""
    import_module(f"tests.bench.{name}")
