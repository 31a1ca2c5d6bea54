"""``drtc reset`` drops a view with all that was committed for it, wherever that is."""
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from .running import until

JOB = '''
import drtc


class Kinds(drtc.Job):
    events = drtc.Count()

    def map(self, event):
        yield event["kind"], {"events": 1}
'''


def drtc(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command, *rest = arguments
    return subprocess.run([sys.executable, "-m", "drtc", command, "-c", str(directory / "kinds.ini"), *rest],
                          capture_output=True, text=True, timeout=60)


def counted(directory: Path) -> dict[str, int]:
    lines = drtc(directory, "query", "--format", "json").stdout.splitlines()
    return {record["key"]: record["events"] for record in map(json.loads, lines)}


def test_after_a_reset_a_topic_is_counted_anew_and_only_once(kafka: Any, tmp_path: Path) -> None:
    topic = kafka.create_topic(kafka.fresh("kinds"), partitions=2)
    kafka.produce(topic, [b'{"kind": "a"}', b'{"kind": "b"}'] * 50)
    (tmp_path / "kinds.py").write_text(JOB)
    (tmp_path / "kinds.ini").write_text(f"""
[job]
class = kinds:Kinds
[source]
type = kafka
brokers = {kafka.address}
topic = {topic}
group = {topic}
[store]
type = sqlite
path = kinds.db
""")
    for _ in range(2):  # the second run finds nothing new
        assert drtc(tmp_path, "run", "--until-end").returncode == 0
        assert counted(tmp_path) == {"a": 50, "b": 50}
    reset = drtc(tmp_path, "reset", "--yes")
    assert reset.returncode == 0, reset.stderr
    assert "2 records" in reset.stdout and "kafka source has committed" in reset.stdout
    assert kafka.committed(topic, topic) == {}
    assert counted(tmp_path) == {}
    assert drtc(tmp_path, "run", "--until-end").returncode == 0
    assert counted(tmp_path) == {"a": 50, "b": 50}


def test_a_store_that_only_one_process_sees_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kinds.py").write_text(JOB)
    (tmp_path / "kinds.ini").write_text("[job]\nclass = kinds:Kinds\n[source]\ntype = files\npath = *.txt\n"
                                        "[store]\ntype = memory\n")
    (tmp_path / "one.txt").write_text('{"kind": "a"}\n')
    run = drtc(tmp_path, "run", "--until-end")
    assert run.returncode == 2
    assert "[store] type: memory keeps results within one process" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_job_that_hangs_is_running(tmp_path: Path) -> None:
    """It would go on with what it has in memory once it does not hang any more."""
    (tmp_path / "kinds.py").write_text(JOB)
    (tmp_path / "kinds.ini").write_text("[job]\nclass = kinds:Kinds\n[source]\ntype = files\npath = *.txt\n"
                                        "follow = yes\n[store]\ntype = sqlite\npath = kinds.db\n")
    (tmp_path / "one.txt").write_text('{"kind": "a"}\n')
    run = subprocess.Popen([sys.executable, "-m", "drtc", "run", "-c", str(tmp_path / "kinds.ini")],
                           stderr=subprocess.DEVNULL)
    try:
        until(lambda: counted(tmp_path) == {"a": 1}, "the event is stored")
        hung = [each for each in psutil.Process(run.pid).children() if "coordinator" in each.cmdline()]
        for each in hung:
            each.suspend()
        reset = drtc(tmp_path, "reset", "--yes")
        for each in hung:
            each.resume()
        assert (len(hung), reset.returncode, reset.stdout) == (1, 7, ""), reset.stderr
        assert "kinds_v1 is running (" in reset.stderr and counted(tmp_path) == {"a": 1}
    finally:
        run.terminate()
        run.wait(60)
    assert drtc(tmp_path, "reset", "--yes").returncode == 0
