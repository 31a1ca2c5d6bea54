"""The sections of the INI file that every installation has; a default stands here and nowhere else.

A source's and a store's sections stand beside their code. The ``#:`` line above a setting is its text in
docs/configuration.md; a ``__post_init__`` that raises ValueError refuses values that do not go together.
"""
from __future__ import annotations

import inspect
import re
from dataclasses import MISSING, dataclass, field, fields
from typing import Annotated, Any, Literal, NamedTuple, get_type_hints

import msgspec

from .values import Address, Bytes, Natural, Positive, Seconds

KiB, MiB = 1024, 1024 ** 2
Fraction = Annotated[Seconds, msgspec.Meta(gt=0)]
Some = Annotated[Bytes, msgspec.Meta(ge=1)]


@dataclass(frozen=True, slots=True)
class Job:
    """What is computed. `[job.options]` holds keys of your own; the Job reads them in `open(context)`."""

    #: the Job as `module:Class`; the module is found beside the INI file, or installed
    class_: str
    #: a new version computes a new view from the source's beginning, beside the old one
    version: Positive = 1
    #: the view's name; empty: the class's name in snake_case
    name: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[^\s:]+:\w+", self.class_):
            raise ValueError("class: must be module:Class, such as profile:Profile")
        if not re.fullmatch(r"\w*", self.name, re.ASCII) or self.name[:1].isdigit():
            raise ValueError("name: must be letters, digits and _, and begin with no digit: tables bear it")


@dataclass(frozen=True, slots=True)
class Cluster:
    """What all roles share: who belongs together, and what a connection may do."""

    #: roles of another cluster are refused
    name: str = "drtc"
    #: `local`: roles on one machine find each other by a directory; `static`: by the addresses below; `zookeeper`: by
    #: its nodes
    membership: Literal["local", "static", "zookeeper"] = "local"
    #: every coordinator's address (`static`)
    coordinators: tuple[Address, ...] = ()
    #: every compute node's address (`static`)
    computes: tuple[Address, ...] = ()
    #: its servers, and the path below which everything is kept: `host:2181,host2:2181/chroot` (`zookeeper`)
    zookeeper: str = ""
    #: who was not heard of by ZooKeeper for so long is gone for the others; its servers may round it
    zookeeper_timeout: Fraction = 10.0
    #: `user:password`: nobody else may read or write our nodes. Better set as DRTC_CLUSTER_ZOOKEEPER_AUTH
    zookeeper_auth: str = field(default="", repr=False, metadata={"secret": True})
    #: whether it is proved by SASL (DIGEST-MD5), which the servers must know, and not by ZooKeeper's own `digest`
    zookeeper_sasl: bool = False
    #: where `local` roles find each other; empty: `.drtc` beside the INI file
    directory: str = ""
    #: what peers prove to know; needed to listen beyond loopback. Better set as DRTC_CLUSTER_SECRET
    secret: str = field(default="", repr=False, metadata={"secret": True})
    #: a longer frame is refused before it is read
    max_frame_bytes: Annotated[Bytes, msgspec.Meta(ge=64 * KiB)] = 64 * MiB
    #: the certificate that this machine shows, with its chain, in PEM: all connections are TLS then
    tls_certificate: str = ""
    #: its key, in PEM, without a passphrase
    tls_key: str = ""
    #: who signs the peers' certificates, in PEM, and a caller without one is refused; empty: the system's authorities
    #: sign those of listeners, and callers need none
    tls_ca: str = ""
    #: what a peer's certificate must be for, any of these; empty: a listener's for the host that is called
    tls_names: tuple[str, ...] = ()
    #: most peers that are connected to a role that listens
    max_connections: Positive = 1000
    #: and most of them from one address (of IPv6, from one /64)
    max_connections_per_address: Positive = 250
    #: time between two signs of life, which bear the reports that `drtc status` shows
    heartbeat: Fraction = 0.5
    #: a peer that has been silent for so long is taken for gone
    timeout: Fraction = 10.0
    #: log lines for people, or one JSON object a line
    log: Literal["text", "json"] = "text"

    def __post_init__(self) -> None:
        if self.timeout <= self.heartbeat:
            raise ValueError("timeout: must be longer than heartbeat, or every idle peer is taken for gone")
        if self.membership == "static" and not (self.coordinators and self.computes):
            raise ValueError("membership: static needs both coordinators and computes, each a list of host:port")
        if self.membership == "zookeeper" and not self.zookeeper:
            raise ValueError("membership: zookeeper needs zookeeper, such as host:2181,host2:2181/chroot")
        if self.zookeeper:
            from .cluster.ensemble import parse_ensemble

            try:
                parse_ensemble(self.zookeeper)
            except ValueError as error:
                raise ValueError(f"zookeeper: {error}") from None
        if self.zookeeper_auth and not re.fullmatch(r"[^:]+:.+", self.zookeeper_auth):
            raise ValueError("zookeeper_auth: must be user:password")
        if self.zookeeper_sasl and not self.zookeeper_auth:
            raise ValueError("zookeeper_sasl: needs zookeeper_auth, user:password")
        if bool(self.tls_certificate) != bool(self.tls_key):
            has, lacks = ("tls_certificate", "tls_key") if self.tls_certificate else ("tls_key", "tls_certificate")
            raise ValueError(f"{has}: is nothing without {lacks}: set both, or neither")
        if self.tls_names and not (self.tls_certificate or self.tls_ca):
            raise ValueError("tls_names: says nothing without TLS: set tls_certificate and tls_key, and tls_ca")


