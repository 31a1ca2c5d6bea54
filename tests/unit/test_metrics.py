"""What Prometheus scrapes: the report's figures under fixed names, few series, and everything that conf/ asks for."""
from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from drtc.observe.metrics import MOST_SERIES, OTHER, Exporter, metrics
from .test_status import collector, compute, coordinator

ROOT = Path(__file__).parents[2]
DASHBOARD, ALERTS = ROOT / "conf/grafana/drtc.json", ROOT / "conf/prometheus/alerts.yml"
COLLECTOR = collector(skipped=2, replayed=3, saved=4, idle=0.5, draining=False, peers={"coordinator": 2})
COORDINATOR = coordinator(handled=9, idle=0.0, rate=1.0, draining=False, peers={"compute": 1, "collector": 1})
COMPUTE = compute(handled=9, idle=0.0, rate=1.0, pieces=3, seconds={"map": 1.5, "merge": 0.5}, draining=False,
                  peers={"coordinator": 2})


def scraped(report: dict[str, Any], age: float = 0.5, well: bool = True) -> dict[tuple[str, ...], float]:
    """Value by name and labels' values, as Prometheus reads them."""
    text = Exporter().expose(report, age, well)[1].decode()
    return {(sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text) for sample in family.samples}


def test_a_collector_s_figures() -> None:
    found = scraped(COLLECTOR)
    assert found["drtc_events_total",] == 5000 and found["drtc_dead_letters_total",] == 1
    assert found["drtc_oldest_unacknowledged_seconds",] == 0.25 and found["drtc_stalled",] == 0
    assert found["drtc_lag", "ads-0"] == 10 and ("drtc_lag", "ads-1") not in found
    assert found["drtc_members", "coordinator"] == 2
    assert ("drtc_queue_bytes", "disk") not in found and ("drtc_worker_deaths_total",) not in found


def test_a_coordinator_s_figures() -> None:
    found = scraped(COORDINATOR)
    assert found["drtc_queue_bytes", "memory"] == 1 << 20 and found["drtc_queue_bytes", "disk"] == 2 << 20
    assert found["drtc_node_share", "compute-1"] == 0.5 and found["drtc_handled_events_total",] == 9
    assert ("drtc_events_total",) not in found, "or a sum over all roles would count each event three times"


def test_a_compute_node_s_figures() -> None:
    found = scraped({**COMPUTE, "deaths": 2})
    assert found["drtc_worker_deaths_total",] == 2 and found["drtc_workers",] == 2
    assert found["drtc_stage_seconds_total", "map"] == 1.5 and found["drtc_in_hand_bytes",] == 2048


@pytest.mark.parametrize("report", [COLLECTOR, COORDINATOR, COMPUTE], ids=["collector", "coordinator", "compute"])
def test_every_role_says_who_it_is_how_it_is_and_what_its_process_takes(report: dict[str, Any]) -> None:
    found = scraped(report, age=0.5, well=False)
    assert found["drtc_healthy",] == 0 and found["drtc_beat_age_seconds",] == 0.5
    assert any(name == "drtc_build_info" and report["node"] in labels for name, *labels in found)
    assert found["process_resident_memory_bytes",] > 0 and found["process_cpu_seconds_total",] > 0


def test_counters_follow_the_report() -> None:
    exporter = Exporter()
    seen = []
    for events in (0, 10, 10, 500):
        text = exporter.expose({**COLLECTOR, "events": events}, 0.0, True)[1].decode()
        seen += [sample.value for family in text_string_to_metric_families(text) for sample in family.samples
                 if sample.name == "drtc_events_total"]
    assert seen == [0, 10, 10, 500]


def test_the_number_of_series_is_bounded_and_nothing_is_lost_of_the_sum() -> None:
    many = {f"p-{number}": {"offset": 0, "end": 1, "start": 0} for number in range(5000)}
    found = {key: value for key, value in scraped({**COLLECTOR, "partitions": many}).items() if key[0] == "drtc_lag"}
    assert len(found) == MOST_SERIES + 1 and sum(found.values()) == 5000
    assert found["drtc_lag", OTHER] == 5000 - MOST_SERIES
    assert ("drtc_lag", "p-0") in found and ("drtc_lag", "p-99") in found


def test_a_name_with_quotes_and_line_breaks_stays_one_label() -> None:
    found = scraped({**COLLECTOR, "partitions": {'a"\n\\b': {"offset": 0, "end": 5, "start": 0}}})
    assert found["drtc_lag", 'a"\n\\b'] == 5


def test_a_report_of_the_start_is_exposed() -> None:
    assert scraped({})["drtc_healthy",] == 1


# --- conf/ ---

def exported() -> set[str]:
    return {sample.name for report in (COLLECTOR, COORDINATOR, COMPUTE) for family in metrics(report)
            for sample in family.samples} | {"drtc_healthy", "drtc_beat_age_seconds"}


@pytest.mark.parametrize("path", [DASHBOARD, ALERTS], ids=lambda path: path.name)
def test_every_metric_that_is_asked_for_is_exported(path: Path) -> None:
    named = set(re.findall(r"\bdrtc_[a-z_]+\b", path.read_text("utf-8")))
    assert len(named) > 5 and named - exported() == set()


def test_every_metric_of_the_page_is_exported_and_all_are_told() -> None:
    page = (ROOT / "docs/monitoring.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(drtc_[a-z_]+)", page, re.MULTILINE)) == exported()


def test_the_dashboard_is_one() -> None:
    board = json.loads(DASHBOARD.read_text("utf-8"))
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert board["title"] == "drtc" and len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    assert all(target["expr"] for panel in panels for target in panel["targets"])
    places = [panel["gridPos"] for panel in board["panels"]]
    cells = [(x, y) for place in places for x in range(place["x"], place["x"] + place["w"])
             for y in range(place["y"], place["y"] + place["h"])]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24, "panels lie on one another"


def test_prometheus_takes_the_rules() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (apt install prometheus): the rules are only checked for their metrics")
    done = subprocess.run([promtool, "check", "rules", ALERTS], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
