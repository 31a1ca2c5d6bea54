"""The files source on files that do not change: every line once, its place exact, across restarts."""
from __future__ import annotations

import gzip
import os
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from drtc.errors import ConfigError, SourceError, StoreUnavailable
from drtc.sources import SourceContext, make_source, settings_class
from drtc.sources.base import Position
from drtc.sources.files import FilesSettings
from drtc.stores.memory import content

from .files_reading import NOTE, Reading, new_store

CHUNK = 4096


def test_lines_positions_and_ends(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"one\ntwo\r\n\nthree")
    reading = Reading(tmp_path, new_store(), path="*.csv").drain()
    assert reading.lines == {"a.csv": [(0, b"one"), (4, b"two"), (10, b"three")]}
    assert reading.positions == {"a.csv": Position(0, "")}
    assert reading.source.complete() and reading.source.ends() == reading.reached == {"a.csv": 15}
    assert reading.source.progress() == {"a.csv": 15}
    reading.close()
    reading.close()


lines_of_a_file = st.lists(st.integers(0, 60) | st.integers(4000, 4200) | st.just(9000), max_size=12).map(
    lambda sizes: b"".join(b"%d," % n + b"x" * size + b"\n" for n, size in enumerate(sizes)))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines_of_a_file, st.booleans(), st.sampled_from(["f", "f.gz"]), st.integers(0, 4))
def test_any_file_read_with_restarts_gives_each_line_once(tmp_path: Path, body: bytes, ended: bool, name: str,
                                                          reads: int) -> None:
    body = body if ended else body[:-1]
    (tmp_path / name).write_bytes(gzip.compress(body) if name.endswith(".gz") else body)
    store = new_store()
    found: list[tuple[int, bytes | None]] = []
    chunks = 0
    while True:
        reading = Reading(tmp_path, store, path=name, chunk_bytes=CHUNK, max_line_bytes=2 * CHUNK)
        got = reading.source.read(0.0)[:reads + 1]  # only so much of it is stored before the crash
        for chunk in got:
            from drtc.encodings import unpack
            messages = unpack(chunk.encoding, chunk.payload, chunk.first, chunk.last)
            found += [*zip(messages.offsets, messages.values), *((d.first, d.raw) for d in messages.damaged)]
        if not got:
            break
        reading.source.commit({name: Position(got[-1].last + 1, NOTE)})
        reading.close()
        chunks += len(got)
    truth: list[tuple[int, bytes]] = []
    at = 0
    for line in body.split(b"\n"):
        pieces = [line] if len(line) <= 2 * CHUNK else [line[:2 * CHUNK], line[2 * CHUNK:]]
        for piece in filter(None, pieces):
            truth.append((at, piece))
            at += len(piece)
        at += 1
    assert sorted(found) == truth
    (tmp_path / name).unlink()


def test_a_second_run_finds_nothing_new(tmp_path: Path) -> None:
    store = new_store()
    for name in ("a", "b.gz"):
        (tmp_path / name).write_bytes(gzip.compress(b"x\ny\n") if name == "b.gz" else b"x\ny")
    Reading(tmp_path, store, path="a, b.gz").drain().commit().close()
    again = Reading(tmp_path, store, path="a\nb.gz").drain()
    assert again.lines == {} and again.damaged == {}
    assert again.positions == {"a": Position(3, NOTE), "b.gz": Position(4, NOTE)}
    assert again.source.complete() and again.source.ends() == {"a": 3, "b.gz": 4}


def test_uncommitted_lines_come_again_and_a_seek_goes_back(tmp_path: Path) -> None:
    store = new_store()
    (tmp_path / "a").write_bytes(b"x\ny\n")
    Reading(tmp_path, store, path="a").drain().close()
    reading = Reading(tmp_path, store, path="a").drain()
    assert reading.texts("a") == [b"x", b"y"]
    reading.source.seek("a", 2)
    reading.reached["a"] = 2
    reading.drain()
    assert reading.lines["a"] == [(0, b"x"), (2, b"y"), (2, b"y")]


