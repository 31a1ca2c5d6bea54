"""Events that cannot be counted: kept once, whole, and counted exactly once when the Job is mended."""
from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .running import Cluster, until

JOB = """
import ctypes, os, sys
import drtc

class Ad(drtc.Event):
    user: str
    price: int

class Spoken(Exception):
    def __str__(self):
        raise RuntimeError("not even this")

class Job(drtc.Job):
    decode = drtc.json(Ad)
    events = drtc.Count()
    total = drtc.Sum()

    def map(self, ad):
        match ad.user if FAULTY else "":
            case "raise": raise ValueError(f"no price {ad.price}")
            case "undeclared": yield "a", {"evnets": 1}
            case "bad key": yield 1.5, {"events": 1}
            case "no pair": yield "a"
            case "bad value": yield "a", {"total": "much"}
            case "half": yield "a", {"events": 1, "total": 1000}; raise ValueError("second thoughts")
            case "strange": raise ValueError("a lone \\udcff and a lone \\ud800")
            case "mute": raise Spoken()
            case "leave": sys.exit(3)
            case "exit": os._exit(3)
            case "segfault": ctypes.string_at(0)
        yield ad.user if FAULTY else "mended", {"events": 1, "total": ad.price}
"""
FAULTY, MENDED = "FAULTY = True\n" + JOB, "FAULTY = False\n" + JOB
BAD = {
    "raise": "ValueError: no price 7",
    "undeclared": "evnets",
    "bad key": "key",
    "no pair": "yield key, {field: value}",
    "bad value": "Sum() takes numbers, not str",
    "half": "ValueError: second thoughts",
}
UNDECODABLE = {
    b'{"user": "a", "price": 1': "truncated",
    b'{"user": "a"}': "price",
    b'{"user": "a", "price": "dear"}': "price",
    b'{"user": "\xff\xfe", "price": 1}': "",
    bytes(range(11, 200)).replace(b"\r", b""): "",
    b"nonsense" * 1000: "",
}


def ad(user: str, price: int = 7) -> bytes:
    return json.dumps({"user": user, "price": price}).encode()


def put(directory: Path, lines: list[bytes], name: str = "in.txt") -> dict[bytes, int]:
    """Writes the lines; their offsets."""
    offsets = {}
    at = 0
    for line in lines:
        offsets[line] = at
        at += len(line) + 1
    (directory / name).write_bytes(b"".join(line + b"\n" for line in lines))
    return offsets


def cluster(directory: Path, job: str = FAULTY, **sections: Any) -> Cluster:
    return Cluster(directory, job, {"source": {"type": "files", "path": "in.txt"}, **sections})


def raw_of(letter: dict[str, Any]) -> bytes:
    return letter["raw"].encode() if letter["raw"] is not None else base64.b64decode(letter["raw_base64"])


def counts(cluster: Cluster) -> dict[str, tuple[int, int]]:
    return {key: (record["events"], record["total"]) for key, record in cluster.records().items()}


def test_each_is_kept_whole_and_the_others_count(tmp_path: Path) -> None:
    lines = [ad(f"good {number}", number) for number in range(300)]
    bad = [ad(kind) for kind in BAD] + list(UNDECODABLE)
    for number, line in enumerate(bad):
        lines.insert(17 * (number + 1), line)
    offsets = put(tmp_path, lines)
    with cluster(tmp_path) as job:
        code, said = job.run()
        assert code == 0 and "300 events stored" in said and f"{len(bad)} dead letters" in said, said
        letters = {raw_of(letter): letter for letter in job.letters()}
        assert sorted(letters) == sorted(bad)
        for line, letter in letters.items():
            assert letter["offset"] == offsets[line] and letter["partition"] == "in.txt" and letter["error"]
            assert letter["letter"] == f"in.txt#{letter['slot']}@{offsets[line]}"
        for kind, error in BAD.items():
            assert error in letters[ad(kind)]["error"], letters[ad(kind)]
        for line, error in UNDECODABLE.items():
            assert error in letters[line]["error"], letters[line]
        assert "in map" in letters[ad("raise")]["traceback"] and "job.py" in letters[ad("raise")]["traceback"]
        assert counts(job) == {f"good {number}": (1, number) for number in range(300)}
        shown = job.ask("dead show", letters[ad("raise")]["letter"])
        assert "ValueError: no price 7" in shown and '"user": "raise"' in shown and "in map" in shown
        listed = job.ask("dead list")
        assert "ValueError: no price 7" in listed and len(listed.splitlines()) == len(bad) + 2
        assert job.ask("dead list", "--limit", "2").count("in.txt#") == 2
        assert "no dead letter nobody in job_v1_dead: see drtc dead list" in job.ask("dead show", "nobody", code=5)


