"""The command line: what it prints, how it ends, what it hands over."""
from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from drtc import errors
from drtc.cli import main
from drtc.cluster.kinds import open_membership
from drtc.cluster.membership import member
from drtc.commands.query import parse_instant
from drtc.commands.results import companions, opened
from drtc.compute.letters import Letter, dead_view
from drtc.config import Config, load
from drtc.stores.base import Id, Row

ROOT = Path(__file__).parents[2]
Captured = pytest.CaptureFixture[str]
DAY = 1372896000  # 2013-07-04
JOB = """\
import drtc

class Clicks(drtc.Job):
    decode = drtc.json()
    time = lambda self, event: 0.0
    window = drtc.Tumbling(days=1)

    clicks = drtc.Count()
    delay = drtc.Mean()
    recent = drtc.Recent(3)

    def map(self, event):
        yield event["user"], {"clicks": 1}
"""
INI = """\
[job]
class = clicks_of_test_cli:Clicks
[source]
type = files
path = clicks.json
[store]
type = sqlite
path = results.db
"""


@pytest.fixture
def ini(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("clicks_of_test_cli.py").write_text(JOB)
    Path("clicks.ini").write_text(INI)
    return "clicks.ini"


@pytest.fixture
def results(ini: str) -> str:
    rows = [("alice", 0, 12, 1.25, ["a", "b"]), ("alice", 1, 1, None, []), ("bob", 0, 1234567, float("inf"), ["ü"]),
            ("7", 0, 1, 1.0, []), (7, 0, 2, 2.0, [])]
    with opened(load(ini, environ={})) as (store, view):
        store.prepare(view)
        store.save(view, [Row(Id(key, DAY + 86400.0 * day), DAY + 86400.0 * (day + 1), 0, (count, delay, recent), b"")
                          for key, day, count, delay, recent in rows])
        dead = dead_view(view.name)
        store.prepare(dead)
        store.save(dead, [Letter("clicks.json", 0, at, "ValueError: no", "Traceback:\n  here", raw, DAY + 0.5).row(0)
                          for at, raw in ((10, b'{"user": '), (20, b"\xff\x00"))])
    return ini


def ran(capsys: Captured, *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, out, err


def role(monkeypatch: pytest.MonkeyPatch, module: str, function: str, does: Any) -> None:
    """Puts a function where the command line will look for it."""
    stand_in = ModuleType(module)
    setattr(stand_in, function, does)
    monkeypatch.setitem(sys.modules, module, stand_in)


# --- how it ends ---

@pytest.mark.parametrize("error", [errors.ConfigError, errors.JobError, errors.SourceError, errors.StoreError,
                                   errors.WireError, errors.ClusterError, errors.StoreUnavailable])
def test_a_mistake_is_a_sentence_and_an_exit_code(ini: str, error: type[errors.DrtcError],
                                                  monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    def fail(*_: object) -> int:
        raise error("it rains\nand snows")

    role(monkeypatch, "drtc.supervisor", "run", fail)
    assert ran(capsys, "run", "-c", ini) == (error.exit_code, "", "drtc: it rains\ndrtc: and snows\n")


def test_a_mistake_of_ours_keeps_its_traceback(ini: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise BrokenPipeError("a socket, not stdout")

    role(monkeypatch, "drtc.supervisor", "run", fail)
    with pytest.raises(BrokenPipeError):
        main(["run", "-c", ini])


def test_ctrl_c_is_quiet(ini: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    def interrupt(*_: object) -> int:
        raise KeyboardInterrupt

    role(monkeypatch, "drtc.supervisor", "run", interrupt)
    assert ran(capsys, "run", "-c", ini) == (130, "", "\n")


@pytest.mark.parametrize("arguments, code, sentence", [
    (["query"], 2, "drtc: Missing option '-c'"), (["quer"], 2, "drtc: No such command 'quer'"),
    (["query", "-c", "none.ini"], 2, "drtc: none.ini: no such file"),
    (["dead", "replay", "-c", "clicks.ini"], 2, "drtc: name the dead letters to replay, or say --all"),
    (["query", "-c", "clicks.ini", "--limit", "0"], 2, "drtc: Invalid value for '--limit'"),
    (["query", "-c", "clicks.ini", "--window", "soon"], 2, "drtc: Invalid value for --window: 'soon' is no time"),
    (["query", "-c", "clicks.ini", "--set", "job.class=nowhere:X"], 3, "drtc: "),
    (["query", "-c", "clicks.ini", "--set", "compute.worker=1"], 2,
     "drtc: --set compute.worker: [compute] worker: unknown key (did you mean workers?)"),
])
def test_a_wrong_command_line_is_told_in_words(ini: str, arguments: list[str], code: int, sentence: str,
                                               capsys: Captured) -> None:
    ended, out, err = ran(capsys, *arguments)
    assert (ended, out) == (code, "")
    assert err.startswith(sentence)
    assert "Traceback" not in err


def test_a_reader_that_leaves_is_not_worth_a_word(results: str) -> None:
    with opened(load(results, environ={})) as (store, view):
        store.save(view, [Row(Id(f"user{number}", DAY), DAY + 86400.0, 0, (1, 1.0, ["x" * 50]), b"")
                          for number in range(5000)])
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    for command, lines in (["query", "--format", "csv"], 1), (["config"], 0):
        command = [sys.executable, "-m", "drtc", *command, "-c", str(Path(results).absolute())]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT,
                              env=buffered) as process:
            assert process.stdout is not None and process.stderr is not None
            read = [process.stdout.readline() for _ in range(lines)]
            process.stdout.close()
            assert process.stderr.read() == b""
        assert read == [b"key,window_start,window_end,clicks,delay,recent\n"][:lines]
        assert process.returncode == 1


# --- what it hands over ---

@pytest.mark.parametrize("arguments, module, handed", [
    (["run"], "supervisor.run", (False,)), (["run", "--until-end"], "supervisor.run", (True,)),
    (["collector", "--name", "c1"], "collector.service.main", ("c1", False, False)),
    (["collector", "--until-end"], "collector.service.main", ("", True, False)),
    (["collector", "--with-coordinator"], "collector.service.main", ("", False, True)),
    (["coordinator", "--listen", "127.0.0.1:7"], "coordinator.service.main", ("",)),
    (["compute", "--name", "n1", "--listen", "127.0.0.1:7"], "compute.service.main", ("n1",)),
])
def test_a_role_gets_the_configuration_and_its_own_words(ini: str, arguments: list[str], module: str,
                                                         handed: tuple[object, ...], monkeypatch: pytest.MonkeyPatch,
                                                         capsys: Captured) -> None:
    calls: list[tuple[Any, ...]] = []

    def note(*call: Any) -> int:
        calls.append(call)
        return 9

    name, _, function = module.rpartition(".")
    role(monkeypatch, f"drtc.{name}", function, note)
    assert ran(capsys, *arguments, "-c", ini, "--set", "compute.workers=3")[0] == 9
    (config, *others), = calls
    assert isinstance(config, Config) and config.compute.workers == 3
    assert tuple(others) == handed
    if "--listen" in arguments:
        assert getattr(config, arguments[0]).listen == ("127.0.0.1", 7)


def test_help_and_version_are_light() -> None:
    code = ("import sys\nfrom drtc.cli import main\ntry: main([sys.argv[1]])\nexcept SystemExit: pass\n"
            "print([name for name in ('rich', 'msgspec', 'msgpack', 'kafka', 'datasketches') if name in sys.modules])")
    for option, words in (("--help", "Run a whole job on this machine"), ("--version", "hot modules")):
        out = subprocess.run([sys.executable, "-c", code, option], capture_output=True, text=True, check=True).stdout
        assert words in out
        assert out.endswith("[]\n")


# --- config ---

def test_config_prints_a_file_that_says_the_same(ini: str, capsys: Captured) -> None:
    Path(ini).write_text(INI + "[job.options]\nA = x = y\nlist = 1\n  2\n")
    code, out, _ = ran(capsys, "config", "-c", ini, "--set", "cluster.heartbeat=100ms")
    assert code == 0
    assert "heartbeat = 100ms" in out and "; --set cluster.heartbeat\n" in out and "; default\n" in out
    Path("again.ini").write_text(out)
    first, second = load(ini, ["cluster.heartbeat=100ms"], {}), load("again.ini", environ={})
    for section in ("job", "options", "cluster", "source", "collector", "coordinator", "compute", "store", "types"):
        assert getattr(second, section) == getattr(first, section)


# --- query ---

def test_json_is_an_object_a_line(results: str, capsys: Captured) -> None:
    code, out, err = ran(capsys, "query", "-c", results, "--format", "json", "alice")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == ('{"key": "alice", "window": {"start": 1372896000, "end": 1372982400}, "clicks": 12, '
                                   '"delay": 1.25, "recent": ["a", "b"]}')
    assert [json.loads(line)["clicks"] for line in out.splitlines()] == [12, 1]


def test_what_json_has_no_number_for_is_null(results: str, capsys: Captured) -> None:
    record = json.loads(ran(capsys, "query", "-c", results, "--format", "json", "bob")[1])
    assert record["delay"] is None and record["recent"] == ["ü"]


def test_a_key_that_reads_as_a_number_is_looked_for_as_both(results: str, capsys: Captured) -> None:
    lines = ran(capsys, "query", "-c", results, "--format", "json", "7")[1].splitlines()
    assert [json.loads(line)["key"] for line in lines] == [7, "7"]
    assert ran(capsys, "query", "-c", results, "--format", "json", "07")[1] == ""
    assert ran(capsys, "query", "-c", results, "--format", "json", "9" * 30)[1] == ""


def test_a_window_is_chosen_by_an_instant_in_it(results: str, capsys: Captured) -> None:
    for instant, counts in (("2013-07-04", [12]), ("2013-07-05T00:00", [1]), ("2013-07-04T23:59:59", [12]),
                            (str(DAY), [12]), ("2013-07-05T01:00+02:00", [12]), ("2013-07-06", [])):
        out = ran(capsys, "query", "-c", results, "alice", "--window", instant, "--format", "json")[1]
        assert [json.loads(line)["clicks"] for line in out.splitlines()] == counts


def test_csv_has_a_header_and_reads_back(results: str, capsys: Captured) -> None:
    rows = list(csv.reader(io.StringIO(ran(capsys, "query", "-c", results, "--format", "csv")[1])))
    assert rows[0] == ["key", "window_start", "window_end", "clicks", "delay", "recent"]
    assert ["alice", "1372982400", "1373068800", "1", "", "[]"] in rows
    assert len(rows) == 6


def test_a_table_is_for_people(results: str, capsys: Captured) -> None:
    out = ran(capsys, "query", "-c", results)[1]
    assert "2013-07-04" in out and "1,234,567" in out and "a, b" in out
    assert "more" not in out


def test_a_table_says_that_there_is_more(results: str, capsys: Captured) -> None:
    out = ran(capsys, "query", "-c", results, "--limit", "4")[1]
    assert len(out.splitlines()) == 2 + 4 + 1
    assert out.splitlines()[-1].startswith("… more")
    assert "more" not in ran(capsys, "query", "-c", results, "--limit", "5")[1]
    assert len(ran(capsys, "query", "-c", results, "--limit", "4", "--format", "json")[1].splitlines()) == 4


def test_nothing_found_is_said(results: str, capsys: Captured) -> None:
    assert ran(capsys, "query", "-c", results, "carol", "--window", "2013-07-04") == (
        0, "", "no records of key carol at 2013-07-04 in clicks_v1\n")


@pytest.mark.parametrize("text, seconds", [("0", 0.0), ("-1.5", -1.5), ("1970-01-02", 86400.0),
                                           ("1970-01-01T00:00:01Z", 1.0), ("1970-01-01 01:00+01:00", 0.0)])
def test_an_instant_is_of_utc(text: str, seconds: float) -> None:
    assert parse_instant(text) == seconds


# --- dead ---

def test_dead_letters_are_listed_and_shown(results: str, capsys: Captured) -> None:
    out = ran(capsys, "dead", "list", "-c", results)[1]
    assert "clicks.json#0@10" in out and "ValueError: no" in out and '{"user": ' in out and "\\xff\\x00" in out
    out = ran(capsys, "dead", "show", "clicks.json#0@20", "-c", results)[1]
    assert "letter     clicks.json#0@20\nat         2013-07-04\n" in out
    assert "raw        2 bytes\n\\xff\\x00\n" in out and out.endswith("Traceback:\n  here\n")
    assert ran(capsys, "dead", "show", "x", "-c", results) == (
        5, "", "drtc: no dead letter x in clicks_v1_dead: see drtc dead list\n")


def test_dead_letters_as_json_keep_every_byte(results: str, capsys: Captured) -> None:
    out = ran(capsys, "dead", "list", "--format", "json", "-c", results)[1]
    lines = [json.loads(line) for line in out.splitlines()]
    assert [(each["raw"], each.get("raw_base64")) for each in lines] == [('{"user": ', None), (None, "/wA=")]
    out, err = ran(capsys, "dead", "list", "--format", "json", "--limit", "1", "-c", results)[1:]
    assert len(out.splitlines()) == 1 and err.startswith("… more")


def test_no_dead_letters_is_said(ini: str, capsys: Captured) -> None:
    assert ran(capsys, "dead", "list", "-c", ini) == (0, "", "no dead letters\n")


@pytest.mark.parametrize("arguments, names", [(["a", "b"], ["a", "b"]), (["--all"], [])])
def test_replay_names_its_letters(ini: str, arguments: list[str], names: list[str], monkeypatch: pytest.MonkeyPatch,
                                  capsys: Captured) -> None:
    class DeadLetters:
        def __init__(self, config: Config) -> None:
            pass

        def close(self) -> None:
            pass

        def replay(self, letters: list[str]) -> tuple[int, int]:
            assert letters == names
            return 1200, 3

    monkeypatch.setattr("drtc.commands.dead.DeadLetters", DeadLetters)
    assert ran(capsys, "dead", "replay", "-c", ini, *arguments)[1] == "1,200 replayed, 3 still dead\n"


# --- status and reset ---

def test_status_is_a_tree_or_json(ini: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    found = {"view": "clicks_v1", "members": [{"role": "compute", "node": "n1"}]}
    monkeypatch.setattr("drtc.observe.status.fetch", lambda config: found)
    assert "n1" in ran(capsys, "status", "-c", ini)[1]
    assert json.loads(ran(capsys, "status", "-c", ini, "--format", "json")[1]) == found


def test_reset_asks_and_says_what_goes(results: str, monkeypatch: pytest.MonkeyPatch,
                                       capsys: Captured) -> None:
    code, out, err = ran(capsys, "reset", "-c", results)  # nobody is there to answer
    assert code == 2 and "say --yes" in err
    assert out == "reset drops clicks_v1 from sqlite: 0 committed offsets, 5 records, 2 dead letters\n"

    answers = io.StringIO("n\ny\n")
    monkeypatch.setattr(answers, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", answers)
    assert ran(capsys, "reset", "-c", results)[0] == 130
    assert len(ran(capsys, "query", "-c", results, "--format", "json")[1].splitlines()) == 5
    assert ran(capsys, "reset", "-c", results)[0] == 0
    assert ran(capsys, "query", "-c", results, "--format", "json")[1] == ""


def test_init_store_makes_what_is_missing_and_nothing_else(ini: str, capsys: Captured) -> None:
    names = ["clicks_v1_offsets", "clicks_v1", "clicks_v1_dead", "clicks_v1_lanes"]
    said = "".join(f"{name}: ready in sqlite\n" for name in names)
    assert ran(capsys, "init-store", "-c", ini) == (0, said, "")
    with opened(load(ini, environ={})) as (store, view):
        store.save(view, [Row(Id("alice", DAY), DAY + 86400.0, 0, (1, None, []), b"")])
        assert all(not list(store.scan(each)) for each in companions(view).values() if each != view)
    assert ran(capsys, "init-store", "-c", ini) == (0, said, "")
    assert len(ran(capsys, "query", "-c", ini, "--format", "json")[1].splitlines()) == 1


def test_reset_refuses_while_the_job_runs(results: str, capsys: Captured) -> None:
    membership = open_membership(load(results))
    for kind, node in (("compute", "n2"), ("coordinator", "n1")):
        membership.join(member(kind, node, "127.0.0.1:1", 1.0))
        assert ran(capsys, "reset", "--yes", "-c", results) == (
            7, "", f"drtc: clicks_v1 is running ({node}): stop it, then reset it\n")
        membership.leave()
    membership.close()
    assert len(ran(capsys, "query", "-c", results, "--format", "json")[1].splitlines()) == 5


def test_reset_drops_a_view_that_other_code_made(results: str, capsys: Captured) -> None:
    job = Path("clicks_of_test_cli.py")
    job.write_text(job.read_text().replace("delay = ", "wait = "))
    sys.modules.pop("clicks_of_test_cli")
    assert ran(capsys, "query", "-c", results)[0] == 5
    code, out, _ = ran(capsys, "reset", "--yes", "-c", results)
    assert code == 0 and "unreadable records" in out
    assert ran(capsys, "query", "-c", results)[0] == 0


def test_reset_with_yes_does_not_ask(results: str, capsys: Captured) -> None:
    code, out, _ = ran(capsys, "reset", "--yes", "-c", results)
    assert code == 0 and out.endswith("dropped\n")
    assert ran(capsys, "dead", "list", "-c", results)[1] == ""