def test_files_take_turns_and_paused_ones_wait(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_bytes(b"0123456\n" * 4096)
    reading = Reading(tmp_path, new_store(), path="?", chunk_bytes=CHUNK)
    reading.source.read(0.0)
    reading = Reading(tmp_path, new_store(), path="?", chunk_bytes=CHUNK)
    reading.read()
    assert reading.order[:6] == ["a", "b", "c"] * 2
    reading = Reading(tmp_path, new_store(), path="?", chunk_bytes=CHUNK)
    reading.source.pause(["a", "b", "c", "unknown"])
    reading.source.resume(["c"])
    reading.drain()
    assert set(reading.order) == {"c"}
    reading.source.resume(["a", "b"])
    assert len(reading.drain().all()) == 3 * 4096


def test_many_files(tmp_path: Path) -> None:
    for n in range(300):
        (tmp_path / f"{n:03}.txt").write_bytes(b"%d\n" % n)
    before = len(os.listdir("/proc/self/fd"))
    reading = Reading(tmp_path, new_store(), path="*.txt").drain()
    assert sorted(int(line or b"") for line in reading.all()) == list(range(300))
    assert len(os.listdir("/proc/self/fd")) == before, "files that were read are closed"
    assert reading.commit().source.ends() == reading.reached


@pytest.mark.parametrize(("body", "skip", "expected"), [
    (b"h\na\nb\n", 1, [(2, b"a"), (4, b"b")]), (b"h\r\n\na\n", 2, [(4, b"a")]), (b"h\n", 1, []), (b"h", 1, []),
    (b"h\na\n", 5, []), (b"", 1, []), (b"\xef\xbb\xbfa\nb\n", 0, [(3, b"a"), (5, b"b")]), (b"\xef\xbb\xbf", 0, []),
    (b"h" * 100_000 + b"\na\n", 1, [(100_001, b"a")]), (b"\n\n\n", 0, []),
])
@pytest.mark.parametrize("name", ["a", "a.gz"])
def test_lines_to_skip_and_byte_order_marks(tmp_path: Path, body: bytes, skip: int,
                                            expected: list[tuple[int, bytes]], name: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(body) if name == "a.gz" else body)
    reading = Reading(tmp_path, new_store(), path=name, skip_lines=skip, chunk_bytes=CHUNK).drain()
    assert reading.lines.get(name, []) == expected
    assert reading.source.ends() == {name: len(body)} == reading.reached, "the end is reached even without a message"


def test_a_line_that_is_too_long_is_damage_and_the_next_one_is_read(tmp_path: Path) -> None:
    body = b"a\n" + b"x" * 20_000 + b"\nb\n"
    (tmp_path / "a").write_bytes(body)
    reading = Reading(tmp_path, new_store(), path="a", chunk_bytes=CHUNK, max_line_bytes=2 * CHUNK).drain()
    assert reading.lines["a"] == [(0, b"a"), (20_003, b"b")]
    assert [(d.first, len(d.raw)) for d in reading.damaged["a"]] == [(2, 8192), (8194, 8192), (16386, 3616)]
    assert b"".join(d.raw for d in reading.damaged["a"]) == b"x" * 20_000


def test_a_last_line_that_was_counted_and_then_grew(tmp_path: Path) -> None:
    store = new_store()
    path = tmp_path / "a"
    path.write_bytes(b"one\ntw")
    assert Reading(tmp_path, store, path="a").drain().commit().texts("a") == [b"one", b"tw"]
    path.write_bytes(b"one\ntwo\nthree\n")
    grown = Reading(tmp_path, store, path="a").drain().commit()
    assert grown.texts("a") == [b"three"]
    assert [d.raw for d in grown.damaged["a"]] == [b"o"], "a dead letter: neither lost nor counted as a line"
    path.write_bytes(b"one\ntwo\nthree\nlast")
    assert Reading(tmp_path, store, path="a").drain().commit().texts("a") == [b"last"]
    path.write_bytes(b"one\ntwo\nthree\nlast\nmore\n")
    assert Reading(tmp_path, store, path="a").drain().texts("a") == [b"more"], "only the line's end was missing"


def refusal(tmp_path: Path, store: str, **settings: object) -> str:
    with pytest.raises(SourceError) as caught:
        Reading(tmp_path, store, **settings).drain()  # type: ignore[arg-type]
    return str(caught.value)


def test_a_file_that_became_another_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    body = b"".join(b"line %d\n" % n for n in range(1000))
    for changed, sentence in ((body[:-100], "of it were counted"), (b"L" + body[1:], "not the file"),
                              (body[:-20] + b"X" * 20, "not the file"), (b"", "of it were counted")):
        store = new_store()
        path.write_bytes(body)
        Reading(tmp_path, store, path="a").drain().commit().close()
        path.write_bytes(changed)
        said = refusal(tmp_path, store, path="a")
        assert f"{path}: " in said and sentence in said and "drtc reset" in said
    path.write_bytes(body + b"new\n")
    (tmp_path / "copy").write_bytes(path.read_bytes())
    os.replace(tmp_path / "copy", path)
    assert Reading(tmp_path, store, path="a").drain().texts("a") == [b"new"], "the same content under another inode"


def test_a_file_replaced_after_a_crash_before_the_first_commit_is_refused(tmp_path: Path) -> None:
    store = new_store()
    (tmp_path / "a").write_bytes(b"old\n")
    Reading(tmp_path, store, path="a").drain().close()
    (tmp_path / "a").write_bytes(b"NEW\nNEW\n")
    assert "not the file" in refusal(tmp_path, store, path="a")


def test_no_file_and_unreadable_files(tmp_path: Path) -> None:
    assert f"no file matches {tmp_path}/*.csv" in refusal(tmp_path, new_store(), path="*.csv")
    assert "no file matches" in refusal(tmp_path, new_store(), path="*.csv", follow=True)
    (tmp_path / "loop").symlink_to("loop")
    assert f"{tmp_path}/loop: cannot be read: " in refusal(tmp_path, new_store(), path="loop*")


@pytest.mark.parametrize("cut", [1, 9, 400, 3000])
def test_a_truncated_gz_gives_what_is_readable_then_an_error(tmp_path: Path, cut: int) -> None:
    store = new_store()
    body = b"".join(os.urandom(20).hex().encode() + b"\n" for _ in range(3000))
    whole = gzip.compress(body)
    (tmp_path / "a.gz").write_bytes(whole[:-cut])
    (tmp_path / "b").write_bytes(b"good\n")
    reading = Reading(tmp_path, store, path="*", chunk_bytes=CHUNK).drain()
    lines = reading.texts("a.gz")
    assert lines == body.split(b"\n")[:len(lines)] and len(lines) > 2500
    assert reading.texts("b") == [b"good"]
    assert reading.source.complete() and reading.source.ends()["a.gz"] > reading.reached["a.gz"]
    with pytest.raises(SourceError, match=r"a\.gz: is damaged behind byte .* put a whole file in its place"):
        reading.commit().read()
    reading.close()
    (tmp_path / "a.gz").write_bytes(whole)
    rest = Reading(tmp_path, store, path="*", chunk_bytes=CHUNK).drain()
    assert lines + rest.texts("a.gz") == body.split(b"\n")[:-1], "with the whole file, exactly the rest follows"
    assert rest.damaged["a.gz"] == []


def test_a_file_that_is_no_gz(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(b"plain text\n")
    reading = Reading(tmp_path, new_store(), path="a.gz")
    with pytest.raises(SourceError, match="a.gz: is damaged behind byte 0"):
        reading.drain()


def test_names_do_not_depend_on_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "conf").mkdir()
    (tmp_path / "in" / "a.csv").write_bytes(b"x\n")
    store = new_store()
    for directory in (tmp_path, Path("/")):
        monkeypatch.chdir(directory)
        reading = Reading(tmp_path / "conf", store, path="./../in/*.csv").drain().commit()
        assert list(reading.positions) == ["../in/a.csv"]
    assert reading.lines == {}
    absolute = Reading(tmp_path / "conf", new_store(), path=f"{tmp_path}/in/a.csv").drain()
    assert list(absolute.positions) == [f"{tmp_path}/in/a.csv"]


def test_one_file_under_two_names_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x\n")
    (tmp_path / "b").symlink_to("a")
    os.link(tmp_path / "a", tmp_path / "c")
    (tmp_path / "[1].log").write_bytes(b"odd\n")
    reading = Reading(tmp_path, new_store(), path="?, ./a, [1].log").drain()
    assert sorted(map(bytes, filter(None, reading.all()))) == [b"odd", b"x"]
    assert reading.warnings == ["b is the same file as a: it is read once", "c is the same file as a: it is read once"]


def test_the_note_is_kept_and_durable_at_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x\n")
    store = new_store()
    reading = Reading(tmp_path, store, path="a")
    reading.read()
    reading.source.commit({"a": Position(0, NOTE), "b": Position(5, NOTE)})
    again = Reading(tmp_path, store, path="a")
    again.read()
    assert again.positions == {"a": Position(0, NOTE)}


def test_a_commit_that_is_not_durable_is_said_and_can_be_repeated(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x\n")
    store = new_store()
    reading = Reading(tmp_path, store, path="a").drain()
    reading.source.commit({"a": Position(0, NOTE)})
    content(store).unavailable = "switched off"
    with pytest.raises(StoreUnavailable):
        reading.commit()
    content(store).unavailable = ""
    reading.commit()
    again = Reading(tmp_path, store, path="a")
    again.read()
    assert again.positions == {"a": Position(2, NOTE)}


def test_close_from_another_thread_ends_a_wait_for_the_store(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x\n")
    store = new_store()
    content(store).unavailable = "switched off"
    source = make_source(FilesSettings(path="a"), SourceContext(
        tmp_path, "v", Reading(tmp_path, new_store(), path="a").source._offsets, True))
    waiting = threading.Event()

    def warn(why: str) -> None:
        waiting.set()

    from drtc.stores.memory import MemorySettings, MemoryStore
    from drtc.stores.offsets import Offsets
    source._offsets = Offsets(lambda: MemoryStore(MemorySettings(store)), "v")  # type: ignore[attr-defined]
    thread = threading.Thread(target=lambda: source.open(None, warn))  # type: ignore[arg-type]
    thread.start()
    assert waiting.wait(30)
    source.close()
    thread.join(30)
    assert not thread.is_alive()
    assert source.read(0.0) == []


def test_settings() -> None:
    assert settings_class("files") is FilesSettings
    with pytest.raises(ConfigError, match=r"\(did you mean files\?\)"):
        settings_class("file")
    with pytest.raises(ConfigError, match="known: files, kafka"):
        settings_class("carrier pigeon")
    with pytest.raises(ValueError, match="max_line_bytes: must be at least chunk_bytes"):
        FilesSettings(path="a", max_line_bytes=CHUNK)
    with pytest.raises(ValueError, match="path: must name"):
        FilesSettings(path=" , ")
