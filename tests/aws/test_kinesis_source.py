"""Streams of Kinesis as event sources: real functions, moto's streams, unmodified boto3."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.aws.moto_server import Moto
from tests.aws.sources import Mappings

PRINT_EVENT = """
import json

def handler(event, context):
    print("EVENT " + json.dumps(event))
"""


@pytest.fixture
def make_stream(moto: Moto) -> Callable[..., tuple[str, str]]:
    """Creates streams: their name and ARN."""
    client = moto.client("kinesis")

    def make(shards: int = 1) -> tuple[str, str]:
        name = f"s-{uuid.uuid4()}"
        client.create_stream(StreamName=name, ShardCount=shards)
        client.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1})
        summary = client.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
        return name, summary["StreamARN"]

    return make


@pytest.fixture
def put(moto: Moto) -> Callable[..., str]:
    """Puts a record on a stream; returns its sequence number."""
    client = moto.client("kinesis")

    def put(name: str, data: bytes | str, key: str = "k") -> str:
        number: str = client.put_record(StreamName=name, Data=data, PartitionKey=key)[
            "SequenceNumber"
        ]
        return number

    return put


def data_of(record: dict[str, Any]) -> str:
    return base64.b64decode(record["kinesis"]["data"]).decode()


def seen(mappings: Mappings, function: str) -> list[str]:
    """What a function has got, record by record."""
    events = mappings.printed(function)
    return [data_of(record) for event in events for record in event["Records"]]


def test_a_record_comes_as_aws_documents_it(make_stream, put, make_moto_function, mappings):
    name, arn = make_stream()
    function = make_moto_function(PRINT_EVENT)
    number = put(name, "tea", key="green")
    uuid = mappings.create(
        EventSourceArn=arn, FunctionName=function, StartingPosition="TRIM_HORIZON"
    )
    [event] = mappings.printed_events(function, 1)
    [record] = event["Records"]
    arrived = record["kinesis"].pop("approximateArrivalTimestamp")
    assert isinstance(arrived, float)
    assert record == {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": "green",
            "sequenceNumber": number,
            "data": base64.b64encode(b"tea").decode(),
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"shardId-000000000000:{number}",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": "arn:aws:iam::000000000000:role/test",
        "awsRegion": "us-east-1",
        "eventSourceARN": arn,
    }
    mappings.await_result(uuid, "OK")
