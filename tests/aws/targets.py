"""Queues, topics, buses and buckets of moto's, and what they were told."""

from __future__ import annotations

import json
from typing import Any, NamedTuple
from uuid import uuid4

from tests.aws.moto_server import ACCOUNT, REGION, Moto
from tests.aws.sources import eventually


class Queue(NamedTuple):
    """A queue of moto's."""

    moto: Moto
    url: str
    arn: str

    def messages(self) -> list[dict[str, Any]]:
        """What is there now; they are taken."""
        answer = self.moto.client("sqs").receive_message(
            QueueUrl=self.url,
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
            MaxNumberOfMessages=10,
        )
        return list(answer.get("Messages", ()))

    def message(self) -> dict[str, Any]:
        """The one message that it gets."""
        (message,) = eventually(self.messages)
        return message

    def told(self) -> Any:
        """The body of the one message that it gets: a JSON document."""
        return json.loads(self.message()["Body"])


def queue_of(moto: Moto, name: str | None = None, **attributes: str) -> Queue:
    """A new queue."""
    name = name or f"q-{uuid4().hex}"
    url = moto.client("sqs").create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    return Queue(moto, url, f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")


def topic_to(queue: Queue) -> str:
    """The ARN of a new topic that a queue has subscribed to."""
    sns = queue.moto.client("sns")
    topic: str = sns.create_topic(Name=f"t-{uuid4().hex}")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue.arn)
    return topic


def bus_to(queue: Queue, **pattern: list[str]) -> str:
    """The ARN of a new bus, with a rule that sends events of this pattern to a queue."""
    events, name = queue.moto.client("events"), f"b-{uuid4().hex}"
    bus: str = events.create_event_bus(Name=name)["EventBusArn"]
    pattern = {member.replace("_", "-"): values for member, values in pattern.items()}
    events.put_rule(Name="r", EventBusName=name, EventPattern=json.dumps(pattern))
    events.put_targets(Rule="r", EventBusName=name, Targets=[{"Id": "1", "Arn": queue.arn}])
    return bus


def bucket_of(moto: Moto) -> str:
    """The name of a new bucket."""
    name = f"b-{uuid4().hex}"
    moto.client("s3").create_bucket(Bucket=name)
    return name
