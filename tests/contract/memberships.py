"""The memberships that the contract suite runs against. A new one needs a function here that yields a ``Backend``."""
from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator

from drtc.cluster.local import Local
from drtc.cluster.membership import Membership
from drtc.cluster.static import Static
from drtc.settings import Cluster
from drtc.values import Address

from ..services import ZooKeeper

SESSION = 1.0  # seconds; the shortest that the tests' server grants


@dataclass(frozen=True)
class Backend:
    """``open(cluster)`` is called once for every process that there would be."""

    open: Callable[[str], Membership]
    registers: bool = True  # who joins is found; else who is there stands in the INI file
    addresses: tuple[str, ...] = ()  # of the coordinators that the INI file names


@contextmanager
def local(directory: Path, zookeeper: Callable[[], ZooKeeper]) -> Iterator[Backend]:
    yield Backend(lambda cluster: Local(directory / "roles", cluster))


@contextmanager
def static(directory: Path, zookeeper: Callable[[], ZooKeeper]) -> Iterator[Backend]:
    coordinators = (Address("10.0.0.1", 7101), Address("10.0.0.2", 7101))
    yield Backend(lambda cluster: Static(coordinators, (Address("10.0.0.3", 7201),)), registers=False,
                  addresses=tuple(map(str, coordinators)))


@contextmanager
def zookeeper(directory: Path, zookeeper: Callable[[], ZooKeeper]) -> Iterator[Backend]:
    from drtc.cluster.zookeeper import ZooKeeper as Members

    server = zookeeper()
    where = server.address + server.chroot()

    def open_one(cluster: str) -> Membership:
        return Members(Cluster(name=cluster, membership="zookeeper", zookeeper=where, zookeeper_timeout=SESSION))

    yield Backend(open_one)


BACKENDS: dict[str, Callable[[Path, Callable[[], ZooKeeper]], AbstractContextManager[Backend]]] = {
    "local": local, "static": static, "zookeeper": zookeeper}
