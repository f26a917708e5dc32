"""Where asynchronous events end, through boto3 and moto.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
"""

from __future__ import annotations

import json

import pytest

from tests.aws.runtimes import python_bootstrap
from tests.aws.sources import eventually
from tests.aws.targets import bucket_of, bus_to, queue_of, topic_to

FAILS = """
    def handler(event, context):
        raise ValueError("no tea")
"""
WORKS = """
    def handler(event, context):
        return {"cups": event["cups"] + 1}
"""
TELLS = """
    import json
    def handler(event, context):
        print("told", json.dumps(event))
"""
ARN = "arn:aws:lambda:us-east-1:000000000000:function:{}"


def send(client, name, payload, **more):
    """Invoke asynchronously; the request id."""
    answer = client.invoke(
        FunctionName=name, InvocationType="Event", Payload=json.dumps(payload), **more
    )
    return answer["ResponseMetadata"]["RequestId"]


def configure(client, name, *, qualifier="$LATEST", on_success="", on_failure="", **settings):
    client.put_function_event_invoke_config(
        FunctionName=name,
        Qualifier=qualifier,
        DestinationConfig={
            "OnSuccess": {"Destination": on_success},
            "OnFailure": {"Destination": on_failure},
        },
        **settings,
    )


def test_a_failure_is_told_in_aws_s_words(moto, moto_lambda, make_moto_function):
    name, queue = make_moto_function(FAILS), queue_of(moto)
    configure(moto_lambda, name, on_failure=queue.arn, MaximumRetryAttempts=0)
    request_id = send(moto_lambda, name, {"cups": 1})
    told = queue.told()
    assert told.pop("timestamp").endswith("Z")
    assert told.pop("responsePayload")["errorMessage"] == "no tea"
    assert told == {
        "version": "1.0",
        "requestContext": {
            "requestId": request_id,
            "functionArn": f"{ARN.format(name)}:$LATEST",
            "condition": "RetriesExhausted",
            "approximateInvokeCount": 1,
        },
        "requestPayload": {"cups": 1},
        "responseContext": {
            "statusCode": 200,
            "executedVersion": "$LATEST",
            "functionError": "Unhandled",
        },
    }


def test_a_success_is_told(moto, moto_lambda, make_moto_function):
    name, queue = make_moto_function(WORKS), queue_of(moto)
    configure(moto_lambda, name, on_success=queue.arn)
    send(moto_lambda, name, {"cups": 1})
    told = queue.told()
    assert told["requestContext"]["condition"] == "Success"
    assert told["responseContext"] == {"statusCode": 200, "executedVersion": "$LATEST"}
    assert told["responsePayload"] == {"cups": 2}


def test_a_function_that_goes_on_failing_has_three_attempts(
    moto, moto_lambda, make_moto_function, moto_server
):
    name, queue = make_moto_function(FAILS), queue_of(moto)
    configure(moto_lambda, name, on_failure=queue.arn)
    send(moto_lambda, name, {})

    def after_a_while():
        moto_server.advance(60)
        return queue.messages()

    (message,) = eventually(after_a_while)
    told = json.loads(message["Body"])
    assert told["requestContext"]["approximateInvokeCount"] == 3


def test_a_topic_is_told(moto, moto_lambda, make_moto_function):
    name, queue = make_moto_function(FAILS), queue_of(moto)
    configure(moto_lambda, name, on_failure=topic_to(queue), MaximumRetryAttempts=0)
    request_id = send(moto_lambda, name, {})
    record = json.loads(queue.told()["Message"])
    assert record["requestContext"]["requestId"] == request_id


@pytest.mark.parametrize(("source", "result"), [(WORKS, "Success"), (FAILS, "Failure")])
def test_a_bus_is_told(moto, moto_lambda, make_moto_function, source, result):
    name, queue = make_moto_function(source), queue_of(moto)
    bus = bus_to(queue, detail_type=[f"Lambda Function Invocation Result - {result}"])
    configure(moto_lambda, name, on_success=bus, on_failure=bus, MaximumRetryAttempts=0)
    send(moto_lambda, name, {"cups": 1})
    told = queue.told()
    assert told["source"] == "lambda"
    assert told["resources"] == [f"{ARN.format(name)}:$LATEST", bus]
    assert told["detail"]["requestPayload"] == {"cups": 1}


def test_a_bucket_is_told(moto, moto_lambda, make_moto_function):
    name, bucket = make_moto_function(FAILS), bucket_of(moto)
    configure(moto_lambda, name, on_failure=f"arn:aws:s3:::{bucket}", MaximumRetryAttempts=0)
    request_id = send(moto_lambda, name, {})
    s3 = moto.client("s3")
    (found,) = eventually(lambda: s3.list_objects_v2(Bucket=bucket).get("Contents"))
    assert found["Key"].startswith(f"aws/lambda/async/{name}/20")
    record = json.loads(s3.get_object(Bucket=bucket, Key=found["Key"])["Body"].read())
    assert record["requestContext"]["requestId"] == request_id


def test_one_function_tells_another(moto_lambda, make_moto_function, moto_server):
    first, second = make_moto_function(WORKS), make_moto_function(TELLS)
    configure(moto_lambda, first, on_success=ARN.format(second))
    request_id = send(moto_lambda, first, {"cups": 3})
    moto_server.await_log(second, f'"requestId": "{request_id}"')
    moto_server.await_log(second, '"responsePayload": {"cups": 4}')


