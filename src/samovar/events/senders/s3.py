"""Events as objects in S3-compatible buckets.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
"""

from __future__ import annotations

from typing import Any

from samovar.events.records import object_key
from samovar.events.sending import SendError
from samovar.model.arn import Arn
from samovar.model.event import Event


async def put_object(client: Any, bucket: Arn, event: Event) -> None:
    """Put one. An event that is sent twice is one object."""
    answer = await client.put_object(
        Bucket=bucket.resource,
        Key=event.attributes.get("Key") or _record_key(event),
        Body=event.payload,
        ContentType="application/json",
    )
    if "ETag" not in answer:
        raise SendError(f"{event.target} did not say that it has the object.")


def _record_key(event: Event) -> str:
    """Where AWS puts the record of an asynchronous invocation."""
    function = event.queue.rsplit(":", 1)[-1]
    return object_key(f"aws/lambda/async/{function}", event.accepted_at, event.id)
