"""Faults of what drtc leans on: ZooKeeper, Kafka, the store."""
from __future__ import annotations

import random
import sqlite3
from typing import TYPE_CHECKING

from drtc.sources.kafka import PATIENCE

from .fault import Fault

if TYPE_CHECKING:
    from ..services.zookeeper import ZooKeeper
    from .life import Life, Times

AWAY, LOST = "membership waits", "zookeeper session lost"


class OfZooKeeper(Fault):
    """Needs a life with ZooKeeper."""

    @staticmethod
    def of(life: Life) -> ZooKeeper:
        assert life.zookeeper is not None, "this life does without ZooKeeper"
        return life.zookeeper


class ZooKeeperKilled(OfZooKeeper):
    name = "zookeeper-killed"
    told = "ZooKeeper killed, started again after {minute:g} s"

    def lasts(self, times: Times) -> float:
        return times.minute

    def strike(self, life: Life, dice: random.Random) -> str:
        self.of(life).kill()
        return AWAY

    def heal(self, life: Life) -> None:
        self.of(life).start()


class ZooKeeperExpired(OfZooKeeper):
    name = "zookeeper-expired"
    told = "a role's ZooKeeper session expired by the server"

    def strike(self, life: Life, dice: random.Random) -> str:
        seat = dice.choice(life.crew.of("coordinator") + life.crew.of("compute"))
        session = self.of(life).owner(f"/{life.cluster}/{seat.role}/{seat.name}")
        assert session, f"{seat.name} is not registered"
        self.of(life).expire(session)
        return LOST


class ZooKeeperWiped(OfZooKeeper):
    name = "zookeeper-wiped"
    told = "ZooKeeper killed and started with an empty data directory"

    def strike(self, life: Life, dice: random.Random) -> str:
        self.of(life).wipe()
        return LOST


class KafkaRestarted(Fault):
    name = "kafka-restarted"
    told = "the Kafka broker killed (or stopped), and started again"

    def lasts(self, times: Times) -> float:
        return PATIENCE + 2  # a commit may wait for so long, and where the broker is back by then nobody has to notice

    def strike(self, life: Life, dice: random.Random) -> str:
        if dice.random() < 0.5:
            life.kafka.kill()
        else:
            life.kafka.stop()
        return "source waits"

    def heal(self, life: Life) -> None:
        life.kafka.start()


class StoreLocked(Fault):
    """Nothing can be written: somebody else holds SQLite's write lock."""

    name = "store-unavailable"
    told = "the store takes nothing for {minute:g} s: SQLite's write lock is held from outside"

    def __init__(self) -> None:
        self._connection: sqlite3.Connection | None = None

    def lasts(self, times: Times) -> float:
        return times.minute

    def strike(self, life: Life, dice: random.Random) -> str:
        self._connection = sqlite3.connect(life.store, timeout=30, isolation_level=None)
        self._connection.execute("BEGIN IMMEDIATE")
        return "store waits"

    def heal(self, life: Life) -> None:
        if self._connection is not None:
            self._connection.close()  # rolls back
            self._connection = None


FAULTS: list[Fault] = [ZooKeeperKilled(), ZooKeeperExpired(), ZooKeeperWiped(), KafkaRestarted(), StoreLocked()]
