"""A real Kafka broker for the tests: KRaft, one node, on loopback.

In a test, the session's fixture of conftest.py, started by the first test that asks for it::

    def test_it(kafka):
        topic = kafka.create_topic(kafka.fresh("clicks"), partitions=2)
        kafka.produce(topic, [b"one", (b"key", b"two")], compression="zstd")
        source = KafkaSource(brokers=kafka.address, topic=topic, ...)
        kafka.stop(); kafka.start()             # the same port, the same content
        assert kafka.committed("group", topic) == {0: (2, "the note")}

In a script: ``with Kafka() as kafka: ...``. From a shell, first: ``python -m tests.services install kafka``.
Topics are never made by asking for them (no auto-create). ``DRTC_TEST_KAFKA=host:port`` uses that broker instead.
The client is confluent-kafka, so that the tests do not check drtc's driver with drtc's driver.
"""
from __future__ import annotations

import random
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Iterable, Mapping, Sequence, Tuple, Union

from . import maven
from .base import Broken, await_true, free_port
from .maven import MavenService

if TYPE_CHECKING:
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient

VERSION = "4.4.0"
COORDINATES = (f"org.apache.kafka:kafka_2.13:{VERSION}", "org.slf4j:slf4j-simple:1.7.36")
WITHOUT = ("org.apache.kafka:kafka-tools-api",)  # named by the broker's pom, in no repository, and not needed

Message = Union[bytes, None, Tuple[Union[bytes, None], Union[bytes, None]]]  # a value, or (key, value)

SETTINGS = """\
node.id=1
process.roles=broker,controller
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
controller.quorum.voters=1@127.0.0.1:{controller}
log.dirs={directory}/logs
auto.create.topics.enable=false
default.replication.factor=1
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
broker.heartbeat.interval.ms=250
broker.session.timeout.ms=2000
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=500
log.initial.task.delay.ms=500
log.cleaner.backoff.ms=200
log.retention.check.interval.ms=1000
"""
LOGGING = """\
status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %p %c{1}: %m%n
rootLogger.level = WARN
rootLogger.appenderRef.console.ref = console
"""


