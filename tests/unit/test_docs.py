"""The documentation is true: its code runs, its commands and settings exist, its tables are those of the code.

A fenced block may name a file behind its language, as in ```python climate.py: the page's commands find it there. In
```console blocks ``$ drtc run`` is played inline, without a socket; every other ``drtc`` command that needs no cluster
runs for real and must print what the page shows, where ``...`` stands for anything.
"""
from __future__ import annotations

import doctest
import re
import shlex
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any, Iterator, NamedTuple

import click
import pytest

from drtc import cli, errors
from drtc.batch import Batch, Counts, Header
from drtc.compute.mapper import Mapper
from drtc.compute.merge import Merger, Piece
from drtc.compute.records import Layout, Record
from drtc.config import CLASSES, Config, load
from drtc.encodings import lines
from drtc.job import describe
from drtc.loading import load_job
from drtc.settings import settings_of
from drtc.sources import own_names as sources, settings_class as source_settings
from drtc.stores import open_store, own_names as stores, settings_class as store_settings
from drtc.stores.base import Id
from drtc.wire.messages import KINDS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [page.name for page in PAGES]


class Block(NamedTuple):
    language: str
    file: str  # its name, "" where it has none
    text: str


class Command(NamedTuple):
    words: list[str]
    output: str


def blocks(page: Path) -> list[Block]:
    found = re.findall(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [Block(*each) for each in found]


def commands(block: Block) -> Iterator[Command]:
    for typed, output in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block.text, re.MULTILINE):
        yield Command(shlex.split(typed), output)


