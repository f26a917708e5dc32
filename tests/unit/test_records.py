"""What destinations and dead-letter queues are told, as AWS documents it."""

from __future__ import annotations

import json

import pytest
from msgspec import structs

from samovar.events.records import (
    RECORD_LIMITS,
    Answer,
    dead_letter_attributes,
    destination_attributes,
    destination_record,
    first_kilobyte,
)
from samovar.model.event import MAX_EVENT_BYTES, Event
from samovar.model.invocation import MAX_PAYLOAD_BYTES

AT = 1573755365.568
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:f"
QUEUE = "arn:aws:sqs:us-east-1:000000000000:q"
BUS = "arn:aws:events:us-east-1:000000000000:event-bus/b"
EVENT = Event(
    id="e4b46cbf", queue=FUNCTION, target=FUNCTION, payload=b'{"n": 1}', accepted_at=AT, due_at=AT
)


def record(event=EVENT, condition="Success", answer=None, destination=QUEUE):
    return json.loads(destination_record(event, condition, 3, answer, destination, AT))


def test_the_record_of_a_failure_is_as_documented():
    answer = Answer(200, "$LATEST", "Unhandled", b'{"errorMessage": "no"}')
    assert record(condition="RetriesExhausted", answer=answer) == {
        "version": "1.0",
        "timestamp": "2019-11-14T18:16:05.568Z",
        "requestContext": {
            "requestId": "e4b46cbf",
            "functionArn": f"{FUNCTION}:$LATEST",
            "condition": "RetriesExhausted",
            "approximateInvokeCount": 3,
        },
        "requestPayload": {"n": 1},
        "responseContext": {
            "statusCode": 200,
            "executedVersion": "$LATEST",
            "functionError": "Unhandled",
        },
        "responsePayload": {"errorMessage": "no"},
    }


def test_a_success_names_no_error_and_the_qualifier_that_was_invoked():
    event = structs.replace(EVENT, target=f"{FUNCTION}:live")
    told = record(event, answer=Answer(200, "7", None, b"null"))
    assert told["requestContext"]["functionArn"] == f"{FUNCTION}:live"
    assert told["responseContext"] == {"statusCode": 200, "executedVersion": "7"}
    assert told["responsePayload"] is None


@pytest.mark.parametrize(
    ("payload", "told"),
    [(b"", None), (b"no json", "no json"), (b"\xff", "\ufffd"), (b"[" * 5000, "[" * 5000)],
)
def test_a_response_that_is_no_json_is_a_text(payload, told):
    assert record(answer=Answer(200, "1", None, payload))["responsePayload"] == told


@pytest.mark.parametrize("service", sorted(RECORD_LIMITS))
def test_payloads_that_leave_a_record_too_large_are_dropped(service):
    destination = f"arn:aws:{service}:us-east-1:000000000000:x"
    fits = Answer(200, "1", None, b'"small"')
    huge = Answer(200, "1", None, b'"' + b"x" * (MAX_PAYLOAD_BYTES - 2) + b'"')
    large_event = structs.replace(EVENT, payload=b'"' + b"x" * (MAX_EVENT_BYTES - 2) + b'"')
    assert "responsePayload" in record(answer=fits, destination=destination)
    told = record(answer=huge, destination=destination)
    assert told["requestPayload"] == {"n": 1}
    assert "responsePayload" not in told
    assert "requestPayload" not in record(large_event, answer=huge, destination=destination)


def test_a_bucket_takes_everything():
    huge = Answer(200, "1", None, b'"' + b"x" * (MAX_PAYLOAD_BYTES - 2) + b'"')
    assert "responsePayload" in record(answer=huge, destination="arn:aws:s3:::bucket")


def test_a_bus_is_told_the_type_and_whom_it_is_about():
    told = destination_attributes(EVENT, BUS, success=False)
    assert told["Source"] == "lambda"
    assert told["DetailType"] == "Lambda Function Invocation Result - Failure"
    assert json.loads(told["Resources"]) == [f"{FUNCTION}:$LATEST", BUS]
    assert destination_attributes(EVENT, QUEUE, success=True) == {}


def test_a_dead_letter_says_who_when_and_why():
    told = dead_letter_attributes(EVENT, Answer(200), "x" * 2000)
    attributes = json.loads(told["MessageAttributes"])
    assert attributes["RequestID"] == {"DataType": "String", "StringValue": "e4b46cbf"}
    assert attributes["ErrorCode"] == {"DataType": "Number", "StringValue": "200"}
    assert attributes["ErrorMessage"]["StringValue"] == "x" * 1024


@pytest.mark.parametrize(
    ("text", "kept"),
    [("", "-"), ("a\0b", "ab"), ("é" * 1000, "é" * 512), ("\ud800", "?"), ("\uffff", "-")],
)
def test_a_message_attribute_is_what_queues_take(text, kept):
    assert first_kilobyte(text) == kept
