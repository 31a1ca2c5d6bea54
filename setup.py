"""Compiles the hot modules with mypyc; all else about the package stands in setup.cfg.

A hot module is plain typed Python that runs as well without: where mypyc, a C compiler or Python's headers are
missing, or with ``DRTC_COMPILE=0``, the installation succeeds and ``drtc --version`` says "plain".
"""
from __future__ import annotations

import os
import sys
from pathlib import Path

from setuptools import Extension, setup

HOT = ["drtc/encodings/kafka.py", "drtc/collector/split.py", "drtc/compute/fences.py"]

# What only asks for names and versions builds nothing.
BUILDS_NOTHING = {"egg_info", "dist_info", "sdist", "clean"}

# Only the hot modules themselves are checked here, and without the packages they import: the build has none of them.
OPTIONS = ["--config-file=", "--ignore-missing-imports", "--follow-imports=silent", "--allow-subclassing-any"]


def extensions() -> list[Extension]:
    """One extension for each hot module, none where they are not wanted or mypyc refuses."""
    if os.environ.get("DRTC_COMPILE") == "0" or BUILDS_NOTHING & set(sys.argv[1:]):
        return []
    found = []
    for source in HOT:
        if Path(source).exists():
            found.extend(compiled(source))
    return found


def compiled(source: str) -> list[Extension]:
    """The extension of one module; one call of mypyc each, so that none needs a library shared with the others."""
    try:
        from mypyc.build import mypycify

        made: list[Extension] = mypycify([*OPTIONS, source], debug_level="0")
    except (Exception, SystemExit) as refusal:  # mypyc ends the process where it finds a mistake
        print(f"drtc: {source} stays plain Python, mypyc refused it: {refusal!r}", file=sys.stderr)
        return []
    for extension in made:
        extension.optional = True
        extension.depends.append(source)  # a module that is newer than its compiled form is compiled again
    return made


if __name__ == "__main__":
    setup(ext_modules=extensions())
