"""Calls of API operations that schedules make, as what reaches targets."""

from __future__ import annotations

import json

import pytest

from samovar.model.universal_target import PREFIX, Call, UniversalTargetError, universal_call

PLACE = "us-east-1:000000000000"
FUNCTION = f"arn:aws:lambda:{PLACE}:function:f"
EVENT = {"InvocationType": "Event"}
ENTRY = {"Source": "tea", "DetailType": "Poured", "Detail": "{}"}


@pytest.mark.parametrize(
    ("action", "request_", "call"),
    [
        ("lambda:invoke", EVENT | {"FunctionName": "f"}, Call(FUNCTION, "{}")),
        ("lambda:invoke", EVENT | {"FunctionName": FUNCTION, "Payload": "1"}, Call(FUNCTION, "1")),
        (
            "lambda:invoke",
            EVENT | {"FunctionName": "f", "Qualifier": "live"},
            Call(FUNCTION + ":live", "{}"),
        ),
        (
            "sqs:sendMessage",
            {"QueueUrl": "http://localhost:9324/123456789012/q", "MessageBody": "tea"},
            Call("arn:aws:sqs:us-east-1:123456789012:q", "tea"),
        ),
        (
            "sqs:sendMessage",
            {
                "QueueUrl": "https://sqs.us-east-1.amazonaws.com/123456789012/q.fifo",
                "MessageBody": "tea",
                "MessageGroupId": "g",
            },
            Call("arn:aws:sqs:us-east-1:123456789012:q.fifo", "tea", {"MessageGroupId": "g"}),
        ),
        ("sns:publish", {"TopicArn": "arn:t", "Message": "tea"}, Call("arn:t", "tea")),
        (
            "eventbridge:putEvents",
            {"Entries": [ENTRY]},
            Call(
                f"arn:aws:events:{PLACE}:event-bus/default",
                "{}",
                {"Source": "tea", "DetailType": "Poured"},
            ),
        ),
    ],
)
def test_what_a_call_comes_to(action, request_, call):
    assert universal_call(PREFIX + action, json.dumps(request_), PLACE) == call


@pytest.mark.parametrize(
    ("action", "text"),
    [
        ("s3:putObject", "{}"),
        ("lambda:invoke", None),
        ("lambda:invoke", '{"FunctionName": "f"}'),
        ("lambda:invoke", '{"FunctionName": "f", "InvocationType": "RequestResponse"}'),
        ("sqs:sendMessage", '{"QueueUrl": "http://x/1/q", "MessageBody": "m", "DelaySeconds": 5}'),
        ("sqs:sendMessage", '{"QueueUrl": "http://[x/1/q", "MessageBody": "m"}'),
        ("sqs:sendMessage", "[" * 100_000),
        ("eventbridge:putEvents", '{"Entries": []}'),
        ("eventbridge:putEvents", json.dumps({"Entries": [ENTRY, ENTRY]})),
    ],
)
def test_what_cannot_be_called_is_refused(action, text):
    with pytest.raises(UniversalTargetError):
        universal_call(PREFIX + action, text, PLACE)
