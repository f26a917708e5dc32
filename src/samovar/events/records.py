"""What destinations and dead-letter queues are told of an event. Pure.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from samovar.model.arn import Arn
from samovar.model.event import MAX_EVENT_BYTES, Event, function_of_arn
from samovar.model.function import LATEST
from samovar.model.invocation import ErrorDocument

MAX_ERROR_MESSAGE_BYTES = 1024
"""AWS: the first kilobyte of the error message goes to a dead-letter queue."""

RECORD_LIMITS: Mapping[str, int] = {
    "lambda": MAX_EVENT_BYTES,
    "sqs": 1024 * 1024,
    "sns": 256 * 1024,
    # The limit is on the whole entry: leave room for its source, type and resources.
    "events": 255 * 1024,
}
"""Service → bytes that a target takes. A bucket takes any record that there can be."""

SUCCESS_TYPE = "Lambda Function Invocation Result - Success"
FAILURE_TYPE = "Lambda Function Invocation Result - Failure"

_encode = msgspec.json.Encoder().encode
_is_json = msgspec.json.Decoder(msgspec.Raw).decode


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered to the last attempt at an event."""

    status: int
    version: str | None = None
    """Of the function, that ran; None: none did."""
    function_error: str | None = None
    payload: bytes | None = None
    """None: there is none, for the function did not run."""


def destination_record(
    event: Event, condition: str, invoked: int, answer: Answer | None, destination: str, now: float
) -> bytes:
    """The record of an asynchronous invocation: `event`'s target is a function, `condition` says
    how it came to its end after so many invocations.

    AWS drops payloads that leave a record too large for its destination; here the response goes
    first, then the request."""
    record: dict[str, Any] = {
        "version": "1.0",
        "timestamp": iso_time(now),
        "requestContext": {
            "requestId": event.id,
            "functionArn": qualified(event.target),
            "condition": condition,
            "approximateInvokeCount": invoked,
        },
        "requestPayload": _embedded(event.payload),
    }
    if answer is not None:
        context: dict[str, Any] = {"statusCode": answer.status}
        if answer.version is not None:
            context["executedVersion"] = answer.version
        if answer.function_error is not None:
            context["functionError"] = answer.function_error
        record["responseContext"] = context
        if answer.payload is not None:
            record["responsePayload"] = _embedded(answer.payload)
    limit = RECORD_LIMITS.get(_service_of(destination))
    text = _encode(record)
    for member in ("responsePayload", "requestPayload"):
        if limit is None or len(text) <= limit:
            break
        if member in record:
            del record[member]
            text = _encode(record)
    return text


def destination_attributes(event: Event, destination: str, *, success: bool) -> dict[str, str]:
    """What goes with a destination's record (`sending.py` says under which names)."""
    if _service_of(destination) != "events":
        return {}
    return {
        "Source": "lambda",
        "DetailType": SUCCESS_TYPE if success else FAILURE_TYPE,
        "Resources": _encode([qualified(event.target), destination]).decode(),
    }


def dead_letter_attributes(event: Event, answer: Answer | None, message: str) -> dict[str, str]:
    """What goes with an event, which is the message itself, to a function's dead-letter queue."""
    attributes = {"RequestID": _text(event.id), "ErrorMessage": _text(first_kilobyte(message))}
    if answer is not None:
        attributes["ErrorCode"] = {"DataType": "Number", "StringValue": str(answer.status)}
    return {"MessageAttributes": _encode(attributes).decode()}


def schedule_letter_attributes(event: Event, condition: str, message: str) -> dict[str, str]:
    """What goes with a schedule's event to the schedule's dead-letter queue.
    https://docs.aws.amazon.com/scheduler/latest/UserGuide/configuring-schedule-dlq.html"""
    exhausted = {"EventAgeExceeded": "MaximumEventAgeInSeconds"}
    attributes = {
        "ERROR_CODE": _text(condition),
        "ERROR_MESSAGE": _text(first_kilobyte(message)),
        "EXHAUSTED_RETRY_CONDITION": _text(exhausted.get(condition, "MaximumRetryAttempts")),
        "IS_PAYLOAD_TRUNCATED": _text("false"),
        "RETRY_ATTEMPTS": _text(str(max(event.failures + event.throttles - 1, 0))),
        "SCHEDULE_ARN": _text(event.queue),
        "TARGET_ARN": _text(event.target),
    }
    return {"MessageAttributes": _encode(attributes).decode()}


def error_message_in(document: bytes, otherwise: str) -> str:
    """The message in a function's error document."""
    found = ErrorDocument.of(document)
    message = found.error_message if found else None
    return otherwise if message is None else str(message)


def first_kilobyte(text: str) -> str:
    """As much of a text as a message attribute takes; never empty, and without what it refuses."""
    # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
    allowed = "".join(
        c for c in text[:MAX_ERROR_MESSAGE_BYTES] if c in "\t\n\r" or (c >= " " and c < "\ufffe")
    )
    return allowed.encode(errors="replace")[:MAX_ERROR_MESSAGE_BYTES].decode(errors="ignore") or "-"


def qualified(function_arn: str) -> str:
    """A function's ARN with its qualifier, as records have it."""
    named = function_of_arn(function_arn)
    return named[0].qualified_arn(named[1] or LATEST) if named else function_arn


def iso_time(moment: float) -> str:
    """Seconds since the epoch as AWS writes them: `2019-11-14T18:16:05.568Z`."""
    at = dt.datetime.fromtimestamp(moment, dt.UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def object_key(folder: str, at: float, event_id: str) -> str:
    """The name of a record in a bucket, as AWS forms it; the id is the event's own."""
    moment = dt.datetime.fromtimestamp(at, dt.UTC)
    return f"{folder}/{moment:%Y/%m/%d}/{moment:%Y-%m-%dT%H.%M.%S}-{event_id}"


def _service_of(destination: str) -> str:
    arn = Arn.parse(destination)
    return arn.service if arn is not None else ""


def _embedded(payload: bytes) -> Any:
    """A payload as a member of a document: as it is, or as a text where it is no JSON."""
    try:
        payload.decode()
        _is_json(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return payload.decode(errors="replace") if payload else None
    return msgspec.Raw(payload)


def _text(value: str) -> dict[str, str]:
    return {"DataType": "String", "StringValue": value}
