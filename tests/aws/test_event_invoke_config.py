"""Event invoke configs, dead-letter queues and recursion configs, as clients set them.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-configuring.html
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError

from tests.aws.functions import lambda_client_of

SOURCE = "def handler(event, context): return event"
QUEUE = "arn:aws:sqs:us-east-1:123456789012:q"
BUCKET = "arn:aws:s3:::bucket"


@pytest.fixture
def name(make_moto_function):
    return make_moto_function(SOURCE)


def refusal(call, **request):
    with pytest.raises(ClientError) as refused:
        call(**request)
    error = refused.value.response["Error"]
    return error["Code"], error["Message"]


def shown(answer):
    return {k: v for k, v in answer.items() if k not in ("ResponseMetadata", "LastModified")}


def test_put_replaces_and_update_merges(moto_lambda, name):
    arn = f"arn:aws:lambda:us-east-1:000000000000:function:{name}:$LATEST"
    put = moto_lambda.put_function_event_invoke_config(
        FunctionName=name,
        MaximumRetryAttempts=1,
        DestinationConfig={"OnSuccess": {"Destination": QUEUE}},
    )
    assert shown(put) == {
        "FunctionArn": arn,
        "MaximumRetryAttempts": 1,
        "DestinationConfig": {"OnSuccess": {"Destination": QUEUE}, "OnFailure": {}},
    }
    assert abs(datetime.now(UTC) - put["LastModified"]) < timedelta(minutes=5)
    updated = moto_lambda.update_function_event_invoke_config(
        FunctionName=name,
        MaximumEventAgeInSeconds=60,
        DestinationConfig={"OnFailure": {"Destination": BUCKET}},
    )
    assert shown(updated) == {
        "FunctionArn": arn,
        "MaximumRetryAttempts": 1,
        "MaximumEventAgeInSeconds": 60,
        "DestinationConfig": {
            "OnSuccess": {"Destination": QUEUE},
            "OnFailure": {"Destination": BUCKET},
        },
    }
    assert shown(moto_lambda.get_function_event_invoke_config(FunctionName=name)) == shown(updated)
    moto_lambda.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=0)
    assert shown(moto_lambda.get_function_event_invoke_config(FunctionName=name)) == {
        "FunctionArn": arn,
        "MaximumRetryAttempts": 0,
        "DestinationConfig": {"OnSuccess": {}, "OnFailure": {}},
    }


def test_a_destination_is_removed_by_naming_none(moto_lambda, name):
    for destination in (QUEUE, ""):
        answer = moto_lambda.put_function_event_invoke_config(
            FunctionName=name, DestinationConfig={"OnFailure": {"Destination": destination}}
        )
    assert answer["DestinationConfig"]["OnFailure"] == {}


def test_each_version_and_alias_has_its_own_and_they_are_listed(moto_lambda, name):
    moto_lambda.publish_version(FunctionName=name)
    moto_lambda.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    for retries, qualifier in enumerate(("$LATEST", "1", "live")):
        moto_lambda.put_function_event_invoke_config(
            FunctionName=name, Qualifier=qualifier, MaximumRetryAttempts=retries
        )
    pages = moto_lambda.get_paginator("list_function_event_invoke_configs").paginate(
        FunctionName=name, PaginationConfig={"PageSize": 1}
    )
    listed = [c for page in pages for c in page["FunctionEventInvokeConfigs"]]
    assert [(c["FunctionArn"].split(":")[-1], c["MaximumRetryAttempts"]) for c in listed] == [
        ("$LATEST", 0),
        ("1", 1),
        ("live", 2),
    ]
    moto_lambda.delete_alias(FunctionName=name, Name="live")
    moto_lambda.delete_function_event_invoke_config(FunctionName=name, Qualifier="1")
    left = moto_lambda.list_function_event_invoke_configs(FunctionName=name)
    assert len(left["FunctionEventInvokeConfigs"]) == 1


def test_what_is_not_there_is_not_found(moto_lambda, name):
    missing = f"function:{name}:$LATEST doesn't have an EventInvokeConfig"
    for call, request in (
        (moto_lambda.get_function_event_invoke_config, {}),
        (moto_lambda.delete_function_event_invoke_config, {}),
        (moto_lambda.update_function_event_invoke_config, {"MaximumRetryAttempts": 1}),
    ):
        code, message = refusal(call, FunctionName=name, **request)
        assert code == "ResourceNotFoundException"
        assert missing in message
    put = moto_lambda.put_function_event_invoke_config
    for request in ({"FunctionName": "nobody"}, {"FunctionName": name, "Qualifier": "dead"}):
        code, _ = refusal(put, **request, MaximumRetryAttempts=1)
        assert code == "ResourceNotFoundException"


@pytest.mark.parametrize(
    ("member", "arn"),
    [
        ("OnFailure", "arn:aws:sqs:us-east-1:123456789012:q.fifo"),
        ("OnFailure", "arn:aws:sqs:us-east-1:123456789012:a/b"),
        ("OnFailure", "arn:aws:kinesis:us-east-1:123456789012:stream/s"),
        ("OnFailure", "arn:aws:s3:::Not_A_Bucket/key"),
        ("OnFailure", "kafka://topic"),
        ("OnFailure", "arn:aws:sqs:::q"),
        ("OnFailure", "arn:aws:sns:us-east-1::t"),
        ("OnSuccess", "arn:aws:sqs:us-east-1:123456789012:no such/queue"),
        ("OnSuccess", BUCKET),
    ],
)
def test_what_is_no_destination_is_refused(moto_lambda, name, member, arn):
    code, message = refusal(
        moto_lambda.put_function_event_invoke_config,
        FunctionName=name,
        DestinationConfig={member: {"Destination": arn}},
    )
    assert code == "InvalidParameterValueException"
    assert arn in message


def test_a_function_is_no_destination_of_its_own(moto_lambda, name):
    arn = f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
    for own in (arn, f"{arn}:$LATEST"):
        code, message = refusal(
            moto_lambda.put_function_event_invoke_config,
            FunctionName=name,
            DestinationConfig={"OnFailure": {"Destination": own}},
        )
        assert code == "InvalidParameterValueException"
        assert "itself" in message


def test_a_function_that_is_a_destination_has_to_be_there(moto_lambda, name):
    code, _ = refusal(
        moto_lambda.put_function_event_invoke_config,
        FunctionName=name,
        DestinationConfig={
            "OnFailure": {"Destination": "arn:aws:lambda:us-east-1:000000000000:function:nobody"}
        },
    )
    assert code == "ResourceNotFoundException"


@pytest.mark.parametrize(
    "settings", [{"MaximumRetryAttempts": 3}, {"MaximumEventAgeInSeconds": 59}, {}]
)
def test_settings_have_aws_bounds(moto_lambda, name, settings, moto_server):
    client = lambda_client_of(moto_server.endpoint, parameter_validation=False)
    code, _ = refusal(client.put_function_event_invoke_config, FunctionName=name, **settings)
    assert code in ("ValidationException", "InvalidParameterValueException")
    client.close()


def test_a_server_without_endpoints_says_what_to_set(lambda_client, make_function):
    name = make_function(SOURCE)
    code, message = refusal(
        lambda_client.put_function_event_invoke_config,
        FunctionName=name,
        DestinationConfig={"OnFailure": {"Destination": BUCKET}},
    )
    assert code == "InvalidParameterValueException"
    assert "SAMOVAR_S3_ENDPOINT" in message
    code, message = refusal(
        lambda_client.update_function_configuration,
        FunctionName=name,
        DeadLetterConfig={"TargetArn": QUEUE},
    )
    assert code == "InvalidParameterValueException"
    assert "SAMOVAR_SQS_ENDPOINT" in message


def test_a_dead_letter_queue_is_a_setting_of_the_version(moto_lambda, make_moto_function):
    name = make_moto_function(SOURCE, DeadLetterConfig={"TargetArn": QUEUE})
    get = moto_lambda.get_function_configuration
    assert get(FunctionName=name)["DeadLetterConfig"] == {"TargetArn": QUEUE}
    moto_lambda.publish_version(FunctionName=name)
    moto_lambda.update_function_configuration(FunctionName=name, DeadLetterConfig={"TargetArn": ""})
    assert "DeadLetterConfig" not in get(FunctionName=name)
    assert get(FunctionName=name, Qualifier="1")["DeadLetterConfig"] == {"TargetArn": QUEUE}


@pytest.mark.parametrize("arn", [BUCKET, QUEUE + ".fifo", "arn:aws:lambda:x"])
def test_what_is_no_dead_letter_queue_is_refused(moto_lambda, name, arn):
    code, _ = refusal(
        moto_lambda.update_function_configuration,
        FunctionName=name,
        DeadLetterConfig={"TargetArn": arn},
    )
    assert code == "InvalidParameterValueException"


def test_loops_are_ended_unless_they_are_allowed(moto_lambda, name):
    assert moto_lambda.get_function_recursion_config(FunctionName=name)["RecursiveLoop"] == (
        "Terminate"
    )
    put = moto_lambda.put_function_recursion_config(FunctionName=name, RecursiveLoop="Allow")
    assert put["RecursiveLoop"] == "Allow"
    assert moto_lambda.get_function_recursion_config(FunctionName=name)["RecursiveLoop"] == "Allow"
    code, _ = refusal(moto_lambda.get_function_recursion_config, FunctionName="nobody")
    assert code == "ResourceNotFoundException"
