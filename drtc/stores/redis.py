"""Results in Redis: a hash for each record, a field for each column, saved by one Lua call for each batch.

The server compares the version and writes in one step, so that any number of processes may save the same records.
People read records with redis-cli; ``drtc_version`` and ``drtc_state`` are drtc's own.
"""
from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterable, Iterator, Mapping, Sequence

from ..errors import StoreError
from ..observe.logs import Log
from ..values import Natural, Seconds
from .base import Id, Key, Row, Store, View, other_columns
from .ids import from_text, in_order, key_text
from .redis_address import parse_url
from .redis_scripts import DELETE, LOAD, SAVE, Call, Command, Script
from .redis_view import PART_ROWS, TAGS, Family, Hashes, Packed, parts

if TYPE_CHECKING:
    from .redis_link import Link

_REMOVED = b"removed"  # stands for what a view is while its records are being removed


@dataclass(frozen=True, slots=True)
class RedisSettings:
    #: `redis://host:port/database`, `redis+cluster://host:port,host:port` or
    #: `redis+sentinel://host:port,host:port/master/database`; with `rediss` in place of `redis`: by TLS
    url: str = field(default="redis://localhost:6379/0", repr=False)
    #: who asks, where the server knows more than one
    user: str = ""
    #: the password. Better set as DRTC_STORE_PASSWORD
    password: str = field(default="", repr=False, metadata={"secret": True})
    #: the sentinels' password, where they have one
    sentinel_password: str = field(default="", repr=False, metadata={"secret": True})
    #: who signs the server's certificate, in PEM; empty: the system's authorities
    tls_ca: str = ""
    #: the certificate that is shown to the server, in PEM, where it asks for one
    tls_certificate: str = ""
    #: its key, in PEM, without a passphrase
    tls_key: str = ""
    #: what the names of all keys begin with
    prefix: str = "drtc:"
    #: so many replicas must have a save before it is answered, so that it survives a failover to one of them
    replicas: Natural = 0
    #: a server that does not answer within so long is taken for away
    timeout: Seconds = 10.0

    def __post_init__(self) -> None:
        try:
            parse_url(self.url)
        except ValueError as error:
            raise ValueError(f"url: {error}") from None
        if set("{}*?[]\\") & set(self.prefix):
            raise ValueError("prefix: must be without { } * ? [ ] and \\, which mean something to Redis")
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("tls_certificate, tls_key: set both, or neither")
        if self.timeout <= 0:
            raise ValueError("timeout: must be more than 0")


