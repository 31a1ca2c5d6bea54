"""How a setting's text becomes a typed value, and back: sizes, durations, addresses, lists, words.

The same phrase that says what a type accepts stands in the error and in docs/configuration.md.
"""
from __future__ import annotations

import re
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

import msgspec

Bytes = Annotated[int, msgspec.Meta(extra={"unit": "bytes"})]
Seconds = Annotated[float, msgspec.Meta(extra={"unit": "seconds"})]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Natural = Annotated[int, msgspec.Meta(ge=0)]

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([KMGT])(?:i?B)?|B)?", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*(us|ms|s|min|h|d)?")
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_WORDS = {"yes": True, "on": True, "true": True, "1": True, "no": False, "off": False, "false": False, "0": False}


class Address(NamedTuple):
    """Where something listens. Port 0 means: any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse(text: str, hint: Any) -> Any:
    """The value that ``text`` stands for.

    Raises:
        ValueError: the sentence's end, "must be a size such as 64K, 256M or 20G, not 'big'".
    """
    try:
        return msgspec.convert(_plain(text.strip(), hint), hint, strict=False)
    except (ValueError, OverflowError):  # msgspec.ValidationError is a ValueError
        raise ValueError(f"must be {describe(hint)}, not {text!r}") from None


def parse_size(text: str) -> int:
    """Bytes; K, M, G and T are powers of 1024."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError(text)
    number, unit = found.groups()
    power = " KMGT".index(unit.upper()) if unit else 0
    return round(float(number) * float(1024 ** power))


def parse_duration(text: str) -> float:
    """Seconds; a number without a unit is seconds already."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(text)
    number, unit = found.groups()
    return float(number) * _UNITS[unit or "s"]


def parse_address(text: str) -> Address:
    """``host:port``, or ``[host]:port`` where the host is an IPv6 address."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(text)
    if not (host and colon and port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError(text)
    return Address(host, int(port))


def show(value: Any, hint: Any) -> str:
    """The text that ``parse`` would turn into ``value`` again."""
    hint = _present(hint)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Address) or isinstance(value, str):
        return str(value)
    if isinstance(value, (tuple, list)):
        return ", ".join(show(item, _item(hint)) for item in value)
    if _unit(hint) == "bytes":
        return show_size(value)
    if _unit(hint) == "seconds" or isinstance(value, float):
        return f"{value:g}s" if value >= 1 or not value else f"{value * 1000:g}ms"
    return str(value)


def show_size(size: int) -> str:
    """The shortest exact text: 256M, 1536K, 1000."""
    power = 0
    while size and size % 1024 == 0 and power < 4:
        size //= 1024
        power += 1
    return f"{size}{' KMGT'[power].strip()}"


def describe(hint: Any) -> str:
    """What a setting of this type accepts, as in "must be ..."."""
    hint = _present(hint)
    origin = get_origin(hint)
    if origin is Literal:
        return listed([str(choice) for choice in get_args(hint)], "or")
    if origin in (tuple, list):
        return f"{describe(_item(hint))}, or several separated by commas"
    if hint is Address:
        return "an address host:port"
    if _unit(hint) == "bytes":
        return "a size such as 64K, 256M or 20G" + _least(hint, show_size)
    kind = _bare(hint)
    if kind is float:
        return "a duration such as 5s, 100ms or 2min" + _least(hint, lambda least: f"{least:g}s")
    if kind is int:
        return "a whole number" + _least(hint, str)
    if kind is bool:
        return "yes or no"
    return "text"


def listed(words: list[str], last: str) -> str:
    """``a, b or c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def _plain(text: str, hint: Any) -> Any:
    """What msgspec needs to convert ``text``: only what it cannot read by itself is read here."""
    if not text and type(None) in get_args(hint):
        return None
    hint = _present(hint)
    origin = get_origin(hint)
    if origin in (tuple, list):
        return [_plain(part.strip(), _item(hint)) for part in re.split(r"[,\n]", text) if part.strip()]
    if hint is Address:
        return parse_address(text)
    if _unit(hint) == "bytes":
        return parse_size(text)
    kind = _bare(hint)
    if kind is float:
        return parse_duration(text)
    if kind is bool:
        return _WORDS.get(text.lower(), text)
    return text


def _present(hint: Any) -> Any:
    """``X`` for ``X | None``, and any other type as it is."""
    if get_origin(hint) in (Union, UnionType):
        present = [choice for choice in get_args(hint) if choice is not type(None)]
        return present[0] if len(present) == 1 else hint
    return hint


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _item(hint: Any) -> Any:
    return (get_args(hint) or (str,))[0]


def _metas(hint: Any) -> list[msgspec.Meta]:
    if get_origin(hint) is not Annotated:
        return []
    return [meta for meta in get_args(hint)[1:] if isinstance(meta, msgspec.Meta)]


def _unit(hint: Any) -> str:
    return next((meta.extra["unit"] for meta in _metas(hint) if meta.extra and "unit" in meta.extra), "")


def _least(hint: Any, text: Any) -> str:
    for meta in _metas(hint):
        if meta.ge is not None:
            return f", at least {text(meta.ge)}"
        if meta.gt is not None:
            return f", more than {text(meta.gt)}"
    return ""
