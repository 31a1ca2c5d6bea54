"""Log lines: fixed words first, then ``key=value``; or one JSON object a line. Always to stderr.

The words never change with the values, so that a person, a test or an alert can match them.
"""
from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

_BARE = re.compile(r"[^\s\"'=]+")


class Log:
    """Where one role writes: ``Log("collector").warning("batch refused", lane=lane, seq=3)``.

    ``fixed`` values (a node's name) stand on every line. Goes through ``logging``, logger ``drtc.ROLE``.
    """

    def __init__(self, role: str, **fixed: object) -> None:
        self.role = role
        self.fixed = fixed
        self._logger = logging.getLogger(f"drtc.{role}")

    def debug(self, words: str, /, **values: object) -> None:
        self._write(logging.DEBUG, words, values)

    def info(self, words: str, /, **values: object) -> None:
        self._write(logging.INFO, words, values)

    def warning(self, words: str, /, **values: object) -> None:
        self._write(logging.WARNING, words, values)

    def error(self, words: str, /, **values: object) -> None:
        self._write(logging.ERROR, words, values)

    def exception(self, words: str, /, **values: object) -> None:
        """An error with the traceback of the exception that is being handled."""
        self._write(logging.ERROR, words, values, exc_info=True)

    def _write(self, level: int, words: str, values: dict[str, object], exc_info: bool = False) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, "%s", words, exc_info=exc_info, extra={"drtc_values": {**self.fixed, **values}})


def start(form: Literal["text", "json"] = "text", stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Sends this process's log lines to ``stream`` (stderr). Libraries are heard from warnings on. May be repeated."""
    handler = _Handler(stream)
    handler.setFormatter(_Json() if form == "json" else _Text())
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    logging.getLogger("drtc").setLevel(level)
    logging.getLogger("kafka").setLevel(logging.CRITICAL)  # what it would say, the source says in a sentence


class _Handler(logging.StreamHandler[TextIO]):
    """Looks ``sys.stderr`` up at every line, so that a live progress line can step aside for it.

    On a terminal each line first clears what stands there: that may be the progress line of another process.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._fixed = stream
        super().__init__(stream)

    def format(self, record: logging.LogRecord) -> str:
        return ("\r\x1b[2K" if self.stream.isatty() else "") + super().format(record)

    @property
    def stream(self) -> TextIO:
        return self._fixed or sys.stderr

    @stream.setter
    def stream(self, stream: TextIO) -> None:
        pass


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        severity = f"{record.levelname.lower()}: " if record.levelno > logging.INFO else ""
        parts = [_time(record), _role(record), severity + record.getMessage()]
        parts += [f"{key}={_shown(value)}" for key, value in _values(record).items()]
        return " ".join(parts) + (f"\n{self.formatException(record.exc_info)}" if record.exc_info else "")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"time": _time(record), "level": record.levelname.lower(), "role": _role(record),
                "words": record.getMessage()}
        line |= {key: value for key, value in _values(record).items() if key not in line}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _role(record: logging.LogRecord) -> str:
    return record.name.removeprefix("drtc.")


def _values(record: logging.LogRecord) -> dict[str, Any]:
    values: dict[str, Any] = getattr(record, "drtc_values", {})
    return values


def _shown(value: object) -> str:
    text = f"{value:.3g}" if isinstance(value, float) and abs(value) < 1000 else str(value)
    return text if _BARE.fullmatch(text) else json.dumps(text, ensure_ascii=False)
