"""Mistakes and misfortunes of users: a clear sentence or a dead letter, the right exit code, no hang, nothing lost."""
from __future__ import annotations

import gzip
import random
import re
import signal
import socket
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any, Iterator

import pytest

from tests.services import Kafka

from .running import Cluster, until

JOB = """
import drtc

class Action(drtc.Event):
    device: str
    amount: int

class Job(drtc.Job):
    decode = drtc.csv(Action)
    events = drtc.Count()
    total = drtc.Sum()

    def map(self, action):
        yield action.device, {"events": 1, "total": action.amount}
"""


def cluster(directory: Path, path: str = "in.csv", job: str = JOB, **sections: Any) -> Cluster:
    source = {"type": "files", "path": path, **sections.pop("source", {})}
    peers = {"timeout": 3, "heartbeat": 0.5, **sections.pop("cluster", {})}
    return Cluster(directory, job, {"source": source, "cluster": peers, **sections})


def lines(count: int, start: int = 0) -> bytes:
    return b"".join(b"dev%d,%d\n" % (number % 10, number) for number in range(start, start + count))


def total(job: Cluster) -> tuple[int, int]:
    records = job.records().values()
    return sum(record["events"] for record in records), sum(record["total"] for record in records)


def due(count: int) -> tuple[int, int]:
    return count, count * (count - 1) // 2


# --- content ---

