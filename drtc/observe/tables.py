"""Records and states for a person's eye: plain texts for cells, and tables that fit where they are shown."""
from __future__ import annotations

import math
import sys
from datetime import datetime, timedelta
from typing import IO, TYPE_CHECKING, Any, Mapping, Sequence

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

NUMBERS = ("integer", "real")
_EPOCH = datetime(1970, 1, 1)
_DAY = 86400.0
_NOTHING = "–"
_NAME_WIDTH, _TEXT_WIDTH = 44, 11  # a longer name is folded; a text column is never narrower
_UNBOUNDED = 10_000
_GAP = 2  # blanks between columns
_AMOUNTS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def show_cell(value: Any) -> str:
    """A value in few characters: 1,234 · 12.35 · "a, b" · "p50 3, p99 158"."""
    if value is None:
        return _NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return _show_float(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {show_cell(part)}" for key, part in value.items()) or _NOTHING
    if isinstance(value, (list, tuple)):
        return ", ".join(_show_item(part) for part in value) or _NOTHING
    if isinstance(value, (bytes, bytearray)):
        return show_bytes(bytes(value))
    return str(value)


def show_column(kind: str, values: Sequence[Any]) -> list[str]:
    """The cells of a column; real numbers with the same decimals, so that they can be compared at a glance."""
    sizes = [abs(value) for value in values if isinstance(value, float) and value and math.isfinite(value)]
    if kind != "real" or not sizes or min(sizes) < 0.01 or all(size % 1 == 0 for size in sizes):
        return [show_cell(value) for value in values]
    return [f"{value:,.2f}" if isinstance(value, (int, float)) else show_cell(value) for value in values]


def counted(count: int, noun: str) -> str:
    """``1 event``, ``2,000 events``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def show_amount(size: float) -> str:
    """``0 bytes``, ``512 bytes``, ``1.5 KiB``, ``12 MiB``."""
    unit = 0
    while size >= 1000 and unit < len(_AMOUNTS) - 1:
        size /= 1024
        unit += 1
    return f"{size:.3g} {_AMOUNTS[unit]}"


def show_span(seconds: float) -> str:
    """A length of time by its two greatest units: ``0.2 s``, ``45 s``, ``3 min 5 s``, ``2 d 7 h``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    left = round(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or parts:
            parts.append(f"{count} {unit}" if count else "")
        if len(parts) == 2:
            break
    return " ".join(filter(None, parts))


def show_bytes(raw: bytes, most: int = 60) -> str:
    """Text where it is text, else as Python writes it; cut with an ellipsis."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = repr(raw)[2:-1]
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= most else text[:most - 1] + "…"


def show_instant(seconds: float) -> str:
    """UTC: a date at midnight, else date and time."""
    return _show_moment(seconds).removesuffix(" 00:00:00")


def show_window(start: float, end: float | None) -> str:
    """``2013-07-04`` for a whole UTC day, ``2013-07-04 12:00:10 – 12:00:20`` otherwise; the end is not within."""
    if end is None or (start % _DAY == 0 and end - start == _DAY):
        return show_instant(start)
    if start % _DAY == 0 and end % _DAY == 0:
        return f"{show_instant(start)} – {show_instant(end)}"
    first, last = _show_moment(start), _show_moment(end)
    return f"{first} – {last[11:] if last[:10] == first[:10] and len(last) > 18 else last}"


def console(stream: IO[str] | None = None) -> Console:
    """On a terminal as wide as that; elsewhere as wide as the content, so that nothing is folded."""
    from rich.console import Console

    stream = stream or sys.stdout
    width = None if stream.isatty() else _UNBOUNDED
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def print_table(heads: Sequence[str], kinds: Sequence[str], rows: Sequence[Sequence[str]],
                stream: IO[str] | None = None) -> None:
    """A table; where its columns do not fit side by side, a block for each row."""
    target = console(stream)
    widths = _widths([head.replace("_", " ") for head in heads], kinds, rows, target.width)
    if widths is None:
        _print_blocks(target, heads, rows)
    else:
        target.print(_table(heads, kinds, rows, widths))


def _widths(heads: Sequence[str], kinds: Sequence[str], rows: Sequence[Sequence[str]],
            available: int) -> list[int | None] | None:
    """Each column's width, None for one that shares the rest; None where they do not fit.

    Numbers and names are never folded, heads between words, texts where they must.
    """
    from rich.cells import cell_len

    cells = [max((cell_len(row[index]) for row in rows), default=0) for index in range(len(heads))]
    available -= _GAP * (len(heads) - 1)
    roomy = [max(cell, cell_len(head)) for cell, head in zip(cells, heads)]
    if sum(roomy) <= available:
        return list(roomy)
    words = [max(map(cell_len, head.split()), default=0) for head in heads]
    whole = [kind in NUMBERS or (kind == "name" and cell <= _NAME_WIDTH) for kind, cell in zip(kinds, cells)]
    least = [max(word, cell if fixed else min(cell, _TEXT_WIDTH)) for word, cell, fixed in zip(words, cells, whole)]
    if sum(least) > available:
        return None
    return [width if fixed else None for width, fixed in zip(least, whole)]


def _table(heads: Sequence[str], kinds: Sequence[str], rows: Sequence[Sequence[str]],
           widths: Sequence[int | None]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, header_style="bold", padding=(0, _GAP - 1, 0, 0), pad_edge=False,
                  show_edge=False)
    for head, kind, width in zip(heads, kinds, widths):
        table.add_column(Text(head.replace("_", " ")), justify="right" if kind in NUMBERS else "left",
                         overflow="fold", width=width)
    for row in rows:
        table.add_row(*(Text(cell, "dim" if cell == _NOTHING else "") for cell in row))
    return table


def _print_blocks(target: Console, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    for number, row in enumerate(rows):
        if number:
            target.print()
        block = Table.grid(padding=(0, 2))
        block.add_column(style="bold", no_wrap=True)
        block.add_column(overflow="fold")
        for head, cell in zip(heads, row):
            block.add_row(head, Text(cell))
        target.print(block)


def _show_moment(seconds: float) -> str:
    try:
        moment = _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return f"{seconds:g}"
    return moment.isoformat(" ", "seconds" if seconds % 1 == 0 else "milliseconds")


def _show_float(value: float) -> str:
    if not math.isfinite(value):
        return str(value)
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}" if value % 1 == 0 or abs(value) >= 1e6 else f"{value:,.1f}"
    if abs(value) >= 1:
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return f"{value:.3g}"


def _show_item(part: Any) -> str:
    if isinstance(part, (list, tuple)) and len(part) == 2:  # an item and its count
        return f"{show_cell(part[0])} {show_cell(part[1])}"
    return show_cell(part)
