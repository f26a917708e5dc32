"""Streams of Kinesis as event sources: real functions, moto's streams, unmodified boto3."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.aws.event_functions import PRINT_EVENT
from tests.aws.moto_server import Moto
from tests.aws.sources import Mappings, eventually


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


FAIL_ON_POISON = """
import base64, json

def handler(event, context):
    print("EVENT " + json.dumps(event))
    if any(b"poison" in base64.b64decode(r["kinesis"]["data"]) for r in event["Records"]):
        raise ValueError("poison")
"""

REPORT_POISON = """
import base64, json

def handler(event, context):
    print("EVENT " + json.dumps(event))
    for record in event["Records"]:
        if b"poison" in base64.b64decode(record["kinesis"]["data"]):
            number = record["kinesis"]["sequenceNumber"]
            return {"batchItemFailures": [{"itemIdentifier": number}]}
"""


@pytest.fixture
def failures(moto: Moto) -> tuple[str, Callable[[], dict[str, Any]]]:
    """An on-failure destination: a queue's ARN, and what waits for the next record in it."""
    client = moto.client("sqs")
    url = client.create_queue(QueueName=f"failures-{uuid.uuid4()}")["QueueUrl"]
    answer = client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])

    def receive() -> dict[str, Any]:
        [message] = eventually(lambda: client.receive_message(QueueUrl=url).get("Messages"))
        client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        document: dict[str, Any] = json.loads(message["Body"])
        return document

    return answer["Attributes"]["QueueArn"], receive


def test_bad_records_end_at_the_destination_and_the_shard_goes_on(
    make_stream, put, make_moto_function, mappings, failures
):
    name, arn = make_stream()
    destination, receive = failures
    function = make_moto_function(FAIL_ON_POISON)
    put(name, "a"), put(name, "b")
    poison = put(name, "poison")
    put(name, "c")
    mappings.create(
        EventSourceArn=arn,
        FunctionName=function,
        StartingPosition="TRIM_HORIZON",
        BisectBatchOnFunctionError=True,
        MaximumRetryAttempts=1,
        DestinationConfig={"OnFailure": {"Destination": destination}},
    )
    told = receive()
    context = told["requestContext"]
    assert context.pop("requestId")
    assert context == {
        "functionArn": f"arn:aws:lambda:us-east-1:000000000000:function:{function}",
        "condition": "RetryAttemptsExhausted",
        "approximateInvokeCount": 2,
    }
    assert told["responseContext"] == {
        "statusCode": 200,
        "executedVersion": "$LATEST",
        "functionError": "Unhandled",
    }
    assert told["version"] == "1.0"
    assert told["timestamp"].endswith("Z")
    info = told["KinesisBatchInfo"]
    assert info.pop("approximateArrivalOfFirstRecord").endswith("Z")
    assert info.pop("approximateArrivalOfLastRecord").endswith("Z")
    assert info == {
        "shardId": "shardId-000000000000",
        "startSequenceNumber": poison,
        "endSequenceNumber": poison,
        "batchSize": 1,
        "streamArn": arn,
    }
    put(name, "d")
    eventually(lambda: "d" in seen(mappings, function))
    assert set(seen(mappings, function)) == {"a", "b", "poison", "c", "d"}


def test_it_goes_on_with_the_first_record_that_was_reported(
    make_stream, put, make_moto_function, mappings
):
    name, arn = make_stream()
    function = make_moto_function(REPORT_POISON)
    for data in ("a", "b", "poison", "c"):
        put(name, data)
    mappings.create(
        EventSourceArn=arn,
        FunctionName=function,
        StartingPosition="TRIM_HORIZON",
        FunctionResponseTypes=["ReportBatchItemFailures"],
        MaximumRetryAttempts=1,
    )
    put(name, "d")
    eventually(lambda: seen(mappings, function).count("poison") == 2)
    eventually(lambda: seen(mappings, function)[-1] == "d")
    assert [seen(mappings, function).count(data) for data in "abc"] == [1, 1, 2]


def test_latest_begins_with_what_comes_after(make_stream, put, make_moto_function, mappings):
    name, arn = make_stream(shards=2)
    function = make_moto_function(PRINT_EVENT)
    put(name, "old")
    mapping = mappings.create(EventSourceArn=arn, FunctionName=function, StartingPosition="LATEST")
    written = []

    def write_and_look() -> bool:
        written.append(str(len(written)))
        put(name, written[-1], key=written[-1])
        return len(seen(mappings, function)) >= 5

    eventually(write_and_look)
    eventually(lambda: written[-1] in seen(mappings, function))
    assert "old" not in seen(mappings, function)
    mappings.await_result(mapping, "OK")


