"""One INI file serves every role: read it, lay the environment and ``--set`` over it, make typed sections of it.

A value comes from the last of: default, file, environment (``DRTC_SECTION_KEY``), ``--set section.key=value``.
All problems are reported together, one line each. A relative path in the file is relative to the file.
"""
from __future__ import annotations

import os
import re
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any, Iterator, Mapping, NamedTuple, Sequence

from . import settings
from .errors import ConfigError
from .ini import Entry, Place, from_environment, from_sets, read
from .names import did_you_mean
from .settings import settings_of
from .values import listed, parse, show

CLASSES: dict[str, type] = {"job": settings.Job, "cluster": settings.Cluster, "collector": settings.Collector,
                            "coordinator": settings.Coordinator, "compute": settings.Compute}
FAMILIES = ("source", "store")  # the section's ``type`` says which class holds the rest of it
OPTIONS = "job.options"  # free keys
ORDER = ("job", OPTIONS, "cluster", "source", "collector", "coordinator", "compute", "store")


class Effective(NamedTuple):
    """One setting as it is in force; ``text`` is masked where it is secret."""

    section: str
    key: str
    text: str
    origin: str  # "default", "conf/cluster.ini:12", "DRTC_CLUSTER_SECRET" or "--set cluster.secret"


@dataclass(frozen=True)
class Config:
    """What one INI file says, whole and checked: the same for every role. It can be pickled."""

    path: Path
    sets: tuple[str, ...]
    job: settings.Job
    options: dict[str, str] = field(repr=False)
    cluster: settings.Cluster
    source: Any = field(repr=False)
    collector: settings.Collector
    coordinator: settings.Coordinator
    compute: settings.Compute
    store: Any = field(repr=False)
    types: dict[str, str]  # such as {"source": "files", "store": "sqlite"}
    origins: dict[Place, str] = field(repr=False)  # of what is not a default

    @property
    def base(self) -> Path:
        """The directory of the INI file, absolute: what relative paths are relative to."""
        return self.path.absolute().parent

    @property
    def view(self) -> str:
        """The name of the job's view: the same in every role, known without importing the Job."""
        from .names import snake_case

        return f"{self.job.name or snake_case(self.job.class_.rpartition(':')[2])}_v{self.job.version}"

    @property
    def directory(self) -> Path:
        """Where roles of ``membership = local`` find each other."""
        return self.base / (self.cluster.directory or ".drtc")

    @property
    def arguments(self) -> list[str]:
        """The command-line arguments by which another process reads this very configuration."""
        return ["-c", str(self.path.absolute()), *(word for each in self.sets for word in ("--set", each))]

    def effective(self) -> Iterator[Effective]:
        """Every setting in force, section by section, with its origin."""
        for section in ORDER:
            if section == OPTIONS:
                for key, text in self.options.items():
                    yield self._effective(section, key, text, settings.is_secret(key))
                continue
            if section in FAMILIES:
                yield self._effective(section, "type", self.types[section], False)
            values = getattr(self, section)
            for each in settings_of(type(values)):
                text = show(getattr(values, each.attribute), each.hint)
                yield self._effective(section, each.key, text, each.secret)

    def _effective(self, section: str, key: str, text: str, secret: bool) -> Effective:
        return Effective(section, key, _masked(text, secret), self.origins.get(Place(section, key), "default"))


def load(path: str | Path, sets: Sequence[str] = (), environ: Mapping[str, str] = os.environ) -> Config:
    """Reads the file and what is laid over it.

    Raises:
        ConfigError: all that is wrong, a line each.
    """
    path = Path(path)
    written = read(path)
    draft = _Draft(path)
    draft.entries.update(written.entries)
    for name, origin in written.sections.items():
        if name not in ORDER:
            draft.problems.append(f"{origin}: [{name}]: unknown section{did_you_mean(name, ORDER)}")
    draft.lay_environment(from_environment(environ, ORDER))
    try:
        draft.entries.update(from_sets(sets, ORDER))
    except ConfigError as error:
        draft.problems.append(str(error))
    return draft.config(tuple(sets))


