"""Faults of the disk that coordinators spill to: full, or with files that are cut short."""
from __future__ import annotations

import os
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any, Mapping

from .fault import Fault, Stage
from .faults_services import StoreLocked
from .tmpfs import refusal

if TYPE_CHECKING:
    from .life import Life, Times

BLOCK = bytes(64 * 1024)
DIRECTORY = "overflow"


def _settings(directory: Path) -> Mapping[str, Mapping[str, Any]]:
    """Queues that pass their memory within seconds. (A small batch is not sent while three of its lane wait.)"""
    return {"collector": {"batch_bytes": "1K"},
            "coordinator": {"memory_bytes": "32K", "batch_bytes": "8K", "directory": directory / DIRECTORY,
                            "disk_bytes": "8M"},
            "compute": {"memory_bytes": "64K"}}


OVERFLOW = Stage("overflow", settings=_settings, tmpfs=DIRECTORY)


class Spilling(Fault):
    """The store takes nothing, so that the coordinators' queues pass their memory; then something happens to the
    disk; then both are mended."""

    stage = OVERFLOW

    def __init__(self) -> None:
        self.store = StoreLocked()

    def lasts(self, times: Times) -> float:
        return times.stop

    def spill(self, life: Life, dice: random.Random) -> None:
        """Returns when something has been spilled."""
        self.store.strike(life, dice)
        empty = size(life)
        life.until(lambda: size(life) > empty + len(BLOCK), "coordinators spill to disk")

    def heal(self, life: Life) -> None:
        self.store.heal(life)


class Full(Spilling):
    name = "overflow-full"
    told = "the overflow's disk (a tmpfs) full for {stop:g} s, while the store takes nothing and queues spill to it"

    def absent(self) -> str:
        return refusal()

    def strike(self, life: Life, dice: random.Random) -> str:
        self.spill(life, dice)
        with open(self._ballast(life), "wb", buffering=0) as file:
            try:
                while file.write(BLOCK):
                    pass
            except OSError:
                pass  # that is what we wanted
        return "overflow takes nothing"

    def heal(self, life: Life) -> None:
        self._ballast(life).unlink(missing_ok=True)
        super().heal(life)

    @staticmethod
    def _ballast(life: Life) -> Path:
        return life.directory / DIRECTORY / "ballast"


class Truncated(Spilling):
    name = "overflow-truncated"
    told = "the overflow's files cut to half under coordinators that spill to them, the store back after {stop:g} s"

    def strike(self, life: Life, dice: random.Random) -> str:
        self.spill(life, dice)
        for path in sorted(files(life)):
            if path.suffix == ".db" and path.stat().st_size:
                os.truncate(path, path.stat().st_size // 2)
        return "damaged, set aside|items missing|batch lost on disk|overflow made anew"


def files(life: Life) -> list[Path]:
    return [path for path in (life.directory / DIRECTORY).rglob("*") if path.is_file()]


def size(life: Life) -> int:
    """Bytes that coordinators hold on disk."""
    return sum(path.stat().st_size for path in files(life))


FAULTS: list[Fault] = [Full(), Truncated()]
