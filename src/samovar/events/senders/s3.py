"""Events as objects in S3-compatible buckets.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from samovar.events.sending import SendError
from samovar.model.arn import Arn
from samovar.model.event import Event


async def put_object(client: Any, bucket: Arn, event: Event) -> None:
    """Put one. An event that is sent twice is one object."""
    answer = await client.put_object(
        Bucket=bucket.resource,
        Key=event.attributes.get("Key") or record_key(event),
        Body=event.payload,
        ContentType="application/json",
    )
    if "ETag" not in answer:
        raise SendError(f"{event.target} did not say that it has the object.")


def record_key(event: Event) -> str:
    """Where AWS puts the record of an asynchronous invocation; the id is the event's own."""
    function = event.queue.rsplit(":", 1)[-1]
    at = dt.datetime.fromtimestamp(event.accepted_at, dt.UTC)
    return f"aws/lambda/async/{function}/{at:%Y/%m/%d}/{at:%Y-%m-%dT%H.%M.%S}-{event.id}"
