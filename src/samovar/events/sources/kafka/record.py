"""Records of Apache Kafka in the form that functions get them in. Pure.

https://docs.aws.amazon.com/lambda/latest/dg/with-kafka.html#smaa-sample-event
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from samovar.events.records import iso_time
from samovar.events.sources.record import Envelope, Record
from samovar.events.sources.signed_bytes import signed_bytes

LOG_APPEND_TIME = 1
"""Kafka's code of a timestamp that the broker has set, and not the producer."""


class KafkaMessage(Protocol):
    """What is used of aiokafka's `ConsumerRecord`."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    """Milliseconds since the epoch; negative: none."""
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


def record_id(topic_partition: str, offset: int) -> str:
    """What `batchItemFailures` comes to: it names a record by `{"partition": "topic-0",
    "offset": 15}`. No topic has a slash in its name."""
    return f"{topic_partition}/{offset}"


def offset_of(record: Record) -> int:
    """The other way round."""
    return int(record.id.rpartition("/")[2])


def record_of(message: KafkaMessage, max_bytes: int) -> Record | None:
    """A message as a record; None where that has more than so many bytes. A message without a key
    or a value has no such field."""
    if _least_bytes(message) > max_bytes:
        return None
    shard, seen = _shard(message), _seen(message)
    headers = [
        {name: [] if content is None else signed_bytes(content)}
        for name, content in message.headers
    ]
    contents = {"key": message.key, "value": message.value}
    fields = dict(seen)
    for name, content in contents.items():
        if content is not None:
            fields[name] = base64.b64encode(content).decode()
    shown = msgspec.json.encode(fields | {"headers": headers})
    if len(shown) > max_bytes:
        return None
    return Record(
        id=record_id(shard, message.offset),
        json=shown,
        seen=seen,
        contents=contents,
        shard=shard,
        arrived_at=_arrived_at(message),
    )


def stub_of(message: KafkaMessage) -> Record:
    """A message of which there is only told where it is."""
    shard = _shard(message)
    shown = msgspec.json.encode(_seen(message))
    return Record(
        record_id(shard, message.offset), shown, shard=shard, arrived_at=_arrived_at(message)
    )


def _shard(message: KafkaMessage) -> str:
    return f"{message.topic}-{message.partition}"


def _arrived_at(message: KafkaMessage) -> float | None:
    return message.timestamp / 1000 if message.timestamp >= 0 else None


def _seen(message: KafkaMessage) -> dict[str, Any]:
    return {
        "topic": message.topic,
        "partition": message.partition,
        "offset": message.offset,
        "timestamp": message.timestamp,
        "timestampType": (
            "LOG_APPEND_TIME" if message.timestamp_type == LOG_APPEND_TIME else "CREATE_TIME"
        ),
    }


def _least_bytes(message: KafkaMessage) -> int:
    """How many it has in JSON, at least: base64 makes four bytes of three, a header's byte has a
    comma."""
    contents = len(message.key or b"") + len(message.value or b"")
    return contents * 4 // 3 + sum(2 * len(content or b"") for _, content in message.headers)


def envelope_of(bootstrap_servers: Sequence[str]) -> Envelope:
    """The event of a cluster: its records by topic and partition."""
    head = {"eventSource": "SelfManagedKafka", "bootstrapServers": ",".join(bootstrap_servers)}
    start = msgspec.json.encode(head)[:-1] + b',"records":{'

    def envelope(records: Sequence[Record]) -> bytes:
        by_shard: dict[str, list[bytes]] = {}
        for record in records:
            by_shard.setdefault(record.shard, []).append(record.json)
        parts = (
            msgspec.json.encode(shard) + b":[" + b",".join(shown) + b"]"
            for shard, shown in by_shard.items()
        )
        return start + b",".join(parts) + b"}}"

    return envelope


def batch_details(
    records: Sequence[Record], bootstrap_servers: Sequence[str], envelope: Envelope
) -> dict[str, Any]:
    """What an on-failure destination is told of records: where to find them.
    https://docs.aws.amazon.com/lambda/latest/dg/kafka-on-failure.html"""
    by_shard: dict[str, list[Record]] = {}
    for record in records:
        by_shard.setdefault(record.shard, []).append(record)
    return {
        "batchSize": len(records),
        "bootstrapServers": ",".join(bootstrap_servers),
        "payloadSize": len(envelope(records)),
        "recordsInfo": {
            shard: {
                "firstRecordOffset": str(offset_of(those[0])),
                "lastRecordOffset": str(offset_of(those[-1])),
                "firstRecordTimestamp": _moment(those[0]),
                "lastRecordTimestamp": _moment(those[-1]),
            }
            for shard, those in by_shard.items()
        },
    }


def _moment(record: Record) -> str | None:
    return None if record.arrived_at is None else iso_time(record.arrived_at)
