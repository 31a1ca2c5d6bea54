"""Fetches Java servers by Maven: the coordinates of a server in, a directory of jars in the cache out."""
from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Sequence

from .base import Absent, Service, cache, need

REMEDY = "apt-get install openjdk-17-jre-headless maven"
FETCH_SECONDS = 600

POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>drtc.tests</groupId><artifactId>{name}</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>{dependencies}</dependencies>
</project>
"""
DEPENDENCY = """
    <dependency>
      <groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version>
      <exclusions>{exclusions}</exclusions>
    </dependency>"""
EXCLUSION = "<exclusion><groupId>{group}</groupId><artifactId>{artifact}</artifactId></exclusion>"


def java(least: int = 17) -> str:
    """The path of a Java of at least this version.

    Raises:
        Absent: there is none, or only an older one.
    """
    path = need("java", REMEDY)
    told = subprocess.run([path, "-version"], stdin=subprocess.DEVNULL, capture_output=True, text=True).stderr
    version = re.search(r'version "(\d+)', told)
    if version is None or int(version.group(1)) < least:
        raise Absent(f"Java {least} or newer is needed, {path} is {told.partition(chr(10))[0]!r} ({REMEDY})")
    return path


def jars(name: str) -> Path:
    """Where ``fetch`` puts the jars of this name. They are all there, or the directory is not."""
    return cache() / name / "jars"


def fetch(name: str, coordinates: Sequence[str], without: Sequence[str] = ()) -> Path:
    """Copies the jars of ``group:artifact:version`` coordinates, and all they need, into the cache, once.

    ``without`` names ``group:artifact`` that are not needed. The directory appears whole or not at all, so that an
    interrupted run is simply repeated.

    Raises:
        Absent: no Maven, or Maven could not get them.
    """
    target = jars(name)
    if target.is_dir():
        return target
    maven = need("mvn", REMEDY)
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="fetching-", dir=target.parent))
    try:
        (work / "pom.xml").write_text(_pom(name, coordinates, without))
        command = [maven, "-B", "-q", "dependency:copy-dependencies", "-DincludeScope=runtime",
                   f"-DoutputDirectory={work / 'jars'}"]
        try:
            done = subprocess.run(command, cwd=work, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True, timeout=FETCH_SECONDS)
        except subprocess.TimeoutExpired:
            raise Absent(f"Maven did not fetch {coordinates[0]} within {FETCH_SECONDS} s") from None
        if done.returncode != 0:
            raise Absent(f"Maven could not fetch {coordinates[0]}: {_first_error(done.stdout)}")
        if not target.is_dir():  # somebody else may have been quicker
            (work / "jars").rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def _pom(name: str, coordinates: Sequence[str], without: Sequence[str]) -> str:
    exclusions = "".join(
        EXCLUSION.format(group=group, artifact=artifact) for group, artifact in (c.split(":") for c in without))
    dependencies = "".join(
        DEPENDENCY.format(group=group, artifact=artifact, version=version, exclusions=exclusions)
        for group, artifact, version in (c.split(":") for c in coordinates))
    return POM.format(name=name, dependencies=dependencies)


def _first_error(output: str) -> str:
    errors = [line for line in output.splitlines() if "ERROR" in line]
    return re.sub(r"\x1b\[[0-9;]*m", "", errors[0])[:300] if errors else f"it said {output[-300:]!r}"


class MavenService(Service):
    """A server that is jars: its ``coordinates`` and all they need, but for those in ``without``."""

    version: str
    coordinates: Sequence[str]
    without: Sequence[str] = ()

    @classmethod
    def install(cls) -> str:
        java()
        return f"{cls.name} {cls.version} in {fetch(cls._cached(), cls.coordinates, cls.without)}"

    @classmethod
    def jars(cls) -> Path:
        """Where they are.

        Raises:
            Absent: it is not installed.
        """
        found = jars(cls._cached())
        if not found.is_dir():
            raise Absent(f"{cls.name} {cls.version} is not in {found.parent} (python -m tests.services install "
                         f"{cls.name})")
        return found

    @classmethod
    def _cached(cls) -> str:
        return f"{cls.name}-{cls.version}"
