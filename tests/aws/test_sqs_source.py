"""Queues as event sources: real functions, moto's queues, unmodified boto3."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from tests.aws.moto_server import Moto

PRINT_EVENT = """
import json

def handler(event, context):
    print("EVENT " + json.dumps(event))
"""


@pytest.fixture
def make_queue(moto: Moto) -> Callable[..., tuple[str, str]]:
    """Creates queues: their URL and ARN."""
    client = moto.client("sqs")

    def make(name: str = "", **attributes: str) -> tuple[str, str]:
        attributes = {"VisibilityTimeout": "10"} | attributes
        url = client.create_queue(QueueName=name or f"q-{uuid.uuid4()}", Attributes=attributes)[
            "QueueUrl"
        ]
        arn = client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return url, arn["Attributes"]["QueueArn"]

    return make


def test_a_message_comes_as_aws_documents_it(moto, make_queue, make_moto_function, mappings):
    url, arn = make_queue()
    function = make_moto_function(PRINT_EVENT)
    mappings.create(EventSourceArn=arn, FunctionName=function)
    sent = moto.client("sqs").send_message(
        QueueUrl=url,
        MessageBody="tea ☕",
        MessageAttributes={
            "kind": {"DataType": "String", "StringValue": "green"},
            "leaf": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
        },
    )
    [event] = mappings.printed_events(function, 1)
    [record] = event["Records"]
    assert record["messageId"] == sent["MessageId"]
    assert record["body"] == "tea ☕"
    assert record["md5OfBody"] == sent["MD5OfMessageBody"]
    assert record["eventSource"] == "aws:sqs"
    assert record["eventSourceARN"] == arn
    assert record["awsRegion"] == "us-east-1"
    assert record["attributes"]["ApproximateReceiveCount"] == "1"
    assert {"SentTimestamp", "SenderId", "ApproximateFirstReceiveTimestamp"} <= set(
        record["attributes"]
    )
    assert record["messageAttributes"]["kind"] == {
        "stringValue": "green",
        "stringListValues": [],
        "binaryListValues": [],
        "dataType": "String",
    }
    assert record["messageAttributes"]["leaf"]["binaryValue"] == "AP8="
