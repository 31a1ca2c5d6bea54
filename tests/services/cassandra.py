"""A real Cassandra for the tests: one node on loopback, with passwords and permissions.

In a test: ``servers.get(Cassandra)``; everybody is ``USER`` with ``PASSWORD`` there::

    with cassandra.session() as session:              # the driver's own session, for what is not here
        session.execute("SELECT release_version FROM system.local")
    cassandra.kill(); cassandra.start()               # the same port, the same content: each write is synced

``DRTC_TEST_CASSANDRA=host:port`` uses that server instead.
"""
from __future__ import annotations

import random
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, Sequence

from . import maven
from .base import free_port
from .maven import MavenService

VERSION = "5.0.9"
COORDINATES = (f"org.apache.cassandra:cassandra-all:{VERSION}",)
USER, PASSWORD = "cassandra", "cassandra"  # whom a new node knows

# commitlog_sync = batch: who was answered finds it after a kill -9. Time-outs of transactions under contention are
# longer than an operator's, because a test that counts attempts cannot go on after an unknown outcome.
SETTINGS = """\
cluster_name: drtc tests
num_tokens: 1
auto_bootstrap: false
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
endpoint_snitch: SimpleSnitch
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: "127.0.0.1:{internode}"
listen_address: 127.0.0.1
rpc_address: 127.0.0.1
storage_port: {internode}
native_transport_port: {port}
start_native_transport: true
authenticator: PasswordAuthenticator
authorizer: CassandraAuthorizer
role_manager: CassandraRoleManager
data_file_directories: ["{directory}/data"]
commitlog_directory: {directory}/commitlog
saved_caches_directory: {directory}/caches
hints_directory: {directory}/hints
cdc_raw_directory: {directory}/cdc
commitlog_sync: batch
commitlog_segment_size: 32MiB
commitlog_total_space: 256MiB
disk_failure_policy: stop
commit_failure_policy: stop
auto_snapshot: false
paxos_variant: v2
cas_contention_timeout: 20s
write_request_timeout: 20s
read_request_timeout: 20s
request_timeout: 20s
"""
LOGGING = """\
<configuration>
  <appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%date %-5level %logger{1}: %msg%n</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="OUT"/></root>
</configuration>
"""
# What Cassandra's own scripts give to Java 17 (conf/jvm17-server.options)
EXPORTS = (
    "java.base/jdk.internal.misc", "java.base/java.lang.ref", "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry", "java.rmi/sun.rmi.server", "java.sql/java.sql", "jdk.unsupported/sun.misc",
    "jdk.attach/sun.tools.attach", "jdk.compiler/com.sun.tools.javac.file",
)
OPENS = (
    "java.base/java.lang.module", "java.base/jdk.internal.loader", "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect", "java.base/jdk.internal.math", "java.base/jdk.internal.module",
    "java.base/jdk.internal.util.jar", "jdk.management/com.sun.management.internal", "java.base/sun.nio.ch",
    "java.base/java.io", "java.base/java.lang.reflect", "java.base/java.lang", "java.base/java.util",
    "jdk.compiler/com.sun.tools.javac",
)


class Cassandra(MavenService):
    """One node that is its own ring, so that it waits for nobody."""

    name = "cassandra"
    version, coordinates = VERSION, COORDINATES
    start_seconds = 180.0  # 8 on a machine that has time for it
    user, password = USER, PASSWORD

    def __init__(self, heap: str = "512m") -> None:
        super().__init__()
        self._heap = heap
        self._internode = 0

    def argv(self, directory: Path) -> Sequence[str]:
        jars = self.jars()
        settings = directory / "cassandra.yaml"
        if not settings.exists():
            self._internode = free_port()
            settings.write_text(SETTINGS.format(directory=directory, port=self.port, internode=self._internode))
            (directory / "logback.xml").write_text(LOGGING)
        return [
            maven.java(), "-cp", f"{directory}:{jars}/*", f"-Xms{self._heap}", f"-Xmx{self._heap}", "-Xss512k",
            "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Djdk.attach.allowAttachSelf=true",
            *(f"--add-exports={module}=ALL-UNNAMED" for module in EXPORTS),
            *(f"--add-opens={module}=ALL-UNNAMED" for module in OPENS),
            "-Dio.netty.tryReflectionSetAccessible=true", f"-Dcassandra.config=file://{settings}",
            f"-Dcassandra.storagedir={directory}", f"-Djava.io.tmpdir={directory}", "-Dcassandra-foreground=yes",
            "-Dcassandra.ring_delay_ms=100", "-Dcassandra.skip_wait_for_gossip_to_settle=0",
            "-Dcassandra.superuser_setup_delay_ms=0", "-Dcassandra.auth_bcrypt_gensalt_log2_rounds=4",
            "-Dcassandra.load_ring_state=false",
            "org.apache.cassandra.service.CassandraDaemon",
        ]

    def answers(self) -> bool:
        if not self.listens():
            return False
        from cassandra import DriverException
        from cassandra.cluster import NoHostAvailable

        try:
            with self.session() as session:
                return bool(session.execute("SELECT role FROM system_auth.roles").all())
        except (DriverException, NoHostAvailable):
            return False

    @contextmanager
    def keyspace(self) -> Iterator[str]:
        """The name of a keyspace that no other test has, and that is gone afterwards; not made here."""
        name = f"test_{random.SystemRandom().getrandbits(40):010x}"
        yield name
        with self.session() as session:
            session.execute(f"DROP KEYSPACE IF EXISTS {name}")

    @contextmanager
    def session(self, user: str = USER, password: str = PASSWORD) -> Iterator[Any]:
        """A session of the driver."""
        from cassandra.auth import PlainTextAuthProvider
        from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
        from cassandra.policies import WhiteListRoundRobinPolicy

        host, _, port = self.address.rpartition(":")
        policy = WhiteListRoundRobinPolicy([host])
        cluster = Cluster([host], int(port), auth_provider=PlainTextAuthProvider(user, password), protocol_version=5,
                          schema_metadata_enabled=False, token_metadata_enabled=False, connect_timeout=5,
                          execution_profiles={EXEC_PROFILE_DEFAULT: ExecutionProfile(policy, request_timeout=20)})
        try:
            yield cluster.connect()
        finally:
            cluster.shutdown()