@pytest.fixture(params=PAGES, ids=NAMES)
def page(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty directory to work in; modules imported from it are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # or a module that is changed within a second runs as it was
    yield tmp_path
    forget_neighbors(tmp_path)


# --- words ---

def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_every_setting_that_is_named_exists(page: Path) -> None:
    keys = {section: {each.key for each in settings_of(cls)} for section, cls in CLASSES.items()}
    keys["source"] = {"type"}.union(*({each.key for each in settings_of(source_settings(name))} for name in sources()))
    keys["store"] = {"type"}.union(*({each.key for each in settings_of(store_settings(name))} for name in stores()))
    named = re.findall(r"`\[(\w+)\] (\w+)", page.read_text("utf-8"))
    assert [f"[{section}] {key}" for section, key in named if key not in keys[section]] == []


def test_every_module_and_test_that_is_named_exists(page: Path) -> None:
    named = re.findall(r"`([a-z_]+(?:/[\w.-]+)*\.(?:py|sh))[ `]", page.read_text("utf-8"))
    homes = [ROOT, ROOT / "drtc"]
    assert [name for name in named if name.count("/") and not any((home / name).exists() for home in homes)] == []


# --- code ---

def test_python_runs(page: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", module)  # where dataclasses look for the names in their annotations
    names = vars(module)
    for block in blocks(page):
        if block.language == "python":
            exec(compile(block.text, f"{page.name}: {block.text[:30]!r}", "exec"), names)


def test_ini_is_accepted(page: Path, place: Path) -> None:
    for block in blocks(page):
        if block.language == "ini":
            text = block.text
            for section, least in {"job": "class = job:Job", "source": "type = files\npath = *.csv",
                                   "store": "type = sqlite\npath = results.db"}.items():
                text += "" if f"[{section}]" in text else f"\n[{section}]\n{least}\n"
            (place / "page.ini").write_text(text)
            assert load("page.ini", environ={})


def test_every_command_exists(page: Path) -> None:
    for block in blocks(page):
        for words, _ in commands(block) if block.language == "console" else ():
            if words[0] == "drtc":
                parse(words[1:])
            elif "/" in words[0]:
                assert (ROOT / words[0]).exists(), words


def parse(words: list[str]) -> None:
    """Raises click's own error where the words are no command, or have options that it has not."""
    command: click.Command = cli.drtc
    while isinstance(command, click.Group):
        name, *words = words
        command = command.commands[name]
    command.make_context(str(command.name), words)


# --- pages that are played ---

SHOWN_ELSEWHERE = "conf/quickstart.ini"  # needs the flights: tests of the quickstart look at that


@pytest.mark.parametrize("name", ["docs/getting_started.md"])
def test_what_a_page_shows_is_what_is_printed(name: str, place: Path, capsys: pytest.CaptureFixture[str],
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    played = 0
    for block in blocks(ROOT / name):
        if block.file:
            Path(block.file).write_text(block.text)
        for words, wanted in commands(block) if block.language == "console" else ():
            if SHOWN_ELSEWHERE in words or not wanted:
                continue
            if words[0] == "sqlite3":
                with closing(sqlite3.connect(words[1])) as connection:
                    rows = connection.execute(words[2]).fetchall()
                found = "".join("|".join(map(str, row)) + "\n" for row in rows)
            elif words[1] == "run":
                found = run_inline(load(words[words.index("-c") + 1]))
            else:
                assert cli._run(words[1:]) == 0, words
                found = capsys.readouterr().out
            forget_neighbors(place)
            assert same(wanted, found), f"{words}\n{wanted}\n{found}"
            played += 1
    assert played > 10, "the page lost its commands"


def same(wanted: str, found: str) -> bool:
    """Spaces and the length of a table's rule do not count."""
    wanted, found = (re.sub("─+", "─", text) for text in (wanted, found))
    return doctest.OutputChecker().check_output(wanted, found, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)


def forget_neighbors(place: Path) -> None:
    """Each command is a process of its own: it imports the Job anew."""
    for name in [name for name, module in sys.modules.items()
                 if str(getattr(module, "__file__", "")).startswith(str(place))]:
        del sys.modules[name]


def run_inline(config: Config) -> str:
    """What ``drtc run --until-end`` would store and print, by the same mapper, merger and offsets."""
    from drtc.collector.route import parse_route
    from drtc.observe.banner import banner
    from drtc.observe.progress import summary
    from drtc.stores.offsets import Entry, Offsets

    spec = describe(load_job(config.job.class_, config.base))
    layout = Layout(spec, config.job.version, config.job.name)
    store = open_store(config.store, config.base)
    store.prepare(layout.view)
    mapper, merger = Mapper(spec, spec.cls()), Merger(store, layout, 100)
    offsets = Offsets(store, layout.view.name)
    committed = offsets.load()
    counts = Counts()
    for path in sorted(config.base.glob(config.source.path)):
        content = path.read_bytes()
        begin = committed[path.name].offset if path.name in committed else 0
        if begin == len(content):
            continue
        slot = parse_route(config.collector.route).slot_of_partition(path.name, config.collector.slots)
        payload = lines.pack(begin, content[begin:])
        batches = [Batch(Header(path.name, slot, "", 0, begin, len(content) - 1, 0, "lines", len(payload)), payload)]
        mapped = mapper.map(batches)
        merger.add(Piece(0, mapped.spans, mapped.parts, mapped.dead, lambda floors: {}))
        assert merger.attempt().delay is None
        counts.add(mapped.counts[0])
        offsets.save({path.name: Entry(len(content))})
    store.close()
    return f"{banner(config, 'run')}\n...\ndrtc: {summary(counts.messages, 0.5, counts.dead)}\n...\n"


# --- tables ---

def table(page: str, head: str) -> list[list[str]]:
    """The rows of the table whose first column is headed so."""
    found = re.search(rf"^\| {head} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", (ROOT / page).read_text("utf-8"), re.MULTILINE)
    assert found is not None
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in found[1].splitlines()]


def test_the_fences_have_the_size_that_is_told() -> None:
    import drtc

    class Views(drtc.Job):
        views = drtc.Count()

        def map(self, event: Any) -> Any:
            yield "a", {"views": 1}

    layout = Layout(describe(Views), 1)

    def size(lanes: int, offset: int) -> int:
        fence = {number: offset + number for number in range(lanes)}
        return len(layout.write(Record(Id("a"), [5], fence, 1)).hidden)

    told = [[int(cell.strip("| ")) for cell in row] for row in table("docs/design.md", "lanes")]
    assert told == [[lanes, size(lanes, 1_000_000), size(lanes, 5_000_000_000)] for lanes, *_ in told]
    assert [lanes for lanes, *_ in told][-1] == 64 * 16


def test_the_kinds_of_frames_are_those_of_the_protocol() -> None:
    told: dict[int, str] = {}
    for numbers, names, *_ in table("docs/design.md", "kind"):
        told |= dict(zip(map(int, re.findall(r"\d+", numbers)), re.findall(r"\w+", names)))
    assert told == {code: kind.__name__ for code, kind in KINDS.items()}


def test_the_exit_codes_are_those_of_the_errors() -> None:
    told = {int(row[0].strip("| ")): row[1] for row in table("docs/operations.md", "code")}
    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.DrtcError)]
    assert {each.exit_code for each in kinds} | {0, cli.INTERRUPTED} == set(told)
    first = {2: "INI", 3: "Job", 4: "source", 5: "store", 6: "peer", 7: "membership"}
    assert all(word in told[code] for code, word in first.items())
