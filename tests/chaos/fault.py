"""What a fault is: something that strikes a living cluster and is healed."""
from __future__ import annotations

import random
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Mapping

if TYPE_CHECKING:
    from .life import Life, Times


def _nothing(directory: Path) -> Mapping[str, Mapping[str, Any]]:
    return {}


@dataclass(frozen=True)
class Stage:
    """What kind of cluster a fault needs. ``proxied``: static membership, every link goes through a proxy."""

    name: str
    proxied: bool = False
    settings: Callable[[Path], Mapping[str, Mapping[str, Any]]] = _nothing  # of a life in this directory
    tmpfs: str = ""  # a directory of the life's that gets a small file system of its own, where that is possible


WHOLE = Stage("whole")
LINKS = Stage("links", proxied=True)


class Fault(ABC):
    """Base of all. ``name`` is for the command line and the report's line; ``told`` says there what is done, with
    the times in braces: ``{stop:g} s``."""

    name: str
    told: str
    stage = WHOLE
    asks = False  # whether no log names it, only ``drtc status`` does

    def absent(self) -> str:
        """Why it cannot be tried on this machine; "" where it can."""
        return ""

    def lasts(self, times: Times) -> float:
        """Seconds from the stroke to the healing."""
        return 0.0

    @abstractmethod
    def strike(self, life: Life, dice: random.Random) -> str:
        """Does it. The result is a regular expression for the log line (asking.OVERDUE: the status) that names it,
        or "" where nobody has to notice."""

    def heal(self, life: Life) -> None:
        """Undoes it, as far as it does not mend by itself. Called in every case."""
