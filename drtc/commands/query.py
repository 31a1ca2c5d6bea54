"""``drtc query``: records as a table for people, JSON lines or CSV for programs."""
from __future__ import annotations

import csv
import json
import math
import re
import sys
from datetime import UTC, datetime
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Iterable, Iterator, TextIO

import click

from ..observe.tables import print_table, show_column, show_window
from .results import opened

if TYPE_CHECKING:
    from ..config import Config
    from ..stores.base import Row, Store, View

TABLE_LIMIT = 20
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,18})")  # as an int key would be written


def query(config: Config, key: str | None, window: str | None, limit: int | None, form: str) -> None:
    """Prints the records of the configured Job, ordered by key, then window."""
    instant = None if window is None else parse_instant(window)
    with opened(config) as (store, view):
        if instant is not None and not view.windowed:
            raise click.UsageError(f"the view {view.name} has no windows: leave --window out")
        store.prepare(view)
        if form == "table":
            most = limit or TABLE_LIMIT
            _write_table(view, list(find(store, view, key, instant, most + 1)), most, key, window)
        elif form == "json":
            write_json(view, find(store, view, key, instant, limit), sys.stdout)
        else:
            write_csv(view, find(store, view, key, instant, limit), sys.stdout)


def find(store: Store, view: View, key: str | None, instant: float | None, limit: int | None) -> Iterator[Row]:
    """Records of a key as it was typed: of the text, and of the number where it reads as one."""
    during = None if instant is None else (instant, instant)
    if key is None:
        return islice(store.scan(view, None, during, limit), limit)
    found = store.scan(view, key, during, limit)
    if _NUMBER.fullmatch(key) and -2 ** 63 <= int(key) < 2 ** 63:
        found = chain(store.scan(view, int(key), during, limit), found)
    return islice(found, limit)


def parse_instant(text: str) -> float:
    """Epoch seconds of a date, a date and time (UTC unless it has an offset), or epoch seconds.

    Raises:
        click.BadParameter: it is none of them.
    """
    try:
        seconds = float(text)
        if math.isfinite(seconds):
            return seconds
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise click.BadParameter(f"{text!r} is no time: write 2013-07-04, 2013-07-04T12:00 or epoch seconds",
                                 param_hint="--window") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def write_json(view: View, rows: Iterable[Row], stream: TextIO) -> None:
    """One object a line; a window's ``start`` and ``end`` are epoch seconds. What JSON has no number for is null."""
    names = [column.name for column in view.columns]
    for row in rows:
        window = None
        if row.id.start is not None:
            window = {"start": _whole(row.id.start), "end": _whole(row.end)}
        record = {"key": row.id.key, "window": window, **dict(zip(names, row.values))}
        stream.write(_json(record) + "\n")


def write_csv(view: View, rows: Iterable[Row], stream: TextIO) -> None:
    """A line of names, then one for each record; lists and mappings are JSON texts, nothing is an empty field."""
    writer = csv.writer(stream, lineterminator="\n")
    windows = ["window_start", "window_end"] if view.windowed else []
    writer.writerow(["key", *windows, *(column.name for column in view.columns)])
    for row in rows:
        bounds = [_whole(row.id.start), _whole(row.end)] if view.windowed else []
        cells = [_json(value) if isinstance(value, (dict, list, tuple)) else value for value in row.values]
        writer.writerow([row.id.key, *bounds, *cells])


def _write_table(view: View, rows: list[Row], most: int, key: str | None, window: str | None) -> None:
    if not rows:
        asked = (f" of key {key}" if key is not None else "") + (f" at {window}" if window is not None else "")
        click.echo(f"no records{asked} in {view.name}", err=True)
        return
    heads = ["key", *(["window"] if view.windowed else []), *(column.name for column in view.columns)]
    kinds = ["name", *(["name"] if view.windowed else []), *(column.kind for column in view.columns)]
    shown = rows[:most]
    columns = [[str(row.id.key) for row in shown]]
    if view.windowed:
        columns.append([show_window(row.id.start or 0, row.end) for row in shown])
    for index, column in enumerate(view.columns):
        columns.append(show_column(column.kind, [row.values[index] for row in shown]))
    print_table(heads, kinds, list(zip(*columns)))
    if len(rows) > most:
        click.echo(f"… more (--limit {most * 5} shows further ones, --format json or csv all)")


def _whole(seconds: float | None) -> float | None:
    return int(seconds) if seconds is not None and seconds % 1 == 0 else seconds


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), ensure_ascii=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return value
