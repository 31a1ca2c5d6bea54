"""What conf/ ships to run drtc by: each file parses, agrees with the code, and is taken by its program's own schema.

A misspelled DRTC_... variable of a section that exists is passed over by drtc (Kubernetes makes such names), so here
each one that is written anywhere must be a setting and come into force.
"""
from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any, Iterator, Mapping, Sequence

import click
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml  # type: ignore[import-untyped]

from drtc import cli
from drtc.config import Config, load
from drtc.errors import ConfigError, JobError
from drtc.role import DRAIN_SECONDS
from drtc.values import Bytes
from drtc.values import parse as parse_value

ROOT = Path(__file__).parents[2]
CONF = ROOT / "conf"
ROLES = ("collector", "coordinator", "compute")
UNITS = [CONF / f"systemd/drtc-{role}@.service" for role in ROLES]
SECRET = "s" * 64


def documents(path: Path) -> list[Any]:
    return [each for each in yaml.safe_load_all(path.read_text()) if each is not None]


def role_of(words: Sequence[str]) -> str:
    """The role of a command's words, which the command line takes."""
    command = cli.drtc.commands[words[0]]
    assert isinstance(command, click.Command) and words[0] in ROLES
    command.make_context(words[0], list(words[1:]))
    return words[0]


def check_environment(path: Path, environ: Mapping[str, str]) -> Config:
    """Every DRTC_ variable is a setting that comes into force."""
    config = load(path, environ=environ)
    in_force = {each.origin for each in config.effective()}
    assert [name for name in environ if name.startswith("DRTC_") and name not in in_force] == []
    return config


@pytest.mark.parametrize("path", sorted([*CONF.rglob("*.yml"), *CONF.rglob("*.yaml")]), ids=lambda path: path.name)
def test_every_yaml_file_parses(path: Path) -> None:
    assert all(isinstance(each, dict) for each in documents(path))


# --- docker compose ---

@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((CONF / "docker-compose.yml").read_text())  # type: ignore[no-any-return]


def ours(compose: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((name, each) for name, each in compose["services"].items() if each["image"].startswith("drtc:"))


def test_compose_has_everything_and_every_role(compose: dict[str, Any]) -> None:
    assert {"kafka", "rabbitmq", "zookeeper", "aerospike", "prometheus", "grafana"} < set(compose["services"])
    found = [role_of([str(word) for word in each["command"]]) for _, each in ours(compose)]
    assert set(found) == set(ROLES)


def test_compose_pins_every_image_and_looks_after_every_service(compose: dict[str, Any]) -> None:
    for name, each in compose["services"].items():
        assert re.search(r":v?\d+\.\d+\.\d+", each["image"]), name
        assert each["healthcheck"]["test"] and each["restart"], name
        assert all(str(port).startswith("127.0.0.1:") for port in each.get("ports", ())), name


def test_compose_keeps_its_volumes_and_mounts_what_exists(compose: dict[str, Any]) -> None:
    used = set()
    for each in compose["services"].values():
        for source, *_ in (volume.split(":") for volume in each.get("volumes", ())):
            if source.startswith("."):
                assert (CONF / source).exists(), source
            else:
                used.add(source)
    assert used == set(compose["volumes"])


def test_compose_gives_drtc_time_settings_that_exist_and_names_that_are_found(compose: dict[str, Any]) -> None:
    for name, each in ours(compose):
        assert parse_seconds(each["stop_grace_period"]) > DRAIN_SECONDS + 5
        assert each["environment"]["DRTC_CLUSTER_SECRET"].startswith("${DRTC_CLUSTER_SECRET:?")
        config = check_environment(CONF / "cluster.ini", {**each["environment"], "DRTC_CLUSTER_SECRET": SECRET})
        words = [str(word) for word in each["command"]]
        role = role_of(words)
        assert words[words.index("--name") + 1] == each["hostname"] == name
        assert role == "collector" or words[words.index("--listen") + 1].startswith(f"{name}:")
        assert f":{getattr(config, role).http.port}/live" in str(each["healthcheck"]["test"])
        assert str(config.cluster.zookeeper).split(":")[0] in compose["services"]
        assert str(config.source.brokers[0]).split(":")[0] in compose["services"]


def test_prometheus_scrapes_the_roles_of_compose(compose: dict[str, Any]) -> None:
    scraped, = documents(CONF / "prometheus/prometheus.yml")
    targets = [target for job in scraped["scrape_configs"] for each in job["static_configs"]
               for target in each["targets"]]
    wanted = []
    for name, each in ours(compose):
        config = load(CONF / "cluster.ini", environ={**each["environment"], "DRTC_CLUSTER_SECRET": SECRET})
        wanted.append(f"{name}:{getattr(config, role_of([str(word) for word in each['command']])).http.port}")
    assert sorted(targets) == sorted(wanted)
    assert all((CONF / "prometheus" / name).exists() for name in scraped["rule_files"])


def test_the_image_holds_what_the_shipped_files_need() -> None:
    text = (CONF / "docker/Dockerfile").read_text()
    declared = configparser.ConfigParser(interpolation=None)
    declared.read(ROOT / "setup.cfg", "utf-8")
    asked = re.search(r"^ARG EXTRAS=(\S+)$", text, re.MULTILINE)
    assert asked is not None and not set(asked[1].split(",")) - set(declared["options.extras_require"])
    assert "USER 7000:7000" in text and "STOPSIGNAL SIGTERM" in text
    assert all(re.search(r":\d+\.\d+\.\d+", image) for image in re.findall(r"^FROM (\S+)", text, re.MULTILINE))
    version = declared["metadata"]["version"]
    assert f"drtc:{version}" in text and f"image: drtc:{version}" in (CONF / "docker-compose.yml").read_text()
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE)
    assert all((ROOT / name).exists() for line in copied for name in line.split())


