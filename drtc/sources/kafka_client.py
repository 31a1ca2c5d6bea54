"""Connecting to Kafka: the consumer's settings, waiting visibly, and the library's errors in drtc's words."""
from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from kafka import KafkaAdminClient, KafkaConsumer
from kafka import errors as kafka_errors
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import KafkaError

from ..errors import SourceError, SourceUnavailable
from .kafka_batches import install, never_create_topics, receive_much

if TYPE_CHECKING:
    from .kafka_settings import KafkaSettings

T = TypeVar("T")

LONGEST_PAUSE = 30.0  # seconds
_PASSING = (kafka_errors.RetriableError, kafka_errors.CommitFailedError, kafka_errors.RebalanceInProgressError,
            kafka_errors.IllegalGenerationError, kafka_errors.UnknownMemberIdError)


class Waiting:
    """Says what is waited for, each time with twice the pause; ``attempt`` is 0 while nothing is missing."""

    def __init__(self, warn: Callable[[str], None], closing: threading.Event) -> None:
        self.attempt = 0
        self._warn = warn
        self._closing = closing

    def tell(self, what: str) -> float:
        """Says that ``what`` is waited for; the seconds until it should be looked for again."""
        self.attempt += 1
        pause = min(2.0 ** (self.attempt - 1), LONGEST_PAUSE)
        self._warn(f"waiting for {what}, attempt {self.attempt}, next in {pause:g} s")
        return pause

    def until(self, what: str, try_it: Callable[[], T | None]) -> T | None:
        """What ``try_it`` returns once that is not None; None if the source was closed meanwhile.

        Raises:
            SourceError: what waiting cannot mend.
        """
        self.attempt = 0
        while not self._closing.is_set():
            try:
                found = try_it()
            except KafkaError as error:
                if not passing(error):
                    raise in_words(error) from error
                found = None
            if found is not None:
                self.attempt = 0
                return found
            self._closing.wait(self.tell(what))
        return None


def connect(settings: KafkaSettings, group: str, base: Path) -> tuple[Any, bool] | None:
    """A consumer, and whether it reads record batches; None if no broker answers now.

    Raises:
        KafkaError: the brokers answer, and refuse.
    """
    if not answers(settings):
        return None
    made = []

    def client(**config: Any) -> Any:
        made.append(KafkaConsumer.DEFAULT_CONFIG["kafka_client"](**config))
        receive_much(made[0])
        return made[0]

    try:
        consumer = KafkaConsumer(kafka_client=client, **_config(settings, group, base))
    except BaseException:
        for each in made:
            each.close()  # its thread would go on for ever: the consumer that could end it never came to be
        raise
    never_create_topics(consumer)
    return consumer, install(consumer)


def answers(settings: KafkaSettings) -> bool:
    """Whether any of the brokers accepts connections."""
    for address in settings.brokers:
        try:
            socket.create_connection((address.host, address.port), 1.0).close()
            return True
        except OSError:
            continue
    return False


def named(settings: KafkaSettings) -> str:
    """The brokers as in "waiting for kafka localhost:9092"."""
    return "kafka " + ", ".join(map(str, settings.brokers))


def passing(error: BaseException) -> bool:
    """Whether the library gets over it by itself, or at the next attempt."""
    return isinstance(error, _PASSING)


def in_words(error: KafkaError) -> SourceError:
    """The sentence for an error that waiting does not mend."""
    text = str(error) or type(error).__name__
    if isinstance(error, kafka_errors.FencedInstanceIdError):
        return SourceError("kafka gave our place in the group to another collector: [source] member must differ "
                           "between the collectors of a group")
    if isinstance(error, kafka_errors.AuthorizationError):
        return SourceError(f"kafka does not allow it ({text}): give the user of [source] the right to read the topic "
                           "and to use the group")
    if isinstance(error, kafka_errors.SaslAuthenticationFailedError):
        return SourceError(f"kafka refuses user and password ({text}): see user, password and mechanism in [source]")
    if isinstance(error, kafka_errors.OffsetOutOfRangeError):
        return SourceError(f"kafka has deleted messages before they were read ({text}): raise the topic's retention, "
                           "and run drtc reset to count what is left from the beginning")
    if isinstance(error, kafka_errors.LogTruncationError):
        return SourceError(f"kafka has lost messages that were read already, by an election of a leader that lacked "
                           f"them ({text}): run drtc reset to count the topic anew")
    return SourceError(f"kafka: {text}")


def forget_group(settings: KafkaSettings, group: str, base: Path) -> None:
    """Removes the group with all that it has committed; one that does not exist is passed over.

    Raises:
        SourceError: the brokers refuse, or none answers.
    """
    if not answers(settings):
        raise SourceUnavailable(f"{named(settings)} does not answer: what group {group} committed there cannot be "
                                "dropped now")
    try:
        admin = KafkaAdminClient(**_access(settings, base))
        try:
            outcome = admin.delete_groups([group])[group]  # "OK", or the name of an error
        finally:
            admin.close()
    except KafkaError as error:
        raise in_words(error) from error
    if outcome == "NonEmptyGroupError":
        raise SourceError(f"kafka keeps group {group}, for somebody reads in it: stop the job and try again")
    if outcome not in ("OK", "GroupIdNotFoundError"):
        raise SourceError(f"kafka does not drop group {group}: {outcome}")


def _config(settings: KafkaSettings, group: str, base: Path) -> dict[str, Any]:
    return {
        **_access(settings, base),
        "group_id": group,
        "group_instance_id": settings.member or None,
        "partition_assignment_strategy": (CooperativeStickyAssignor(),),
        "session_timeout_ms": round(settings.session_timeout * 1000),
        "heartbeat_interval_ms": round(min(settings.session_timeout / 3, 1.0) * 1000),  # also: how soon one must rejoin
        "enable_auto_commit": False,
        "auto_offset_reset": "none",  # an offset that is not there is a loss: said, not skipped
        "isolation_level": settings.isolation,
        "allow_auto_create_topics": False,
        "fetch_min_bytes": 1,
        "fetch_max_wait_ms": 100,  # a partition that is resumed waits for the request under way
        "fetch_max_bytes": settings.fetch_bytes,
        "max_partition_fetch_bytes": settings.partition_fetch_bytes,
        "metrics_enabled": False,
        "metadata_max_age_ms": 30000,  # a topic that is made again should not stay unnoticed for minutes
    }


def _access(settings: KafkaSettings, base: Path) -> dict[str, Any]:
    """How the brokers are reached, by whatever client."""
    config: dict[str, Any] = {
        "bootstrap_servers": [str(address) for address in settings.brokers],
        "bootstrap_timeout_ms": 3000,
        "client_id": "drtc",
        "receive_buffer_bytes": None,
        "reconnect_backoff_max_ms": 2000,
        "security_protocol": settings.security,
    }
    for key, name in (("ssl_cafile", settings.ca_file), ("ssl_certfile", settings.cert_file),
                      ("ssl_keyfile", settings.key_file)):
        if name:
            config[key] = str(base / name)
    if settings.security.startswith("SASL"):
        config |= {"sasl_mechanism": settings.mechanism, "sasl_plain_username": settings.user,
                   "sasl_plain_password": settings.password}
    return config
