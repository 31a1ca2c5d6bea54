"""Every membership keeps these promises; a flag says where ``static`` differs, which knows only what it was told.

What a process does that dies stands in tests/integration: here all are of one process.
"""
from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Callable, Iterator

import pytest

from drtc.cluster.membership import Member, Membership, member
from drtc.errors import ClusterError

from ..integration.running import until
from .memberships import BACKENDS, Backend

Opened = Callable[..., Membership]


@pytest.fixture(params=sorted(BACKENDS))
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    with BACKENDS[request.param](tmp_path, lambda: request.getfixturevalue("zookeeper")) as found:
        yield found


@pytest.fixture
def opened(backend: Backend) -> Iterator[Opened]:
    """Opens memberships, which are closed when the test ends."""
    everything: list[Membership] = []

    def open_one(cluster: str = "drtc") -> Membership:
        everything.append(backend.open(cluster))
        return everything[-1]

    yield open_one
    for each in everything:
        each.close()


def coordinator(number: int = 1, role: str = "coordinator") -> Member:
    return member(role, f"{role}-{number}", f"127.0.0.1:{7100 + number}", 1.0)


def nodes(membership: Membership, role: str = "coordinator") -> list[str]:
    return [each.node for each in membership.members(role)]


def found(backend: Backend, membership: Membership, *wanted: str) -> None:
    """Exactly these coordinators are there, in the end."""
    expected = list(wanted if backend.registers else backend.addresses)
    until(lambda: nodes(membership) == expected, f"{expected} are there", 10.0)


def test_who_has_joined_is_found_as_it_said_it_is(backend: Backend, opened: Opened) -> None:
    ours, other = opened(), opened()
    us = coordinator()
    ours.join(us)
    assert other.look("coordinator") == ([us] if backend.registers else other.members("coordinator"))
    assert other.members("coordinator") == other.look("coordinator")
    found(backend, ours, "coordinator-1")  # by itself as well
    assert [each.address for each in other.members("coordinator")] == (
        [us.address] if backend.registers else list(backend.addresses))


def test_who_comes_and_goes_is_seen_in_the_order_of_names(backend: Backend, opened: Opened) -> None:
    watching = opened()
    assert (watching.look("coordinator") == []) is backend.registers
    others = [opened() for _ in range(3)]
    for number in (2, 0, 1):
        others[number].join(coordinator(number))
    found(backend, watching, "coordinator-0", "coordinator-1", "coordinator-2")
    others[1].leave()
    found(backend, watching, "coordinator-0", "coordinator-2")
    others[1].leave()  # again
    others[0].close()
    found(backend, watching, "coordinator-2")


def test_who_has_left_still_sees_the_others(backend: Backend, opened: Opened) -> None:
    ours, other = opened(), opened()
    ours.join(coordinator(1))
    found(backend, ours, "coordinator-1")
    ours.leave()
    other.join(coordinator(2))
    found(backend, ours, "coordinator-2")


def test_a_role_that_does_not_listen_joins_as_well(backend: Backend, opened: Opened) -> None:
    ours, other = opened(), opened()
    us = member("collector", "collector-1", "", 1.0)
    ours.join(us)
    assert other.look("collector") == ([us] if backend.registers else [])


def test_roles_and_clusters_are_kept_apart(backend: Backend, opened: Opened) -> None:
    ours, namesake, elsewhere = opened(), opened(), opened("other")
    ours.join(coordinator(1))
    namesake.join(member("compute", "coordinator-1", "127.0.0.1:7201", 2.0))
    elsewhere.join(coordinator(1))
    found(backend, ours, "coordinator-1")
    assert [each.role for each in ours.look("compute")] == ["compute"]
    found(backend, elsewhere, "coordinator-1")
    assert (elsewhere.look("compute") == []) is backend.registers


def test_a_name_is_taken_once(backend: Backend, opened: Opened) -> None:
    ours, other = opened(), opened()
    us = coordinator()
    ours.join(us)
    if backend.registers:
        with pytest.raises(ClusterError, match="a coordinator named 'coordinator-1' runs already in the cluster "
                                               "'drtc': stop it or give another --name"):
            other.join(coordinator()._replace(address="127.0.0.1:1"))
        assert ours.look("coordinator") == [us]  # the first one is left alone
    ours.check()
    ours.leave()
    third = opened()
    third.join(coordinator())  # free again
    found(backend, third, "coordinator-1")


def test_a_name_that_is_free_again_has_another_address(backend: Backend, opened: Opened) -> None:
    ours, watching = opened(), opened()
    ours.join(coordinator())
    found(backend, watching, "coordinator-1")
    for port in range(8001, 8004):
        ours.close()
        ours = opened()
        ours.join(coordinator()._replace(address=f"127.0.0.1:{port}"))
    until(lambda: not backend.registers or [each.address for each in watching.members("coordinator")]
          == ["127.0.0.1:8003"], "the last address", 10.0)


def test_a_member_is_told_by_its_capacity_version_and_start(backend: Backend, opened: Opened) -> None:
    before = time.time()
    us = member("compute", "compute-1", "127.0.0.1:7201", 8.0)
    assert us.version and before <= us.started <= time.time()
    ours = opened()
    ours.join(us)
    if backend.registers:
        assert ours.look("compute") == [us]


@pytest.mark.parametrize("name", ["a/b", "..", ".", "", "a b", "a\nb"])
def test_a_name_that_cannot_be_one(name: str) -> None:
    with pytest.raises(ClusterError, match="^--name '.*': a node's name must have no spaces"):
        member("compute", name, "127.0.0.1:1", 1.0)


def test_nothing_is_left_running(backend: Backend) -> None:
    before = set(threading.enumerate())
    membership = backend.open("drtc")
    membership.join(coordinator())
    membership.members("compute")
    membership.close()
    until(lambda: set(threading.enumerate()) <= before, "its threads have ended", 10.0)
