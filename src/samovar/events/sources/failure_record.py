"""What the on-failure destination of a mapping is told. Pure.

https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html
Only a bucket is told the records themselves (`payload`); everybody else where to find them.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec

from samovar.events.sources.poller import GivenUp
from samovar.model.event import Event, EventSource
from samovar.model.event_source import EventSourceMapping
from samovar.model.invocation import new_request_id

RETRIES_EXHAUSTED = "RetryAttemptsExhausted"
AGE_EXCEEDED = "RecordAgeExceeded"

_encode = msgspec.json.Encoder().encode


def failure_event(
    mapping: EventSourceMapping, target: str, given_up: GivenUp, payload: bytes, now: float
) -> Event:
    """The event that brings the record of these failures to `target`."""
    result = given_up.result
    document: dict[str, Any] = {
        "requestContext": {
            "requestId": (result.request_id if result else "") or new_request_id(),
            "functionArn": mapping.function_arn,
            "condition": given_up.condition,
            "approximateInvokeCount": given_up.attempts,
        },
    }
    if result is not None and result.request_id:
        document["responseContext"] = {
            "statusCode": 200,
            "executedVersion": result.version,
            "functionError": result.function_error,
        }
    document |= {
        "version": "1.0",
        "timestamp": iso_time(now),
        given_up.details_name: given_up.details,
    }
    if target.split(":")[2:3] == ["s3"]:
        document["payload"] = payload.decode()
    return Event(
        id=new_request_id(),
        queue=mapping.function.arn,
        target=target,
        payload=_encode(document),
        accepted_at=now,
        due_at=now,
        source=EventSource.MAPPING,
    )


def iso_time(moment: float) -> str:
    """Seconds since the epoch as AWS writes them: `2019-11-14T00:38:06.021Z`."""
    at = dt.datetime.fromtimestamp(moment, dt.UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"
