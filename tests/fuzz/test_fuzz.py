"""The short form of ``python -m tests.fuzz``, and proof that it would find what it looks for."""
from __future__ import annotations

import asyncio
import logging
import random
from typing import Any, Iterator

import pytest

from drtc.wire import connection, frames, messages, peer

from .fuzz_frames import Finding, run


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def fuzz(inputs: int, seed: int, only: str = "") -> dict[str, Any]:
    print(f"python -m tests.fuzz --inputs {inputs} --seed {seed} --only {only}")
    return asyncio.run(run(inputs, seed, print, only))


def test_nothing_is_found() -> None:
    assert fuzz(30_000, random.SystemRandom().randrange(10 ** 6))["inputs"] == 30_000


def no_limit(head: Any, max_payload: int, max_header: int = 0) -> tuple[int, int, int]:
    return REAL_HEAD(head, 1 << 40, max_header or frames.MAX_HEADER)


def no_greeting_limit(head: Any, max_payload: int, max_header: int = 0) -> tuple[int, int, int]:
    return REAL_HEAD(head, max_payload, frames.MAX_HEADER)


def not_caught(kind: int, header: Any) -> Any:
    return frames._DECODERS[kind].decode(header)


REAL_HEAD = frames.parse_head

BREAKS: dict[str, tuple[Any, str, Any, str]] = {
    "payloads without a limit": (connection, "parse_head", no_limit, "stream"),
    "strangers' headers without a limit": (frames, "_LIMIT", dict.fromkeys(frames._LIMIT, 1 << 30), "stranger"),
    "a malformed header": (connection, "parse_header", not_caught, "stream"),
    "any proof": (peer, "same", lambda proof, expected: True, "stranger"),
    "any welcome": (peer, "same", lambda proof, expected: True, "impostor"),
    "a proof without sides and nonces": (peer, "prove", lambda secret, *others: b"", "stranger"),
    "any frame of any role": (peer, "SAYS", dict.fromkeys(messages.SAYS, frozenset(messages.KINDS.values())), "member"),
    "words that a terminal obeys": (frames, "legible", lambda words: words, "decoder"),
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_limit_that_is_taken_away_is_found(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, name, broken, target = BREAKS[what]
    if what == "strangers' headers without a limit":
        monkeypatch.setattr(connection, "parse_head", no_greeting_limit)
    else:
        monkeypatch.setattr(where, name, broken)
    with pytest.raises(Finding, match=f"{target}, input "):
        fuzz(60_000, 1, target)


def test_an_input_can_be_repeated() -> None:
    assert fuzz(300, 7)["bytes"] == fuzz(300, 7)["bytes"] != fuzz(300, 8)["bytes"]
