"""Services for the tests: started by the first test that asks, absent ones skipped visibly, and failed in CI."""
from __future__ import annotations

import gc
import os
import sysconfig
import warnings
from collections import Counter
from pathlib import Path
from typing import Generator, Iterator

import pytest

from .services import Absent, ByAddress, Kafka, Servers, ZooKeeper

_absent: pytest.StashKey[Counter[str]] = pytest.StashKey()


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Every real server that the tests share."""
    found = Servers()
    yield found
    found.close()


@pytest.fixture(scope="session")
def kafka(servers: Servers) -> Kafka:
    """A real broker; what it offers stands in tests/services/kafka.py. Whoever stops it starts it again."""
    return servers.get(Kafka)


@pytest.fixture(scope="session")
def zookeeper(servers: Servers) -> ZooKeeper:
    """A real ZooKeeper; each test takes a chroot of its own. Whoever stops it starts it again."""
    return servers.get(ZooKeeper)


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_absent] = Counter()
    _refuse_stale_modules(config.rootpath)


def _refuse_stale_modules(root: Path) -> None:
    """A compiled hot module hides its source: tests of an older one would tell nothing about the code at hand."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    for compiled in (root / "drtc").rglob(f"*{suffix}"):
        source = compiled.with_name(compiled.name.removesuffix(suffix) + ".py")
        if source.exists() and source.stat().st_mtime > compiled.stat().st_mtime:
            raise pytest.UsageError(f"{source.relative_to(root)} is newer than its compiled form: run bin/test.sh, "
                                    f"which compiles it again, or delete {compiled.name}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    return (yield from _without_the_absent(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    return (yield from _without_the_absent(item))


def _without_the_absent(item: pytest.Item) -> Generator[None, None, None]:
    """A test whose service cannot be had is skipped; in CI it fails, or a machine without it would look healthy."""
    try:
        return (yield)
    except Absent as absent:
        item.config.stash[_absent][str(absent)] += 1
        if os.environ.get("CI") == "true" and not isinstance(absent, ByAddress):
            raise pytest.fail.Exception(f"in CI every service must be there: {absent}", pytrace=False) from None
        raise pytest.skip.Exception(str(absent)) from None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for reason, count in config.stash[_absent].items():
        terminalreporter.write_line(f"ABSENT: {reason}; tests concerned: {count}", yellow=True)


@pytest.fixture(autouse=True)
def sockets_of_kazoo(request: pytest.FixtureRequest) -> Iterator[None]:
    """kazoo leaves the sockets of lost connections to the garbage collector: they go before the next test."""
    yield
    if "zookeeper" in request.fixturenames:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked ``long`` are left out unless DRTC_LONG=1 (``bin/test.sh --long``)."""
    for item in items:
        if "zookeeper" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed .socket:ResourceWarning"))
    if os.environ.get("DRTC_LONG") == "1":
        return
    kept = [item for item in items if item.get_closest_marker("long") is None]
    config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("long") is not None])
    items[:] = kept
