"""Invoke through an unmodified boto3: what goes in, what comes out, what the function sees."""

from __future__ import annotations

import base64
import json
import re
import urllib.request

import pytest
from botocore.exceptions import ClientError

ECHO = "def handler(event, context): return event"


def answer_of(client, name: str, event=None, **options):
    body = {} if event is None else {"Payload": json.dumps(event)}
    return json.loads(client.invoke(FunctionName=name, **body, **options)["Payload"].read())


def header(answer, name: str) -> str:
    return answer["ResponseMetadata"]["HTTPHeaders"][name]


@pytest.mark.parametrize("event", [{"a": [1, 2.5, None, True]}, [], "text", 7, None, "snö ☃ 🫖"])
def test_any_json_goes_through(lambda_client, make_function, event):
    name = make_function(ECHO)
    body = lambda_client.invoke(FunctionName=name, Payload=json.dumps(event))["Payload"].read()
    assert json.loads(body) == event


def test_no_payload_is_an_empty_object(lambda_client, make_function):
    assert answer_of(lambda_client, make_function(ECHO)) == {}


def test_a_payload_of_six_megabytes_goes_there_and_back(lambda_client, make_function):
    name = make_function(ECHO, MemorySize=512, Timeout=30)
    payload = json.dumps("x" * (6 * 1024 * 1024 - 2))
    assert (
        lambda_client.invoke(FunctionName=name, Payload=payload)["Payload"].read()
        == payload.encode()
    )


def test_a_larger_payload_is_refused(lambda_client, make_function):
    name = make_function(ECHO)
    with pytest.raises(ClientError) as raised:
        lambda_client.invoke(FunctionName=name, Payload=json.dumps("x" * (6 * 1024 * 1024)))
    response = raised.value.response
    assert response["Error"]["Code"] == "RequestTooLargeException"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 413


def test_a_larger_response_is_the_functions_error(lambda_client, make_function):
    name = make_function("def handler(e, c): return 'x' * (7 << 20)", MemorySize=512, Timeout=30)
    answer = lambda_client.invoke(FunctionName=name)
    assert answer["FunctionError"] == "Unhandled"
    error = json.loads(answer["Payload"].read())
    assert error["errorType"] == "Function.ResponseSizeTooLarge"
    assert answer_of(lambda_client, make_function(ECHO)) == {}


@pytest.mark.parametrize("payload", [b"not json", b'{"a":', b"\xff\xfe", b"[" * 100_000])
def test_a_payload_that_is_not_json_is_refused(lambda_client, make_function, payload):
    name = make_function(ECHO)
    with pytest.raises(lambda_client.exceptions.InvalidRequestContentException) as raised:
        lambda_client.invoke(FunctionName=name, Payload=payload)
    assert "Could not parse request body into json" in str(raised.value)


def test_module_state_lives_between_invocations(lambda_client, make_function):
    name = make_function("n = 0\ndef handler(e, c):\n    global n\n    n += 1\n    return n")
    assert [answer_of(lambda_client, name) for _ in range(3)] == [1, 2, 3]


def test_the_answer_says_how_it_started_and_where_the_time_went(lambda_client, make_function):
    name = make_function(ECHO)
    cold, warm = (lambda_client.invoke(FunctionName=name) for _ in range(2))
    assert header(cold, "x-samovar-start").startswith("cold; cause=first")
    assert header(warm, "x-samovar-start") == "warm"
    parts = dict(part.split(";dur=") for part in header(cold, "server-timing").split(", "))
    assert list(parts) == ["queue", "place", "start", "init", "run"]
    assert all(float(value) >= 0 for value in parts.values())
    assert float(parts["init"]) > 0


def test_the_log_tail_has_the_lines_of_aws(lambda_client, make_function):
    name = make_function("def handler(e, c):\n    print('brewing')\n    return 1")
    answer = lambda_client.invoke(FunctionName=name, LogType="Tail")
    request_id = answer["ResponseMetadata"]["RequestId"]
    log = base64.b64decode(answer["LogResult"]).decode()
    assert re.fullmatch(
        rf"START RequestId: {request_id} Version: \$LATEST\n"
        r"brewing\n"
        rf"END RequestId: {request_id}\n"
        rf"REPORT RequestId: {request_id}\tDuration: \d+\.\d\d ms\tBilled Duration: \d+ ms\t"
        r"Memory Size: 128 MB\tMax Memory Used: \d+ MB\tInit Duration: \d+\.\d\d ms\t\n",
        log,
    )


