"""The kinds of membership, by the names that ``[cluster] membership`` has for them."""
from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..config import Config
    from .membership import Membership


def open_membership(config: Config) -> Membership:
    """The membership that ``[cluster] membership`` names.

    Raises:
        ClusterError: a package that it needs is missing.
    """
    kind = config.cluster.membership
    if kind == "zookeeper":
        from .zookeeper import ZooKeeper

        return ZooKeeper(config.cluster)
    if kind == "static":
        from .static import Static

        return Static(config.cluster.coordinators, config.cluster.computes)
    from .local import Local

    return Local(config.directory, config.cluster.name)
