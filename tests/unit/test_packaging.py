"""What is installed: every package, every dependency declared and bounded, hot modules that may stay plain."""
from __future__ import annotations

import ast
import configparser
import importlib.util
import re
import sys
import types
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Iterator

import pytest
from setuptools import Extension

import drtc
from drtc.commands.show import HOT_MODULES

ROOT = Path(__file__).parents[2]
TO_DEVELOP = {"test"}  # extras that no installation of a user asks for


@pytest.fixture
def declared() -> configparser.ConfigParser:
    found = configparser.ConfigParser(interpolation=None)
    found.read(ROOT / "setup.cfg", "utf-8")
    return found


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """setup.py as a module, asked to build in the project's directory."""
    spec = importlib.util.spec_from_file_location("drtc_setup", ROOT / "setup.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("DRTC_COMPILE", raising=False)
    monkeypatch.setattr(sys, "argv", ["setup.py", "bdist_wheel"])
    return module


def test_the_version_is_said_once_and_the_same(declared: configparser.ConfigParser) -> None:
    assert drtc.__version__ == declared["metadata"]["version"]


def test_no_folder_is_left_out_of_the_installation() -> None:
    folders = {path.parent for path in (ROOT / "drtc").rglob("*.py")}
    assert sorted(folder for folder in folders if not (folder / "__init__.py").exists()) == []


def test_every_library_that_is_imported_is_declared(declared: configparser.ConfigParser) -> None:
    names = {name for name, _ in requirements(declared, without=TO_DEVELOP)}
    providers = packages_distributions()
    undeclared = {
        f"{path.relative_to(ROOT)}: {library}"
        for path in (ROOT / "drtc").rglob("*.py") for library in libraries(path)
        if not any(canonical(provider) in names for provider in providers.get(library, ()))
    }
    assert undeclared == set()


def test_every_library_has_an_upper_bound(declared: configparser.ConfigParser) -> None:
    unbounded = [name for name, versions in requirements(declared, without=TO_DEVELOP) if "<" not in versions]
    assert unbounded == ["drtc"]  # an extra that takes in another one


def test_every_extra_that_an_error_recommends_exists(declared: configparser.ConfigParser) -> None:
    recommended = {
        extra
        for path in (ROOT / "drtc").rglob("*.py")
        for extra in re.findall(r"pip install '?drtc\[(\w+)\]", path.read_text("utf-8"))
    }
    assert recommended - set(declared["options.extras_require"]) == set()


def test_hot_modules_are_optional_and_compiled_again_when_they_change(
        build: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_mypyc(monkeypatch, lambda arguments: [Extension(arguments[-1], [arguments[-1] + ".c"])])
    made = build.extensions()
    assert [extension.name for extension in made] == build.HOT
    assert all(extension.optional and extension.name in extension.depends for extension in made)


def test_every_hot_module_exists(build: types.ModuleType) -> None:
    assert [source for source in build.HOT if not (ROOT / source).exists()] == []
    assert [f"drtc/{module}.py" for module in HOT_MODULES] == build.HOT, "drtc --version looks at others"


@pytest.mark.parametrize("refusal", [SystemExit(1), RuntimeError("no such option"), OSError("read-only")])
def test_a_module_that_mypyc_refuses_stays_plain_and_one_line_says_so(
        build: types.ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
        refusal: BaseException) -> None:
    def mypycify(arguments: list[str]) -> list[Extension]:
        if arguments[-1] == build.HOT[0]:
            raise refusal
        return [Extension(arguments[-1], [])]

    pretend_mypyc(monkeypatch, mypycify)
    assert [extension.name for extension in build.extensions()] == build.HOT[1:]
    assert capsys.readouterr().err.splitlines() == [
        f"drtc: {build.HOT[0]} stays plain Python, mypyc refused it: {refusal!r}"]


def test_without_mypyc_everything_stays_plain(build: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mypyc.build", None)
    assert build.extensions() == []


@pytest.mark.parametrize("command, setting", [("bdist_wheel", "0"), ("egg_info", ""), ("dist_info", ""), ("sdist", "")])
def test_nothing_is_compiled_where_it_is_not_asked_for(
        build: types.ModuleType, monkeypatch: pytest.MonkeyPatch, command: str, setting: str) -> None:
    pretend_mypyc(monkeypatch, lambda arguments: pytest.fail("mypyc was called"))
    monkeypatch.setenv("DRTC_COMPILE", setting)
    monkeypatch.setattr(sys, "argv", ["setup.py", command])
    assert build.extensions() == []


def pretend_mypyc(monkeypatch: pytest.MonkeyPatch, mypycify: object) -> None:
    module = types.ModuleType("mypyc.build")
    module.mypycify = lambda arguments, debug_level: mypycify(arguments)  # type: ignore[attr-defined,operator]
    monkeypatch.setitem(sys.modules, "mypyc.build", module)


def requirements(declared: configparser.ConfigParser, without: set[str]) -> Iterator[tuple[str, str]]:
    """Name and versions of each requirement of drtc and its extras."""
    groups = [declared["options"]["install_requires"]]
    groups += [lines for extra, lines in declared["options.extras_require"].items() if extra not in without]
    for line in "\n".join(groups).splitlines():
        found = re.match(r"([\w.-]+)(?:\[[\w,]+\])?(.*)", line.partition("#")[0].strip())
        if found:
            yield canonical(found[1]), found[2]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def libraries(path: Path) -> set[str]:
    """The top-level names that a module imports anywhere in it and that are neither drtc's nor Python's own."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"drtc"}
