"""Types of sources and stores: drtc's own, and those that other packages add by an entry point."""
from __future__ import annotations

import sys
from importlib import invalidate_caches
from pathlib import Path
from typing import Iterator

import pytest

from drtc import sources
from drtc.config import load
from drtc.errors import ConfigError
from drtc.stores import make_store, names, own_names, settings_class
from drtc.stores.memory import MemoryStore
from drtc.stores.sqlite import SQLiteSettings

PLUGIN = '''
from dataclasses import dataclass
from drtc.stores.base import Store
from drtc.stores.memory import MemorySettings, MemoryStore


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    #: where it is
    url: str


class Ledger(MemoryStore):
    Settings = LedgerSettings

    def __init__(self, settings, base):
        super().__init__(MemorySettings(settings.url), base)


class Bare:
    pass


class Half(Store):
    Settings = LedgerSettings

    def open(self):
        pass
'''
ENTRIES = """\
[drtc.stores]
ledger = ledger_of_tests:Ledger
bare = ledger_of_tests:Bare
half = ledger_of_tests:Half
broken = no_such_module:X
"""
INI = """
[job]
class = job:Job
[source]
type = files
path = a
[store]
type = {type}
url = ledger://here
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package that is installed for this test."""
    (tmp_path / "ledger_of_tests.py").write_text(PLUGIN)
    facts = tmp_path / "ledger_of_tests-1.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: ledger-of-tests\nVersion: 1\n")
    (facts / "entry_points.txt").write_text(ENTRIES)
    monkeypatch.syspath_prepend(tmp_path)
    invalidate_caches()
    yield tmp_path
    sys.modules.pop("ledger_of_tests", None)


def test_names_of_stores() -> None:
    assert settings_class("sqlite") is SQLiteSettings
    with pytest.raises(ConfigError, match=r"type = sqllite: there is no such store \(did you mean sqlite\?\)"):
        settings_class("sqllite")
    with pytest.raises(ConfigError, match=r"type = xyzzy: there is no such store \(known: .*memory.*sqlite"):
        settings_class("xyzzy")


def test_settings_that_stand_in_another_module_than_their_part() -> None:
    source = sources.make_source(sources.settings_class("kafka")(("localhost:9092",), "t", "g"),
                                 sources.SourceContext(Path(), "v", None, False))
    assert type(source).__name__ == "KafkaSource"
    with pytest.raises(TypeError, match="are not the settings of a source"):
        sources.make_source(SQLiteSettings("x"), sources.SourceContext(Path(), "v", None, False))


def test_another_package_adds_a_type(plugin: Path) -> None:
    assert {*names()} == {*own_names(), "ledger", "bare", "broken", "half"}
    ini = plugin / "job.ini"
    ini.write_text(INI.format(type="ledger"))
    config = load(ini)
    assert config.store.url == "ledger://here" and config.types["store"] == "ledger"
    store = make_store(config.store, plugin)
    assert isinstance(store, MemoryStore) and type(store).__name__ == "Ledger"
    ini.write_text(INI.format(type="ledger").replace("url =", "urls ="))
    with pytest.raises(ConfigError, match=r"\[store\] urls: unknown key \(did you mean url\?\)"):
        load(ini)


@pytest.mark.parametrize(("type", "words"), [
    ("broken", "no_such_module:X cannot be imported: ModuleNotFoundError"),
    ("half", "ledger_of_tests:Half does not define close, delete, drop, health, load, prepare, save, scan"),
    ("bare", "ledger_of_tests:Bare has no dataclass named Settings")])
def test_a_package_that_does_not_fit_is_named(type: str, words: str, plugin: Path) -> None:
    ini = plugin / "job.ini"
    ini.write_text(INI.format(type=type))
    with pytest.raises(ConfigError, match=rf"job.ini:8: \[store\] type = {type}: {words}"):
        load(ini)
