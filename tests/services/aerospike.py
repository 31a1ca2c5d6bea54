"""A real Aerospike for the tests: no registry has one, so it is by address, or the ``asd`` of this machine.

``DRTC_TEST_AEROSPIKE=host:port`` uses that server; its namespace is ``DRTC_TEST_AEROSPIKE_NAMESPACE`` (``test``), in
which the tests write, truncate and set limits. It is never killed; ``DRTC_TEST_AEROSPIKE_PID`` allows to freeze it.

Without an address, an ``asd`` on the PATH (that of Aerospike's own packages) is started, and everything can be tried.
"""
from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import time
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Iterator, Sequence

from .base import ByAddress, Process, Service, await_stopped, await_true, free_port

RECORD = "2M"  # the longest that a record may be; as it comes, a server takes 1M
MEMORY_PERCENT = "90"  # of the machine's; where more is in use, the server takes no writes

SETTINGS = """\
service {{
    proto-fd-max 1024
    cluster-name drtc-tests
    work-directory {directory}/work
    pidfile {directory}/asd.pid
}}
logging {{
    console {{
        context any warning
    }}
}}
network {{
    service {{
        address 127.0.0.1
        port {port}
    }}
    heartbeat {{
        mode mesh
        address 127.0.0.1
        port {heartbeat}
        interval 150
        timeout 10
    }}
    fabric {{
        address 127.0.0.1
        port {fabric}
    }}
}}
namespace {namespace} {{
    replication-factor 1
    default-ttl 0
    nsup-period 120
    storage-engine device {{
        file {directory}/records
        filesize 1G
    }}
}}
"""


class Aerospike(Service):
    """One node whose namespace lies in a file."""

    name = "aerospike"
    start_seconds = 60.0
    stop_seconds = 20.0

    def __init__(self) -> None:
        super().__init__()
        self.namespace = os.environ.get("DRTC_TEST_AEROSPIKE_NAMESPACE", "test") if self._outside else "test"

    @classmethod
    def install(cls) -> str:
        return f"aerospike {cls.program()}"

    @classmethod
    def program(cls) -> str:
        found = shutil.which("asd")
        if found is None:
            raise ByAddress(f"no package registry has an Aerospike server: {cls.variable()}=host:port names one, or"
                            " put its asd on the PATH")
        return found

    def argv(self, directory: Path) -> Sequence[str]:
        program = self.program()
        (directory / "work" / "smd").mkdir(parents=True, exist_ok=True)
        settings = directory / "aerospike.conf"
        if not settings.exists():
            settings.write_text(SETTINGS.format(directory=directory, port=self.port, namespace=self.namespace,
                                                heartbeat=free_port(), fabric=free_port()))
        return [program, "--config-file", str(settings), "--foreground"]

    def answers(self) -> bool:
        """The port listens before the cluster has formed: only a record that can be written is an answer."""
        if not self.listens():
            return False
        from aerospike.exception import AerospikeError

        try:
            with self.client() as client:
                client.put((self.namespace, "drtc_test", "answers"), {"yes": 1})
        except AerospikeError:
            return False
        return True

    def start(self) -> None:
        super().start()
        self.set("max-record-size", RECORD)

    @contextmanager
    def client(self) -> Iterator[Any]:
        """Aerospike's own client, for what is not here."""
        import aerospike

        host, _, port = self.address.rpartition(":")
        client = aerospike.client({"hosts": [(host, int(port))]})
        try:
            yield client
        finally:
            client.close()

    @contextmanager
    def place(self) -> Iterator[str]:
        """A prefix for sets that no other test on this machine has, empty at first and at the end. It is one of a few:
        a server never forgets the name of a set, and knows at most 4095."""
        for number in count():
            lock = os.open(Path(gettempdir()) / f"drtc-aerospike-{os.getuid()}-{number}", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            try:
                self._empty(f"t{number}_")
                yield f"t{number}_"
                self._empty(f"t{number}_")
            finally:
                os.close(lock)
            return

    def _empty(self, prefix: str) -> None:
        time.sleep(0.002)  # truncating leaves records of the same millisecond alone
        with self.client() as client:
            said = client.info_random_node(f"sets/{self.namespace}")
            for name in re.findall(r"set=([^:;]+)", said):
                if name.startswith(prefix):
                    client.truncate(self.namespace, name, 0)

    def setting(self, name: str) -> str:
        """A setting of the namespace, as the server has it now."""
        with self.client() as client:
            said = client.info_random_node(f"get-config:context=namespace;id={self.namespace}")
        return str(dict(each.split("=", 1) for each in said.split("\t")[-1].strip().split(";"))[name])

    def set(self, name: str, value: str, set: str = "") -> None:
        """Changes a setting of the namespace, or of one of its sets, while the server runs."""
        with self.client() as client:
            place = f";set={set}" if set else ""
            words = f"set-config:context=namespace;id={self.namespace}{place};{name}={value}"
            said = client.info_random_node(words)
            assert said.strip().endswith("ok"), said

    @contextmanager
    def changed(self, name: str, value: str) -> Iterator[None]:
        """While it lasts, the namespace has this setting."""
        before = self.setting(name)
        self.set(name, value)
        try:
            yield
        finally:
            self.set(name, before)

    @contextmanager
    def batches_of(self, most: int) -> Iterator[None]:
        """While it lasts, the server refuses larger batches, whoever's they are."""
        with self.client() as client:
            service = "config:context=service"
            before = re.findall(r"batch-max-requests=(\d+)", client.info_random_node(f"get-{service}"))[0]
            try:
                assert client.info_random_node(f"set-{service};batch-max-requests={most}").strip().endswith("ok")
                yield
            finally:
                client.info_random_node(f"set-{service};batch-max-requests={before}")

    @contextmanager
    def full(self) -> Iterator[None]:
        """While it lasts, the namespace takes no writes: the server believes that the machine's memory is used up. It
        looks every ten seconds."""
        try:
            self.set("stop-writes-sys-memory-pct", "1")
            await_true(lambda: self._stops(), 30, "a full namespace")
            yield
        finally:
            self.set("stop-writes-sys-memory-pct", MEMORY_PERCENT)
            await_true(lambda: not self._stops(), 30, "a namespace with room")

    def _stops(self) -> bool:
        with self.client() as client:
            return "stop_writes=true" in re.split("[;\t]", client.info_random_node(f"namespace/{self.namespace}"))

    def freeze(self) -> None:
        os.kill(self._allowed(), signal.SIGSTOP)
        await_stopped(self._allowed())

    def thaw(self) -> None:
        os.kill(self._allowed(), signal.SIGCONT)

    def _allowed(self) -> int:
        if not self._outside:
            return self.pid
        pid = os.environ.get("DRTC_TEST_AEROSPIKE_PID")
        if not pid:
            raise ByAddress(f"{self.variable()} names an Aerospike that is not ours: DRTC_TEST_AEROSPIKE_PID would"
                            " allow to freeze it")
        return int(pid)

    def _own(self) -> Process:
        if self._outside:
            raise ByAddress(f"{self.variable()} names an Aerospike that is not ours: it is not killed")
        return super()._own()
