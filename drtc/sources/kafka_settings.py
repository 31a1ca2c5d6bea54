"""``[source] type = kafka``: its settings."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec

from ..values import Address, Bytes, Seconds

MiB = 1024 * 1024
_TOPIC_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """`type = kafka`: a topic, read as record batches; offsets and notes are committed to Kafka."""

    #: addresses of the cluster to begin with; one that answers is enough
    brokers: tuple[Address, ...]
    #: the topic; drtc waits for it to exist and never creates it
    topic: str
    #: the consumer group; empty: the view's name. Collectors of one group share the partitions
    group: str = ""
    #: where a partition begins of which nothing is committed
    start: Literal["earliest", "latest"] = "earliest"
    #: most bytes that one answer of a broker may hold
    fetch_bytes: Annotated[Bytes, msgspec.Meta(ge=1)] = 16 * MiB
    #: most bytes of one partition in it; a larger record batch comes all the same
    partition_fetch_bytes: Annotated[Bytes, msgspec.Meta(ge=1)] = 4 * MiB
    #: whether messages of open and aborted transactions are left out
    isolation: Literal["read_committed", "read_uncommitted"] = "read_committed"
    #: a collector that was not heard of for so long loses its partitions to the others of its group
    session_timeout: Annotated[Seconds, msgspec.Meta(gt=0)] = 10.0
    #: a name that this collector alone has in its group: restarted within the session timeout it gets its partitions
    #: back at once (Kafka's static membership); empty: none
    member: str = ""
    #: how brokers are spoken to
    security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    #: how the user proves to be who he is
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    #: the user
    user: str = ""
    #: his password; better set as DRTC_SOURCE_PASSWORD
    password: str = field(default="", repr=False)
    #: PEM file with the authorities that may have signed a broker's certificate; empty: the system's
    ca_file: str = ""
    #: PEM file with our own certificate
    cert_file: str = ""
    #: PEM file with its key
    key_file: str = ""

    def __post_init__(self) -> None:
        if not self.brokers:
            raise ValueError("brokers: must name at least one address host:port")
        if not self.topic or len(self.topic) > 249 or not set(self.topic) <= _TOPIC_LETTERS:
            raise ValueError("topic: must be one topic's name: letters, digits, '.', '_' and '-', at most 249")
        if self.security.startswith("SASL") and not self.user:
            raise ValueError(f"user: {self.security} needs a user and a password")
