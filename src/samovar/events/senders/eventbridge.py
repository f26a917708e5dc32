"""Events as events of EventBridge-compatible buses.

https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html
"""

from __future__ import annotations

import json
from typing import Any

from samovar.events.sending import SendError
from samovar.model import lineage
from samovar.model.arn import Arn
from samovar.model.event import Event

LASTING_CODES = frozenset(
    {"MalformedDetail", "InvalidArgument", "ResourceNotFound", "ResourceNotFoundException"}
)
"""Of single entries, that the bus has refused."""


async def put_event(client: Any, _: Arn, event: Event) -> None:
    """Put one."""
    entry: dict[str, Any] = {
        "EventBusName": event.target,
        "Source": event.attributes.get("Source", "lambda"),
        "DetailType": event.attributes.get("DetailType", "Event"),
        "Detail": event.payload.decode(),
    }
    if resources := event.attributes.get("Resources"):
        entry["Resources"] = json.loads(resources)
    if lineage.well_formed(event.trace_id):
        entry["TraceHeader"] = event.trace_id
    answer = await client.put_events(Entries=[entry])
    (result,) = answer["Entries"]
    if "EventId" not in result:
        code = str(result.get("ErrorCode"))
        reason = f"{code}: {result.get('ErrorMessage')}"[:500]
        raise SendError(f"{event.target} refused: {reason}", lasting=code in LASTING_CODES)