class Kafka(MavenService):
    """One broker. Compaction and retention look every 0.2 and 1 s, groups rebalance at once, sessions may be 0.5 s."""

    name = "kafka"
    version, coordinates = VERSION, COORDINATES
    without = WITHOUT

    def __init__(self, heap: str = "1g") -> None:
        super().__init__()
        self._heap = heap
        self._controller = 0
        self._admin: AdminClient | None = None

    def argv(self, directory: Path) -> Sequence[str]:
        jars = self.jars()
        java = [maven.java(), "-cp", f"{jars}/*", f"-Dlog4j2.configurationFile={directory}/log4j2.properties"]
        settings = directory / "server.properties"
        if not settings.exists():
            self._controller = free_port()
            (directory / "log4j2.properties").write_text(LOGGING)
            settings.write_text(SETTINGS.format(port=self.port, controller=self._controller, directory=directory))
            self._format(java, settings)
        return [*java, f"-Xmx{self._heap}", "kafka.Kafka", str(settings)]

    def _format(self, java: Sequence[str], settings: Path) -> None:
        command = [*java, "-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool", "format", "--cluster-id",
                   "drtc-tests-0123456789A", "--config", str(settings)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            settings.unlink()
            raise Broken(f"kafka could not format its storage: {done.stdout[-1000:]}{done.stderr[-1000:]}")

    def answers(self) -> bool:
        from confluent_kafka import KafkaException

        if not self.listens():
            return False
        try:
            found = self.admin().list_topics(timeout=2)
        except KafkaException:
            return False
        return bool(found.brokers) and all(_led(topic) for topic in found.topics.values())

    def close(self) -> None:
        self._admin = None
        super().close()

    def admin(self) -> AdminClient:
        """confluent-kafka's AdminClient, for what is not here."""
        if self._admin is None:
            from confluent_kafka.admin import AdminClient

            self._admin = AdminClient({**self._client(), "reconnect.backoff.max.ms": 200})
        return self._admin

    def producer(self, config: Mapping[str, Any] | None = None) -> Producer:
        """confluent-kafka's Producer for what ``produce`` does not do. It keeps the order and never repeats a
        message: what is not acknowledged at once has failed. (Idempotence would cost half a second for each.)"""
        from confluent_kafka import Producer

        return Producer({**self._client(), "message.send.max.retries": 0, "max.in.flight": 1, "linger.ms": 5,
                         "queue.buffering.max.messages": 1_000_000, **(config or {})})

    def fresh(self, name: str) -> str:
        """A topic or group name that no other test has."""
        return f"{name}-{random.SystemRandom().getrandbits(40):010x}"

    def create_topic(self, name: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        """Makes a topic, returns its name. ``config`` as of the broker: ``{"cleanup.policy": "compact"}``."""
        from confluent_kafka.admin import NewTopic

        topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(config or {}))
        self.admin().create_topics([topic])[name].result(30)
        self._await_topic(name, partitions)
        return name

    def _await_topic(self, name: str, partitions: int) -> None:
        """Every partition has a leader: the controller knows a topic before its broker does."""
        def led() -> bool:
            topic = self.admin().list_topics(timeout=10).topics.get(name)
            return topic is not None and len(topic.partitions) == partitions and _led(topic)

        await_true(led, 30, f"topic {name}")

    def delete_topic(self, name: str) -> None:
        """Removes a topic; made again under the same name, it starts at offset 0 with another id."""
        self.admin().delete_topics([name])[name].result(30)
        await_true(lambda: name not in self.admin().list_topics(timeout=10).topics, 30, f"the end of topic {name}")

    def delete_records(self, topic: str, before: Mapping[int, int]) -> None:
        """Moves the start of partitions up, as retention does: ``{partition: first offset that stays}``."""
        from confluent_kafka import TopicPartition

        asked = [TopicPartition(topic, partition, offset) for partition, offset in before.items()]
        for future in self.admin().delete_records(asked).values():
            future.result(30)

    def produce(self, topic: str, messages: Iterable[Message], partition: int = -1, compression: str = "none",
                config: Mapping[str, Any] | None = None) -> None:
        """Writes messages and returns once every one is acknowledged.

        ``partition`` -1 lets the key decide, or scatters those without. In one partition, order is kept.
        ``config`` holds more of librdkafka's settings (``{"batch.num.messages": 10}`` forces small record batches).
        """
        producer = self.producer({"compression.type": compression, **(config or {})})
        failures: list[object] = []
        self._send(producer, topic, messages, partition, failures)
        producer.flush()
        if failures:
            raise Broken(f"{len(failures)} messages for topic {topic} were refused, the first with {failures[0]}")

    def produce_transactions(self, topic: str, transactions: Iterable[Sequence[Message]],
                             aborts: Callable[[int], bool], partition: int = -1, compression: str = "none") -> None:
        """Writes each sequence in a transaction of its own; number n (from 0) is aborted where ``aborts(n)``."""
        producer = self.producer({"compression.type": compression, "transactional.id": self.fresh("transactions"),
                                  "message.send.max.retries": 1_000, "max.in.flight": 5})
        producer.init_transactions(30)
        for number, messages in enumerate(transactions):
            producer.begin_transaction()
            failures: list[object] = []
            self._send(producer, topic, messages, partition, failures)
            producer.flush()  # aborted records, too, must have reached the log
            if failures:
                raise Broken(f"transaction {number} for topic {topic} was refused with {failures[0]}")
            if aborts(number):
                producer.abort_transaction(30)
            else:
                producer.commit_transaction(30)

    @staticmethod
    def _send(producer: Producer, topic: str, messages: Iterable[Message], partition: int,
              failures: list[object]) -> None:
        def answered(error: object, message: object) -> None:
            if error is not None:
                failures.append(error)

        for message in messages:
            key, value = message if isinstance(message, tuple) else (None, message)
            while True:
                try:
                    producer.produce(topic, value, key, partition, on_delivery=answered)
                    break
                except BufferError:  # the local queue is full
                    producer.poll(0.1)
            producer.poll(0)

    def ends(self, topic: str) -> dict[int, int]:
        """The offset after the last message of each partition (the high watermark)."""
        from confluent_kafka import TopicPartition
        from confluent_kafka.admin import OffsetSpec

        partitions = self.admin().list_topics(topic, timeout=10).topics[topic].partitions
        asked = {TopicPartition(topic, partition): OffsetSpec.latest() for partition in partitions}
        return {place.partition: future.result(10).offset
                for place, future in self.admin().list_offsets(asked).items()}

    def committed(self, group: str, topic: str) -> dict[int, tuple[int, str]]:
        """What a group has committed: ``{partition: (offset, metadata)}``; partitions without are left out."""
        from confluent_kafka import ConsumerGroupTopicPartitions

        (future,) = self.admin().list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]).values()
        return {place.partition: (place.offset, place.metadata or "")
                for place in future.result(10).topic_partitions if place.topic == topic and place.offset >= 0}

    def _client(self) -> dict[str, Any]:
        return {"bootstrap.servers": self.address, "log_level": 0}


def _led(topic: Any) -> bool:
    """Whether every partition of a topic (confluent-kafka's TopicMetadata) has a leader."""
    return all(partition.leader >= 0 for partition in topic.partitions.values())
