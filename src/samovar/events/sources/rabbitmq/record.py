"""Messages of RabbitMQ in the form that functions get them in. Pure.

https://docs.aws.amazon.com/lambda/latest/dg/with-mq.html: every property is there, `null` where the
message has none; texts among the headers are objects with their bytes, numbers are numbers, times
are written as Java's `DateFormat` writes them in English.
"""

from __future__ import annotations

import base64
import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec

from samovar.events.sources.record import Envelope, Record
from samovar.events.sources.signed_bytes import signed_bytes

MAX_DEPTH = 32
"""Of tables and lists among the headers; what lies deeper is left out."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message, as the broker has handed it out."""

    tag: int
    """What it is acknowledged by."""
    redelivered: bool
    properties: Any
    """pamqp's `Basic.Properties`."""
    body: bytes


def record_of(queue: str, virtual_host: str, delivery: Delivery, max_bytes: int) -> Record | None:
    """A message as a record; None where that has more than so many bytes."""
    body = delivery.body
    if len(body) * 4 // 3 > max_bytes:  # in base64
        return None
    basic = _basic_properties(delivery.properties, len(body))
    shown = msgspec.json.encode(
        {
            "basicProperties": basic,
            "redelivered": delivery.redelivered,
            "data": base64.b64encode(body).decode(),
        }
    )
    if len(shown) > max_bytes:
        return None
    return Record(
        id=str(delivery.tag),
        json=shown,
        seen={"basicProperties": basic, "redelivered": delivery.redelivered},
        contents={"data": body},
        shard=f"{queue}::{virtual_host}",
    )


def envelope_of(broker_arn: str) -> Envelope:
    """The event of a broker: the messages by queue and virtual host."""
    head = {"eventSource": "aws:rmq", "eventSourceArn": broker_arn}
    start = msgspec.json.encode(head)[:-1] + b',"rmqMessagesByQueue":{'

    def envelope(records: Sequence[Record]) -> bytes:
        shard = records[0].shard if records else ""
        shown = b",".join(record.json for record in records)
        return start + msgspec.json.encode(shard) + b":[" + shown + b"]}}"

    return envelope


def _basic_properties(properties: Any, body_bytes: int) -> dict[str, Any]:
    headers = properties.headers
    timestamp = properties.timestamp
    return {
        "contentType": properties.content_type,
        "contentEncoding": properties.content_encoding,
        "headers": None if headers is None else _shown(headers, MAX_DEPTH),
        "deliveryMode": properties.delivery_mode,
        "priority": properties.priority,
        "correlationId": properties.correlation_id,
        "replyTo": properties.reply_to,
        "expiration": properties.expiration,
        "messageId": properties.message_id,
        "timestamp": None if timestamp is None else _java_date(timestamp),
        "type": properties.message_type,
        "userId": properties.user_id,
        "appId": properties.app_id,
        "clusterId": properties.cluster_id or None,  # of an older protocol: pamqp has ""
        "bodySize": body_bytes,
    }


def _shown(content: Any, depth: int) -> Any:
    """A header's content, of any of AMQP's types."""
    match content:
        case None | bool() | int():
            return content
        case str():
            return {"bytes": signed_bytes(content.encode(errors="surrogateescape"))}
        case bytes():  # a text that is no UTF-8
            return {"bytes": signed_bytes(content)}
        case bytearray():
            return signed_bytes(bytes(content))
        case float() | Decimal():
            number = float(content)
            return number if math.isfinite(number) else str(number)
        case dt.datetime():
            return _java_date(content)
        case Mapping():
            deeper = content.items() if depth else ()
            return {str(name): _shown(one, depth - 1) for name, one in deeper}
        case list() | tuple():
            return [_shown(one, depth - 1) for one in content] if depth else []
        case _:
            return str(content)


def _java_date(moment: dt.datetime) -> str:
    """`Jan 1, 1970, 12:33:41 AM`, in UTC."""
    utc = moment.astimezone(dt.UTC) if moment.tzinfo else moment
    hour = utc.hour % 12 or 12
    half = "AM" if utc.hour < 12 else "PM"
    day = f"{_MONTHS[utc.month - 1]} {utc.day}, {utc.year}"
    return f"{day}, {hour}:{utc.minute:02}:{utc.second:02} {half}"
