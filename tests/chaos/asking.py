"""Asks a cluster's coordinators what ``drtc status`` would show, for faults that no log names."""
from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import Iterator, Sequence

from drtc.config import load
from drtc.errors import DrtcError
from drtc.observe.status import Watch

from .course import Heard

EVERY_SECONDS = 0.25
OVERDUE = "status: the oldest batch is overdue"


class Asking:
    """``heard`` says which collectors have a batch unanswered for longer than ``[cluster] timeout``.

    The coordinators are asked at the addresses that their logs show, so that no further client of ZooKeeper is needed.
    """

    def __init__(self, ini: Path, lines: Sequence[Heard]) -> None:
        found = {line.who: match[1] for line in lines
                 if (match := re.search(r"coordinator listening .*address=(\S+)", line.line))}
        addresses = ",".join(found.values())
        config = load(ini, ("cluster.membership=static", f"cluster.coordinators={addresses}",
                            f"cluster.computes={addresses}"))
        self._timeout = config.cluster.timeout
        self._watch = Watch(config)
        self._due = 0.0

    def heard(self) -> Iterator[Heard]:
        """Asks, if it is time to."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + EVERY_SECONDS
        try:
            members = asyncio.run(self._watch.ask())["members"]
        except DrtcError:
            return  # nobody answers now
        for report in members:
            if report["role"] == "collector" and report["oldest"] > self._timeout:
                yield Heard(time.monotonic(), report["node"], OVERDUE)
