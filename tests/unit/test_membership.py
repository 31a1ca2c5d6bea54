"""What is remembered of members, whose names are read again, and what tells a dead process from a live one."""
from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drtc.cluster.ensemble import parse_ensemble
from drtc.cluster.known import Known, Listing, unread
from drtc.cluster.membership import Member, default_name
from drtc.cluster.trace import is_dead, trace
from drtc.settings import Cluster


def node(name: str, port: int = 1) -> Member:
    return Member("compute", name, f"127.0.0.1:{port}", 1.0, "1", 0.0)


def names(known: Known) -> list[str]:
    return [each.node for each in known.members("compute")]


def test_nothing_is_known_before_it_was_read() -> None:
    known = Known(10.0)
    assert not known.has("compute") and known.members("compute") == []
    known.read("compute", {}, 0.0)
    assert known.has("compute") and not known.has("coordinator")


def test_who_is_late_after_a_lost_session_stays_until_the_grace_is_over() -> None:
    known = Known(10.0)
    known.read("compute", {"a": node("a"), "b": node("b")}, 0.0)
    known.session_lost(100.0)
    assert names(known) == ["a", "b"]
    known.read("compute", {}, 100.0)
    assert names(known) == ["a", "b"]
    known.read("compute", {"b": node("b", 2), "c": node("c")}, 109.0)
    assert names(known) == ["a", "b", "c"] and known.members("compute")[1].address == "127.0.0.1:2"
    known.read("compute", {"b": node("b", 2), "c": node("c")}, known.until)
    assert names(known) == ["b", "c"]
    known.read("compute", {"c": node("c")}, 111.0)
    assert names(known) == ["c"]  # without a lost session who goes is gone


def test_what_somebody_holds_never_changes_under_his_hands() -> None:
    known = Known(10.0)
    known.read("compute", {"a": node("a")}, 0.0)
    held = known.members("compute")
    held.clear()
    assert names(known) == ["a"]


STEPS = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["join", "leave", "read", "made again"])))


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_only_what_may_have_changed_is_read_and_nothing_that_has_is_overlooked(steps: list[tuple[str, str]]) -> None:
    """ZooKeeper's side as a model: a role's node counts every child that comes or goes."""
    made, changes, children, port = 1, 0, {}, 0
    listing: Listing | None = None
    for name, step in [*steps, ("", "read")]:
        if step == "made again":
            made, changes, children = made + 1, 0, {}
        elif step == "join" and name not in children:
            port, changes = port + 1, changes + 1
            children[name] = node(name, port)
        elif step == "leave" and name in children:
            changes += 1
            del children[name]
        elif step == "read":
            asked = unread(listing, made, changes, children)
            kept = {each: listing.members[each] for each in children if each not in asked} if listing else {}
            listing = Listing(made, changes, {**kept, **{each: children[each] for each in asked}})
            assert listing.members == children
            assert unread(listing, made, changes, children) == set()


def test_one_that_comes_costs_one_reading() -> None:
    before = Listing(1, 3, {name: node(name) for name in "abc"})
    assert unread(before, 1, 4, "abcd") == {"d"}
    assert unread(before, 1, 4, "ab") == set()
    assert unread(before, 1, 5, "abd") == {"d"}
    assert unread(before, 1, 5, "abc") == set("abc")  # one has gone and come back: which, nobody knows
    assert unread(before, 2, 3, "abc") == set("abc")  # all were made again


@pytest.mark.parametrize("text, servers, chroot", [
    ("a:2181", "a:2181", ""),
    ("a:2181/", "a:2181", ""),
    ("a:2181, b:2182,[::1]:2183/prod/drtc", "a:2181,b:2182,[::1]:2183", "/prod/drtc"),
    ("10.0.0.1:1/x/", "10.0.0.1:1", "/x"),
])
def test_an_ensemble(text: str, servers: str, chroot: str) -> None:
    assert (parse_ensemble(text).hosts, parse_ensemble(text).chroot) == (servers, chroot)
    assert Cluster(membership="zookeeper", zookeeper=text).zookeeper == text


@pytest.mark.parametrize("text", ["", "a", "a:b", "a:1,", "/x", "a:1/x,b:1/x", "a:1//x", "a:1/../x", "a:1/x y"])
def test_no_ensemble(text: str) -> None:
    with pytest.raises(ValueError, match="^must "):
        parse_ensemble(text)


def test_a_process_is_dead_or_alive_or_of_another_machine() -> None:
    program = "from drtc.cluster.trace import trace; print(trace(), flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    left = other.stdout.readline().strip()
    boot, namespace, pid, started = left.split(" ")
    assert not is_dead(left) and int(pid) == other.pid
    assert is_dead(f"{boot} {namespace} {pid} {int(started) - 1}")  # its id was given again
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    assert is_dead(left)  # a zombie nobody has looked after
    other.communicate()
    assert is_dead(left)
    assert not is_dead(f"another-boot {namespace} {pid} {started}")
    assert not is_dead(f"{boot} pid:[1] {pid} {started}")
    assert not is_dead("") and not is_dead("nonsense") and not is_dead(trace())


def test_a_name_that_is_made_up_is_of_this_process_on_this_machine() -> None:
    assert default_name("compute").startswith("compute-") and default_name("compute").endswith(f"-{os.getpid()}")


def test_without_kazoo_it_is_said_what_to_install() -> None:
    program = """
import sys
sys.modules["kazoo"] = sys.modules["kazoo.client"] = None
from drtc.cluster import membership, local, static
from drtc.errors import ClusterError
try:
    import drtc.cluster.zookeeper
except ClusterError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[cluster] membership = zookeeper needs kazoo: pip install 'drtc[zookeeper]'\n"


def test_nobody_loads_kazoo_who_does_not_use_it() -> None:
    program = """
import sys
import drtc, drtc.cli, drtc.role, drtc.supervisor, drtc.observe.status, drtc.collector.service
from drtc.cluster import local, static
print([name for name in sys.modules if name.startswith(("kazoo", "puresasl"))])
"""
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"