def test_a_dead_letter_is_the_event_itself_with_the_error(moto, moto_lambda, make_moto_function):
    letters, records = queue_of(moto), queue_of(moto)
    name = make_moto_function(FAILS, DeadLetterConfig={"TargetArn": letters.arn})
    configure(moto_lambda, name, on_failure=records.arn, MaximumRetryAttempts=0)
    request_id = send(moto_lambda, name, {"cups": 1})
    letter = letters.message()
    assert json.loads(letter["Body"]) == {"cups": 1}
    attributes = {k: v["StringValue"] for k, v in letter["MessageAttributes"].items()}
    assert attributes == {"RequestID": request_id, "ErrorCode": "200", "ErrorMessage": "no tea"}
    assert records.told()["requestContext"]["requestId"] == request_id


def test_the_qualifier_that_was_invoked_says_where(moto, moto_lambda, make_moto_function):
    name, live, latest = make_moto_function(WORKS), queue_of(moto), queue_of(moto)
    moto_lambda.publish_version(FunctionName=name)
    moto_lambda.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    configure(moto_lambda, name, on_success=latest.arn)
    configure(moto_lambda, name, qualifier="live", on_success=live.arn)
    send(moto_lambda, name, {"cups": 1}, Qualifier="live")
    told = live.told()
    assert told["requestContext"]["functionArn"] == f"{ARN.format(name)}:live"
    assert told["responseContext"]["executedVersion"] == "1"
    send(moto_lambda, name, {"cups": 5})
    assert latest.told()["responsePayload"] == {"cups": 6}
    assert live.messages() == []


def test_without_any_concurrency_an_event_is_not_tried(moto, moto_lambda, make_moto_function):
    name, queue = make_moto_function(WORKS), queue_of(moto)
    configure(moto_lambda, name, on_failure=queue.arn)
    moto_lambda.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    send(moto_lambda, name, {"cups": 1})
    context = queue.told()["requestContext"]
    assert context["condition"] == "ZeroReservedConcurrency"
    assert context["approximateInvokeCount"] == 0


def test_an_event_that_is_too_old_is_given_up(moto, moto_lambda, make_moto_function, moto_server):
    name, queue = make_moto_function(WORKS), queue_of(moto)
    configure(moto_lambda, name, on_failure=queue.arn, MaximumEventAgeInSeconds=60)
    moto_server.fault(name, "throttle", times=1000)
    send(moto_lambda, name, {"cups": 1})

    def after_a_while():
        moto_server.advance(30)
        return queue.messages()

    (message,) = eventually(after_a_while)
    told = json.loads(message["Body"])
    moto_server.ask(f"test/faults/{name}", method="DELETE")
    assert told["requestContext"]["condition"] == "EventAgeExceeded"
    assert told["requestPayload"] == {"cups": 1}
    assert "responsePayload" not in told


def test_a_response_that_is_too_large_is_left_out(moto, moto_lambda, make_moto_function):
    queue = queue_of(moto)
    name = make_moto_function("def handler(event, context): return 'x' * 5_000_000")
    configure(moto_lambda, name, on_success=queue.arn)
    send(moto_lambda, name, {"cups": 1})
    told = queue.told()
    assert told["requestPayload"] == {"cups": 1}
    assert told["responseContext"]["statusCode"] == 200
    assert "responsePayload" not in told


HOSTILE = """
    ANSWERS = {
        "response": b"\\xff\\xfe no JSON \\x00",
        "error": b'{"errorMessage": {"deep": [1]}, "errorType": 5, "more": "\\\\ud800"}',
    }
    while True:
        id, event, _ = next_event()
        call("POST", f"/invocation/{id}/{event}", ANSWERS[event])
"""


@pytest.mark.parametrize(
    ("kind", "condition"), [("response", "Success"), ("error", "RetriesExhausted")]
)
def test_whatever_a_runtime_answers_the_record_is_json(
    moto, moto_lambda, make_moto_function, kind, condition
):
    records, letters = queue_of(moto), queue_of(moto)
    name = make_moto_function(
        "", **python_bootstrap(HOSTILE), DeadLetterConfig={"TargetArn": letters.arn}
    )
    both = {"on_success": records.arn, "on_failure": records.arn}
    configure(moto_lambda, name, **both, MaximumRetryAttempts=0)
    send(moto_lambda, name, kind)
    told = records.told()
    assert told["requestContext"]["condition"] == condition
    assert told["requestPayload"] == kind
    if kind == "error":
        assert letters.message()["MessageAttributes"]["ErrorMessage"]["StringValue"]


def test_a_record_that_nobody_takes_is_kept_and_can_be_sent_again(
    moto, moto_lambda, make_moto_function, moto_server
):
    name, queue = make_moto_function(WORKS), queue_of(moto)
    moto.client("sqs").delete_queue(QueueUrl=queue.url)
    configure(moto_lambda, name, on_success=queue.arn)
    send(moto_lambda, name, {"cups": 1})
    listing = f"events?function={name}&state=dead"
    (kept,) = eventually(lambda: moto_server.ask(listing)["events"])
    assert (kept["target"], kept["source"]) == (queue.arn, "destination")
    assert "NonExistentQueue" in kept["last_error"] or "QueueDoesNotExist" in kept["last_error"]
    again = queue_of(moto, queue.arn.rsplit(":", 1)[1])
    moto_server.ask("events/replay", {"ids": [kept["id"]]})
    assert again.told()["responsePayload"] == {"cups": 2}


def test_what_is_configured_no_more_is_told_no_more(moto, moto_lambda, make_moto_function):
    name, queue = make_moto_function(WORKS), queue_of(moto)
    configure(moto_lambda, name, on_success=queue.arn)
    send(moto_lambda, name, {"cups": 1})
    assert queue.told()["responsePayload"] == {"cups": 2}
    other = queue_of(moto)
    configure(moto_lambda, name, on_success=other.arn)
    send(moto_lambda, name, {"cups": 2})
    assert other.told()["responsePayload"] == {"cups": 3}
    assert queue.messages() == []
