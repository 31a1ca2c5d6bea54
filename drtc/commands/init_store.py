"""``drtc init-store``: everything that the Job needs in its store, made where it is missing."""
from __future__ import annotations

from typing import TYPE_CHECKING

import click

from .results import companions, opened

if TYPE_CHECKING:
    from ..config import Config


def init_store(config: Config) -> None:
    """Makes the tables, indexes or sets of the Job's view and its companions; what is there is left as it is.

    Raises:
        StoreUnavailable: the store cannot be reached now. StoreError: it refuses, or has a view of that name with other
            columns.
    """
    with opened(config) as (store, view):
        for each in companions(view).values():
            store.prepare(each)
            click.echo(f"{each.name}: ready in {config.types['store']}")