@pytest.mark.parametrize("killer", ["exit", "segfault", "leave"])
def test_events_that_kill_their_worker_are_found_by_halving(tmp_path: Path, killer: str) -> None:
    lines = [ad("good", number) for number in range(5000)]
    lines[1234], lines[4321] = ad(killer, 1), ad(killer, 2)
    put(tmp_path, lines)
    with cluster(tmp_path, compute={"workers": 2, "worker_kills": 2}) as job:
        code, said = job.run()
        assert code == 0 and "4,998 events stored" in said and "2 dead letters" in said, said
        assert sorted(raw_of(letter) for letter in job.letters()) == sorted([ad(killer, 1), ad(killer, 2)])
        assert {letter["error"] for letter in job.letters()} == {"it killed its worker 2 times"}
        assert counts(job) == {"good": (4998, sum(range(5000)) - 1234 - 4321)}


@pytest.mark.parametrize("strange", ["strange", "mute"])
def test_an_error_that_cannot_be_written_is_kept_all_the_same(tmp_path: Path, strange: str) -> None:
    put(tmp_path, [ad("good"), ad(strange), ad("good")])
    with cluster(tmp_path) as job:
        code, said = job.run()
        assert code == 0 and "worker died" not in said, said
        letter, = job.letters()
        assert raw_of(letter) == ad(strange) and letter["error"]
        job.ask("dead show", letter["letter"])
        job.ask("dead list")
        assert counts(job) == {"good": (2, 14)}


def test_a_replay_of_the_source_keeps_each_once(tmp_path: Path) -> None:
    lines = [ad("good", number) for number in range(1000)]
    for at in range(0, 1000, 50):
        lines[at] = ad("raise", at)
    put(tmp_path, lines)
    settings = {"source": {"type": "files", "path": "in.txt", "follow": "yes"}, "collector": {"commit": "1000s"}}
    with Cluster(tmp_path, FAULTY, settings) as job:
        for _ in range(3):
            process = job.start("run")
            until(lambda: "coordinator listening" in process.said
                  and job.report("collector").get("partitions", {}).get("in.txt", {}).get("offset") == sum(
                      len(line) + 1 for line in lines), "all is stored, and nothing committed")
            everybody = [job.report(role)["pid"] for role in ("collector", "coordinator", "compute")]
            process.send(signal.SIGKILL)
            for pid in everybody:
                subprocess.run(["kill", "-9", str(pid)], check=False)
            process.wait()
        letters = job.letters()
        assert sorted(map(raw_of, letters)) == sorted(ad("raise", at) for at in range(0, 1000, 50))
        code, said = job.run("--set", "source.follow=no")
        assert code == 0 and job.letters() == letters
        assert counts(job) == {"good": (980, sum(range(1000)) - sum(range(0, 1000, 50)))}


def mend(job: Cluster) -> None:
    (job.directory / "job.py").write_text(MENDED)


def test_a_replay_after_the_job_was_mended_counts_each_once(tmp_path: Path) -> None:
    put(tmp_path, [ad("good"), ad("raise", 1), ad("undeclared", 2), ad("bad key", 4), b"never"])
    with cluster(tmp_path) as job:
        assert job.run()[0] == 0
        assert "0 replayed, 4 still dead" in job.ask("dead replay", "--all")  # not mended yet
        assert len(job.letters()) == 4
        mend(job)
        first = next(letter["letter"] for letter in job.letters() if raw_of(letter) == ad("raise", 1))
        assert "1 replayed, 0 still dead" in job.ask("dead replay", first)
        assert counts(job) == {"good": (1, 7), "mended": (1, 1)}
        assert f"no dead letter {first}" in job.ask("dead replay", first, code=5)
        assert counts(job) == {"good": (1, 7), "mended": (1, 1)}
        assert "2 replayed, 1 still dead" in job.ask("dead replay", "--all")
        assert counts(job) == {"good": (1, 7), "mended": (3, 7)}
        letter, = job.letters()
        assert raw_of(letter) == b"never" and "malformed" in letter["error"]
        assert "0 replayed, 1 still dead" in job.ask("dead replay", "--all")
        assert counts(job) == {"good": (1, 7), "mended": (3, 7)}
        code, said = job.run()  # the source has nothing new, and what was replayed is not dead again
        assert "nothing new to store" in said and len(job.letters()) == 1


