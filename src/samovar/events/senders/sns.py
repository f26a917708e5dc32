"""Events as messages of SNS-compatible topics.

https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
"""

from __future__ import annotations

import json
from typing import Any

from samovar.events.sending import SendError
from samovar.model.arn import Arn
from samovar.model.event import Event


async def publish(client: Any, _: Arn, event: Event) -> None:
    """Publish one."""
    message: dict[str, Any] = {"TopicArn": event.target, "Message": event.payload.decode()}
    if attributes := event.attributes.get("MessageAttributes"):
        message["MessageAttributes"] = json.loads(attributes)
    answer = await client.publish(**message)
    if "MessageId" not in answer:
        raise SendError(f"{event.target} did not say that it has the message.")
