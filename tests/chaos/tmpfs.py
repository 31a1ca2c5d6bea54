"""A small file system of its own: a disk that can be filled without hurting anybody else."""
from __future__ import annotations

import subprocess
import tempfile
from functools import cache
from pathlib import Path

MIB = 16


@cache
def refusal() -> str:
    """Why none can be mounted here, which is root's to do and not every container's; "" where it can."""
    with tempfile.TemporaryDirectory() as directory:
        try:
            mount(Path(directory))
        except OSError as error:
            return f"a tmpfs cannot be mounted here: {error}"
        unmount(Path(directory))
    return ""


def mount(directory: Path) -> None:
    """Puts a tmpfs of MIB on the directory.

    Raises:
        OSError: that is refused, or there is no mount.
    """
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={MIB}m,mode=700", "drtc-chaos", str(directory)],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise OSError(done.stderr.strip())


def unmount(directory: Path) -> None:
    """Ends it, where there is one, whoever still has a file open in it."""
    subprocess.run(["umount", "-l", str(directory)], stdin=subprocess.DEVNULL, capture_output=True)