DEATHS = {
    "after numbering": ("drtc.dead", "Replay", "_count", 1),
    "after the first bunch": ("drtc.dead", "Replay", "_count", 2),
    "before it is merged": ("drtc.compute.merge", "Merger", "attempt", 1),
    "before it is removed": ("drtc.stores.sqlite", "SQLiteStore", "delete", 1),
    "before the last is removed": ("drtc.stores.sqlite", "SQLiteStore", "delete", 3),
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_replay_that_is_killed_and_run_again_is_exact(tmp_path: Path, death: str) -> None:
    put(tmp_path, [ad("raise", 2 ** at if at < 30 else at) for at in range(1100)] + [b"never"])
    with cluster(tmp_path) as job:
        assert job.run()[0] == 0
        mend(job)
        module, owner, name, nth = DEATHS[death]
        script = f"""
import os, sys
import {module} as module
from drtc.cli import main
real, calls = module.{owner}.{name}, []
def deadly(*arguments):
    calls.append(1)
    if len(calls) == {nth}:
        os._exit(99)
    return real(*arguments)
module.{owner}.{name} = deadly
main(sys.argv[1:])
"""
        command = [sys.executable, "-c", script, "dead", "replay", "--all", "-c", str(job.ini)]
        assert subprocess.run(command, env=job.environ, timeout=60, check=False).returncode == 99
        job.ask("dead replay", "--all")
        total = sum(2 ** at if at < 30 else at for at in range(1100))
        assert counts(job) == {"mended": (1100, total)}
        assert [raw_of(letter) for letter in job.letters()] == [b"never"]
        job.ask("dead replay", "--all")
        assert counts(job) == {"mended": (1100, total)}


def test_two_replays_at_the_same_time_count_each_once(tmp_path: Path) -> None:
    put(tmp_path, [ad("raise", at) for at in range(2000)])
    with cluster(tmp_path) as job:
        assert job.run()[0] == 0
        mend(job)
        both = [job.start("dead replay", "--all") for _ in range(2)]
        assert [process.wait(60) for process in both] == [0, 0], [process.said for process in both]
        assert counts(job) == {"mended": (2000, sum(range(2000)))}
        assert job.letters() == []


def test_a_replay_beside_a_run_counts_each_once(tmp_path: Path) -> None:
    put(tmp_path, [ad("raise", at) for at in range(500)])
    with Cluster(tmp_path, FAULTY, {"source": {"type": "files", "path": "in.txt", "follow": "yes"}}) as job:
        assert job.run("--set", "source.follow=no")[0] == 0
        mend(job)
        process = job.start("run")
        process.await_words("link up .*role=compute")
        with open(tmp_path / "in.txt", "ab") as file:
            file.writelines(ad("good", 1) + b"\n" for _ in range(5000))
        job.ask("dead replay", "--all")
        until(lambda: counts(job) == {"mended": (5500, sum(range(500)) + 5000)}, "both are counted")
        process.send(signal.SIGINT)
        assert process.wait() == 0


def test_dead_letters_before_the_first_run(tmp_path: Path) -> None:
    put(tmp_path, [ad("good")])
    with cluster(tmp_path) as job:
        assert job.letters() == []
        assert "0 replayed, 0 still dead" in job.ask("dead replay", "--all")
        assert "name the dead letters to replay, or say --all" in job.ask("dead replay", code=2)


def test_a_replay_with_a_job_that_cannot_be_opened_is_a_sentence(tmp_path: Path) -> None:
    put(tmp_path, [ad("raise")])
    with cluster(tmp_path) as job:
        assert job.run()[0] == 0
        mend(job)
        text = (tmp_path / "job.py").read_text()
        (tmp_path / "job.py").write_text(text + "\n    def open(self, context):\n        raise OSError('no model')\n")
        assert "Job.open failed: OSError: no model" in job.ask("dead replay", "--all", code=3)
        assert len(job.letters()) == 1
