"""One INI file, the environment and --set: what is in force, and what is said when something is wrong."""
from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from drtc.config import Config, load
from drtc.errors import ConfigError
from drtc.reference import text as reference
from drtc.values import Address

ROOT = Path(__file__).parents[2]
SMALL = """\
[job]
class = profile:Profile
[source]
type = files
path = actions-*.csv
[store]
type = sqlite
path = results.db
"""
CAMPAIGNS = """\
; one file for every machine
[job]
class = campaigns:CampaignViews

[job.options]
campaigns = ad2campaign.json

[cluster]
membership = zookeeper
zookeeper = localhost:2181

[source]
type = kafka
brokers = localhost:9092
topic = ads
group = campaigns

[collector]
route = json:user_id

[coordinator]
memory_bytes = 256M
disk_bytes = 20G

[store]
type = aerospike
hosts = localhost:3000
"""


@pytest.fixture(autouse=True)
def in_its_own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(text: str, name: str = "job.ini") -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def problems(text: str, *sets: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(written(text), sets, environ)
    return str(caught.value).splitlines()


def origin(config: Config, section: str, key: str) -> tuple[str, str]:
    return next((each.text, each.origin) for each in config.effective() if (each.section, each.key) == (section, key))


def test_a_small_file_is_enough() -> None:
    config = load(written(SMALL), environ={})
    assert config.job.class_ == "profile:Profile"
    assert config.job.version == 1
    assert config.source.path == "actions-*.csv"
    assert config.types == {"source": "files", "store": "sqlite"}
    assert config.coordinator.listen == Address("127.0.0.1", 0)
    assert config.coordinator.memory_bytes == 256 * 1024 ** 2
    assert (config.cluster.heartbeat, config.collector.slots, config.compute.workers) == (0.5, 16, 0)


def test_the_last_of_default_file_environment_and_set_counts() -> None:
    path, file = written(SMALL), written(SMALL + "[compute]\nworkers = 1\n", "with.ini")
    variable, option = {"DRTC_COMPUTE_WORKERS": "2"}, ["compute.workers=3"]
    assert origin(load(path, environ={}), "compute", "workers") == ("0", "default")
    assert origin(load(file, environ={}), "compute", "workers") == ("1", "with.ini:10")
    assert origin(load(file, environ=variable), "compute", "workers") == ("2", "DRTC_COMPUTE_WORKERS")
    assert origin(load(file, option, variable), "compute", "workers") == ("3", "--set compute.workers")
    assert load(file, [*option, "compute.workers=4"], variable).compute.workers == 4


def test_all_problems_are_reported_together_in_the_order_of_the_file() -> None:
    text = SMALL + "[compute]\nworkers = four\n[spillway]\nx = 1\n[coordinator]\nmemory_byte = 1M\nworkers = 3\n"
    assert problems(text, "cluster.timeout=soon", DRTC_COLLECTOR_SLOTS="0") == [
        "--set cluster.timeout: [cluster] timeout: must be a duration such as 5s, 100ms or 2min, more than 0s, "
        "not 'soon'",
        "DRTC_COLLECTOR_SLOTS: [collector] slots: must be a whole number, at least 1, not '0'",
        "job.ini:10: [compute] workers: must be a whole number, at least 0, not 'four'",
        "job.ini:11: [spillway]: unknown section",
        "job.ini:14: [coordinator] memory_byte: unknown key (did you mean memory_bytes?)",
        "job.ini:15: [coordinator] workers: unknown key (it belongs in [compute])",
    ]


def test_the_store_is_aerospike_where_none_is_named() -> None:
    named, unnamed = (load(written(text), environ={}) for text in (CAMPAIGNS, CAMPAIGNS[:CAMPAIGNS.index("[store]")]))
    assert named.types == unnamed.types == {"source": "kafka", "store": "aerospike"}
    assert type(named.store) is type(unnamed.store)
    assert origin(unnamed, "store", "type") == ("aerospike", "default")


def test_what_must_be_given_is_named() -> None:
    said = problems("[store]\ntype = sqlite\n")
    assert said[0].startswith("job.ini: [job] class: missing (the Job as `module:Class`")
    assert "job.ini: [source] type: missing, must be files or kafka" in said
    assert any(each.startswith("job.ini: [store] path: missing") for each in said)


@pytest.mark.parametrize("text, sentence", [
    ("class = x\n", "job.ini:1: must begin with a section such as [job]"),
    ("[job]\nclass\n", "job.ini:2: class: must read key = value, or [section]"),
    ("[job]\nclass = a\nclass = b\n", "job.ini:3: [job] class: given twice"),
    ("[job]\n[source]\n[job]\n", "job.ini:3: [job]: given twice, put its keys together"),
    (SMALL + "[DEFAULT]\nx = 1\n", "job.ini:9: [DEFAULT]: unknown section"),
])
def test_what_is_no_ini_is_refused_with_its_line(text: str, sentence: str) -> None:
    assert problems(text) == [sentence]


def test_a_file_that_cannot_be_read_is_named() -> None:
    with pytest.raises(ConfigError, match="^none.ini: no such file$"):
        load("none.ini", environ={})
    with pytest.raises(ConfigError, match="^[.]: cannot be read: Is a directory$"):
        load(".", environ={})
    Path("latin.ini").write_bytes(b"[job]\nclass = caf\xe9:X\n")
    with pytest.raises(ConfigError, match="^latin.ini:2: not UTF-8"):
        load("latin.ini", environ={})


@pytest.mark.parametrize("option", ["workers=1", "compute.workers", "compute.=1", "spillway.x=1", "=1"])
def test_a_set_of_another_shape_is_refused(option: str) -> None:
    said, = problems(SMALL, option)
    assert said.startswith(f"--set {option}: must read section.key=value, with a section of cluster, collector, ")


def test_options_are_free_and_keep_their_case() -> None:
    config = load(written(SMALL + "[job.options]\nMap = a = b : c ; why\nlist = 1\n  2\n"), ["job.options.x.y= 1 "],
                  {"DRTC_JOB_OPTIONS_LIST": "9", "DRTC_JOB_OPTIONS_NEW": "n"})
    assert config.options == {"Map": "a = b : c", "list": "9", "new": "n", "x.y": "1"}


def test_a_variable_finds_the_option_of_another_case() -> None:
    path = written(SMALL + "[job.options]\nMap = a\n")
    assert load(path, environ={"DRTC_JOB_OPTIONS_MAP": "b"}).options == {"Map": "b"}


def test_only_a_variable_that_looks_misspelled_is_an_error() -> None:
    services = {"DRTC_COORDINATOR_PORT": "tcp://10.0.0.1:80", "DRTC_COORDINATOR_SERVICE_HOST": "10.0.0.1", "DRTC_X": "",
                "DRTC_CLUSTER_PORT": "tcp://10.0.0.1:80", "DRTC_TEST_KAFKA": "localhost:9092", "DRTC_": "", "HOME": "/"}
    assert load(written(SMALL), environ=services) == load(written(SMALL), environ={})
    assert problems(SMALL, DRTC_CLUSTER_SECRTE="x") == [
        "DRTC_CLUSTER_SECRTE: [cluster] secrte: unknown key (did you mean secret?)"]


def test_secrets_are_never_shown() -> None:
    text = SMALL + "[job.options]\napi_token = hidden\nurl = amqp://me:hidden@host/\n"
    config = load(written(text), environ={"DRTC_CLUSTER_SECRET": "hidden"})
    assert config.cluster.secret == "hidden"
    assert origin(config, "cluster", "secret") == ("***", "DRTC_CLUSTER_SECRET")
    assert origin(config, "job.options", "url")[0] == "amqp://me:***@host/"
    assert "hidden" not in f"{list(config.effective())}{config!r}"
    assert origin(load(written(SMALL), environ={}), "cluster", "secret") == ("", "default")


@pytest.mark.parametrize("option, sentence", [
    ("job.class=profile", "--set job.class: [job] class: must be module:Class, such as profile:Profile"),
    ("job.name=a-b", "--set job.name: [job] name: must be letters, digits and _"),
])
def test_a_job_is_named_so_that_every_store_takes_it(option: str, sentence: str) -> None:
    assert problems(SMALL, option)[0].startswith(sentence)


@pytest.mark.parametrize("section, sentence", [
    ("[cluster]\nheartbeat = 10\n", "job.ini: [cluster] timeout: must be longer than heartbeat"),
    ("[cluster]\nheartbeat = 10\ntimeout = 5\n", "job.ini:11: [cluster] timeout: must be longer than heartbeat"),
    ("[cluster]\nmembership = static\ncomputes = a:1\n", "job.ini:10: [cluster] membership: static needs both"),
    ("[collector]\nroute = sideways\n", "job.ini:10: [collector] route: 'sideways' is not a route"),
    ("[coordinator]\nbatch_bytes = 40M\n", "job.ini: [coordinator] batch_bytes: must be at most half of [cluster] "),
])
def test_values_that_do_not_go_together_are_refused(section: str, sentence: str) -> None:
    said, = problems(SMALL + section)
    assert said.startswith(sentence)


def test_paths_are_relative_to_the_file_from_wherever_it_is_read(tmp_path: Path) -> None:
    config = load(written(SMALL, "conf/job.ini"), environ={})
    assert config.base == tmp_path / "conf"
    assert config.directory == tmp_path / "conf" / ".drtc"
    assert load(config.path, ["cluster.directory=/run/drtc"], {}).directory == Path("/run/drtc")


def test_another_process_reads_the_very_same(tmp_path: Path) -> None:
    config = load(written(SMALL, "conf/job.ini"), ["compute.workers=3", "job.options.a=b c"], {})
    assert config.arguments == ["-c", str(tmp_path / "conf/job.ini"), "--set", "compute.workers=3",
                                "--set", "job.options.a=b c"]
    assert pickle.loads(pickle.dumps(config)) == config


def test_a_file_with_a_byte_order_mark_and_windows_lines_is_read() -> None:
    Path("job.ini").write_bytes(b"\xef\xbb\xbf" + SMALL.replace("\n", "\r\n").encode())
    assert load("job.ini", environ={}).source.path == "actions-*.csv"


@pytest.mark.parametrize("path", sorted((ROOT / "conf").rglob("*.ini")), ids=lambda path: path.name)
def test_every_file_that_we_ship_loads(path: Path) -> None:
    assert load(path, environ={}).job.class_


def test_the_reference_is_current() -> None:
    assert (ROOT / "docs/configuration.md").read_text() == reference(), "run python -m drtc.reference again"


def test_every_setting_is_explained() -> None:
    rows = [line for line in reference().splitlines() if line.startswith("| `")]
    assert len(rows) > 30
    assert [row for row in rows if row.endswith("|  |")] == []


def test_the_environment_is_read_unless_another_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("DRTC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DRTC_COMPUTE_WORKERS", "7")
    assert load(written(SMALL)).compute.workers == 7


@pytest.mark.parametrize("text, shown", [
    ("postgresql://me:a/b@c@host:5432/d?sslpassword=x&sslmode=require",
     "postgresql://me:***@host:5432/d?sslpassword=***&sslmode=require"),
    ("redis://:hush@a:1,b:2/0", "redis://:***@a:1,b:2/0"),
    ("http://a:9200, http://me:hush@b:9200", "http://a:9200, http://me:***@b:9200"),
    ("http://a:9200", "http://a:9200")])
def test_passwords_in_addresses_are_not_shown(text: str, shown: str) -> None:
    config = load(written(SMALL + f"\n[job.options]\nurl = {text}\n"), environ={})
    assert origin(config, "job.options", "url")[0] == shown
