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


def view_of(config: Config) -> View:
    """The view of the configured Job and version."""
    from ..compute.records import Layout
    from ..job import describe
    from ..loading import load_job

    spec = describe(load_job(config.job.class_, config.base))
    return Layout(spec, config.job.version, config.job.name).view
