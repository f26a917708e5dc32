"""A message of a queue as a function gets it. Pure.

https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html#sample-standard-queue-message-event
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from samovar.events.sources.record import Record

_encode = msgspec.json.Encoder().encode

_TRACE_HEADER = re.compile(r"[\x21-\x7e]{1,512}")
"""It goes on in a header of HTTP: a sender must not begin another one in it."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message that was received."""

    record: Record
    receipt: str
    """What it is deleted by."""
    trace_id: str | None


def read_message(raw: Mapping[str, Any], queue_arn: str) -> Message | None:
    """What ReceiveMessage gave, understood; None where it is no message."""
    message_id, receipt, body = raw.get("MessageId"), raw.get("ReceiptHandle"), raw.get("Body")
    if not (isinstance(message_id, str) and isinstance(receipt, str) and isinstance(body, str)):
        return None
    attributes = _texts(raw.get("Attributes"))
    event: dict[str, Any] = {
        "messageId": message_id,
        "receiptHandle": receipt,
        "body": body,
        "attributes": attributes,
        "messageAttributes": _message_attributes(raw.get("MessageAttributes")),
        "md5OfBody": str(raw.get("MD5OfBody", "")),
        "eventSource": "aws:sqs",
        "eventSourceARN": queue_arn,
        "awsRegion": queue_arn.split(":")[3],
    }
    if raw.get("MD5OfMessageAttributes"):
        event["md5OfMessageAttributes"] = str(raw["MD5OfMessageAttributes"])
    trace_id = attributes.get("AWSTraceHeader", "")
    try:
        document = _encode(event)
    except UnicodeEncodeError:  # half a surrogate pair: JSON can escape it
        document = json.dumps(event).encode()
    record = Record(
        id=message_id,
        json=document,
        seen=event,
        contents={"body": body},
        key=attributes.get("MessageGroupId", ""),
    )
    return Message(record, receipt, trace_id if _TRACE_HEADER.fullmatch(trace_id) else None)


def _texts(given: Any) -> dict[str, str]:
    if not isinstance(given, dict):
        return {}
    return {name: value for name, value in given.items() if isinstance(value, str)}


def _message_attributes(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        return {}
    return {name: _attribute(value) for name, value in given.items() if isinstance(value, dict)}


def _attribute(value: Mapping[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    if value.get("StringValue") is not None:
        shown["stringValue"] = str(value["StringValue"])
    if isinstance(value.get("BinaryValue"), bytes):
        shown["binaryValue"] = base64.b64encode(value["BinaryValue"]).decode()
    return shown | {
        "stringListValues": [],
        "binaryListValues": [],
        "dataType": str(value.get("DataType")),
    }
