"""The five operations on event source mappings, through boto3; refusals in AWS's words."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.aws.event_functions import PRINT_EVENT
from tests.aws.sources import eventually

LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
FAR_OFF = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)
OWNER = "123456789012"


@pytest.fixture(scope="module")
def sqs_arn(moto) -> str:
    """Of a queue that nobody writes to."""
    client = moto.client("sqs")
    url = client.create_queue(QueueName="idle")["QueueUrl"]
    answer = client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    arn: str = answer["Attributes"]["QueueArn"]
    return arn


@pytest.fixture(scope="module")
def stream_arn(moto) -> str:
    """Of a stream that nobody writes to."""
    client = moto.client("kinesis")
    client.create_stream(StreamName="idle", ShardCount=1)
    summary = client.describe_stream_summary(StreamName="idle")["StreamDescriptionSummary"]
    arn: str = summary["StreamARN"]
    return arn


@pytest.fixture
def function(make_moto_function) -> str:
    name: str = make_moto_function(PRINT_EVENT)
    return name


def refusal(client: Any, operation: str, **params: Any) -> tuple[str, str]:
    """The code and the message that a request is refused with."""
    with pytest.raises(ClientError) as refused:
        getattr(client, operation)(**params)
    error = refused.value.response["Error"]
    return error["Code"], error["Message"]


def test_a_queues_mapping_has_aws_defaults(moto_lambda, function, sqs_arn, mappings):
    created = moto_lambda.create_event_source_mapping(EventSourceArn=sqs_arn, FunctionName=function)
    mappings.adopt(created["UUID"])
    arn = f"arn:aws:lambda:us-east-1:000000000000:function:{function}"
    mapping_arn = f"arn:aws:lambda:us-east-1:000000000000:event-source-mapping:{created['UUID']}"
    created.pop("ResponseMetadata")
    assert abs(created.pop("LastModified") - dt.datetime.now(dt.UTC)) < dt.timedelta(hours=1)
    assert created == {
        "UUID": created["UUID"],
        "EventSourceMappingArn": mapping_arn,
        "EventSourceArn": sqs_arn,
        "FunctionArn": arn,
        "State": "Creating",
        "StateTransitionReason": "User action",
        "LastProcessingResult": "No records processed",
        "BatchSize": 10,
        "MaximumBatchingWindowInSeconds": 0,
        "FunctionResponseTypes": [],
    }
    mappings.await_state(created["UUID"], "Enabled")


def test_a_streams_mapping_has_aws_defaults(moto_lambda, function, stream_arn, mappings):
    created = moto_lambda.create_event_source_mapping(
        EventSourceArn=stream_arn, FunctionName=function, StartingPosition="LATEST"
    )
    mappings.adopt(created["UUID"])
    expected = {
        "BatchSize": 100,
        "StartingPosition": "LATEST",
        "MaximumBatchingWindowInSeconds": 0,
        "ParallelizationFactor": 1,
        "BisectBatchOnFunctionError": False,
        "MaximumRetryAttempts": -1,
        "MaximumRecordAgeInSeconds": -1,
        "DestinationConfig": {"OnFailure": {}},
    }
    assert {member: created[member] for member in expected} == expected


def test_a_second_mapping_of_the_same_is_refused(moto_lambda, function, sqs_arn, mappings):
    first = mappings.create(EventSourceArn=sqs_arn, FunctionName=function)
    again = {"EventSourceArn": sqs_arn, "FunctionName": function}
    assert refusal(moto_lambda, "create_event_source_mapping", **again) == (
        "ResourceConflictException",
        f'An event source mapping with SQS arn (" {sqs_arn} ") and function (" {function} ") '
        f"already exists. Please update or delete the existing mapping with UUID {first}",
    )


def test_of_a_stream_too(moto_lambda, function, stream_arn, mappings):
    params = {
        "EventSourceArn": stream_arn,
        "FunctionName": function,
        "StartingPosition": "TRIM_HORIZON",
    }
    first = mappings.create(**params)
    assert refusal(moto_lambda, "create_event_source_mapping", **params) == (
        "ResourceConflictException",
        f'The event source arn (" {stream_arn} ") and function (" {function} ") provided mapping '
        f"already exists. Please update or delete the existing mapping with UUID {first}",
    )


def test_what_is_deleted_disappears(moto_lambda, function, sqs_arn, mappings):
    mapping = mappings.create(EventSourceArn=sqs_arn, FunctionName=function)
    deleted = moto_lambda.delete_event_source_mapping(UUID=mapping)
    assert deleted["State"] == "Deleting"
    code, message = refusal(moto_lambda, "update_event_source_mapping", UUID=mapping)
    assert (code, message) in {
        (
            "ResourceInUseException",
            "Cannot update the event source mapping because it is in use.",
        ),
        ("ResourceNotFoundException", "The resource you requested does not exist."),
    }
    eventually(lambda: mappings.is_gone(mapping))


def test_mappings_are_listed_by_function_source_and_page(
    moto_lambda, make_moto_function, sqs_arn, stream_arn, mappings
):
    one, other = make_moto_function(PRINT_EVENT), make_moto_function(PRINT_EVENT)
    version = moto_lambda.publish_version(FunctionName=one)["Version"]
    queue, qualified = (
        mappings.create(EventSourceArn=sqs_arn, FunctionName=name)
        for name in (one, f"{one}:{version}")
    )
    stream = mappings.create(
        EventSourceArn=stream_arn, FunctionName=other, StartingPosition="LATEST"
    )

    def listed(**params: Any) -> set[str]:
        pages = moto_lambda.get_paginator("list_event_source_mappings").paginate(**params)
        return {each["UUID"] for page in pages for each in page["EventSourceMappings"]}

    assert listed(FunctionName=one) == {queue, qualified}
    assert listed(FunctionName=f"{one}:{version}") == {qualified}
    assert listed(EventSourceArn=stream_arn) == {stream}
    assert {queue, qualified, stream} <= listed(PaginationConfig={"PageSize": 1})
    found = mappings.get(qualified)
    assert found["FunctionArn"].endswith(f":function:{one}:{version}")


def test_settings_are_changed_one_by_one_and_taken_back(
    moto_lambda, function, stream_arn, mappings
):
    mapping = mappings.create(
        EventSourceArn=stream_arn,
        FunctionName=function,
        StartingPosition="LATEST",
        MaximumRetryAttempts=3,
        FilterCriteria={"Filters": [{"Pattern": '{"data": {"a": [1]}}'}]},
        FunctionResponseTypes=["ReportBatchItemFailures"],
        DestinationConfig={"OnFailure": {"Destination": "arn:aws:sqs:us-east-1:123456789012:q"}},
    )
    before = mappings.get(mapping)
    moto_lambda.update_event_source_mapping(UUID=mapping, BisectBatchOnFunctionError=True)
    mappings.await_state(mapping, "Enabled")
    after = mappings.get(mapping)
    for changing in ("ResponseMetadata", "LastModified", "LastProcessingResult"):
        before.pop(changing), after.pop(changing)
    assert after == before | {"BisectBatchOnFunctionError": True}
    moto_lambda.update_event_source_mapping(
        UUID=mapping, FilterCriteria={}, FunctionResponseTypes=[], DestinationConfig={}
    )
    mappings.await_state(mapping, "Enabled")
    bare = mappings.get(mapping)
    assert "FilterCriteria" not in bare
    assert bare["FunctionResponseTypes"] == []
    assert bare["DestinationConfig"] == {"OnFailure": {}}


INVALID = "InvalidParameterValueException"
SQS, STREAM, TABLE = "SQS", "STREAM", "TABLE"

REFUSED = [
    (SQS, {"BatchSize": 11}, "Maximum batch window in seconds must be greater than 0"),
    (SQS, {"StartingPosition": "LATEST"}, "StartingPosition is not supported for SQS"),
    (SQS, {"ParallelizationFactor": 2}, "ParallelizationFactor is not supported for SQS"),
    (
        SQS,
        {"FilterCriteria": {"Filters": [{"Pattern": "x"}]}},
        "Invalid filter pattern definition.",
    ),
    (SQS, {"FilterCriteria": {"Filters": [{"Pattern": '{"a":1}'}]}}, "Invalid filter pattern"),
    (SQS, {"FilterCriteria": {"Filters": [{"Pattern": '{"a":[1]}'}] * 6}}, "Number of filters"),
    (SQS, {"KMSKeyArn": "arn:aws:kms:us-east-1:1:key/x"}, "KMSKeyArn is not supported"),
    (SQS, {"MetricsConfig": {"Metrics": ["EventCount"]}}, "MetricsConfig is not supported"),
    (SQS, {"ProvisionedPollerConfig": {"MinimumPollers": 2}}, "ProvisionedPollerConfig is not"),
    (
        SQS,
        {
            "DestinationConfig": {
                "OnFailure": {"Destination": "arn:aws:sqs:us-east-1:123456789012:q"}
            }
        },
        "DestinationConfig is not supported for SQS",
    ),
    (STREAM, {}, "Value null at 'startingPosition' failed to satisfy constraint"),
    (STREAM, {"StartingPosition": "AT_TIMESTAMP"}, "StartingPositionTimestamp is required"),
    (
        STREAM,
        {"StartingPosition": "LATEST", "StartingPositionTimestamp": LONG_AGO},
        "StartingPositionTimestamp is only valid",
    ),
    (
        STREAM,
        {
            "StartingPosition": "AT_TIMESTAMP",
            "StartingPositionTimestamp": FAR_OFF,
        },
        "StartingPositionTimestamp cannot be in the future",
    ),
    (
        STREAM,
        {"StartingPosition": "LATEST", "TumblingWindowInSeconds": 30},
        "TumblingWindowInSeconds is not supported",
    ),
    (
        STREAM,
        {"StartingPosition": "LATEST", "MaximumRecordAgeInSeconds": 59},
        "MaximumRecordAgeInSeconds must be -1 or between 60 and 604800",
    ),
    (
        STREAM,
        {"StartingPosition": "LATEST", "ScalingConfig": {"MaximumConcurrency": 2}},
        "ScalingConfig is not supported for Kinesis",
    ),
    *(
        (
            STREAM,
            {
                "StartingPosition": "LATEST",
                "DestinationConfig": {"OnFailure": {"Destination": destination}},
            },
            f"The destination ARN {destination} is invalid",
        )
        for destination in (
            "kafka://topic",
            f"arn:aws:sqs:us-east-1:{OWNER}:q.fifo",
            f"arn:aws:sqs:us-east-1:{OWNER}:no/such queue",
            f"arn:aws:lambda:us-east-1:{OWNER}:function:f",
        )
    ),
    (SQS, {"Tags": {"team": ""}}, "Tags of event source mappings are not supported"),
    (
        TABLE,
        {"StartingPosition": "AT_TIMESTAMP", "StartingPositionTimestamp": LONG_AGO},
        "AT_TIMESTAMP",
    ),
    (TABLE, {"StartingPosition": "LATEST"}, "Stream not found: arn:aws:dynamodb"),
]


@pytest.mark.parametrize(("kind", "params", "words"), REFUSED, ids=str)
def test_what_makes_no_sense_is_refused(
    moto_lambda, function, sqs_arn, stream_arn, kind, params, words
):
    table = f"arn:aws:dynamodb:us-east-1:{OWNER}:table/none/stream/2026-01-01T00:00:00.0"
    arn = {SQS: sqs_arn, STREAM: stream_arn, TABLE: table}[kind]
    code, message = refusal(
        moto_lambda,
        "create_event_source_mapping",
        EventSourceArn=arn,
        FunctionName=function,
        **params,
    )
    assert code == INVALID
    assert words in message


def test_a_queue_that_is_not_there_is_refused(moto_lambda, function):
    code, message = refusal(
        moto_lambda,
        "create_event_source_mapping",
        EventSourceArn=f"arn:aws:sqs:us-east-1:{OWNER}:{uuid.uuid4()}",
        FunctionName=function,
    )
    assert code == INVALID
    assert "Error occurred while ReceiveMessage. SQS Error Code: " in message
    assert "NonExistentQueue" in message


def test_a_queue_must_hide_messages_for_as_long_as_the_function_runs(
    moto_lambda, make_moto_function, sqs_arn
):
    slow = make_moto_function(PRINT_EVENT, Timeout=60)
    assert refusal(
        moto_lambda, "create_event_source_mapping", EventSourceArn=sqs_arn, FunctionName=slow
    ) == (
        INVALID,
        "Queue visibility timeout: 30 seconds is less than Function timeout: 60 seconds",
    )


def test_a_function_that_is_not_there_is_refused(moto_lambda, sqs_arn):
    code, message = refusal(
        moto_lambda, "create_event_source_mapping", EventSourceArn=sqs_arn, FunctionName="nobody"
    )
    assert code == "ResourceNotFoundException"
    assert message.startswith("Function not found: arn:aws:lambda:us-east-1:")


@pytest.mark.parametrize("arn", ["arn:aws:ec2:us-east-1:1:i-1", "arn:aws:kinesis:us-east-1:1:x"])
def test_what_is_no_event_source_is_refused(moto_lambda, function, arn):
    code, message = refusal(
        moto_lambda,
        "create_event_source_mapping",
        EventSourceArn=arn.replace(":1:", f":{OWNER}:"),
        FunctionName=function,
    )
    assert code == INVALID
    assert message.startswith("Unrecognized event source")


@pytest.mark.parametrize(
    "operation",
    ["get_event_source_mapping", "delete_event_source_mapping", "update_event_source_mapping"],
)
def test_a_mapping_that_is_not_there_is_not_found(moto_lambda, operation):
    assert refusal(moto_lambda, operation, UUID=str(uuid.uuid4())) == (
        "ResourceNotFoundException",
        "The resource you requested does not exist.",
    )


def test_nobody_sees_the_mappings_of_others(moto_lambda, moto_server, function, sqs_arn, mappings):
    from tests.aws.functions import lambda_client_of

    mapping = mappings.create(EventSourceArn=sqs_arn, FunctionName=function)
    stranger = lambda_client_of(moto_server.endpoint, key_id="111122223333")
    try:
        assert stranger.list_event_source_mappings()["EventSourceMappings"] == []
        for operation in ("get_event_source_mapping", "delete_event_source_mapping"):
            code, _ = refusal(stranger, operation, UUID=mapping)
            assert code == "ResourceNotFoundException"
    finally:
        stranger.close()


def test_without_an_endpoint_it_is_said_what_to_set(lambda_client, make_function):
    function = make_function(PRINT_EVENT)
    code, message = refusal(
        lambda_client,
        "create_event_source_mapping",
        EventSourceArn="arn:aws:sqs:us-east-1:000000000000:q",
        FunctionName=function,
    )
    assert code == INVALID
    assert "SAMOVAR_AWS_ENDPOINT" in message


def test_a_pattern_is_kept_as_it_was_written(moto_lambda, function, sqs_arn, mappings):
    pattern = json.dumps({"body": {"a": [{"anything-but": ["x"]}]}}, indent=3)
    mapping = mappings.create(
        EventSourceArn=sqs_arn,
        FunctionName=function,
        FilterCriteria={"Filters": [{"Pattern": pattern}]},
    )
    assert mappings.get(mapping)["FilterCriteria"] == {"Filters": [{"Pattern": pattern}]}