@dataclass(frozen=True, slots=True)
class Collector:
    """Reads the source, puts its messages in slots, commits what is stored."""

    #: what decides a message's slot: `partition`, `key`, `message`, `json:FIELD` or `csv:COLUMN`
    route: str = "partition"
    #: fixed for a cluster; change it only after a drain
    slots: Positive = 16
    #: most bytes that are read and not yet sent
    memory_bytes: Some = 64 * MiB
    #: most bytes of a lane in one batch
    batch_bytes: Some = MiB
    #: how long a batch that is not full waits for more messages; 0: it leaves as soon as a coordinator takes it
    linger: Annotated[Seconds, msgspec.Meta(ge=0)] = 0.0
    #: time between two commits of what is stored
    commit: Fraction = 1.0
    #: where `/health`, `/live` and `/metrics` are answered to anybody who asks; empty: nowhere; port 0: any free one
    http: Address | None = None

    def __post_init__(self) -> None:
        from .collector.route import parse_route
        from .errors import ConfigError

        try:
            parse_route(self.route)
        except ConfigError as error:
            raise ValueError(f"route: {error}") from None


@dataclass(frozen=True, slots=True)
class Coordinator:
    """Queues batches, joins small ones, deals lanes to compute nodes."""

    #: where it listens; port 0: any free one, found through the membership
    listen: Address = Address("127.0.0.1", 0)
    #: where `/health`, `/live` and `/metrics` are answered to anybody who asks; empty: nowhere; port 0: any free one
    http: Address | None = None
    #: most bytes queued in memory; beyond it they go to disk, and where that is off or full, collectors wait
    memory_bytes: Some = 256 * MiB
    #: most bytes queued on disk. 0: none
    disk_bytes: Bytes = 0
    #: where the queue on disk lies, on a local disk: each coordinator makes a directory of its own in it
    directory: str = ".drtc/overflow"
    #: what keeps the queue on disk: `diskcache` (an extra), or `sqlite` alone
    overflow: Literal["diskcache", "sqlite"] = "diskcache"
    #: consecutive batches of a lane that are waiting are joined up to about this size
    batch_bytes: Some = 8 * MiB


@dataclass(frozen=True, slots=True)
class Compute:
    """Maps, joins and stores, in worker processes of its own."""

    #: where it listens; port 0: any free one, found through the membership
    listen: Address = Address("127.0.0.1", 0)
    #: where `/health`, `/live` and `/metrics` are answered to anybody who asks; empty: nowhere; port 0: any free one
    http: Address | None = None
    #: worker processes; 0: one for each processor
    workers: Natural = 0
    #: most bytes accepted and not yet stored; beyond it coordinators wait
    memory_bytes: Some = 256 * MiB
    #: a smaller batch goes to one worker instead of being spread over several
    fork_bytes: Bytes = 256 * KiB
    #: records that a worker keeps at hand, so that it need not load them again
    cache_records: Natural = 100_000
    #: how often an event may kill its worker before it becomes a dead letter
    worker_kills: Positive = 3


class Setting(NamedTuple):
    """One setting of a section's class: what the INI file may hold."""

    key: str
    attribute: str
    hint: Any
    default: Any  # dataclasses.MISSING: it must be given
    secret: bool


_SECRET = re.compile(r"(^|_)(secret|password|passwd|token|credentials)$")


def settings_of(section: type) -> list[Setting]:
    """The settings of a section's dataclass, in the order of their declaration.

    An ``int`` named ``..._bytes`` is a size, whether or not it is declared as ``Bytes``.
    """
    hints = get_type_hints(section, include_extras=True)
    found = []
    for each in fields(section):
        hint = hints[each.name]
        if hint is int and each.name.endswith("_bytes"):
            hint = Bytes
        default = each.default if each.default_factory is MISSING else each.default_factory()
        found.append(Setting(each.name.rstrip("_"), each.name, hint, default, bool(each.metadata.get("secret"))
                             or is_secret(each.name)))
    return found


def is_secret(key: str) -> bool:
    """Whether a key's name says that its value is not for every eye."""
    return _SECRET.search(key.lower()) is not None


def comments_of(section: type) -> dict[str, str]:
    """The ``#:`` text of each attribute that has one: the lines above it, or behind it on its own line."""
    texts: dict[str, str] = {}
    above: list[str] = []
    for line in inspect.getsource(section).splitlines():
        before, mark, comment = line.partition("#:")
        declared = re.match(r"    (\w+)\s*:", before)
        if declared:
            texts[declared[1]] = " ".join([*above, comment.strip()]).strip()
        above = [*above, comment.strip()] if mark and not before.strip() else []
    return {name: text for name, text in texts.items() if text}
