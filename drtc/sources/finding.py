"""Looks for files by pattern, and at what stands in their place now."""
from __future__ import annotations

import glob
import os
import re
import stat
from fnmatch import fnmatch
from pathlib import Path
from typing import Iterable

from ..errors import SourceError
from .content import Mark, open_content
from .rotation import Seen


class Directory:
    """Files by their names as the patterns give them: relative to ``base`` unless a pattern is absolute."""

    def __init__(self, base: Path, path: str) -> None:
        self._base = base
        self.patterns = [os.path.normpath(part.strip()) for part in re.split(r"[,\n]", path) if part.strip()]

    def absolute(self, name: str) -> str:
        return os.path.join(self._base, name)

    def matches(self) -> list[str]:
        """The names of files (not of directories) that match now."""
        found = {os.path.normpath(name) for pattern in self.patterns
                 for name in glob.iglob(pattern, root_dir=self._base, recursive=True)}
        found.update(pattern for pattern in self.patterns if os.path.isfile(self.absolute(pattern)))
        return sorted(found)

    def none(self) -> SourceError:
        return SourceError(f"[source] path: no file matches {', '.join(map(self.absolute, self.patterns))}")

    def derived(self, name: str) -> Iterable[str]:
        """Names that begin with this one: where rotation puts a file."""
        return glob.iglob(f"{glob.escape(name)}*", root_dir=self._base)

    def may_match(self, name: str) -> bool:
        """Whether a file of that name would match, if it were there."""
        return any(fnmatch(name, pattern) for pattern in self.patterns)

    def see(self, names: Iterable[str]) -> list[Seen]:
        """The regular files among them, each name once; those that are gone are left out."""
        seen = []
        for name in sorted(set(names)):
            try:
                status = os.stat(self.absolute(name))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise unreadable(self.absolute(name), error) from error
            if stat.S_ISREG(status.st_mode):
                seen.append(self._seen(name, status))
        return seen

    def _seen(self, name: str, status: os.stat_result) -> Seen:
        path, identity, size = self.absolute(name), (status.st_dev, status.st_ino), status.st_size

        def holds(marks: tuple[Mark, ...]) -> bool:
            longest = max((mark.start + mark.size for mark in marks), default=0)
            if longest > size and not name.endswith(".gz"):
                return False
            try:
                content = open_content(path)
            except FileNotFoundError:
                return False
            except OSError as error:
                raise unreadable(path, error) from error
            try:
                return content.identity == identity and content.holds(marks)
            finally:
                content.close()

        return Seen(name, identity, size, holds)


def unreadable(path: str, error: OSError) -> SourceError:
    return SourceError(f"{path}: cannot be read: {error.strerror or error}")
