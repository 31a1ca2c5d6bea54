"""The coordinator's overflow on its thread, when its files stop working and there is no directory for new ones yet."""
from __future__ import annotations

import asyncio
import os
from pathlib import Path

from drtc.coordinator.disk import Disk
from drtc.coordinator.entry import Entry
from drtc.coordinator.spill import Spill
from drtc.observe.logs import Log
from drtc.overflow import open_overflow
from drtc.overflow.base import Overflow

from .test_spill import arrive, entry


async def held(disk: Disk, spill: Spill, size: int) -> None:
    """Until so many bytes are on disk and the overflow has nothing to do."""
    while spill.disk != size or disk.trouble:
        await asyncio.sleep(0)


def test_a_disk_that_works_again_is_used_again(tmp_path: Path) -> None:
    asyncio.run(lives(tmp_path))


async def lives(directory: Path) -> None:
    lost: list[Entry] = []
    mistakes: list[BaseException] = []
    root = directory / "overflow" / "coordinator-1"

    def opened() -> Overflow:
        return open_overflow("sqlite", directory / "overflow", 1 << 20, False, "coordinator-1")

    spill = Spill(400, 10_000)
    disk = Disk(spill, Log("coordinator"), lambda: None, lost.append, mistakes.append)
    await disk.open(opened)
    first = arrive(spill, 40)  # 10 stay in memory, 20 come back to it
    disk.step()
    await held(disk, spill, 100)

    os.rename(root / "queue", directory / "gone")  # the files are another's now, and nobody may make new ones
    root.chmod(0o755)
    spill.came(entry(40))
    disk.step()
    while "others may read or write" not in disk.trouble:
        await asyncio.sleep(0)
    assert set(lost) == set(first[30:]), "what the files held must be sent again"
    for each in lost:
        spill.done(each)

    for _ in range(3):  # the heartbeat
        disk.retry()
        disk.step()
    assert "others may read or write" in disk.trouble and not mistakes

    root.chmod(0o700)
    while disk.trouble:
        disk.retry()
        await asyncio.sleep(0)
    await held(disk, spill, 10)
    await disk.close()
    assert not mistakes
