"""What the on-failure destination of a mapping is told. Pure.

https://docs.aws.amazon.com/lambda/latest/dg/kinesis-on-failure-destination.html
Only a bucket is told the records themselves (`payload`); everybody else where to find them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from samovar.events.records import iso_time, object_key
from samovar.events.sources.poller import GivenUp
from samovar.model.event import Event, EventSource
from samovar.model.event_source import EventSourceMapping
from samovar.model.invocation import new_request_id

RETRIES_EXHAUSTED = "RetryAttemptsExhausted"
AGE_EXCEEDED = "RecordAgeExceeded"
PAYLOAD_EXCEEDED = "MaximumPayloadSizeExceeded"

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
    event_id, attributes = new_request_id(), {}
    if target.split(":")[2:3] == ["s3"]:
        document["payload"] = payload.decode()
        folder = f"aws/lambda/{mapping.uuid}/{_shard(given_up)}"
        attributes["Key"] = object_key(folder, now, event_id)
    return Event(
        id=event_id,
        queue=mapping.function.arn,
        target=target,
        payload=_encode(document),
        accepted_at=now,
        due_at=now,
        source=EventSource.MAPPING,
        attributes=attributes,
    )


def _shard(given_up: GivenUp) -> str:
    """What the records' folder is named after: a shard, or `TOPIC-PARTITION`."""
    by_partition: Mapping[str, Any] = given_up.details.get("recordsInfo", {})
    return next(iter(by_partition), str(given_up.details.get("shardId", "-")))
