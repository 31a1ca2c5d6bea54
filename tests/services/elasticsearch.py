"""A real Elasticsearch for the tests: one node on loopback, the cut-down distribution that Maven has (no scripts, no
ingest), without security.

It is used as ``opensearch.OpenSearch`` is. From a shell, first: ``python -m tests.services install elasticsearch``.
``DRTC_TEST_ELASTICSEARCH=host:port`` uses that server instead.
"""
from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Sequence

from . import maven
from .base import Absent, await_stopped, cache, free_port, need
from .opensearch import MOST_BYTES, Search

VERSION = "8.19.21"
ARTIFACT = f"org.elasticsearch.distribution.integ-test-zip:elasticsearch:{VERSION}:zip"

SETTINGS = """\
cluster.name: drtc-tests
network.host: 127.0.0.1
http.port: {port}
transport.port: {transport}
path.data: {directory}/data
path.logs: {directory}/logs
discovery.type: single-node
xpack.security.enabled: false
http.max_content_length: {most}b
cluster.routing.allocation.disk.threshold_enabled: false
"""


class Elasticsearch(Search):
    """One node. A request may have 20 MiB. Its launcher waits for it, and is what was started here."""

    name = "elasticsearch"
    long = True

    @classmethod
    def install(cls) -> str:
        maven.java()
        home = cls._home()
        if not home.is_dir():
            home.parent.mkdir(parents=True, exist_ok=True)
            work = Path(tempfile.mkdtemp(prefix="fetching-", dir=home.parent))
            try:
                done = subprocess.run([need("mvn", maven.REMEDY), "-B", "-q", "dependency:unpack",
                                       f"-Dartifact={ARTIFACT}", f"-DoutputDirectory={work}"],
                                      cwd=work, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                      timeout=maven.FETCH_SECONDS)
                if done.returncode != 0:
                    raise Absent(f"Maven could not fetch {ARTIFACT}: {done.stdout[-300:]}")
                (work / home.name / "bin" / "elasticsearch").chmod(0o755)
                if not home.is_dir():  # somebody else may have been quicker
                    (work / home.name).rename(home)
            finally:
                shutil.rmtree(work, ignore_errors=True)
        return f"elasticsearch {VERSION} in {home}"

    @classmethod
    def _home(cls) -> Path:
        return cache() / f"elasticsearch-{VERSION}"

    def argv(self, directory: Path) -> Sequence[str]:
        home = self._home()
        if not home.is_dir():
            raise Absent(f"elasticsearch {VERSION} is not in {home.parent} (python -m tests.services install"
                         f" elasticsearch)")
        conf = directory / "conf"
        if not conf.exists():
            shutil.copytree(home / "config", conf)
            (conf / "jvm.options.d").mkdir(exist_ok=True)
            (conf / "jvm.options.d" / "heap.options").write_text("-Xms512m\n-Xmx512m\n-XX:TieredStopAtLevel=1\n")
            (conf / "elasticsearch.yml").write_text(SETTINGS.format(
                port=self.port, transport=free_port(), directory=directory, most=MOST_BYTES))
        java = Path(maven.java()).resolve().parent.parent
        # It does not run as root; in a user namespace of its own, root has another number and the same rights
        another = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--"] if os.getuid() == 0 else []
        return [*another, "env", f"ES_JAVA_HOME={java}", f"ES_PATH_CONF={conf}", "CLI_JAVA_OPTS=-Xmx64m",
                str(home / "bin" / "elasticsearch"), "-p", str(directory / "pid")]

    @property
    def pid(self) -> int:
        assert self._directory is not None, "elasticsearch is not running"
        return int((self._directory / "pid").read_text())

    def kill(self) -> None:
        own = self._own()
        os.kill(self.pid, signal.SIGKILL)
        own.end(self.stop_seconds)

    def freeze(self) -> None:
        self._own()
        os.kill(self.pid, signal.SIGSTOP)
        await_stopped(self.pid)

    def thaw(self) -> None:
        self._own()
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        if self._process is not None and self._process.running():
            self.thaw()
        super().close()
