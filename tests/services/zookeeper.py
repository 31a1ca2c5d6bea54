"""A real ZooKeeper for the tests: one server on loopback, from the system's package.

In a test, the session's fixture of conftest.py::

    def test_it(zookeeper):
        ensemble = f"{zookeeper.address}{zookeeper.chroot()}"     # a chroot of its own
        zookeeper.expire(zookeeper.owner(f"{chroot}/drtc/compute/compute-1"))
        zookeeper.kill(); zookeeper.start()                       # the same port, the same content
        zookeeper.wipe()                                          # the same port, nothing in it

``DRTC_TEST_ZOOKEEPER=host:port`` uses that server instead.
"""
from __future__ import annotations

import random
import shutil
import socket
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, Sequence

from . import maven
from .apt import apt, version
from .base import Absent, Service

JAR = Path("/usr/share/java/zookeeper.jar")
LOGGING = JAR.with_name("slf4j-simple.jar")
TICK = 0.5  # seconds: a session's timeout is a multiple of it, at least two, at most twenty
USER, PASSWORD = "drtc", "of the tests"  # whom SASL knows

SETTINGS = """\
tickTime={tick:.0f}
dataDir={directory}/data
clientPort={port}
clientPortAddress=127.0.0.1
admin.enableServer=false
maxClientCnxns=0
4lw.commands.whitelist=srvr
authProvider.sasl=org.apache.zookeeper.server.auth.SASLAuthenticationProvider
"""
JAAS = """\
Server {{
    org.apache.zookeeper.server.auth.DigestLoginModule required
    user_{user}="{password}";
}};
"""


class ZooKeeper(Service):
    """One server; sessions may time out after a second. SASL is possible and nobody is made to use it."""

    name = "zookeeper"
    start_seconds = 30.0
    stop_seconds = 5.0

    @classmethod
    def install(cls) -> str:
        maven.java(11)
        return f"zookeeper {apt('zookeeper')} in {JAR}"

    def argv(self, directory: Path) -> Sequence[str]:
        if not (version("zookeeper") and JAR.exists()):
            raise Absent("zookeeper is not installed (python -m tests.services install zookeeper)")
        (directory / "data").mkdir(exist_ok=True)
        settings, jaas = directory / "zoo.cfg", directory / "jaas.conf"
        settings.write_text(SETTINGS.format(tick=TICK * 1000, directory=directory, port=self.port))
        jaas.write_text(JAAS.format(user=USER, password=PASSWORD))
        # forceSync: a killed process loses nothing that the kernel has, and nobody here cuts the power
        return [maven.java(11), "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", f"{JAR}:{LOGGING}",
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dzookeeper.forceSync=no",
                f"-Djava.security.auth.login.config={jaas}",
                "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(settings)]

    def answers(self) -> bool:
        host, _, port = self.address.rpartition(":")
        try:
            with socket.create_connection((host, int(port)), 2) as sock:
                sock.settimeout(2)
                sock.sendall(b"srvr")
                said = b"".join(iter(lambda: sock.recv(4096), b""))
        except OSError:
            return False
        return b"Mode:" in said

    def wipe(self) -> None:
        """Kills the server and starts it with an empty data directory."""
        self.kill()
        assert self._directory is not None
        shutil.rmtree(self._directory / "data")
        self.start()

    def chroot(self) -> str:
        """Makes a path that no other test has, and returns it."""
        path = f"/test-{random.SystemRandom().getrandbits(40):010x}"
        with self.client() as client:
            client.create(path)
        return path

    @contextmanager
    def client(self, **settings: Any) -> Iterator[Any]:
        """kazoo's client, for what is not here."""
        from kazoo.client import KazooClient

        client = KazooClient(self.address, **settings)
        client.start(10)
        try:
            yield client
        finally:
            client.stop()
            client.close()

    def owner(self, path: str) -> int:
        """The session that an ephemeral node belongs to; 0 where there is no such node."""
        with self.client() as client:
            stat = client.exists(path)
            return stat.ephemeralOwner if stat is not None else 0

    def expire(self, session: int) -> None:
        """Ends a session as the server does whose client was silent for too long, whoever's it is."""
        with self.client(client_id=(session, _password(session))):
            pass  # who closes the session is not the one who opened it


def _password(session: int) -> bytes:
    """The password that a server gives to a session (ZooKeeperServer.generatePasswd): java.util.Random's bytes."""
    state = ((session ^ 0xB3415C00) ^ 0x5DEECE66D) & (1 << 48) - 1
    words = []
    for _ in range(4):
        state = (state * 0x5DEECE66D + 0xB) & (1 << 48) - 1
        words.append(state >> 16)
    return b"".join(word.to_bytes(4, "little") for word in words)
