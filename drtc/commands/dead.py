"""``drtc dead``: the events that could not be counted."""
from __future__ import annotations

import base64
import json
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from ..dead import DeadLetters
from ..observe.tables import print_table, show_bytes, show_instant

if TYPE_CHECKING:
    from ..compute.letters import Letter
    from ..config import Config

HEADS = ("letter", "at", "error", "raw")
KINDS = ("name", "name", "text", "text")


def list_letters(config: Config, limit: int, form: str) -> None:
    """Prints up to ``limit`` dead letters."""
    with closing(DeadLetters(config)) as letters:
        found = list(islice(letters.list(limit + 1), limit + 1))
    if form == "json":
        for letter in found[:limit]:
            click.echo(json.dumps(plain(letter), ensure_ascii=False))
    elif found:
        print_table(HEADS, KINDS, [[each.name, show_instant(int(each.at)), each.error, show_bytes(each.raw)]
                                   for each in found[:limit]])
    else:
        click.echo("no dead letters", err=True)
    if len(found) > limit:
        click.echo("… more (raise --limit)", err=form == "json")


def show_letter(config: Config, name: str) -> None:
    """Prints one dead letter whole.

    Raises:
        StoreError: there is none of that name.
    """
    with closing(DeadLetters(config)) as letters:
        letter = letters.get(name)
    click.echo(f"letter     {letter.name}\nat         {show_instant(int(letter.at))}\nerror      {letter.error}")
    click.echo(f"raw        {len(letter.raw):,} bytes\n{show_bytes(letter.raw, most=4 * len(letter.raw) + 1)}")
    if letter.traceback:
        click.echo(f"\n{letter.traceback.rstrip()}")


def replay_letters(config: Config, names: list[str]) -> None:
    """Counts the named dead letters again, all of them where none is named."""
    with closing(DeadLetters(config)) as letters:
        counted, left = letters.replay(names)
    click.echo(f"{counted:,} replayed, {left:,} still dead")


def plain(letter: Letter) -> dict[str, Any]:
    """A letter for JSON: its bytes as ``raw`` where they are text, else as ``raw_base64``."""
    shown = {"letter": letter.name, "partition": letter.partition, "slot": letter.slot, "offset": letter.offset,
             "at": letter.at, "error": letter.error, "traceback": letter.traceback}
    try:
        return {**shown, "raw": letter.raw.decode()}
    except UnicodeDecodeError:
        return {**shown, "raw": None, "raw_base64": base64.b64encode(letter.raw).decode()}
