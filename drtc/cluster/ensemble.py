"""``[cluster] zookeeper``: the servers, and the path below which everything of ours is kept."""
from __future__ import annotations

from typing import NamedTuple

from ..values import Address, parse_address


class Ensemble(NamedTuple):
    servers: tuple[Address, ...]
    chroot: str  # "" or "/path"

    @property
    def hosts(self) -> str:
        """``host:port,host:port``, for people and for the client."""
        return ",".join(map(str, self.servers))


def parse_ensemble(text: str) -> Ensemble:
    """``host:2181,host2:2181/chroot``; the chroot may be left out.

    Raises:
        ValueError: the sentence's end, "must be ...".
    """
    hosts, slash, path = text.partition("/")
    try:
        servers = tuple(parse_address(each.strip()) for each in hosts.split(","))
    except ValueError:
        raise ValueError(f"must be host:port, or several separated by commas, and at the very end a /chroot or none, "
                         f"not {text!r}") from None
    parts = path.rstrip("/").split("/") if slash and path.rstrip("/") else []
    if any(part in ("", ".", "..") or "," in part or any(map(str.isspace, part)) for part in parts):
        raise ValueError(f"must end with one chroot such as /prod/drtc, behind the last host, not {text!r}")
    return Ensemble(servers, "".join(f"/{part}" for part in parts))
