"""What only the SQLite store has: a file that people read, disks that are full or read-only, files that are none."""
from __future__ import annotations

import multiprocessing
import os
import sqlite3
import subprocess
from pathlib import Path
from typing import Iterator

import pytest

from drtc.errors import StoreError, StoreUnavailable
from drtc.stores import open_store
from drtc.stores.base import Column, Id, Row, View
from drtc.stores.sqlite import SQLiteSettings

VIEW = View("daily_v1", (Column("views", "integer"), Column("recent", "json"), Column("select", "text")), windowed=True)
SPAWN = multiprocessing.get_context("spawn")


def test_people_read_the_rows_without_drtc(tmp_path: Path) -> None:
    store = open_store(SQLiteSettings(path="results.db"), tmp_path)
    store.prepare(VIEW)
    store.save(VIEW, [Row(Id("UA", 1372896000.0), 1372982400.0, 0, (3, ["a", "ü"], "x"), b"hidden")])
    store.close()
    people = sqlite3.connect(tmp_path / "results.db")
    cursor = people.execute("SELECT * FROM daily_v1 WHERE key = 'UA' AND json_array_length(recent) = 2")
    assert [column[0] for column in cursor.description] == [
        "key", "window_start", "window_end", "views", "recent", "select", "drtc_version", "drtc_state"]
    found = cursor.fetchone()
    assert found == ("UA", 1372896000, 1372982400, 3, '["a","ü"]', "x", 1, b"hidden")
    assert isinstance(found[1], int), "whole seconds read as whole numbers"
    people.close()
    assert [path.name for path in tmp_path.iterdir()] == ["results.db"], "nothing is left behind by an orderly end"


def refusal(settings: SQLiteSettings, base: Path) -> str:
    with pytest.raises(StoreError) as caught:
        open_store(settings, base)
    assert not isinstance(caught.value, StoreUnavailable)
    return str(caught.value)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello, world\n" * 100)
    assert "not a SQLite database" in refusal(SQLiteSettings(path="notes.txt"), tmp_path)
    assert (tmp_path / "notes.txt").read_text().startswith("hello")


def test_no_such_directory(tmp_path: Path) -> None:
    assert f"no directory {tmp_path}/absent: make it" in refusal(SQLiteSettings(path="absent/a.db"), tmp_path)
    assert "allowed to write" in refusal(SQLiteSettings(path="."), tmp_path)


def as_nobody(directory: Path, answer: multiprocessing.connection.Connection) -> None:
    if os.getuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    try:
        open_store(SQLiteSettings(path="results.db"), directory).close()
        answer.send("opened")
    except StoreError as error:
        answer.send(f"{type(error).__name__}: {error}")


@pytest.mark.parametrize("existing", [False, True])
def test_a_read_only_directory(existing: bool, tmp_path: Path) -> None:
    directory = tmp_path / "read-only"
    directory.mkdir()
    if existing:
        open_store(SQLiteSettings(path="results.db"), directory).close()
        (directory / "results.db").chmod(0o444)
    directory.chmod(0o555)
    for parent in tmp_path.parents:  # pytest's own directories are closed to other users
        if os.getuid() == 0 and parent.stat().st_uid == 0 and parent.stat().st_mode & 0o7777 == 0o700:
            parent.chmod(0o711)
    tmp_path.chmod(0o755)
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=as_nobody, args=(directory, theirs))
    process.start()
    assert ours.poll(60)
    answer = ours.recv()
    process.join()
    directory.chmod(0o755)
    assert answer.startswith("StoreError: ") and "must be allowed to write this file and its directory" in answer


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "small"
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(directory)]
    if os.getuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("a full disk can only be tried where root may mount a tmpfs")
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


def test_a_full_disk_is_waited_out(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * (2 << 20))
    store = open_store(SQLiteSettings(path="results.db"), small_disk)
    view = View("v", ())
    store.prepare(view)
    saved = 0
    with pytest.raises(StoreUnavailable, match="full"):
        for saved in range(1000):
            store.save(view, [Row(Id(saved), None, 0, (), os.urandom(20_000))])
    with pytest.raises(StoreUnavailable):
        store.health()
    assert len(store.load(view, [Id(n) for n in range(saved)])) == saved > 10, "what was answered is there"
    ballast.unlink()
    store.health()
    store.save(view, [Row(Id(saved), None, 0, (), b"x")])
    assert [row.id.key for row in store.scan(view)] == list(range(saved + 1))
    store.close()


def test_a_file_that_was_removed_is_not_written_on(tmp_path: Path) -> None:
    store = open_store(SQLiteSettings(path="results.db"), tmp_path)
    store.prepare(VIEW)
    (tmp_path / "results.db").unlink()
    with pytest.raises(StoreError, match="removed or replaced"):
        store.save(VIEW, [Row(Id("a", 0.0), 1.0, 0, (1, None, None), b"")])
    store.close()


def test_values_that_sqlite_cannot_keep_are_refused_in_a_sentence(tmp_path: Path) -> None:
    store = open_store(SQLiteSettings(path="results.db"), tmp_path)
    store.prepare(VIEW)
    for key, start, value in (("a", 0.0, 2**64), ("\ud800", 0.0, 1), ("a", None, 1)):
        with pytest.raises(StoreError) as caught:
            store.save(VIEW, [Row(Id(key, start), 1.0, 0, (value, None, None), b"")])
        assert not caught.value.retryable
    assert list(store.scan(VIEW)) == []
    store.close()
