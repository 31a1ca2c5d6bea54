"""kafka-python at the level of record batches: all that reaches behind its public interface stands here.

The fetcher's class attribute ``PartitionRecords`` makes records out of a fetched buffer; ours makes runs of whole
record batches, still compressed. Groups, rebalances, retries and commits stay the library's.
"""
from __future__ import annotations

import inspect
from typing import Any, Iterator, NamedTuple

from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError, KafkaConnectionError
from kafka.net.transport import KafkaTCPTransport
from kafka.protocol.consumer import IsolationLevel
from kafka.record import MemoryRecords

from ..encodings.kafka import Span, magic, scan

#: a run of record batches is ended at about this size, or at this many messages where they are compressed very well
RUN_BYTES = 1024 * 1024
RUN_RECORDS = 20_000
#: bytes asked of a socket at once, where the library asks for 4096 and spends a third of its time on that
RECEIVE_BYTES = 256 * 1024

_PARAMETERS = {"fetch_offset", "tp", "records", "isolation_level", "aborted_transactions", "on_drain"}
_METHODS = ("_unpack_records", "_maybe_skip_record", "_consume_aborted_transactions_up_to", "take", "drain")


class Run(NamedTuple):
    """Consecutive record batches of a partition, or none: then only a place in it that has been passed."""

    last: int  # offset, past any control batches, aborted transactions and gaps behind the payload's last message
    records: int  # as the batches' heads say
    payload: memoryview


def install(consumer: Any) -> bool:
    """Makes ``consumer.poll`` return runs instead of records; False, and nothing is changed, where the version of
    kafka-python at hand does not fit."""
    fetcher = getattr(consumer, "_fetcher", None)
    if fetcher is None or not fits(getattr(fetcher, "PartitionRecords", None), MemoryRecords):
        return False
    fetcher.PartitionRecords = _RunsOfPartition
    return True


def fits(partition_records: Any, memory_records: Any) -> bool:
    """Whether these classes are made as the ones that ours stands in for."""
    if not inspect.isclass(partition_records) or not hasattr(memory_records, "_buffer"):
        return False
    has = set(inspect.signature(partition_records.__init__).parameters)
    return _PARAMETERS <= has and all(callable(getattr(partition_records, name, None)) for name in _METHODS)


def receive_much(client: Any) -> None:
    """Makes the client's connections read their sockets in big pieces; nothing is changed where that does not fit."""
    owner = getattr(client, "_manager", None)
    build = getattr(owner, "_build_transport", None)
    if not inspect.iscoroutinefunction(build) or not hasattr(KafkaTCPTransport, "_sock_recv"):
        return

    async def built(*arguments: Any, **named: Any) -> Any:
        transport = await build(*arguments, **named)
        if type(transport) is KafkaTCPTransport:  # TLS has pieces of its own
            transport.__class__ = _Wide
        return transport

    setattr(owner, "_build_transport", built)


def never_create_topics(consumer: Any) -> None:
    """kafka-python 3.0 does not hand ``allow_auto_create_topics`` on: asking for a topic would make it."""
    config = getattr(getattr(consumer, "_cluster", None), "config", None)
    if isinstance(config, dict):
        config["allow_auto_create_topics"] = False


def topic_id(consumer: Any, topic: str) -> str:
    """The topic's id as Kafka prints it, shortened to six characters; "" where the broker gives none."""
    from base64 import urlsafe_b64encode

    known = getattr(getattr(consumer, "_cluster", None), "topic_id", None)
    found = known(topic) if known else None
    return urlsafe_b64encode(found.bytes).decode()[:6] if found is not None and found.int else ""


class _Wide(KafkaTCPTransport):  # type: ignore[misc]
    def _sock_recv(self) -> tuple[bytes, Exception | None]:
        pieces = []
        try:
            while piece := self._sock.recv(RECEIVE_BYTES):
                pieces.append(piece)
                if len(piece) < RECEIVE_BYTES:
                    break
            else:
                return b"".join(pieces), KafkaConnectionError("socket disconnected")
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            return b"".join(pieces), KafkaConnectionError(error)
        return b"".join(pieces), None


class _RunsOfPartition(getattr(Fetcher, "PartitionRecords", object)):  # type: ignore[misc]
    """What one fetch brought of one partition, as runs. Sets ``next_fetch_offset`` as the library's own does."""

    def _maybe_skip_record(self, record: object) -> bool:
        return False  # a batch may begin before the offset asked for: who unpacks it leaves those messages out

    def _unpack_records(self, tp: Any, records: Any, *deserializers: Any) -> Iterator[Any]:
        buffer = bytes(records._buffer)
        spans = scan(buffer)
        end = spans[-1].end if spans else 0
        for run in self._runs(buffer, spans):
            self.next_fetch_offset = run.last + 1
            self.bytes_read += len(run.payload)  # a partition that gave bytes goes behind those that did not
            self.records_read += run.records
            yield run
        form = magic(buffer, end)
        if form in (0, 1):
            yield from super()._unpack_records(tp, MemoryRecords(buffer[end:]), *deserializers)
            return
        if form >= 0 and not spans:
            raise CorruptRecordError(f"what begins at offset {self.next_fetch_offset} is not a record batch that this "
                                     "version of drtc can read")
        self.drain()

    def _runs(self, buffer: bytes, spans: list[Span]) -> Iterator[Run]:
        view = memoryview(buffer)
        start = end = count = 0
        last = self.fetch_offset - 1
        for span in spans:
            wanted = self._wanted(span)
            if span.control:  # holds no message, but may stand between: cutting there would cut at every transaction
                end = span.end if start < end == span.start else end
            elif wanted:
                if start < end and (span.start != end or span.end - start > RUN_BYTES
                                    or count + span.records > RUN_RECORDS):
                    yield Run(last, count, view[start:end])
                    start = end
                    count = 0
                start = span.start if start == end else start
                end = span.end
                count += span.records
            last = max(last, span.last)
        if start < end or last >= self.fetch_offset:
            yield Run(last, count, view[start:end])

    def _wanted(self, span: Span) -> bool:
        """Whether the batch's messages count. A producer's aborted transaction goes up to its next marker."""
        if span.producer < 0 or self.isolation_level != IsolationLevel.READ_COMMITTED:
            return True
        self._consume_aborted_transactions_up_to(span.last)
        if span.control:
            self.aborted_producer_ids.discard(span.producer)
        return not (span.transactional and span.producer in self.aborted_producer_ids)
