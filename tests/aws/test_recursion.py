"""Functions that cause their own invocations are stopped.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
"""

from __future__ import annotations

import json
import urllib.request

import pytest
from botocore.exceptions import ClientError

from tests.aws.targets import queue_of

TRACED = """
    import os
    def handler(event, context):
        print("round")
        return os.environ["_X_AMZN_TRACE_ID"]
"""


@pytest.fixture
def follow(moto_lambda):
    """Invokes with a trace header, as AWS's SDKs do in functions; the header that the function
    has."""
    headers = {}

    def add(params, **_):
        params["headers"].update(headers)

    moto_lambda.meta.events.register("before-call.lambda.Invoke", add)

    def invoke(name, header=None):
        headers.clear()
        if header:
            headers["X-Amzn-Trace-Id"] = header
        answer = moto_lambda.invoke(FunctionName=name)
        return json.loads(answer["Payload"].read())

    yield invoke
    moto_lambda.meta.events.unregister("before-call.lambda.Invoke", add)


def test_the_seventeenth_invocation_in_a_chain_is_refused(follow, make_moto_function):
    name, other = make_moto_function(TRACED), make_moto_function(TRACED)
    header = follow(name)
    for _ in range(15):
        header = follow(name, follow(other, header))
    root = header.split(";")[0]
    with pytest.raises(ClientError) as refused:
        follow(name, header)
    assert refused.value.response["Error"]["Code"] == "RecursiveInvocationException"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert follow(name).split(";")[0] != root  # on a new chain it runs


def test_a_loop_that_is_allowed_goes_on(follow, make_moto_function, moto_lambda):
    name = make_moto_function(TRACED)
    moto_lambda.put_function_recursion_config(FunctionName=name, RecursiveLoop="Allow")
    header = follow(name)
    for _ in range(20):
        header = follow(name, header)
    moto_lambda.put_function_recursion_config(FunctionName=name, RecursiveLoop="Terminate")
    with pytest.raises(ClientError):
        follow(name, header)


def test_a_function_that_tells_itself_is_stopped_and_its_owner_is_told(
    moto, moto_lambda, make_moto_function, moto_server
):
    name, queue = make_moto_function(TRACED), queue_of(moto)
    arn = f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
    moto_lambda.put_function_event_invoke_config(
        FunctionName=name,
        DestinationConfig={
            "OnSuccess": {"Destination": arn},
            "OnFailure": {"Destination": queue.arn},
        },
    )
    moto_lambda.invoke(FunctionName=name, InvocationType="Event")
    told = queue.told()
    assert told["requestContext"]["condition"] == "RecursiveInvocation"
    assert told["responseContext"] == {"statusCode": 400}
    with urllib.request.urlopen(f"{moto_server.endpoint}/_samovar/logs/{name}", timeout=30) as log:
        assert log.read().count(b"round") == 16
