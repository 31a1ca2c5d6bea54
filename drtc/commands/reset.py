"""``drtc reset``: back to before the first run."""
from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

import click

from ..errors import ClusterError, StoreError, StoreUnavailable
from ..observe.tables import counted
from ..sources import SourceContext, make_source
from ..sources.base import Source
from .results import companions, opened

if TYPE_CHECKING:
    from ..config import Config
    from ..stores.base import Store, View


def reset(config: Config, yes: bool) -> None:
    """Drops the view and its companions. Says before what that is, and asks, unless told ``yes``.

    Raises:
        ClusterError: the job is running.
    """
    _refuse_while_running(config)
    with opened(config) as (store, view):
        source = make_source(config.source, SourceContext(config.base, view.name, None, True))
        elsewhere = type(source).forget is not Source.forget
        views = companions(view)
        counts = [_count(store, each, noun) for noun, each in views.items() if noun != "lane number"]
        click.echo(f"reset drops {view.name} from {config.types['store']}: {', '.join(counts)}"
                   + (f"; and what the {config.types['source']} source has committed" if elsewhere else ""))
        if not yes:
            if not sys.stdin.isatty():
                raise click.UsageError("reset asks before it drops, and nobody can answer here: say --yes")
            click.confirm("Everything is counted anew at the next run. Drop it?", abort=True)
        source.forget()
        for each in views.values():
            store.drop(each)
        click.echo("dropped")


def _refuse_while_running(config: Config) -> None:
    """Roles keep records and lane numbers in memory: what they saved after a reset would be wrong. Whether they answer
    is not asked: one that hangs goes on some time."""
    from ..cluster.kinds import open_membership

    membership = open_membership(config)
    try:
        members = [each for role in ("coordinator", "compute", "collector") for each in membership.look(role)]
    finally:
        membership.close()
    if config.cluster.membership == "static":  # these are the addresses of the INI file, whoever is there
        members = [each for each in members if _listens(each.address)]
    if members:
        nodes = ", ".join(sorted({each.node for each in members}))
        raise ClusterError(f"{config.view} is running ({nodes}): stop it, then reset it")


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), 2).close()
    except OSError:
        return False
    return True


def _count(store: Store, view: View, noun: str) -> str:
    """How many rows, in words: a view with the columns of other code can be dropped, but not read."""
    try:
        store.prepare(view)
        return counted(sum(1 for _ in store.scan(view)), noun)
    except StoreUnavailable:
        raise
    except StoreError:
        return f"unreadable {noun}s"