def test_a_truncated_gz_counts_what_can_be_read_and_says_so(tmp_path: Path) -> None:
    packed = gzip.compress(lines(200_000))
    (tmp_path / "in.csv.gz").write_bytes(packed[:len(packed) // 2])
    with cluster(tmp_path, "in.csv.gz") as job:
        code, said = job.run()
        assert "in.csv.gz" in said and ("truncated" in said or "ends in the middle" in said or "damaged" in said), said
        first = total(job)
        assert 0 < first[0] < 200_000
        again = job.run()
        assert again[0] == code and total(job) == first
        (tmp_path / "in.csv.gz").write_bytes(packed)  # now it is whole
        assert job.run()[0] == 0
        assert total(job) == due(200_000)


def test_what_is_no_gz_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "in.csv.gz").write_bytes(b"dev1,1\n" * 100)
    with cluster(tmp_path, "in.csv.gz") as job:
        code, said = job.run()
        assert "in.csv.gz" in said and "gzip" in said.lower(), said


def test_lines_that_are_no_csv_are_dead_letters_and_the_rest_counts(tmp_path: Path) -> None:
    dice = random.Random(4)
    bad = [b"dev1", b"", b"dev1,", b"dev1,1,2,3", b"dev1,much", b"\xff\xfe\xfa,1", b'"dev1,1', b"\x00\x01\x02,\x03",
           bytes(dice.choices([each for each in range(256) if each not in b"\r\n"], k=5000))]
    good = lines(5000).splitlines()
    for number, line in enumerate(bad):
        good.insert(500 * number + 7, line)
    (tmp_path / "in.csv").write_bytes(b"\n".join(good))  # the last line has no end
    with cluster(tmp_path) as job:
        code, said = job.run()
        letters = job.letters()
        assert code == 0, said
        assert total(job) == due(5000)
        assert {letter["raw"] for letter in letters} >= {"dev1", "dev1,", "dev1,much", '"dev1,1', "\x00\x01\x02,\x03"}
        assert len(letters) in (len(bad) - 1, len(bad) - 2), letters  # a blank line is none; more columns are no harm
        short = next(letter for letter in letters if letter["raw"] == "dev1")
        assert "1 column" in short["error"] or "columns" in short["error"], short


def test_a_file_of_garbage_is_all_dead_letters(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(random.Random(5).randbytes(300_000))
    with cluster(tmp_path, compute={"workers": 1}) as job:
        code, said = job.run()
        assert code == 0 and "0 dead letters" not in said, said
        assert total(job)[0] < 5 and len(job.letters()) > 500
        assert "nothing new to store" in job.run()[1]


def test_a_huge_line_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(lines(100) + b"x" * (40 << 20) + b"\n" + lines(100, 100))
    with cluster(tmp_path) as job:
        code, said = job.run()
        assert code == 0 and total(job) == due(200), said
        letters = job.letters()
        assert "max_line_bytes" in letters[0]["error"]
        assert sum(len(letter["raw"]) for letter in letters) == 40 << 20


def test_a_line_that_no_frame_can_carry_is_said(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(b"x" * (300 << 10) + b"\n")
    small = {"batch_bytes": "64K"}
    settings = {"cluster": {"max_frame_bytes": "128K"}, "source": {"max_line_bytes": "1M"}}
    with cluster(tmp_path, **settings, collector=small, coordinator=small) as job:
        code, said = job.run()
        assert code == 2, said
        assert "bytes cannot be sent, as [cluster] max_frame_bytes is 131072: raise it on every node" in said
        code, said = job.run("--set", "cluster.max_frame_bytes=1M")
        assert code == 0 and len(job.letters()) == 1, said


def test_an_empty_file_is_nothing_new(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(b"")
    with cluster(tmp_path) as job:
        code, said = job.run()
        assert code == 0 and "nothing new to store" in said and job.records() == {}


# --- the INI file, the Job ---

@pytest.mark.parametrize("section, code, sentences", [
    ({"collector": {"bach_bytes": "1M"}}, 2,
     ["job.ini:", "[collector] bach_bytes: unknown key (did you mean batch_bytes?)"]),
    ({"colector": {"slots": "4"}}, 2, ["job.ini:", "[colector]", "did you mean collector?"]),
    ({"compute": {"workers": "many"}, "collector": {"batch_bytes": "big"}}, 2,
     ["[compute] workers: must be a whole number", "[collector] batch_bytes: must be a size"]),
    ({"source": {"type": "files", "path": "nothing-here.csv"}}, 4, ["nothing-here.csv"]),
    ({"source": {"type": "fles", "path": "in.csv"}}, 2, ["[source] type", "files"]),
    ({"store": {"type": "sqlite", "path": "no/such/directory/r.db"}}, 5,
     ["there is no directory", "or change [store] path"]),
    ({"job": {"class": "jobs:Job"}}, 3, ["[job] class names the module jobs", "did you mean job"]),
    ({"job": {"class": "job:Jobb"}}, 3, ["has no class Jobb", "did you mean Job"]),
    ({"job": {"class": "job:Action"}}, 3, ["Action is not a subclass of drtc.Job"]),
    ({"job": {"class": "job"}}, 2, ["must be module:Class"]),
    ({"collector": {"route": "csv:x"}}, 2, ["[collector] route"]),
])
def test_a_mistake_in_the_ini_file_is_a_sentence(tmp_path: Path, section: dict[str, dict[str, str]], code: int,
                                                 sentences: list[str]) -> None:
    (tmp_path / "in.csv").write_bytes(lines(1))
    with Cluster(tmp_path, JOB, {"source": {"type": "files", "path": "in.csv"}, **section}) as job:
        found, said = job.run()
        assert found == code, said
        for sentence in sentences:
            assert sentence in said, said


@pytest.mark.parametrize("job, sentence", [
    ("import nothing_of_this_name\n" + JOB, "nothing_of_this_name"),
    ("1 / 0\n" + JOB, "raises ZeroDivisionError: division by zero"),
    ("def\n" + JOB, "job.py line 1 raises SyntaxError"),
    ("import sys; sys.exit(4)\n" + JOB, "raises SystemExit: 4"),
    (JOB.replace("def map", "def mop"), "Job"),
    (JOB + "\n    def run(self, batch): pass\n", "Job"),
    (JOB + "\n    time = 'nothing'\n", "nothing"),
    (JOB.replace("drtc.Count()", "drtc.Recent(-1)"), "Recent"),
])
def test_a_job_that_is_wrong_is_a_sentence_before_anything_starts(tmp_path: Path, job: str, sentence: str) -> None:
    (tmp_path / "in.csv").write_bytes(lines(1))
    with cluster(tmp_path, job=job) as wrong:
        code, said = wrong.run()
    assert code == 3 and sentence in said and "listening" not in said, said
    assert len(said.splitlines()) == 1


def test_a_job_whose_open_raises_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(lines(1))
    with cluster(tmp_path, job=JOB + "\n    def open(self, context): raise OSError('no model at model.bin')\n") as job:
        code, said = job.run()
        assert code == 3 and said.count("drtc: Job.open failed: OSError: no model at model.bin") == 1, said


def test_a_job_whose_open_kills_its_worker_is_not_tried_for_ever(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(lines(1))
    job = JOB + "\n    def open(self, context):\n        import os; os._exit(3)\n"
    with cluster(tmp_path, job=job) as wrong:
        code, said = wrong.run()
        assert code == 3 and "worker processes die before they are ready (exit 3)" in said, said


def test_a_job_whose_close_raises_ends_well(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(lines(100))
    with cluster(tmp_path, job=JOB + "\n    def close(self): raise OSError('gone')\n") as job:
        code, said = job.run()
        assert code == 3 and said.count("drtc: Job.close failed: OSError: gone") == 1, said
        assert total(job) == due(100)


# --- the store ---

def test_a_store_that_is_no_database_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(lines(10))
    (tmp_path / "results.db").write_bytes(b"these are my notes, not a database\n" * 1000)
    with cluster(tmp_path) as job:
        code, said = job.run()
        assert code == 5 and "this is a file, but not a SQLite database: change [store] path" in said, said
    assert (tmp_path / "results.db").read_bytes().startswith(b"these are my notes")


def test_a_store_below_a_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(lines(10))
    with cluster(tmp_path, store={"type": "sqlite", "path": "in.csv/results.db"}) as job:
        code, said = job.run()
        assert code == 5 and "[store] path" in said, said


def test_a_view_of_other_columns_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(lines(10))
    with cluster(tmp_path) as job:
        assert job.run()[0] == 0
        (tmp_path / "job.py").write_text(JOB.replace("total", "amount"))
        (tmp_path / "in.csv").write_bytes(lines(20))
        code, said = job.run()
        assert code == 5 and "the view job_v1 exists with other columns" in said, said


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], capture_output=True,
                          text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_read_only_store_is_a_sentence(tmp_path: Path, small_disk: Path) -> None:
    (tmp_path / "in.csv").write_bytes(lines(10))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with cluster(tmp_path, store={"type": "sqlite", "path": "disk/results.db"}) as job:
        code, said = job.run()
        assert code == 5 and "results.db: cannot " in said, said
        assert "must be allowed to write this file and its directory" in said


def test_a_directory_of_members_that_cannot_be_written_is_a_sentence(tmp_path: Path, small_disk: Path) -> None:
    (tmp_path / "in.csv").write_bytes(lines(10))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with cluster(tmp_path) as job:
        code, said = job.run("--set", f"cluster.directory={small_disk}")
        assert code == 7 and "roles find each other here; set [cluster] directory" in said, said


def test_a_full_disk_is_waited_for_and_nothing_is_lost(tmp_path: Path, small_disk: Path) -> None:
    keys = 100_000  # their records need more than the disk has
    (tmp_path / "in.csv").write_bytes(b"".join(b"device number %d,1\n" % number for number in range(keys)))
    filler = small_disk / "filler"
    with cluster(tmp_path, store={"type": "sqlite", "path": "disk/results.db"}, source={"follow": "yes"},
                 collector={"batch_bytes": "64K"}) as job:
        process = job.start("run")
        process.await_words("store waits .*the disk is full|store waits .*disk", 30)
        assert process.popen.poll() is None
        until(lambda: job.report("collector").get("stalled"), "the status says that it is stalled")
        trouble = job.report("compute")["trouble"]
        assert "results.db: cannot" in trouble and "full" in trouble
        process.await_words("trouble=\"stalled: .*results.db", 30)
        filler.unlink(missing_ok=True)
        subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
        until(lambda: job.report("collector").get("events") == keys, "all is stored by itself", 60)
        assert not job.report("collector")["stalled"] and job.report("compute")["trouble"] == ""
        process.send(signal.SIGTERM)
        assert process.wait() == 0, process.said
        assert total(job) == (keys, keys) and job.letters() == [] and len(job.records()) == keys
        assert "Traceback" not in process.said


def test_a_full_disk_does_not_hold_up_the_end_for_ever(tmp_path: Path, small_disk: Path) -> None:
    (tmp_path / "in.csv").write_bytes(b"".join(b"device number %d,1\n" % number for number in range(100_000)))
    with cluster(tmp_path, store={"type": "sqlite", "path": "disk/results.db"}) as job:
        process = job.start("run")
        process.await_words("store waits", 30)
        process.send(signal.SIGINT)
        time.sleep(0.5)
        process.send(signal.SIGINT)
        assert process.wait(10) == 130
        subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
        code, said = job.run()
        assert code == 0 and total(job) == (100_000, 100_000), said


def test_a_locked_store_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(lines(1000))
    with cluster(tmp_path, store={"type": "sqlite", "path": "results.db", "busy_seconds": "0.2"}) as job:
        assert job.run()[0] == 0
        (tmp_path / "in.csv").write_bytes(lines(2000))
        other = sqlite3.connect(tmp_path / "results.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        process = job.start("run", "--until-end")
        process.await_words("another process is writing", 30)
        other.execute("ROLLBACK")
        assert process.wait() == 0, process.said
        assert total(job) == due(2000) and "Traceback" not in process.said
        other.close()


# --- the broker ---

def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_missing_broker_is_waited_for_and_the_end_is_prompt(tmp_path: Path, number: signal.Signals) -> None:
    broker = f"localhost:{free_port()}"
    with Cluster(tmp_path, JOB, {"source": {"type": "kafka", "brokers": broker, "topic": "ads"}}) as job:
        process = job.start("run", "--until-end")
        process.await_words(f"source waits .*waiting for kafka {broker}, attempt 3, next in 4 s")
        until(lambda: f"waiting for kafka {broker}" in job.report("collector").get("waiting", ""), "the status says it")
        process.send(number)
        began = time.monotonic()
        assert process.wait() == 130, process.said
        assert time.monotonic() - began < 10, process.said  # a drain cut short takes 30
        assert re.search(f"stopped before the end of the source: nothing stored .*; it was waiting for kafka {broker}",
                         process.said) and "Traceback" not in process.said


def test_what_is_no_broker_is_waited_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        broker = "127.0.0.1:%d" % server.getsockname()[1]
        with Cluster(tmp_path, JOB, {"source": {"type": "kafka", "brokers": broker, "topic": "ads"}}) as job:
            process = job.start("run")
            process.await_words(f"waiting for kafka {broker}, attempt 1", 40)
            process.send(signal.SIGINT)
            assert process.wait() == 0 and "Traceback" not in process.said, process.said


def test_a_missing_topic_is_waited_for_and_read_when_it_comes(tmp_path: Path, kafka: Kafka) -> None:
    topic = kafka.fresh("late")
    source = {"type": "kafka", "brokers": kafka.address, "topic": topic, "group": topic}
    with Cluster(tmp_path, JOB, {"source": source}) as job:
        process = job.start("run")
        process.await_words(f"waiting for topic {topic} to exist, attempt 2, next in 2 s")
        kafka.create_topic(topic, partitions=2)
        kafka.produce(topic, [b"dev1,5", b"dev2,6", b"dev1", b"\xff\xff,1", None])
        until(lambda: job.report("collector").get("events") == 2 and len(job.letters()) == 2, "two events, two letters")
        report = job.report("collector")
        assert report["waiting"] == "" and report["skipped"] == 1 and report["dead"] == 2
        letter = next(letter for letter in job.letters() if letter["raw"] == "dev1")
        assert letter["partition"].startswith(f"{topic}-")
        process.send(signal.SIGTERM)
        assert process.wait() == 0, process.said
        assert total(job) == (2, 11)


def test_a_missing_topic_and_ctrl_c(tmp_path: Path, kafka: Kafka) -> None:
    source = {"type": "kafka", "brokers": kafka.address, "topic": kafka.fresh("never")}
    with Cluster(tmp_path, JOB, {"source": source}) as job:
        process = job.start("run", "--until-end")
        process.await_words("waiting for topic")
        process.send(signal.SIGINT)
        began = time.monotonic()
        assert process.wait() == 130 and "Traceback" not in process.said, process.said
        assert time.monotonic() - began < 10, process.said