class _Draft:
    """A configuration in the making: entries from all layers, and what is wrong with them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: dict[Place, Entry] = {}
        self.variables: set[str] = set()
        self.problems: list[str] = []

    def lay_environment(self, entries: Mapping[Place, Entry]) -> None:
        """Variables have no case: one meets the option that is written with the same letters."""
        cased = {Place(section, key.lower()): Place(section, key) for section, key in self.entries}
        for place, entry in entries.items():
            self.entries[cased.get(place, place)] = entry
            self.variables.add(entry.origin)

    def config(self, sets: tuple[str, ...]) -> Config:
        classes: dict[str, type | None] = dict(CLASSES)
        types = {}
        for family in FAMILIES:
            classes[family], types[family] = self._family(family)
        keys = {section: _keys(section, cls) for section, cls in classes.items() if cls is not None}
        made = {section: self._section(section, cls, keys) for section, cls in classes.items() if cls is not None}
        self._agree(made)
        if self.problems:
            raise ConfigError("\n".join(sorted(self.problems, key=_rank)))
        return Config(path=self.path, sets=sets, types=types,
                      options={place.key: entry.text for place, entry in self._of(OPTIONS)},
                      origins={place: entry.origin for place, entry in self.entries.items()}, **made)

    def _of(self, section: str) -> list[tuple[Place, Entry]]:
        return [(place, entry) for place, entry in self.entries.items() if place.section == section]

    def _family(self, family: str) -> tuple[type | None, str]:
        """The class that holds the section of a source or store, by its ``type``."""
        from . import sources, stores

        registry = sources if family == "source" else stores
        entry = self.entries.get(Place(family, "type"))
        if entry is None and registry.DEFAULT:
            return registry.settings_class(registry.DEFAULT), registry.DEFAULT
        if entry is not None and (entry.text in registry.own_names() or entry.text in registry.names()):
            try:
                return registry.settings_class(entry.text), entry.text
            except ConfigError as error:
                self.problems.append(f"{entry.origin}: {error}")
                return None, ""
        known = listed(sorted(registry.names()), "or")
        if entry is None:
            self.problems.append(f"{self.path}: [{family}] type: missing, must be {known}")
        else:
            self.problems.append(f"{entry.origin}: [{family}] type: must be {known}, not {entry.text!r}"
                                 + did_you_mean(entry.text, registry.names()))
        return None, ""

    def _section(self, section: str, cls: type, keys: Mapping[str, Sequence[str]]) -> Any:
        before = len(self.problems)
        values = {}
        for place, entry in self._of(section):
            if place.key not in keys[section]:
                self._unknown(place, entry, keys)
        for each in settings_of(cls):
            found = self.entries.get(Place(section, each.key))
            if found is not None:
                try:
                    values[each.attribute] = parse(found.text, each.hint)
                except ValueError as error:
                    shown = str(error) if not each.secret else "has a value of the wrong kind"
                    self.problems.append(f"{found.origin}: [{section}] {each.key}: {shown}")
            elif each.default is MISSING:
                meaning = settings.comments_of(cls).get(each.attribute, "it has no default")
                self.problems.append(f"{self.path}: [{section}] {each.key}: missing ({meaning})")
        if len(self.problems) > before:
            return None
        try:
            return cls(**values)
        except (ValueError, ConfigError) as error:
            guilty = self.entries.get(Place(section, str(error).partition(":")[0]))  # "timeout: must be longer ..."
            self.problems.append(f"{guilty.origin if guilty else self.path}: [{section}] {error}")
            return None

    def _unknown(self, place: Place, entry: Entry, keys: Mapping[str, Sequence[str]]) -> None:
        guess = did_you_mean(place.key, keys[place.section])
        if entry.origin in self.variables and not guess:
            del self.entries[place]  # a name by chance: Kubernetes sets DRTC_COORDINATOR_PORT for a service
            return
        if place.section in FAMILIES and Place(place.section, "type") not in self.entries:
            guess = f" ([{place.section}] type is missing, so it is the default)"
        homes = [section for section, known in keys.items() if place.key in known]
        if homes and not guess:
            guess = f" (it belongs in [{homes[0]}])"
        self.problems.append(f"{entry.origin}: [{place.section}] {place.key}: unknown key{guess}")

    def _agree(self, made: Mapping[str, Any]) -> None:
        """What no section can say alone."""
        cluster = made["cluster"]
        for section in ("collector", "coordinator"):
            if cluster and made[section] and made[section].batch_bytes * 2 > cluster.max_frame_bytes:
                self.problems.append(f"{self.path}: [{section}] batch_bytes: must be at most half of [cluster] "
                                     "max_frame_bytes, or a batch would not pass between roles")


def _keys(section: str, cls: type) -> list[str]:
    keys = [each.key for each in settings_of(cls)]
    return ["type", *keys] if section in FAMILIES else keys


def _rank(problem: str) -> tuple[int, int]:
    """The order of the file; before it, what stands on no line of it, section by section."""
    line = re.search(r":(\d+): \[", problem)
    section = re.search(r": \[([^]]+)\]", problem)
    return int(line[1]) if line else 0, ORDER.index(section[1]) if section and section[1] in ORDER else -1


def _masked(text: str, secret: bool) -> str:
    if secret:
        return "***" if text else ""
    text = re.sub(r"(://[^\s:/@]*:)[^\s,]+@", r"\1***@", text)  # a password may hold what it should not, as / and @
    return re.sub(r"((?:password|secret)=)[^&\s]+", r"\1***", text, flags=re.IGNORECASE)
