"""The numbered events of scaling, burst and idle: what is wrong with a record is seen, whatever it is."""
from __future__ import annotations

from pathlib import Path

from drtc.cluster.rendezvous import owner

from . import steps
from .peers import PLACES, names
from .steps import KEYS, Account


def test_truth_is_what_the_lines_say(tmp_path: Path) -> None:
    events = 3 * KEYS + 17
    steps.write(tmp_path, events, 3, "filler")
    found: dict[str, list[int]] = {}
    homes: dict[str, set[str]] = {}
    for path in tmp_path.glob("part-*.csv"):
        for line in path.read_text().splitlines():
            key, number, filler = line.split(",")
            assert filler == "filler"
            found.setdefault(key, []).append(int(number))
            homes.setdefault(key, set()).add(path.name)
    accounts = {key: Account(len(numbers), sum(numbers), numbers[-1]) for key, numbers in found.items()}
    assert accounts == steps.truth(events)
    assert all(numbers == sorted(numbers) for numbers in found.values())
    assert all(len(files) == 1 for files in homes.values())
    assert steps.counted(accounts) == events


def test_a_record_shows_what_was_lost_doubled_or_overtaken() -> None:
    key, first, second, third = 5, 5, 5 + KEYS, 5 + 2 * KEYS
    sound = {str(key): Account(2, first + second, second)}
    assert steps.disordered(sound) == []
    for numbers in ([second], [first, third], [first, first], [second, first], [first, second, second]):
        wrong = {str(key): Account(len(numbers), sum(numbers), numbers[-1])}
        assert steps.disordered(wrong) == [str(key)], numbers


def test_idle_nodes_have_names_that_no_lane_goes_to() -> None:
    lanes = [f"part-{number}.csv#{number}" for number in range(4)]
    idle = names(50, lanes, "compute-1", 3.0)
    assert len(set(idle)) == 50
    weights = {"compute-1": 3.0, **dict.fromkeys(idle, float(PLACES))}
    assert {owner(lane, weights) for lane in lanes} == {"compute-1"}
