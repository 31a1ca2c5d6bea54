"""Each contract test runs once for every backend, or for those that its module names in ``ONLY``."""
from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest

from drtc.stores.base import Store

from ..services import Servers
from .backends import BACKENDS, Backend, parameters


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames and metafunc.module.__name__.rpartition(".")[2].startswith("test_store"):
        metafunc.parametrize("backend", getattr(metafunc.module, "ONLY", None) or parameters(), indirect=True)


@pytest.fixture
def backend(request: pytest.FixtureRequest, tmp_path: Path, servers: Servers) -> Iterator[Backend]:
    with BACKENDS[request.param](tmp_path, servers) as found:
        yield found


@pytest.fixture
def store(backend: Backend) -> Iterator[Store]:
    opened = backend.open()
    yield opened
    opened.close()
