"""Who a role is on the wire, and what it asks of its peers: made once from the configuration."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .tls import Tls, open_tls

if TYPE_CHECKING:
    from ..config import Config


@dataclass(frozen=True)
class Identity:
    """What both ends of a handshake need to know of themselves."""

    cluster: str
    role: str  # collector, coordinator, compute or status
    node: str
    view: str
    secret: str = field(default="", repr=False)
    max_frame: int = 64 << 20  # bytes of a payload
    timeout: float = 10.0  # seconds in which a frame that has begun must get on
    max_connections: int = 1000
    max_connections_per_address: int = 250
    tls: Tls | None = field(default=None, repr=False)


def identity(config: Config, role: str, node: str) -> Identity:
    """The identity of a role of this configuration; reads the files of TLS.

    Raises:
        ConfigError: one of them is not what it should be.
    """
    cluster = config.cluster
    return Identity(cluster.name, role, node, config.view, cluster.secret, cluster.max_frame_bytes, cluster.timeout,
                    cluster.max_connections, cluster.max_connections_per_address, open_tls(config))
