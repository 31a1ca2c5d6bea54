"""Copies of the package to be measured, with the hot modules compiled or plain: what ``DRTC_COMPILE`` installs.

A copy stands in the cache under a hash of its sources and is made once in a benchmark, so that the checkout is never
touched and edits made meanwhile change nothing.
"""
from __future__ import annotations

import compileall
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ..services.base import cache

ROOT = Path(__file__).parents[2]
BESIDE = ("setup.py", "setup.cfg", "README.md", "LICENSE")  # what the build looks at


class Uncompiled(Exception):
    """The hot modules cannot be compiled on this machine."""


@functools.cache
def package(compiled: bool) -> Path:
    """The directory to put on PYTHONPATH.

    Raises:
        Uncompiled: mypyc, a C compiler or Python's headers are missing.
    """
    target = cache() / "bench" / f"{_fingerprint()}-{'compiled' if compiled else 'plain'}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="staging-", dir=target.parent))
    try:
        shutil.copytree(ROOT / "drtc", work / "drtc", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        if compiled:
            _compile(work)
        compileall.compile_dir(work / "drtc", quiet=1)
        work.chmod(0o755)
        work.rename(target)
        _forget_old(target.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def _forget_old(staged: Path) -> None:
    """Removes copies that are older than a day."""
    for each in staged.iterdir():
        if each.stat().st_mtime < time.time() - 86400:
            shutil.rmtree(each, ignore_errors=True)


def _compile(work: Path) -> None:
    for name in BESIDE:
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, work)
    done = subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=work, capture_output=True,
                          text=True, env={**os.environ, "DRTC_COMPILE": "1"})
    said = subprocess.run([sys.executable, "-m", "drtc", "--version"], cwd=work, capture_output=True, text=True)
    if "compiled" not in said.stdout:
        raise Uncompiled(f"the hot modules were not compiled: {done.stdout[-500:]}{done.stderr[-1000:]}{said.stderr}")
    shutil.rmtree(work / "build", ignore_errors=True)


def _fingerprint() -> str:
    found = hashlib.sha256(sys.version.encode())
    for path in sorted([*(ROOT / "drtc").rglob("*.py"), ROOT / "setup.py"]):
        found.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return found.hexdigest()[:16]
