"""``drtc config``, ``drtc status`` and ``drtc --version``: what is in force, what runs, what is installed."""
from __future__ import annotations

import asyncio
import json
import platform
import time
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterator, Mapping

import click

if TYPE_CHECKING:
    from ..config import Config, Effective

WATCH_SECONDS = 2.0
HOT_MODULES = ("encodings/kafka", "collector/split", "compute/fences")  # those that setup.py compiles


def show_config(config: Config) -> None:
    """Prints an INI file that says all that is in force, each line with its origin as a comment."""
    for line in config_lines(list(config.effective())):
        click.echo(line)


def config_lines(settings: list[Effective]) -> Iterator[str]:
    """The lines of that file."""
    texts = [f"{each.key} = {each.text}".rstrip().splitlines() for each in settings]
    width = min(60, max((len(text[0]) for text in texts), default=0))
    section = ""
    for each, (first, *others) in zip(settings, texts):
        if each.section != section:
            yield from ([""] if section else []) + [f"[{each.section}]"]
            section = each.section
        yield f"{first:<{width}}  ; {each.origin}"
        yield from (f"    {other.strip()}" for other in others)


def show_status(config: Config, form: str) -> None:
    """Prints what the roles say of themselves.

    Raises:
        Stalled, Incomplete: so it is; all is printed before. Not with ``json``, which says it itself.
    """
    from ..observe.overview import problem
    from ..observe.status import fetch

    found = fetch(config)
    _print_status(found, form)
    trouble = problem(found)
    if trouble is not None and form == "table":
        raise trouble


def watch_status(config: Config, form: str) -> None:
    """The same again and again until Ctrl-C, whatever it shows."""
    from ..errors import DrtcError
    from ..observe.status import Watch

    watch = Watch(config)
    while True:
        try:
            found = asyncio.run(watch.ask())
        except DrtcError as error:
            click.echo(f"drtc: {error}", err=True)
        else:
            if form == "table":
                click.clear()
            _print_status(found, form)
        time.sleep(WATCH_SECONDS)


def _print_status(found: Mapping[str, Any], form: str) -> None:
    from ..observe.overview import print_overview

    if form == "json":
        click.echo(json.dumps(found, ensure_ascii=False, default=str))
    else:
        print_overview(found)


def version() -> str:
    """drtc's version, Python's, and whether the hot modules are compiled."""
    from .. import __version__

    return f"drtc {__version__} (Python {platform.python_version()}, hot modules {compiled()})"


def compiled() -> str:
    """``compiled``, ``plain Python``, or which of them are compiled."""
    package = Path(__file__).parents[1]
    extensions = [name for name in HOT_MODULES
                  if any((package / f"{name}{suffix}").exists() for suffix in EXTENSION_SUFFIXES)]
    if len(extensions) == len(HOT_MODULES):
        return "compiled"
    return f"compiled: {', '.join(extensions)} only" if extensions else "plain Python"