# --- systemd ---

class Unit:
    """A unit file; of a key that is repeated, the last in ``values`` and each in ``lines``."""

    def __init__(self, path: Path) -> None:
        found = (line.partition("=") for line in path.read_text().splitlines() if not line.startswith("#"))
        self.lines = [(key, value) for key, equals, value in found if equals]
        self.values = dict(self.lines)

    def environ(self) -> dict[str, str]:
        found = (value.partition("=") for key, value in self.lines if key == "Environment")
        return {name: value for name, _, value in found}


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_drains_starts_again_and_sets_what_exists(path: Path) -> None:
    unit = Unit(path)
    words = shlex.split(unit.values["ExecStart"].replace("%i", "flights").replace("%H", "a.example"))
    assert path.name == f"drtc-{role_of(words[1:])}@.service"
    assert int(unit.values["TimeoutStopSec"]) > DRAIN_SECONDS + 5
    assert (unit.values["KillMode"], unit.values["Restart"]) == ("mixed", "on-failure")
    assert unit.values["RestartPreventExitStatus"].split() == [
        str(error.exit_code) for error in (ConfigError, JobError)]
    assert unit.values["EnvironmentFile"] == "-/etc/drtc/%i.env"
    config = check_environment(CONF / "cluster.ini", unit.environ())
    assert config.directory == Path("/var/lib/drtc/%i")


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not installed")
    program = shutil.which("true")
    paths = []
    for path in UNITS:
        paths.append(tmp_path / path.name.replace("@", "@flights"))
        paths[-1].write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={program}", path.read_text(), flags=re.MULTILINE))
    done = subprocess.run([analyze, "verify", "--man=no", *map(str, paths)], capture_output=True, text=True,
                          timeout=60, env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"})
    if "Failed to initialize manager" in done.stderr:
        pytest.skip(f"systemd-analyze does not work here: {done.stderr.splitlines()[0]}")
    assert (done.returncode, done.stderr) == (0, "")


# --- Kubernetes ---

MANIFESTS = sorted(path for path in (CONF / "kubernetes").glob("*.yaml") if path.name != "kustomization.yaml")


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_kubernetes_takes_every_manifest(path: Path) -> None:
    for each in documents(path):
        kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)


def test_the_kustomization_has_every_manifest_but_the_secret() -> None:
    made, = documents(CONF / "kubernetes/kustomization.yaml")
    assert sorted(made["resources"]) == sorted(path.name for path in MANIFESTS if path.name != "secret.example.yaml")
    secret, = documents(CONF / "kubernetes/secret.example.yaml")
    assert secret["stringData"] == {"DRTC_CLUSTER_SECRET": ""}, "a secret in a repository is none"


@pytest.mark.parametrize("role", ROLES)
def test_a_pod_agrees_with_the_file_that_it_reads(role: str) -> None:
    config = load(CONF / "kubernetes/cluster.ini", environ={"DRTC_CLUSTER_SECRET": SECRET})
    workload, = (each for each in documents(CONF / f"kubernetes/{role}.yaml") if each["kind"] == "StatefulSet")
    pod = workload["spec"]["template"]["spec"]
    container, = pod["containers"]
    assert role_of(container["args"]) == role
    assert pod["terminationGracePeriodSeconds"] > DRAIN_SECONDS + 5
    assert {container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness")} == {"/live"}
    assert container["readinessProbe"]["httpGet"]["path"] == "/health"
    settings, ports = getattr(config, role), {each["name"]: each["containerPort"] for each in container["ports"]}
    assert ports["http"] == settings.http.port
    assert workload["spec"]["template"]["metadata"]["annotations"]["prometheus.io/port"] == str(settings.http.port)
    if role != "collector":
        assert container["args"][-1] == f"$(POD_IP):{ports['drtc']}"
    assert size(container["resources"]["limits"]["memory"]) > 2 * settings.memory_bytes
    mounts = {each["name"] for each in container["volumeMounts"]}
    claims = [each["metadata"]["name"] for each in workload["spec"].get("volumeClaimTemplates", ())]
    assert mounts == {*claims, *(each["name"] for each in pod["volumes"])}


def test_the_overflow_fits_on_its_volume() -> None:
    config = load(CONF / "kubernetes/cluster.ini", environ={})
    workload, = (each for each in documents(CONF / "kubernetes/coordinator.yaml") if each["kind"] == "StatefulSet")
    volume = next(each["emptyDir"] for each in workload["spec"]["template"]["spec"]["volumes"]
                  if each["name"] == "state")
    assert size(volume["sizeLimit"]) > config.coordinator.disk_bytes > 0


def size(text: str) -> int:
    """Bytes of Kubernetes' 1Gi or 512Mi."""
    found: int = parse_value(text.removesuffix("i"), Bytes)
    return found


def parse_seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+)s", text)
    assert found is not None, text
    return float(found[1])