def test_the_log_tail_is_the_last_four_kilobytes(lambda_client, make_function):
    name = make_function("def handler(e, c):\n    for i in range(2000): print('line', i)")
    answer = lambda_client.invoke(FunctionName=name, LogType="Tail")
    log = base64.b64decode(answer["LogResult"])
    assert len(log) == 4096
    assert b"line 1999\n" in log
    assert b"line 10\n" not in log


def test_the_context_has_every_attribute(lambda_client, make_function):
    name = make_function("""
        def handler(event, context):
            return {
                "name": context.function_name,
                "version": context.function_version,
                "arn": context.invoked_function_arn,
                "memory": context.memory_limit_in_mb,
                "id": context.aws_request_id,
                "group": context.log_group_name,
                "stream": context.log_stream_name,
                "remaining": context.get_remaining_time_in_millis(),
                "client": context.client_context.custom,
            }
    """)
    client_context = base64.b64encode(b'{"custom": {"k": "v"}}').decode()
    answer = lambda_client.invoke(FunctionName=name, ClientContext=client_context)
    seen = json.loads(answer["Payload"].read())
    assert 0 < seen.pop("remaining") <= 3000
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", seen.pop("stream"))
    assert seen == {
        "name": name,
        "version": "$LATEST",
        "arn": f"arn:aws:lambda:us-east-1:000000000000:function:{name}",
        "memory": "128",
        "id": answer["ResponseMetadata"]["RequestId"],
        "group": f"/aws/lambda/{name}",
        "client": {"k": "v"},
    }


def test_the_environment_is_the_one_of_lambda_and_nothing_of_ours(
    lambda_client, make_function, runtime
):
    name = make_function(
        "import os\ndef handler(e, c): return dict(os.environ)",
        Environment={"Variables": {"MINE": "1"}},
    )
    seen = answer_of(lambda_client, name)
    expected = {
        "MINE": "1",
        "_HANDLER": "app.handler",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{runtime}",
        "TZ": ":UTC",
    }
    assert {key: seen.get(key) for key in expected} == expected
    assert not [key for key in seen if "SAMOVAR" in key or "VIRTUAL_ENV" in key]


def test_a_dry_run_runs_nothing(lambda_client, make_function):
    name = make_function("raise SystemExit(3)\ndef handler(e, c): pass")
    answer = lambda_client.invoke(FunctionName=name, InvocationType="DryRun")
    assert answer["StatusCode"] == 204


PARTIAL_ARN = "000000000000:function:{name}"
ARN = "arn:aws:lambda:us-east-1:" + PARTIAL_ARN


@pytest.mark.parametrize(
    "form",
    ["{name}", "{name}:$LATEST", "function:{name}", PARTIAL_ARN, ARN, ARN + ":$LATEST"],
)
def test_a_function_can_be_named_in_every_way_that_aws_knows(lambda_client, make_function, form):
    name = make_function(ECHO)
    assert answer_of(lambda_client, form.format(name=name)) == {}


def test_a_wrong_region_in_the_arn_is_told(lambda_client, make_function):
    name = make_function(ECHO)
    with pytest.raises(lambda_client.exceptions.ResourceNotFoundException) as raised:
        lambda_client.invoke(FunctionName=f"arn:aws:lambda:eu-west-1:000000000000:function:{name}")
    assert "not reachable in this region" in str(raised.value)


def test_plain_http_reaches_a_function_as_through_a_function_url(server, make_function):
    name = make_function("""
        def handler(event, context):
            http, query = event["requestContext"]["http"], event["queryStringParameters"]
            return {
                "statusCode": 201,
                "headers": {"X-Tea": "green"},
                "cookies": ["a=b"],
                "body": f'{http["method"]} {event["rawPath"]} {query["q"]} {event["body"]}',
            }
    """)
    url = f"{server.endpoint}/_samovar/url/{name}/pots/1?q=hot"
    request = urllib.request.Request(
        url, data=b"milk", method="PUT", headers={"Content-Type": "text/plain"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 201
        assert answer.headers["X-Tea"] == "green"
        assert answer.headers["Set-Cookie"] == "a=b"
        assert answer.read() == b"PUT /pots/1 hot milk"
