"""Faults of the links between roles, by the proxies that every one of them goes through."""
from __future__ import annotations

import random
from typing import TYPE_CHECKING

from .fault import LINKS, Fault
from .proxy import Proxy

if TYPE_CHECKING:
    from .life import Life, Times

LATENCY, LOSS = 0.2, 0.05
LOST = r"link lost .*node={name}\b"


class LinkFault(Fault):
    """Concerns the links to one coordinator or compute node."""

    stage = LINKS

    def __init__(self) -> None:
        self.proxy: Proxy | None = None

    def choose(self, life: Life, dice: random.Random) -> str:
        seat = dice.choice(life.crew.of("coordinator") + life.crew.of("compute"))
        self.proxy = life.proxies[seat.name]
        return seat.name


class Cut(LinkFault):
    name = "link-cut"
    told = "a link cut in the middle of a frame"

    def strike(self, life: Life, dice: random.Random) -> str:
        name = self.choose(life, dice)
        assert self.proxy is not None
        self.proxy.cut_one()
        return LOST.format(name=name)


class Slow(LinkFault):
    name = "link-slow"
    told = "links delayed by 200 ms each way with 5 % loss, for {stop:g} s"

    def lasts(self, times: Times) -> float:
        return times.stop

    def strike(self, life: Life, dice: random.Random) -> str:
        self.choose(life, dice)
        assert self.proxy is not None
        self.proxy.latency, self.proxy.loss = LATENCY, LOSS
        return ""

    def heal(self, life: Life) -> None:
        if self.proxy is not None:
            self.proxy.latency = self.proxy.loss = 0.0


class HalfOpen(LinkFault):
    name = "link-half-open"
    told = "links half-open: nothing gets through for {stop:g} s, new connections included, and nobody is told"

    def lasts(self, times: Times) -> float:
        return times.stop

    def strike(self, life: Life, dice: random.Random) -> str:
        name = self.choose(life, dice)
        assert self.proxy is not None
        self.proxy.hush()
        return LOST.format(name=name)

    def heal(self, life: Life) -> None:
        if self.proxy is not None:
            self.proxy.silent = False


FAULTS: list[Fault] = [Cut(), Slow(), HalfOpen()]
