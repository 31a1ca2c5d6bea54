"""``drtc drain``: a member leaves while a job runs; nothing is read or sent again, and every record is right."""
from __future__ import annotations

import signal
import socket
from pathlib import Path
from typing import Iterator

import pytest

from .crowd import EVENTS, Crowd

pytestmark = pytest.mark.slow


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[Crowd]:
    with Crowd(tmp_path) as crowd:
        yield crowd


def test_a_coordinator_and_a_compute_node_leave_while_the_job_runs(crowd: Crowd) -> None:
    crowd.start_all()
    crowd.await_stored(1000)
    for name in ("coordinator/a1", "n1"):
        said = crowd.ask("drain", name)
        assert "is told to drain\n" in said and "has left after" in said
        role = crowd.roles[name[-2:]]
        assert role.wait() == 0, role.said
        assert 'by="drtc drain"' in role.said and "handing over" not in role.said
        crowd.await_stored(crowd.stored() + 500)  # the others go on
    crowd.finish(crowd.roles["c1"])
    assert "reading again" not in crowd.roles["c1"].said
    [last] = crowd.status()["departed"]
    assert last["replayed"] == last["skipped"] == 0, "something was sent twice"
    assert {member["node"] for member in crowd.status()["members"]} == {"a2", "n2"}


def test_sigterm_drains_as_the_command_does_and_a_newcomer_takes_its_share(crowd: Crowd) -> None:
    crowd.start_all()
    crowd.await_stored(1000)
    for role, name in (("coordinator", "a2"), ("compute", "n2")):
        crowd.roles[name].send(signal.SIGTERM)
        assert crowd.roles[name].wait() == 0, crowd.roles[name].said
        crowd.start_role(role, name)
        crowd.roles[name].await_words("listening")
    crowd.finish(crowd.roles["c1"])
    assert "reading again" not in crowd.roles["c1"].said


def test_a_collector_is_told_by_its_coordinators(crowd: Crowd) -> None:
    crowd.start_all()
    crowd.await_stored(1000)
    assert "collector/c1 has left" in crowd.ask("drain", "c1")
    assert crowd.roles["c1"].wait() == 0
    assert crowd.stored() < EVENTS and 'by="drtc drain"' in crowd.roles["c1"].said
    crowd.finish(crowd.start_role("collector", "c2", "--until-end"))


def test_the_only_ones_may_leave_as_well_and_others_take_up_what_waits(crowd: Crowd) -> None:
    crowd.start_role("coordinator", "a1")
    crowd.start_role("compute", "n1")
    crowd.start_role("collector", "c1", "--until-end")
    crowd.await_stored(500)
    for name, role, successor in (("n1", "compute", "n2"), ("a1", "coordinator", "a2")):
        assert f"{role}/{name} has left" in crowd.ask("drain", name)
        assert crowd.roles[name].wait() == 0
        crowd.start_role(role, successor)
    crowd.finish(crowd.roles["c1"])
    assert "reading again" not in crowd.roles["c1"].said


def test_static_members_are_found_by_their_names_and_addresses(tmp_path: Path) -> None:
    ports = free_ports(4)
    addresses = [f"127.0.0.1:{port}" for port in ports]
    with Crowd(tmp_path, membership="static", coordinators=",".join(addresses[:2]),
               computes=",".join(addresses[2:])) as crowd:
        for (role, name), address in zip((("coordinator", "a1"), ("coordinator", "a2"), ("compute", "n1"),
                                          ("compute", "n2")), addresses):
            crowd.start_role(role, name, "--listen", address).await_words("listening")
        crowd.start_role("collector", "c1")
        crowd.await_stored(500)
        assert "compute/n1 has left" in crowd.ask("drain", addresses[2])
        assert "coordinator/a1 has left" in crowd.ask("drain", "a1")
        assert "collector/c1 has left" in crowd.ask("drain", "c1")
        assert [crowd.roles[name].wait() for name in ("n1", "a1", "c1")] == [0, 0, 0]
        assert "reading again" not in crowd.roles["c1"].said
        said = crowd.ask("drain", "a1", code=7)
        assert said == "drtc: no member of the cluster 'drtc' is called 'a1'; there are compute/n2, coordinator/a2\n"


def free_ports(count: int) -> list[int]:
    socks = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [sock.getsockname()[1] for sock in socks]
    for sock in socks:
        sock.close()
    return found


def test_who_cannot_be_drained_is_said_in_a_sentence(crowd: Crowd) -> None:
    said = crowd.ask("drain", "a1", code=7)
    assert said == "drtc: nobody of the cluster 'drtc' is running here: there is nothing to drain\n"
    crowd.start_role("coordinator", "north").await_words("listening")
    crowd.start_role("compute", "north").await_words("listening")
    said = crowd.ask("drain", "nort", code=7)
    assert said == ("drtc: no member of the cluster 'drtc' is called 'nort' (did you mean north?); there are "
                    "compute/north, coordinator/north\n")
    said = crowd.ask("drain", "north", code=7)
    assert said == "drtc: 'north' is more than one: say compute/north or coordinator/north\n"
    crowd.roles["north"].send(signal.SIGSTOP)
    said = crowd.ask("drain", "compute/north", code=7)
    assert "compute/north does not answer" in said and "end it by SIGTERM" in said
    crowd.roles["north"].send(signal.SIGCONT)


def test_a_drain_that_outlasts_the_patience_goes_on(crowd: Crowd) -> None:
    """The command gives up, the role does not."""
    crowd.start_all()
    crowd.await_stored(1000)
    for name in ("n1", "n2"):
        crowd.roles[name].send(signal.SIGSTOP)
    said = crowd.ask("drain", "a1", "--timeout", "0.5", code=8)
    assert "coordinator/a1 has not left within 0.5 s and drains on" in said
    for name in ("n1", "n2"):
        crowd.roles[name].send(signal.SIGCONT)
    assert crowd.roles["a1"].wait() == 0
    crowd.finish(crowd.roles["c1"])


def test_a_role_of_a_run_ends_the_run(crowd: Crowd) -> None:
    run = crowd.start("run")
    crowd.await_stored(500)
    said = crowd.ask("drain", "coordinator-1")
    assert "is told to drain; the drtc run that it belongs to ends with it\n" in said
    assert run.wait(60) == 0, run.said
    crowd.finish(crowd.start("run", "--until-end"))