def test_a_mapping_goes_on_where_it_was_disabled(
    make_stream, put, make_moto_function, mappings, moto_lambda
):
    name, arn = make_stream()
    function = make_moto_function(PRINT_EVENT)
    put(name, "a")
    mapping = mappings.create(
        EventSourceArn=arn, FunctionName=function, StartingPosition="TRIM_HORIZON"
    )
    eventually(lambda: seen(mappings, function) == ["a"])
    moto_lambda.update_event_source_mapping(UUID=mapping, Enabled=False)
    mappings.await_state(mapping, "Disabled")
    put(name, "b")
    moto_lambda.update_event_source_mapping(UUID=mapping, Enabled=True)
    eventually(lambda: "b" in seen(mappings, function))
    assert seen(mappings, function) == ["a", "b"]


def test_a_stream_that_is_split_is_read_on_in_order(
    moto, make_stream, put, make_moto_function, mappings
):
    name, arn = make_stream()
    function = make_moto_function(PRINT_EVENT)
    before = [str(number) for number in range(5)]
    for data in before:
        put(name, data)
    mappings.create(EventSourceArn=arn, FunctionName=function, StartingPosition="TRIM_HORIZON")
    eventually(lambda: seen(mappings, function) == before)
    moto.client("kinesis").split_shard(
        StreamName=name, ShardToSplit="shardId-000000000000", NewStartingHashKey=str(2**127)
    )
    after = [str(number) for number in range(5, 15)]
    for data in after:
        put(name, data, key=data)
    eventually(lambda: len(seen(mappings, function)) >= 15)
    assert seen(mappings, function)[:5] == before
    assert sorted(seen(mappings, function)[5:], key=int) == after


def test_data_is_filtered_as_it_was_written(make_stream, put, make_moto_function, mappings):
    name, arn = make_stream()
    function = make_moto_function(PRINT_EVENT)
    pattern = {"data": {"city": ["Seattle"]}, "partitionKey": ["k"]}
    for data in (b"\xff", "[" * 50_000, '{"city": "Oslo"}', '{"city": "Seattle"}'):
        put(name, data)
    put(name, '{"city": "Seattle", "n": 2}', key="other")
    mappings.create(
        EventSourceArn=arn,
        FunctionName=function,
        StartingPosition="TRIM_HORIZON",
        FilterCriteria={"Filters": [{"Pattern": json.dumps(pattern)}]},
    )
    put(name, '{"city": "Seattle", "n": 3}')
    eventually(lambda: len(seen(mappings, function)) >= 2)
    assert seen(mappings, function) == ['{"city": "Seattle"}', '{"city": "Seattle", "n": 3}']


def test_reading_begins_at_a_time(make_stream, put, make_moto_function, mappings):
    name, arn = make_stream()
    function = make_moto_function(PRINT_EVENT)
    put(name, "old")
    old = time.time()
    eventually(lambda: time.time() > old + 2)
    put(name, "new")
    mappings.create(
        EventSourceArn=arn,
        FunctionName=function,
        StartingPosition="AT_TIMESTAMP",
        StartingPositionTimestamp=old + 1,
    )
    eventually(lambda: seen(mappings, function) == ["new"])


def test_a_bucket_is_told_the_records_too(moto, make_stream, put, make_moto_function, mappings):
    name, arn = make_stream()
    bucket, s3 = f"failures-{uuid.uuid4()}", moto.client("s3")
    s3.create_bucket(Bucket=bucket)
    function = make_moto_function(FAIL_ON_POISON)
    put(name, "poison")
    mapping = mappings.create(
        EventSourceArn=arn,
        FunctionName=function,
        StartingPosition="TRIM_HORIZON",
        MaximumRetryAttempts=0,
        DestinationConfig={"OnFailure": {"Destination": f"arn:aws:s3:::{bucket}"}},
    )
    [kept] = eventually(lambda: s3.list_objects_v2(Bucket=bucket).get("Contents"))
    assert kept["Key"].startswith(f"aws/lambda/{mapping}/shardId-000000000000/20")
    told = json.loads(s3.get_object(Bucket=bucket, Key=kept["Key"])["Body"].read())
    [record] = json.loads(told["payload"])["Records"]
    assert data_of(record) == "poison"
