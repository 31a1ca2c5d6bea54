"""A real PostgreSQL for the tests: one server on loopback, from the system's package.

In a test::

    server = servers.get(PostgreSQL)
    with server.database() as url:               # a database of its own, which the user drtc owns
        with server.admin() as connection: ...   # psycopg's, a superuser's
        server.freeze(); server.thaw()           # with all its processes
        server.kill(); server.start()            # the same port, the same content

``DRTC_TEST_POSTGRESQL=host:port`` uses that server instead, by a superuser: PGUSER, PGPASSWORD and ~/.pgpass name one.
"""
from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator, Sequence
from uuid import uuid4

from .apt import apt
from .base import Absent, Broken, Process, Service, await_true

if TYPE_CHECKING:
    import psycopg

PROGRAMS = Path("/usr/lib/postgresql")  # Debian's: a directory for each version
OWNER = "postgres"  # PostgreSQL refuses to be root
INIT_SECONDS = 60
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",  # a killed server loses nothing that the kernel has, and nobody here cuts the power
    "full_page_writes": "off",
    "log_min_messages": "warning",
}


class PostgreSQL(Service):
    """One server. ``user`` may log in by ``password`` and is no superuser."""

    name = "postgresql"
    start_seconds = 30.0
    stop_seconds = 10.0
    user, password = "drtc", "of-the-tests"

    @classmethod
    def install(cls) -> str:
        return f"postgresql {apt('postgresql')}, {program('postgres')}"

    def argv(self, directory: Path) -> Sequence[str]:
        content = directory / "data"
        become: list[str] = []
        if os.geteuid() == 0:
            shutil.chown(directory, OWNER)
            become = ["setpriv", f"--reuid={OWNER}", f"--regid={OWNER}", "--clear-groups", "--"]
            if shutil.which("setpriv") is None:
                raise Absent(f"there is no setpriv, and PostgreSQL does not run as root: run the tests as {OWNER}")
        if not content.exists():
            secret = directory / "password"
            secret.write_text(self.password)
            secret.chmod(0o644)  # the directory is closed to others
            words = [program("initdb"), "-D", str(content), "-U", OWNER, "-E", "UTF8", "--locale=C", "--no-sync",
                     "--auth=scram-sha-256", f"--pwfile={secret}"]
            done = subprocess.run([*become, *words], cwd=directory, stdin=subprocess.DEVNULL, capture_output=True,
                                  text=True, timeout=INIT_SECONDS)
            if done.returncode != 0:
                raise Broken(f"initdb failed: {done.stderr}")
        # A change of user takes the parent's death signal away: it is set once more
        guard = ["setpriv", "--pdeathsig", "KILL", "--"] if become else []
        settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        return [*become, *guard, program("postgres"), "-D", str(content), "-p", str(self.port), *settings]

    def answers(self) -> bool:
        import psycopg

        if not self.listens():
            return False
        try:
            with self.admin() as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    @contextmanager
    def admin(self, database: str = OWNER) -> Iterator[psycopg.Connection[Any]]:
        """A superuser's connection, which commits every statement."""
        import psycopg

        host, _, port = self.address.rpartition(":")
        credentials = {} if self._outside else {"user": OWNER, "password": self.password}
        connection = psycopg.connect(psycopg.conninfo.make_conninfo(
            host=host, port=port, dbname=database, connect_timeout=5, **credentials), autocommit=True)
        try:
            yield connection
        finally:
            connection.close()

    @contextmanager
    def database(self) -> Iterator[str]:
        """A database that no other test has, as the URL of its owner, who is ``user``; it is dropped at the end."""
        name = f"test_{uuid4().hex}"
        with self.admin() as connection:
            if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [self.user]).fetchone() is None:
                connection.execute(f"CREATE ROLE {self.user} LOGIN PASSWORD '{self.password}'".encode())
            connection.execute(f"CREATE DATABASE {name} OWNER {self.user}".encode())
        try:
            yield f"postgresql://{self.user}@{self.address}/{name}"
        finally:
            with self.admin() as connection:
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())

    def psql(self, words: Sequence[str]) -> str:
        """What psql prints, for the user of the tests."""
        environ = {**os.environ, "PGPASSWORD": self.password, "PGTZ": "UTC", "PAGER": ""}
        done = subprocess.run([program("psql"), "-X", *words], env=environ, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60)
        return done.stdout + done.stderr

    def stop(self) -> None:
        self._own().signal(signal.SIGINT)  # fast: SIGTERM would wait until every client is gone
        super().stop()

    def kill(self) -> None:
        family = self._family()
        super().kill()
        for each in family:  # they would go by themselves, but a start must not find one left
            _signal(each, signal.SIGKILL)
        await_true(lambda: not any(map(_lives, family)), 60, f"{self.name}, which was killed,")

    def freeze(self) -> None:
        super().freeze()
        for each in self._family():
            _signal(each, signal.SIGSTOP)

    def thaw(self) -> None:
        for each in self._family():
            _signal(each, signal.SIGCONT)
        super().thaw()

    def close(self) -> None:
        if self._process is not None and self._process.running():
            self.thaw()
            self._process.signal(signal.SIGINT)
        super().close()

    def _family(self) -> list[Any]:
        """A process for each connection, and others."""
        import psutil

        process: Process = self._own()
        return psutil.Process(process.pid).children() if process.running() else []


def program(name: str) -> str:
    """The path of a program of the newest version that is installed.

    Raises:
        Absent: there is none.
    """
    found = sorted(PROGRAMS.glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    path = str(found[-1]) if found else shutil.which(name)
    if path is None:
        raise Absent("postgresql is not installed (python -m tests.services install postgresql)")
    return path


def _lives(process: Any) -> bool:
    """A zombie does not: it waits for whoever has inherited it."""
    import psutil

    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _signal(process: Any, number: int) -> None:
    import psutil

    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        pass