class RedisStore(Store):
    """May be passed from thread to thread, but is used by one at a time."""

    survives = "what the server's appendonly and appendfsync keep"

    def __init__(self, settings: RedisSettings, base: Path = Path()) -> None:
        self._settings = settings
        self._target = parse_url(settings.url)
        self._base = base
        self._views: dict[View, Hashes] = {}
        self._made: Link | None = None
        self._most = 512 << 20  # bytes of one argument: proto-max-bulk-len

    def open(self) -> None:
        link = self._link
        from .redis_server import look

        found = look(link)
        self._most = found.most_bytes or self._most
        self.survives = found.survives
        if self._settings.replicas:
            self.survives += f", and a failover to one of {self._settings.replicas} replicas"
        for why in found.warnings:
            Log("store").warning("results may be lost", why=why)

    def prepare(self, view: View) -> None:
        hashes = self._hashes(view)
        for families in (hashes.families[:1], hashes.families[1:]):  # the first decides between two that differ
            made = [Command(each.view, ["SETNX", each.view, hashes.description]) for each in families]
            self._ask(made, replicated=True)
            for found in self._ask([Command(each.view, ["GET", each.view]) for each in families]):
                if found == _REMOVED:
                    raise StoreError(f"{self._target}: the view {view.name} is only half removed: run drtc reset again")
                if found != hashes.description:
                    raise other_columns(view, hashes.changed(found), str(self._target))

    def load(self, view: View, ids: Sequence[Id]) -> dict[Id, Row]:
        hashes = self._hashes(view)
        asked = [(family, part) for family, members in hashes.by_family(ids).items() for part in parts(members)]
        answers = self._run(LOAD, [Call([family.view, *(family.record(text) for _, text in part)], hashes.to_load)
                                   for family, part in asked], replicated=True)
        rows = [hashes.unpack(id, values) for (_, part), answer in zip(asked, answers)
                for (id, _), values in zip(part, answer)]
        return {row.id: row for row in rows if row is not None}

    def save(self, view: View, rows: Sequence[Row]) -> set[Id]:
        hashes = self._hashes(view)
        dealt: dict[Family, list[tuple[Row, str]]] = {}
        for row in rows:
            text = hashes.text(row.id)
            dealt.setdefault(hashes.family(text), []).append((row, text))
        asked: list[list[Packed]] = []

        def calls() -> Iterator[Call]:  # packed while the server works on those before
            for family, members in dealt.items():
                for part in parts((hashes.pack(*each, self._most) for each in members), lambda each: len(each.content)):
                    asked.append(part)
                    yield Call([family.view, family.ids, *(family.record(each.text) for each in part)],
                               [*hashes.to_save, *(each.content for each in part)])

        answers = self._run(SAVE, calls(), replicated=True)
        return {part[at].id for part, moved in zip(asked, answers) for at in moved}

    def scan(self, view: View, key: Key | None = None, during: tuple[float, float] | None = None,
             limit: int | None = None) -> Iterator[Row]:
        hashes = self._hashes(view)
        if during is not None and not view.windowed:
            return iter(())
        if key is not None and not view.windowed:
            ids: Iterable[Id] = [Id(key)]
        else:
            self._run(LOAD, [Call([hashes.families[0].view], hashes.to_load)])  # raises where there is no such view
            ids = [from_text(text, view.windowed) for page in self._pages(hashes.families, key)
                   for texts in page.values() for text in texts]
        return in_order(ids, lambda some: self.load(view, some), key, during, limit)

    def delete(self, view: View, ids: Iterable[Id]) -> None:
        hashes = self._hashes(view)
        self._delete({family: [text for _, text in members] for family, members in hashes.by_family(ids).items()})

    def drop(self, view: View) -> None:
        families = self._hashes(view).families
        # From here on nobody saves or prepares it: what is removed below stays removed
        self._ask([Command(each.view, ["SET", each.view, _REMOVED]) for each in families], replicated=True)
        for page in self._pages(families):
            self._delete(page)
        for some in (families[1:], families[:1]):  # the first, which prepare looks at first, when all others are gone
            self._ask([Command(each.view, ["DEL", each.view]) for each in some], replicated=True)

    def health(self) -> None:
        tags = [""] if self._link.slot is None else [f"{{{number}}}" for number in range(TAGS)]
        names = [f"{self._settings.prefix}.health{tag}" for tag in tags]
        self._ask([Command(name, ["SET", name, "", "PX", 1]) for name in names], replicated=True)

    def close(self) -> None:
        if self._made is not None:
            self._made.close()

    def _delete(self, texts: Mapping[Family, Sequence[str]]) -> None:
        self._run(DELETE, [Call([family.view, family.ids, *map(family.record, part)], [])
                           for family, members in texts.items() for part in parts(members)], replicated=True)

    def _pages(self, families: Sequence[Family], key: Key | None = None) -> Iterator[dict[Family, list[str]]]:
        """The texts of all ids, or of a key's windows, some of each family at a time. May be removed meanwhile."""
        # Behind the key stands @, and no windows of the key stand behind a text with the character after @
        least, most = ("-", "+") if key is None else (f"[{key_text(key)}@", f"({key_text(key)}A")
        since = {family: least for family in families}
        while since:
            answers = self._ask([Command(family.view, ["ZRANGEBYLEX", family.ids, low, most, "LIMIT", 0, PART_ROWS])
                                 for family, low in since.items()])
            page = {family: [text.decode() for text in answer] for family, answer in zip(since, answers) if answer}
            if page:
                yield page
            since = {family: f"({texts[-1]}" for family, texts in page.items() if len(texts) == PART_ROWS}

    def _run(self, script: Script, calls: Iterable[Call], replicated: bool = False) -> list[Any]:
        return self._link.run(script, calls, replicated=replicated)

    def _ask(self, commands: Sequence[Command], replicated: bool = False) -> list[Any]:
        return self._link.ask(commands, replicated=replicated)

    def _hashes(self, view: View) -> Hashes:
        hashes = self._views.get(view)
        if hashes is None:
            hashes = self._views[view] = Hashes(view, self._settings.prefix, self._link.slot)
        return hashes

    @property
    def _link(self) -> Link:
        if self._made is None:
            try:
                from .redis_link import Access, Link
            except ImportError as error:
                raise StoreError("[store] type = redis needs redis-py: pip install 'drtc[redis]'") from error
            settings = self._settings
            self._made = Link(self._target, Access(
                settings.user or self._target.user, settings.password or self._target.password,
                settings.sentinel_password, self._path(settings.tls_ca), self._path(settings.tls_certificate),
                self._path(settings.tls_key), settings.timeout, settings.replicas))
        return self._made

    def _path(self, path: str) -> str | None:
        return os.path.abspath(self._base / path) if path else None
