"""The files source on files that grow and are rotated: every line once, whatever happens to the file's name."""
from __future__ import annotations

import gzip
import os
import random
import shutil
from pathlib import Path

import pytest

from drtc.errors import SourceError
from drtc.stores.memory import content

from .files_reading import Reading, new_store

FOLLOW = {"follow": True, "bounded": False}
SEEDS = [int(seed) for seed in os.environ.get("DRTC_SEEDS", "").split()] or random.Random().sample(range(10**6), 10)


def append(path: Path, text: bytes) -> None:
    with open(path, "ab") as file:
        file.write(text)


def following(tmp_path: Path, store: str, path: str = "*.log", **settings: object) -> Reading:
    return Reading(tmp_path, store, path=path, **FOLLOW, **settings)  # type: ignore[arg-type]


def test_only_complete_lines_are_forwarded(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    reading = following(tmp_path, new_store())
    assert reading.drain().lines == {} and reading.warnings == ["waiting for files that match *.log"]
    log.write_bytes(b"")
    reading.drain(2)
    append(log, b"on")
    assert reading.drain(2).lines == {}
    assert reading.source.ends() == {"a.log": 0}
    append(log, b"e\ntw")
    assert reading.drain().texts("a.log") == [b"one"]
    assert reading.source.ends() == {"a.log": 4} == reading.reached
    append(log, b"o\n")
    assert reading.drain().lines["a.log"] == [(0, b"one"), (4, b"two")]


def test_new_files_are_found(tmp_path: Path) -> None:
    reading = following(tmp_path, new_store())
    for name in "abc":
        append(tmp_path / f"{name}.log", name.encode() + b"\n")
        assert reading.drain(2).all()[-1] == name.encode()
    assert sorted(reading.positions) == ["a.log", "b.log", "c.log"]


@pytest.mark.parametrize("pattern", ["a.log", "a.log*"])
@pytest.mark.parametrize("restart", [False, True])
def test_rotation_by_renaming(tmp_path: Path, pattern: str, restart: bool) -> None:
    log, store = tmp_path / "a.log", new_store()
    log.write_bytes(b"1\n2\n")
    reading = following(tmp_path, store, pattern).drain().commit()
    writer = open(log, "ab")
    (tmp_path / "a.log").rename(tmp_path / "a.log.1")
    append(log, b"5\n6\n7\n")
    writer.write(b"3\n4\n")  # the writer has not noticed yet
    writer.close()
    if restart:
        reading.close()
        reading = following(tmp_path, store, pattern)
    reading.drain(3)
    assert reading.lines["a.log"][-2:] == [(4, b"3"), (6, b"4")]
    assert reading.lines["a.log@1"] == [(0, b"5"), (2, b"6"), (4, b"7")]
    assert reading.order[-2:] == ["a.log", "a.log@1"], "first what was rotated away"
    reading.commit().drain(30).commit().close()
    (tmp_path / "a.log.1").rename(tmp_path / "a.log.2")
    log.rename(tmp_path / "a.log.1")
    append(log, b"8\n")
    again = following(tmp_path, store, pattern).drain(3)
    assert dict(again.lines) == {"a.log@2": [(0, b"8")]}


@pytest.mark.parametrize("pattern", ["a.log", "a.log*"])
@pytest.mark.parametrize("restart", [False, True])
def test_rotation_by_copying_and_truncating(tmp_path: Path, pattern: str, restart: bool) -> None:
    log, store = tmp_path / "a.log", new_store()
    log.write_bytes(b"1 first\n2 second\n")
    reading = following(tmp_path, store, pattern).drain(2).commit()
    append(log, b"3 third\n")
    if restart:
        reading.close()
    shutil.copy(log, tmp_path / "a.log.1")
    os.truncate(log, 0)
    append(log, b"4 fourth\n")
    if restart:
        reading = following(tmp_path, store, pattern)
    reading.drain(5)
    assert reading.lines["a.log"][-1:] == [(17, b"3 third")], "the rest is in the copy"
    assert reading.lines["a.log@1"] == [(0, b"4 fourth")]
    assert set(reading.lines) == {"a.log", "a.log@1"}, "the copy itself is nothing new"
    reading.commit().drain(30).commit().close()
    (tmp_path / "a.log.1").rename(tmp_path / "a.log.2")
    shutil.copy(log, tmp_path / "a.log.1")
    os.truncate(log, 0)
    append(log, b"5\n")
    again = following(tmp_path, store, pattern).drain(5)
    assert dict(again.lines) == {"a.log@2": [(0, b"5")]}


def test_a_truncated_file_that_has_grown_past_the_old_end_is_noticed(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"1 first\n")
    reading = following(tmp_path, new_store()).drain(2)
    os.truncate(log, 0)
    append(log, b"2 second, and much longer than the first\n3\n")
    reading.drain(2)
    assert reading.texts("a.log") == [b"1 first"]
    assert reading.texts("a.log@1") == [b"2 second, and much longer than the first", b"3"]
    reading.commit().drain(30)
    assert any("no copy of what it held" in warning for warning in reading.warnings)


def test_a_rotated_file_that_was_compressed_meanwhile_is_finished(tmp_path: Path) -> None:
    log, store = tmp_path / "a.log", new_store()
    log.write_bytes(b"1\n2\n")
    following(tmp_path, store, "a.log").drain().commit().close()
    append(log, b"3\n4")
    (tmp_path / "a.log.1.gz").write_bytes(gzip.compress(log.read_bytes()))
    log.unlink()
    append(log, b"5\n")
    reading = following(tmp_path, store, "a.log").drain(30)
    assert reading.lines == {"a.log": [(4, b"3"), (6, b"4")], "a.log@1": [(0, b"5")]}
    reading.commit().drain(30).close()
    assert following(tmp_path, store, "a.log").drain(3).lines == {}


def test_a_deleted_file_is_read_to_its_end(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"1\n")
    reading = following(tmp_path, new_store()).drain()
    append(log, b"2\nno end")
    log.unlink()
    assert reading.drain(30).texts("a.log") == [b"1", b"2", b"no end"], "what was rotated away will not grow"
    before = len(os.listdir("/proc/self/fd"))
    reading.commit().drain(30)
    assert len(os.listdir("/proc/self/fd")) == before - 1
    append(log, b"3\n")
    assert reading.drain(3).texts("a.log@1") == [b"3"]


def test_what_was_rotated_away_is_read_to_its_end_before_what_was_written_after_it(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"first\n")
    reading = following(tmp_path, new_store(), chunk_bytes=4096).drain()
    append(log, b"0123456\n" * 3000)
    log.rename(tmp_path / "rotated")
    append(log, b"0123456\n" * 3000)
    reading.source.pause(["a.log"])
    reading.drain(3)
    assert reading.order == ["a.log"], "it waits even for one that is paused"
    reading.source.resume(["a.log"])
    reading.drain(3)
    assert reading.order == ["a.log"] * 7 + ["a.log@1"] * 6


def test_an_inode_used_again_is_another_content(tmp_path: Path) -> None:
    log, store = tmp_path / "a.log", new_store()
    log.write_bytes(b"header\n" * 300 + b"1\n")
    following(tmp_path, store).drain().commit().close()
    with open(log, "r+b") as file:  # the same inode, the same beginning, the same length: only the end differs
        file.seek(-2, os.SEEK_END)
        file.write(b"2\n3\n")
    reading = following(tmp_path, store).drain(3)
    assert reading.texts("a.log@1")[-2:] == [b"2", b"3"] and reading.texts("a.log") == []


def test_generations_do_not_pile_up_in_the_store(tmp_path: Path) -> None:
    log, store = tmp_path / "a.log", new_store()
    for n in range(6):
        append(log, b"%d\n" % n)
        reading = following(tmp_path, store, "a.log").drain(3)
        assert reading.texts("a.log" if n == 0 else f"a.log@{n}") == [b"%d" % n]
        log.rename(tmp_path / "a.log.1")
        reading.drain(3).commit().drain(30).commit().close()
    assert len(Reading(tmp_path, store, path="a.log", **FOLLOW).source._offsets.load()) == 2  # type: ignore[arg-type]


def test_a_store_that_is_away_when_a_rotated_file_is_finished(tmp_path: Path) -> None:
    log, store = tmp_path / "a.log", new_store()
    log.write_bytes(b"1\n")
    reading = following(tmp_path, store, "a.log*").drain().commit()
    log.rename(tmp_path / "a.log.1")
    reading.drain(3)
    content(store).unavailable = "switched off"
    reading.drain(30)
    assert reading.warnings[0] == "what is known of finished files is saved later: switched off"
    content(store).unavailable = ""
    reading.drain(3)
    assert reading.source._offsets.load()["a.log"].detail["finished"]


def test_a_rotated_away_file_that_is_gone_after_a_restart_is_told(tmp_path: Path) -> None:
    log, store = tmp_path / "a.log", new_store()
    log.write_bytes(b"1\n")
    following(tmp_path, store, "a.log").drain().commit().close()
    log.write_bytes(b"something else\n")
    reading = following(tmp_path, store, "a.log").drain(3)
    assert reading.texts("a.log@1") == [b"something else"]
    assert [word for word in reading.warnings if "is not there any more" in word]


def test_compressed_files_are_left_out_visibly(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"1\n")
    (tmp_path / "a.log.2.gz").write_bytes(gzip.compress(b"0\n"))
    reading = following(tmp_path, new_store(), "a.log*").drain(3)
    assert reading.all() == [b"1"] and len([word for word in reading.warnings if "not followed" in word]) == 1


def test_a_bounded_run_ends_at_the_last_whole_line(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"1\n2\n3")
    (tmp_path / "a.log.1").write_bytes(b"0\n")
    reading = Reading(tmp_path, new_store(), path="a.log*", follow=True)
    reading.read()
    assert not reading.source.complete(), "a.log.1 may still be a copy that is being written"
    reading.drain(2)
    assert reading.source.complete() and reading.source.ends() == {"a.log": 4, "a.log.1": 2} == reading.reached


def test_lost_before_it_was_stored(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"1\n2\n")
    reading = following(tmp_path, new_store()).drain()
    os.truncate(log, 0)
    append(log, b"x\n")
    reading.drain(3)
    reading.source.seek("a.log", 0)
    with pytest.raises(SourceError, match="no copy of it is found: start again"):
        reading.drain(30)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("copying", [False, True])
def test_any_history_gives_every_line_once(tmp_path: Path, seed: int, copying: bool) -> None:
    """Writes, rotations, reads, commits, kills and restarts in any order. The seed is in the test's name."""
    chance = random.Random(seed)
    store, log = new_store(), tmp_path / "app.log"
    pattern = chance.choice(["app.log", "app.log*"])
    stored: dict[str, dict[int, bytes]] = {}  # what a store with fences would hold
    written: list[bytes] = []
    reading = following(tmp_path, store, pattern)

    def store_all() -> None:
        for name, lines in reading.lines.items():
            for offset, line in lines:
                if offset > max(stored.get(name, {-1: b""})):
                    stored.setdefault(name, {})[offset] = line or b""

    for _ in range(60):
        act = chance.choice(["write", "write", "read", "read", "commit", "kill", "rotate"])
        if act == "write":
            for _ in range(chance.randint(1, 5)):
                written.append(b"%d %d %s" % (seed, len(written), b"x" * chance.choice([0, 10, 2000])))
                append(log, written[-1] + b"\n")
        elif act == "read":
            reading.time += chance.choice([0, 1, 20])
            reading.read()
            store_all()
        elif act == "commit":
            store_all()
            reading.commit()
        elif act == "kill":
            reading.close()
            reading = following(tmp_path, store, pattern, chunk_bytes=4096)
        elif log.exists() and log.stat().st_size:
            if pattern == "app.log":  # does not match what is rotated twice between two looks
                reading.drain(3)
                store_all()
            for n in range(60, 0, -1):
                if (tmp_path / f"app.log.{n}").exists():
                    (tmp_path / f"app.log.{n}").rename(tmp_path / f"app.log.{n + 1}")
            if copying:
                shutil.copy(log, tmp_path / "app.log.1")
                reading.read()
                os.truncate(log, 0)
            else:
                log.rename(tmp_path / "app.log.1")
                reading.read()
    reading.drain(40)
    store_all()
    counted = [line for lines in stored.values() for line in lines.values()]
    assert sorted(counted) == sorted(written)
    assert not any(reading.damaged.values())
    reading.close()
