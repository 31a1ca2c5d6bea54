"""Each contract test runs once for every backend."""
from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest

from drtc.stores.base import Store

from ..services import Servers
from .backends import BACKENDS, Backend, parameters


@pytest.fixture(params=parameters())
def backend(request: pytest.FixtureRequest, tmp_path: Path, servers: Servers) -> Iterator[Backend]:
    with BACKENDS[request.param](tmp_path, servers) as found:
        yield found


@pytest.fixture
def store(backend: Backend) -> Iterator[Store]:
    opened = backend.open()
    yield opened
    opened.close()
