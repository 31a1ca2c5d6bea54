"""Servers that come from Debian's or Ubuntu's packages: installed where we are root, never started by the system."""
from __future__ import annotations

import os
import shutil
import subprocess

from .base import Absent

INSTALL_SECONDS = 600
LOCK_SECONDS = 300  # somebody else may be installing at this moment


def apt(package: str) -> str:
    """Makes sure that a package is installed; returns its version.

    Raises:
        Absent: it is not, and this is not root's, or there is no apt, or it could not be had; with the command.
    """
    found = version(package)
    if found:
        return found
    remedy = f"apt-get install -y --no-install-recommends {package}"
    if shutil.which("apt-get") is None:
        raise Absent(f"there is no {package}, and no apt-get to install it")
    if os.geteuid() != 0:
        raise Absent(f"{package} is not installed ({remedy})")
    words = ["apt-get", "-q", "-o", f"DPkg::Lock::Timeout={LOCK_SECONDS}"]
    output = _said([*words, "install", "-y", "--no-install-recommends", package])
    if not version(package):  # the lists may be older than the archive, or not there at all
        _said([*words, "update"])
        output = _said([*words, "install", "-y", "--no-install-recommends", package])
    found = version(package)
    if not found:
        errors = [line for line in output.splitlines() if line.startswith("E: ")]
        raise Absent(f"apt-get could not install {package}: {errors[0][3:] if errors else output[-300:]!r}")
    return found


def version(package: str) -> str:
    """The installed version, empty where the package is not, or only half, installed."""
    if shutil.which("dpkg-query") is None:
        return ""
    done = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Abbrev}${Version}", package],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return done.stdout[3:] if done.stdout.startswith("ii ") else ""


def _said(command: list[str]) -> str:
    # RUNLEVEL=1: invoke-rc.d leaves a service alone that does not belong to single-user mode
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1", "LC_ALL": "C"}
    try:
        done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        raise Absent(f"{' '.join(command)} did not end within {INSTALL_SECONDS} s") from None
    return done.stdout
