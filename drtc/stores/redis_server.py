"""What a Redis server says of itself: what it keeps when it dies, and whether it throws records away by itself."""
from __future__ import annotations

from typing import Any, NamedTuple

from redis import Redis
from redis.exceptions import ResponseError

from .redis_link import Link


class Found(NamedTuple):
    survives: str  # what "stored" survives
    warnings: list[str]
    most_bytes: int  # of one argument; 0: unknown


class _Keeping(NamedTuple):
    """How well a server keeps what it has; of several the least counts."""

    grade: int
    survives: str
    warning: str = ""


_NOTHING = _Keeping(0, "nothing: results are gone with the server",
                    "the server keeps nothing on disk: set appendonly yes")
_SNAPSHOTS = _Keeping(1, "nothing newer than the server's last snapshot",
                      "what the server has saved since its last snapshot is lost when it dies: set appendonly yes")
_UNKNOWN = _Keeping(2, "what the server's appendonly and appendfsync keep")
_WRITTEN = _Keeping(3, "a killed server; a power cut but for what its system had not written (appendfsync no)")
_SECOND = _Keeping(4, "a killed server; a power cut but for the last second (appendfsync everysec)")
_ALL = _Keeping(5, "a killed server and a power cut")


def look(link: Link) -> Found:
    """Asks every server that has keys. What one does not tell, to this user, is not known.

    Raises:
        StoreUnavailable, StoreError: as every question.
    """
    keepings, warnings, most = [], [], []
    for server in link.servers():
        with link.translated():
            told = _told(server)
        where = f"{server.connection_pool.connection_kwargs.get('host', '')}:{told.get('tcp_port', '')}"
        policy = told.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            warnings.append(f"{where}: with maxmemory-policy {policy} the server may remove records when its memory is"
                            " full: set noeviction")
        keeping = _keeping(told)
        if keeping.warning:
            warnings.append(f"{where}: {keeping.warning}")
        keepings.append(keeping)
        most.append(int(told.get("proto-max-bulk-len", 0)))
    return Found(min(keepings).survives, warnings, min(most))


def _told(server: Redis) -> dict[str, Any]:
    """INFO, and those of the CONFIG that matter; empty where this user may not ask."""
    told: dict[str, Any] = {}
    ask: Any = server.execute_command
    for words in (("INFO",), *(("CONFIG GET", name) for name in ("appendfsync", "save", "proto-max-bulk-len"))):
        try:
            told |= ask(*words)
        except ResponseError:  # no permission; renamed or not there, as hosted servers have it
            pass
    return told


def _keeping(told: dict[str, Any]) -> _Keeping:
    if "aof_enabled" not in told:
        return _UNKNOWN
    if told["aof_enabled"]:
        return {"always": _ALL, "everysec": _SECOND, "no": _WRITTEN}.get(told.get("appendfsync", ""), _UNKNOWN)
    if "save" not in told:
        return _UNKNOWN
    return _SNAPSHOTS if told["save"] else _NOTHING
