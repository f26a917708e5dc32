"""Asynchronous invocation, through boto3.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async.html
"""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ClientError

from tests.aws.functions import FunctionFactory, clients_of
from tests.server import running

TELLS = """
    import json
    def handler(event, context):
        print("told", context.aws_request_id, context.invoked_function_arn, json.dumps(event))
"""


def accept(client, name, payload="{}", **more):
    return client.invoke(FunctionName=name, InvocationType="Event", Payload=payload, **more)


def test_an_event_is_accepted_and_the_function_runs_with_it(lambda_client, make_function, server):
    name = make_function(TELLS)
    answer = accept(lambda_client, name, '{"tea": "green"}')
    assert (answer["StatusCode"], answer["Payload"].read()) == (202, b"")
    assert "ExecutedVersion" not in answer and "FunctionError" not in answer
    arn = f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
    request_id = answer["ResponseMetadata"]["RequestId"]
    server.await_log(name, f'told {request_id} {arn} {{"tea": "green"}}')


def test_the_qualifier_that_was_asked_for_is_the_one_that_runs(
    lambda_client, make_function, server
):
    name = make_function(TELLS)
    lambda_client.publish_version(FunctionName=name)
    lambda_client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    accept(lambda_client, name, Qualifier="live")
    server.await_log(name, f"function:{name}:live {{}}")


def test_no_payload_is_an_empty_event(lambda_client, make_function, server):
    name = make_function(TELLS)
    lambda_client.invoke(FunctionName=name, InvocationType="Event")
    server.await_log(name, f"function:{name} {{}}")


def test_invoke_async_does_the_same(lambda_client, make_function, server):
    name = make_function(TELLS)
    answer = lambda_client.invoke_async(FunctionName=name, InvokeArgs=b'{"old": true}')
    assert answer["Status"] == 202
    server.await_log(name, '{"old": true}')


def test_a_full_queue_is_told_with_a_429_and_other_queues_are_open(needs_wiring, tmp_path):
    env = {"SAMOVAR_EVENT_QUEUE_EVENTS": "3", "SAMOVAR_EVENT_CONCURRENCY": "1"}
    with running(tmp_path / "data", "--no-examples", **env) as server:
        with clients_of(server.endpoint) as make:
            client = make()
            create = FunctionFactory(client, "full", server.newest_runtime())
            slow = create("import time\ndef handler(e, c): time.sleep(e)", Timeout=60)
            for _ in range(3):
                accept(client, slow, "50")
            with pytest.raises(client.exceptions.TooManyRequestsException) as raised:
                accept(client, slow, "50")
            response = raised.value.response
            assert response["ResponseMetadata"]["HTTPStatusCode"] == 429
            assert response["Reason"] == "CallerRateLimitExceeded"
            assert "is full: 3 events wait" in response["Error"]["Message"]
            accept(client, create(TELLS))
        server.kill()


def test_what_runs_at_a_stop_may_end_and_what_waits_goes_on_with_the_next_start(
    needs_wiring, tmp_path
):
    source = """
        import time
        def handler(event, context):
            print("begun", event, flush=True)
            time.sleep(event)
            print("ended", event)
    """
    data, env = tmp_path / "data", {"SAMOVAR_EVENT_CONCURRENCY": "1"}
    with running(data, "--no-examples", **env) as server, clients_of(server.endpoint) as make:
        name = FunctionFactory(make(), "stopped", server.newest_runtime())(source)
        accept(make(), name, "1")
        accept(make(), name, "0")
        server.await_log(name, "begun 1")
    with running(data, "--no-examples", **env) as server:
        server.await_log(name, "ended 1")
        server.await_log(name, "ended 0")


def event_of(size_bytes):
    return json.dumps("x" * (size_bytes - 2))


def test_the_largest_event_arrives(lambda_client, make_function, server):
    name = make_function("def handler(e, c): print('length', len(e))")
    accept(lambda_client, name, event_of(1024 * 1024))
    server.await_log(name, f"length {1024 * 1024 - 2}")


@pytest.mark.parametrize(
    ("request_", "status", "code", "message"),
    [
        (
            {"Payload": event_of(1024 * 1024 + 1)},
            413,
            "RequestTooLargeException",
            "1048577 byte payload is too large for the Event invocation type (limit 1048576 bytes)",
        ),
        ({"Payload": "{"}, 400, "InvalidRequestContentException", "Could not parse request body"),
        ({"Qualifier": "7"}, 404, "ResourceNotFoundException", "Function not found"),
        ({"FunctionName": "no-such"}, 404, "ResourceNotFoundException", "Function not found"),
        ({"TenantId": "t"}, 400, "InvalidParameterValueException", "tenancy configuration"),
    ],
)
def test_what_cannot_be_run_is_not_accepted(
    lambda_client, make_function, request_, status, code, message
):
    name = make_function(TELLS)
    with pytest.raises(ClientError) as raised:
        lambda_client.invoke(**{"FunctionName": name, "InvocationType": "Event"} | request_)
    response = raised.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert response["Error"]["Code"] == code
    assert message in response["Error"]["Message"]
