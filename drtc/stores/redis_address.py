"""What ``[store] url`` says: one server, the nodes of a cluster, or the sentinels of a master; with or without TLS."""
from __future__ import annotations

import re
from typing import Literal, NamedTuple
from urllib.parse import unquote

from ..values import Address, parse_address

_URL = re.compile(r"redis(?P<tls>s?)(\+(?P<kind>cluster|sentinel))?://((?P<user>[^@/]*)@)?(?P<hosts>[^@/?#]+)"
                  r"(?P<path>(/[^/?#]*)*)")
FORMS = ("redis://host:port/database, redis+cluster://host:port,host:port or"
         " redis+sentinel://host:port,host:port/master/database, with rediss for TLS")


class Target(NamedTuple):
    kind: Literal["server", "cluster", "sentinel"]
    tls: bool
    hosts: tuple[Address, ...]
    master: str  # its name at the sentinels
    database: int
    user: str
    password: str

    def __str__(self) -> str:
        """Where that is, for a sentence; never the password."""
        hosts = ", ".join(map(str, self.hosts))
        if self.kind == "sentinel":
            return f"Redis {self.master} of the sentinels {hosts}"
        return f"Redis Cluster at {hosts}" if self.kind == "cluster" else f"Redis at {hosts}"


def parse_url(url: str) -> Target:
    """Raises ValueError with the end of a sentence, which does not repeat the URL: there may be a password in it."""
    found = _URL.fullmatch(url)
    if found is None or "@" in found["path"]:  # what stands before an @ is the password's, wherever it was cut
        raise ValueError(f"must be {FORMS}" + "; in a user or password / is written %2F, @ %40" * ("@" in url))
    kind: Literal["server", "cluster", "sentinel"]
    kind = "cluster" if found["kind"] == "cluster" else "sentinel" if found["kind"] == "sentinel" else "server"
    default = 26379 if kind == "sentinel" else 6379
    try:
        hosts = tuple(parse_address(each if re.search(r":\d+$", each) else f"{each}:{default}")
                      for each in found["hosts"].split(","))
    except ValueError:
        raise ValueError(f"there is no host:port where one is expected: must be {FORMS}") from None
    if kind == "server" and len(hosts) > 1:
        raise ValueError("of several servers it must be said what they are: redis+cluster:// or redis+sentinel://")
    path = [unquote(each) for each in found["path"].split("/")[1:] if each]
    master = path.pop(0) if kind == "sentinel" and path else ""
    if kind == "sentinel" and not master:
        raise ValueError("the master's name is missing: redis+sentinel://host:port,host:port/master")
    if len(path) > 1 or not all(re.fullmatch(r"\d+", each) for each in path):
        raise ValueError(f"must end in the database's number: must be {FORMS}")
    database = int(path[0]) if path else 0
    if kind == "cluster" and database:
        raise ValueError("a cluster has no databases but 0")
    user, _, password = (found["user"] or "").partition(":")
    return Target(kind, bool(found["tls"]), hosts, master, database, unquote(user), unquote(password))
