"""The three places that settings are written in, each read into plain texts that remember where they stand."""
from __future__ import annotations

import configparser
import re
from pathlib import Path
from typing import Iterable, Mapping, NamedTuple

from .errors import ConfigError


class Place(NamedTuple):
    section: str
    key: str


class Entry(NamedTuple):
    """A setting as it was written; ``origin`` is what an error about it begins with."""

    text: str
    origin: str  # "conf/cluster.ini:12", "DRTC_CLUSTER_SECRET" or "--set cluster.secret"


class Written(NamedTuple):
    """What the file says."""

    entries: dict[Place, Entry]
    sections: dict[str, str]  # each with its origin


def read(path: Path) -> Written:
    """The file's sections and entries.

    Raises:
        ConfigError: it cannot be read, or a line of it is no INI.
    """
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object[:error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}: not UTF-8: save the file in that encoding") from None
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=(";", "#"),
                                       inline_comment_prefixes=(";",), default_section="", empty_lines_in_values=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(text, str(path))
    except configparser.Error as error:
        raise ConfigError(_sentence(path, text, error)) from None
    lines = _lines(text)
    entries = {}
    for section in parser.sections():
        for key, value in parser.items(section):
            place = Place(section, key)
            entries[place] = Entry(value, f"{path}:{lines[place]}" if place in lines else str(path))
    headers = {name: f"{path}:{lines.get(Place(name, ''), 1)}" for name in parser.sections()}
    return Written(entries, headers)


def from_environment(environ: Mapping[str, str], sections: Iterable[str]) -> dict[Place, Entry]:
    """The variables named ``DRTC_SECTION_KEY``; a dot in a section's name is written as ``_``."""
    prefixes = sorted(((f"DRTC_{name.replace('.', '_').upper()}_", name) for name in sections), reverse=True)
    entries = {}
    for variable, text in environ.items():
        for prefix, section in prefixes:  # the longer prefix first: DRTC_JOB_OPTIONS_ before DRTC_JOB_
            if variable.startswith(prefix) and len(variable) > len(prefix):
                entries[Place(section, variable[len(prefix):].lower())] = Entry(text, variable)
                break
    return entries


def from_sets(sets: Iterable[str], sections: Iterable[str]) -> dict[Place, Entry]:
    """What ``--set section.key=value`` says, the last word for a key winning.

    Raises:
        ConfigError: one of them has another shape, or names no section.
    """
    names = sorted(sections, key=len, reverse=True)
    entries = {}
    for each in sets:
        path, equals, text = each.partition("=")
        path = path.strip()
        section = next((name for name in names if path.startswith(name + ".") and path != name + "."), None)
        if not equals or section is None:
            raise ConfigError(f"--set {each}: must read section.key=value, with a section of "
                              + ", ".join(sorted(names)))
        entries[Place(section, path[len(section) + 1:])] = Entry(text.strip(), f"--set {path}")
    return entries


def _lines(text: str) -> dict[Place, int]:
    """The line of each key, and of each section's head under the key ""."""
    found: dict[Place, int] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        head = re.match(r"\[(.+)\]", line)
        key = re.match(r"([^\s;#=][^=]*?)\s*=", line)
        if head:
            section = head[1]
            found.setdefault(Place(section, ""), number)
        elif key:
            found[Place(section, key[1])] = number
    return found


def _sentence(path: Path, text: str, error: configparser.Error) -> str:
    if isinstance(error, configparser.DuplicateOptionError):
        return f"{path}:{error.lineno}: [{error.section}] {error.option}: given twice"
    if isinstance(error, configparser.DuplicateSectionError):
        return f"{path}:{error.lineno}: [{error.section}]: given twice, put its keys together"
    if isinstance(error, configparser.MissingSectionHeaderError):
        return f"{path}:{error.lineno}: must begin with a section such as [job]"
    if isinstance(error, configparser.ParsingError) and error.errors:
        number = error.errors[0][0]
        return f"{path}:{number}: {text.splitlines()[number - 1].strip()}: must read key = value, or [section]"
    return f"{path}: {error.message}"
