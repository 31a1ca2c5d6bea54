"""Who comes from light_drtc finds everything that it had: each name stands in a table, beside its place here."""
from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "coming_from_light_drtc.md"

CLASSES = "MqConsumer parseMqText StreamLogParser parseLogs JobStatsWindow rtcStats batchStats getHealthStatus".split()
CALLS = "addMqinfoToAdminQu rtcStats batchStats getAdminNodeId getHealthStatus getJobStatus".split()
SETTINGS = """
    mq.host mq.port mq.user mq.pswd mq.vhost mq.clickQueue1 mq.clickQueue2 mq.exchange mq.clickRoutKey
    kfZkServers kfGroupId kfAutoOffsetReset kfTopic mqDoBatchTimer rtcPeriodSeconds minJobBatchNum atomJobBatchNum
    adminNodeHosts adminNodePort adminNodeId minThreadNum maxThreadNum jobNodeHosts jobNodePort redisHosts redisPswd
    mongo.* clusterHosts delayTaskDir delayTaskFileSurfix maxDelayTaskNum""".split()


def rows(section: str) -> list[list[str]]:
    """The cells of the section's tables, but for their heads."""
    text = PAGE.read_text("utf-8").partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return [row for row in found if not set("".join(row)) <= set("-") and row[0] != "light_drtc"]


@pytest.mark.parametrize("section, names", [
    ("Classes and methods", CLASSES), ("Remote calls", CALLS), ("Settings", SETTINGS)])
def test_every_name_has_its_place(section: str, names: list[str]) -> None:
    told = {name: row[1] for row in rows(section) for name in re.findall(r"`([\w.*]+)[`(]", row[0])}
    assert [name for name in names if not told.get(name)] == []


def test_no_row_leaves_its_place_open() -> None:
    for section in ("Roles", "Classes and methods", "Remote calls", "Settings"):
        assert rows(section) and all(len(row) > 1 and row[1] for row in rows(section)), section
