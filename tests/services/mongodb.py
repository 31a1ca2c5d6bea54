"""MongoDB's protocol for the tests: FerretDB on SQLite, built from source once, behind a front (``ferretdb/main.go``).

MongoDB itself is in no package repository: ``DRTC_TEST_MONGODB=host:port`` uses one that runs elsewhere, without users.
What ``ferretdb/go.mod`` and ``go.sum`` name is all that the build fetches; it takes about 75 s.
"""
from __future__ import annotations

import hashlib
import os
import re
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator, Sequence

from .base import Absent, ByAddress, Service, cache, need

if TYPE_CHECKING:
    from pymongo import MongoClient

SOURCE = Path(__file__).parent / "ferretdb"
GO = (1, 24)
REMEDY = "https://go.dev/dl; the go of Debian 12 is too old"
BUILD_SECONDS = 900


class MongoDB(Service):
    """One server without users; everything is lost with it."""

    name = "mongodb"
    start_seconds = 20.0
    stop_seconds = 5.0

    @classmethod
    def install(cls) -> str:
        program = cls._program()
        if not program.exists():
            try:
                _build(program)
            except Absent as absent:  # no package has MongoDB itself, so its absence is no fault of a machine
                raise ByAddress(str(absent)) from absent
        return f"mongodb, FerretDB {_version()} in {program}"

    @classmethod
    def _program(cls) -> Path:
        """Named by what it is built from: a changed source is another program."""
        told = hashlib.sha256(b"".join((SOURCE / name).read_bytes() for name in ("main.go", "go.mod", "go.sum")))
        return cache() / f"ferretdb-{_version()}" / f"ferretdb-{told.hexdigest()[:12]}"

    def argv(self, directory: Path) -> Sequence[str]:
        program = self._program()
        if not program.exists():
            raise ByAddress(f"FerretDB is not built (python -m tests.services install {self.name})")
        (directory / "data").mkdir(exist_ok=True)
        return [str(program), self.address, str(directory / "data")]

    def answers(self) -> bool:
        from pymongo.errors import PyMongoError

        if not self.listens():
            return False
        try:
            with self.client(timeoutMS=2000) as client:
                client.admin.command("ping")
        except PyMongoError:
            return False
        return True

    @property
    def url(self) -> str:
        return f"mongodb://{self.address}"

    @contextmanager
    def client(self, **options: Any) -> Iterator[MongoClient[dict[str, Any]]]:
        """pymongo's client, for what is not here."""
        from pymongo import MongoClient

        client: MongoClient[dict[str, Any]] = MongoClient(self.url, **options)
        try:
            yield client
        finally:
            client.close()


def _version() -> str:
    found = re.search(r"FerretDB/FerretDB v(\S+)", (SOURCE / "go.mod").read_text("utf-8"))
    assert found is not None
    return found.group(1)


def _build(program: Path) -> None:
    go = need("go", REMEDY)
    told = subprocess.run([go, "env", "GOVERSION"], stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout
    version = re.match(r"go(\d+)\.(\d+)", told)
    if version is None or (int(version[1]), int(version[2])) < GO:
        raise Absent(f"Go {GO[0]}.{GO[1]} or newer is needed, {go} is {told.strip() or 'an older one'!r} ({REMEDY})")
    program.parent.mkdir(parents=True, exist_ok=True)
    fresh = program.with_suffix(f".{os.getpid()}")
    command = [go, "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-o", str(fresh), "."]
    try:
        done = subprocess.run(command, cwd=SOURCE, env={**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"},
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=BUILD_SECONDS)
    except subprocess.TimeoutExpired:
        raise Absent(f"go did not build FerretDB within {BUILD_SECONDS} s") from None
    if done.returncode != 0:
        raise Absent(f"go could not build FerretDB: {done.stdout[-300:]!r}")
    fresh.rename(program)
