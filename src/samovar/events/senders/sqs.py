"""Events as messages of SQS-compatible queues.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
"""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any

from samovar.events.sending import SendError
from samovar.model import lineage
from samovar.model.arn import Arn
from samovar.model.event import Event

MAX_KNOWN_QUEUES = 1024


class QueueUrls:
    """Sends to queues, whose URLs it remembers."""

    def __init__(self) -> None:
        self._known: OrderedDict[Arn, str] = OrderedDict()

    async def send_message(self, client: Any, queue: Arn, event: Event) -> None:
        """Send one. (The URL only names a queue: requests go to the client's endpoint.)"""
        message: dict[str, Any] = {
            "QueueUrl": await self._url_of(client, queue),
            "MessageBody": event.payload.decode(errors="replace"),
        }
        if attributes := event.attributes.get("MessageAttributes"):
            message["MessageAttributes"] = json.loads(attributes)
        if group := event.attributes.get("MessageGroupId"):
            message["MessageGroupId"] = group
        if queue.resource.endswith(".fifo"):
            message["MessageDeduplicationId"] = event.id
        if lineage.well_formed(event.trace_id):
            message["MessageSystemAttributes"] = {
                "AWSTraceHeader": {"DataType": "String", "StringValue": event.trace_id}
            }
        try:
            answer = await client.send_message(**message)
        except client.exceptions.QueueDoesNotExist:
            self._known.pop(queue, None)
            raise
        if "MessageId" not in answer:
            raise SendError(f"{event.target} did not say that it has the message.")

    async def _url_of(self, client: Any, queue: Arn) -> str:
        if queue not in self._known:
            answer = await client.get_queue_url(
                QueueName=queue.resource, QueueOwnerAWSAccountId=queue.account
            )
            self._known[queue] = answer["QueueUrl"]
            if len(self._known) > MAX_KNOWN_QUEUES:
                self._known.popitem(last=False)
        return self._known[queue]
