"""What a person reads: cells, windows, tables that fit."""
from __future__ import annotations

import io
import re
from typing import Any

import pytest

from drtc.observe.tables import (
    print_table, show_amount, show_bytes, show_cell, show_column, show_span, show_window)

DAY = 1372896000.0  # 2013-07-04


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def lines(self) -> list[str]:
        """What is seen: no styles."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.getvalue()).splitlines()


@pytest.mark.parametrize("value, text", [
    (None, "–"), (0, "0"), (1234567, "1,234,567"), (-5, "-5"), (True, "yes"), ("UA", "UA"), ("", ""),
    (12.3456, "12.35"), (7.0, "7"), (0.0, "0"), (0.000123456, "0.000123"), (1234.56, "1,234.6"), (2e6, "2,000,000"),
    (float("nan"), "nan"), (float("-inf"), "-inf"), (-0.5, "-0.5"),
    ({"p50": 3.0, "p99": 158.25}, "p50 3, p99 158.25"), ([["ORD", 1200], ["LAX", 9]], "ORD 1,200, LAX 9"),
    (["a", "b"], "a, b"), ([], "–"), ({}, "–"), (b"raw\xff", "raw\\xff"), ([1, 2, 3], "1, 2, 3"),
])
def test_a_cell_is_short_and_exact_enough(value: Any, text: str) -> None:
    assert show_cell(value) == text


@pytest.mark.parametrize("kind, values, texts", [
    ("real", [16.9, 1234.567, None, 3.0], ["16.90", "1,234.57", "–", "3.00"]), ("real", [2.0, 3.0], ["2", "3"]),
    ("real", [0.0, 0.5], ["0.00", "0.50"]), ("real", [0.001, 5.5], ["0.001", "5.5"]), ("real", [None], ["–"]),
    ("integer", [1, 2000], ["1", "2,000"]), ("real", [float("nan"), 1.5], ["nan", "1.50"]),
])
def test_real_numbers_of_a_column_have_the_same_decimals(kind: str, values: list[Any], texts: list[str]) -> None:
    assert show_column(kind, values) == texts


def test_raw_bytes_stay_on_one_line() -> None:
    assert show_bytes(b"a\nb\x1b[31m") == "a\\nb\\x1b[31m"
    assert show_bytes(b"x" * 100) == "x" * 59 + "…"


@pytest.mark.parametrize("start, end, text", [
    (DAY, DAY + 86400, "2013-07-04"), (DAY, DAY + 7 * 86400, "2013-07-04 – 2013-07-11"),
    (DAY + 10, DAY + 20, "2013-07-04 00:00:10 – 00:00:20"),
    (DAY - 10, DAY, "2013-07-03 23:59:50 – 2013-07-04 00:00:00"),
    (DAY + 0.5, DAY + 1.25, "2013-07-04 00:00:00.500 – 00:00:01.250"), (-86400.0, 0.0, "1969-12-31"),
    (DAY, DAY + 3600, "2013-07-04 00:00:00 – 01:00:00"), (1e15, 1e15 + 1, "1e+15 – 1e+15"), (DAY, None, "2013-07-04"),
])
def test_a_window_reads_as_dates_and_times_of_utc(start: float, end: float | None, text: str) -> None:
    assert show_window(start, end) == text


def test_elsewhere_than_on_a_terminal_a_row_is_a_line() -> None:
    stream = io.StringIO()
    print_table(["key", "top_destinations", "flights"], ["name", "json", "integer"],
                [["UA", "ORD 1, " * 40, "1,234"], ["AA", "LAX 5", "7"]], stream)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 4
    assert lines[0].split() == ["key", "top", "destinations", "flights"]
    assert lines[2].endswith("1,234") and lines[3].endswith("    7")


def test_a_narrow_terminal_folds_long_texts_and_keeps_numbers_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    print_table(["key", "items", "n"], ["name", "json", "integer"], [["UA", "ORD 12, " * 20, "1,234,567"]], stream)
    lines = stream.lines()
    assert max(map(len, lines)) <= 40
    assert "1,234,567" in stream.getvalue()
    assert stream.getvalue().count("ORD") == 20


def test_a_table_that_just_fits_folds_heads_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "24")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    heads, kinds = ["key", "mean_delay", "items"], ["name", "real", "json"]
    print_table(heads, kinds, [["UA", "12.50", "ORD 12, LAX 9"]], stream)
    assert [line.split() for line in stream.lines()] == [
        ["mean"], ["key", "delay", "items"], ["─" * 24], ["UA", "12.50", "ORD", "12,", "LAX"], ["9"]]


def test_wide_characters_take_two_places() -> None:
    stream = io.StringIO()
    print_table(["key", "n"], ["name", "integer"], [["東京都", "1"], ["Rome", "2"]], stream)
    assert stream.getvalue().splitlines()[2:] == ["東京都  1", "Rome    2"]


def test_a_table_that_cannot_fit_becomes_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    heads = [f"field_{number}" for number in range(9)]
    print_table(heads, ["integer"] * 9, [["1,000,000"] * 9] * 2, stream)
    lines = stream.lines()
    assert len(lines) == 2 * 9 + 1
    assert lines[0].split() == ["field_0", "1,000,000"]


def test_what_stands_in_a_cell_is_never_taken_for_markup() -> None:
    stream = io.StringIO()
    print_table(["key"], ["name"], [["[red]x[/] :smile:"]], stream)
    assert "[red]x[/] :smile:" in stream.getvalue()


@pytest.mark.parametrize("size, text", [
    (0, "0 bytes"), (999, "999 bytes"), (1000, "0.977 KiB"), (1536, "1.5 KiB"), (12 << 20, "12 MiB"),
    (1 << 60, "1.05e+06 TiB"),
])
def test_an_amount_has_three_figures(size: int, text: str) -> None:
    assert show_amount(size) == text


@pytest.mark.parametrize("seconds, text", [
    (0.0, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min"), (185, "3 min 5 s"),
    (3600, "1 h"), (3605, "1 h"), (7 * 3600 + 120, "7 h 2 min"), (2 * 86400 + 7 * 3600 + 59, "2 d 7 h"),
])
def test_a_length_of_time_has_two_units(seconds: float, text: str) -> None:
    assert show_span(seconds) == text
