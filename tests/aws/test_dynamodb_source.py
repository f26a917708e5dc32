"""Streams of tables as event sources: real functions, moto's tables, unmodified boto3."""

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
