"""Streams of tables as event sources: real functions, moto's tables, unmodified boto3."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable

import pytest

from tests.aws.event_functions import PRINT_EVENT
from tests.aws.moto_server import Moto
from tests.aws.sources import Mappings, eventually


@pytest.fixture
def make_table(moto: Moto) -> Callable[[], tuple[str, str]]:
    """Creates tables with streams: a table's name and its stream's ARN."""

    def make() -> tuple[str, str]:
        made = moto.client("dynamodb").create_table(
            TableName=f"t-{uuid.uuid4()}",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )["TableDescription"]
        return made["TableName"], made["LatestStreamArn"]

    return make


def test_a_change_comes_as_aws_documents_it(moto, make_table, make_moto_function, mappings):
    table, arn = make_table()
    function = make_moto_function(PRINT_EVENT)
    mappings.create(EventSourceArn=arn, FunctionName=function, StartingPosition="TRIM_HORIZON")
    item = {"id": {"S": "a"}, "leaf": {"B": b"\x00\xff"}, "n": {"N": "1"}}
    moto.client("dynamodb").put_item(TableName=table, Item=item)
    [event] = mappings.printed_events(function, 1)
    [record] = event["Records"]
    assert record["eventName"] == "INSERT"
    assert record["eventSource"] == "aws:dynamodb"
    assert record["awsRegion"] == "us-east-1"
    assert record["eventSourceARN"] == arn
    change = record["dynamodb"]
    assert change["Keys"] == {"id": {"S": "a"}}
    assert change["NewImage"] == {"id": {"S": "a"}, "leaf": {"B": "AP8="}, "n": {"N": "1"}}
    assert isinstance(change["ApproximateCreationDateTime"], float)
    assert {"SequenceNumber", "SizeBytes", "StreamViewType"} <= set(change)


def seen(mappings: Mappings, function: str) -> list[tuple[str, str]]:
    """What changes a function has got: of which kind, of which key."""
    records = [each for event in mappings.printed(function) for each in event["Records"]]
    return [(each["eventName"], each["dynamodb"]["Keys"]["id"]["S"]) for each in records]


def test_changes_come_in_order_and_only_those_that_are_wanted(
    moto, make_table, make_moto_function, mappings
):
    table, arn = make_table()
    function = make_moto_function(PRINT_EVENT)
    pattern = {
        "eventName": ["MODIFY", "REMOVE"],
        "dynamodb": {"OldImage": {"n": {"N": [{"anything-but": "7"}]}}},
    }
    mappings.create(
        EventSourceArn=arn,
        FunctionName=function,
        StartingPosition="TRIM_HORIZON",
        ParallelizationFactor=3,
        FilterCriteria={"Filters": [{"Pattern": json.dumps(pattern)}]},
    )
    client = moto.client("dynamodb")
    for key, number in (("a", "1"), ("a", "2"), ("b", "7"), ("b", "8")):
        client.put_item(TableName=table, Item={"id": {"S": key}, "n": {"N": number}})
    client.delete_item(TableName=table, Key={"id": {"S": "a"}})
    eventually(lambda: len(seen(mappings, function)) >= 2)
    assert seen(mappings, function) == [("MODIFY", "a"), ("REMOVE", "a")]


def test_latest_begins_with_what_comes_after(moto, make_table, make_moto_function, mappings):
    table, arn = make_table()
    function = make_moto_function(PRINT_EVENT)
    client = moto.client("dynamodb")
    client.put_item(TableName=table, Item={"id": {"S": "old"}})
    mappings.create(EventSourceArn=arn, FunctionName=function, StartingPosition="LATEST")
    written = []

    def write_and_look() -> bool:
        written.append(f"new-{len(written)}")
        client.put_item(TableName=table, Item={"id": {"S": written[-1]}})
        return len(seen(mappings, function)) >= 3

    eventually(write_and_look)
    assert "old" not in {key for _, key in seen(mappings, function)}


def test_a_batch_that_fails_too_often_is_told_of(moto, make_table, make_moto_function, mappings):
    table, arn = make_table()
    sqs = moto.client("sqs")
    url = sqs.create_queue(QueueName=f"failures-{uuid.uuid4()}")["QueueUrl"]
    queue = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    function = make_moto_function("def handler(event, context): raise ValueError")
    moto.client("dynamodb").put_item(TableName=table, Item={"id": {"S": "a"}})
    mapping = mappings.create(
        EventSourceArn=arn,
        FunctionName=function,
        StartingPosition="TRIM_HORIZON",
        MaximumRetryAttempts=0,
        DestinationConfig={"OnFailure": {"Destination": queue["Attributes"]["QueueArn"]}},
    )
    [message] = eventually(lambda: sqs.receive_message(QueueUrl=url).get("Messages"))
    told = json.loads(message["Body"])
    assert told["requestContext"]["approximateInvokeCount"] == 1
    assert told["DDBStreamBatchInfo"]["streamArn"] == arn
    assert told["DDBStreamBatchInfo"]["batchSize"] == 1
    mappings.await_result(mapping, "PROBLEM: Function call failed")
