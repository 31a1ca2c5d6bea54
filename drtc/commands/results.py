"""A job's view in its store, opened for a command."""
from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Iterator, NamedTuple

if TYPE_CHECKING:
    from ..config import Config
    from ..stores.base import Store, View


class Results(NamedTuple):
    """Where a job's results are kept."""

    store: Store
    view: View


@contextmanager
def opened(config: Config) -> Iterator[Results]:
    """The store, open, and the Job's view.

    Raises:
        JobError: the Job cannot be loaded. StoreError: its store cannot be opened.
    """
    from ..stores import open_store

    view = view_of(config)
    store = open_store(config.store, config.base)
    try:
        yield Results(store, view)
    finally:
        store.close()


def companions(view: View) -> dict[str, View]:
    """The view and what stands beside it in the store, by what its rows are.

    In this order a removal that dies half-way leaves what the next run makes whole: without offsets everything is read
    again, and fences, whose lane numbers come last, still say what is in a record that was left.
    """
    from ..compute.letters import dead_view
    from ..compute.records import lanes_view
    from ..stores.offsets import view_of as offsets_view

    return {"committed offset": offsets_view(view.name), "record": view, "dead letter": dead_view(view.name),
            "lane number": lanes_view(view.name)}


def view_of(config: Config) -> View:
    """The view of the configured Job and version."""
    from ..compute.records import Layout
    from ..job import describe
    from ..loading import load_job

    spec = describe(load_job(config.job.class_, config.base))
    return Layout(spec, config.job.version, config.job.name).view
