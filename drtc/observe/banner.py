"""What a role says of itself at its start."""
from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..config import Config


class Banner(NamedTuple):
    """What is about to run; printed as its text."""

    version: str
    role: str
    job: str  # "drtc.examples.flights:Flights"
    view: str
    source: str
    store: str
    guarantee: str  # the one in force, a sentence
    survives: str = ""  # what "stored" survives, as the store says

    def __str__(self) -> str:
        lines = [
            f"drtc {self.version} · {self.role}",
            f"  job        {self.job}, view {self.view}",
            f"  source     {self.source}",
            f"  store      {self.store}" + (f" · survives {self.survives}" if self.survives else ""),
            f"  guarantee  {self.guarantee}",
        ]
        return "\n".join(lines)


def title(config: Config, section: str) -> str:
    """A source or store in a few words: its type and what was set by hand, secrets masked."""
    given = [f"{each.key}={' '.join(each.text.split())}" for each in config.effective()
             if each.section == section and each.key != "type" and each.origin != "default"]
    return " ".join([config.types[section], *given])


def banner(config: Config, role: str) -> Banner:
    """What this role of this configuration is about to do."""
    from .. import __version__
    from ..sources import source_class
    from ..stores import make_store

    source, store = source_class(config.types["source"]), make_store(config.store, config.base)
    return Banner(__version__, role, config.job.class_, config.view, title(config, "source"), title(config, "store"),
                  source.guarantee, store.survives)
