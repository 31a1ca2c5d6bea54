"""A real Redis for the tests, from the system's package: one server, a cluster of three, or one with a sentinel.

``redis.cli("HGETALL", key)`` runs redis-cli; ``redis.client()`` is redis-py, for what is not here.
``DRTC_TEST_REDIS=host:port`` uses that server instead.
"""
from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, Sequence

from .apt import apt
from .base import Service, await_true, free_port, need

INSTALL = "python -m tests.services install redis"


class Redis(Service):
    """One server that writes every change to its append-only file before it answers."""

    name = "redis"
    start_seconds = 30.0
    stop_seconds = 10.0

    def __init__(self, *options: str) -> None:
        """``options``: more words of its command line, ``--requirepass``, ``secret``."""
        super().__init__()
        self._options = options

    @classmethod
    def install(cls) -> str:
        return f"redis-server {apt('redis-server')}"

    def argv(self, directory: Path) -> Sequence[str]:
        return [need("redis-server", INSTALL), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(directory),
                "--appendonly", "yes", "--appendfsync", "always", "--save", "", *self._options]

    def answers(self) -> bool:
        from redis import RedisError
        from redis.exceptions import AuthenticationError

        if not self.listens():
            return False
        try:
            with self.client() as client:
                return bool(client.ping())
        except AuthenticationError:
            return True
        except RedisError:
            return False

    def client(self, **settings: Any) -> Any:
        """redis-py's client; it must be closed."""
        from redis import Redis as Client
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        host, _, port = self.address.rpartition(":")
        return Client(host, int(port), socket_timeout=5, retry=Retry(NoBackoff(), 0), **settings)

    def cli(self, *words: str) -> str:
        """What redis-cli prints, as people see it on a terminal."""
        host, _, port = self.address.rpartition(":")
        done = subprocess.run([need("redis-cli", INSTALL), "-h", host, "-p", port, "--no-raw", *words],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
        return done.stdout

    def configure(self, **settings: object) -> None:
        """Changes settings, ``maxmemory=1``, until it is started again."""
        with self.client() as client:
            for name, value in settings.items():
                client.config_set(name.replace("_", "-"), str(value))

    def wipe(self, prefix: str) -> None:
        """Removes every key whose name begins so."""
        with self.client() as client:
            pipeline = client.pipeline(transaction=False)
            for key in client.scan_iter(f"{prefix}*", 1000):
                pipeline.unlink(key)
            pipeline.execute()


class RedisNode(Redis):
    """A server that may be part of a cluster."""

    name = "redis_node"

    def __init__(self) -> None:
        super().__init__("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
        self.bus = 0

    def argv(self, directory: Path) -> Sequence[str]:
        self.bus = self.bus or free_port()  # else it is the port plus 10,000, which may be somebody's
        return [*super().argv(directory), "--cluster-port", str(self.bus)]


class RedisCluster(RedisNode):
    """Three nodes with a third of the slots each, without replicas. ``kill``, ``freeze`` and so on are the first's."""

    name = "redis_cluster"

    def __init__(self) -> None:
        super().__init__()
        self.nodes: tuple[RedisNode, ...] = (self,)

    def start(self) -> None:
        super().start()
        if not self._outside and len(self.nodes) == 1:
            self._join()
        await_true(self._whole, self.start_seconds, "the cluster")

    def close(self) -> None:
        for node in self.nodes[1:]:
            node.close()
        self.nodes = (self,)
        super().close()

    def configure(self, **settings: object) -> None:
        super().configure(**settings)
        for node in self.nodes[1:]:
            node.configure(**settings)

    def wipe(self, prefix: str) -> None:
        super().wipe(prefix)
        for node in self.nodes[1:]:
            node.wipe(prefix)

    def _join(self) -> None:
        for _ in range(2):
            node = RedisNode()
            self.nodes += (node,)
            node.start()
        with self.client() as first:
            for number, node in enumerate(self.nodes):
                with node.client() as client:
                    client.execute_command("CLUSTER ADDSLOTSRANGE", 16384 * number // 3, 16384 * (number + 1) // 3 - 1)
                    client.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
                if number:
                    first.execute_command("CLUSTER MEET", "127.0.0.1", node.port, node.bus)

    def _whole(self) -> bool:
        from redis import RedisError

        try:
            for node in self.nodes:
                with node.client() as client:
                    state = client.execute_command("CLUSTER INFO")
                    if state["cluster_state"] != "ok" or int(state["cluster_known_nodes"]) < len(self.nodes):
                        return False
        except RedisError:
            return False
        return True


class RedisSentinel(Redis):
    """A sentinel that watches ``master`` under the name ``results``, and takes a second to call it dead."""

    name = "redis_sentinel"

    def __init__(self, master: Redis) -> None:
        super().__init__()
        self._master = master

    def argv(self, directory: Path) -> Sequence[str]:
        settings = directory / "sentinel.conf"
        if not settings.exists():
            settings.write_text(f"port {self.port}\nbind 127.0.0.1\ndir {directory}\n"
                                f"sentinel monitor results 127.0.0.1 {self._master.port} 1\n"
                                "sentinel down-after-milliseconds results 1000\n"
                                "sentinel failover-timeout results 3000\n")
        return [need("redis-server", INSTALL), str(settings), "--sentinel"]
