"""Functions that cause their own invocations are stopped.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
"""

from __future__ import annotations

import json
import urllib.request

import pytest
from botocore.exceptions import ClientError

from tests.aws.sources import eventually
from tests.aws.targets import queue_of

ARN = "arn:aws:lambda:us-east-1:000000000000:function:{}"
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


def tell(client, name, **told):
    client.put_function_event_invoke_config(
        FunctionName=name,
        DestinationConfig={member: {"Destination": arn} for member, arn in told.items()},
    )


def test_functions_that_tell_each_other_are_stopped_and_their_owner_is_told(
    moto, moto_lambda, make_moto_function, moto_server
):
    queue, names = queue_of(moto), [make_moto_function(TRACED) for _ in range(2)]
    for name, other in (names, reversed(names)):
        tell(moto_lambda, name, OnSuccess=ARN.format(other), OnFailure=queue.arn)
    moto_lambda.invoke(FunctionName=names[0], InvocationType="Event")
    told = queue.told()
    assert told["requestContext"]["functionArn"] == f"{ARN.format(names[0])}:$LATEST"
    assert told["requestContext"]["condition"] == "RecursiveInvocation"
    assert told["responseContext"] == {"statusCode": 400}
    for name in names:
        url = f"{moto_server.endpoint}/_samovar/logs/{name}"
        with urllib.request.urlopen(url, timeout=30) as log:
            assert log.read().count(b"round") == 16


def test_functions_that_cannot_run_do_not_tell_each_other_for_ever(
    moto_lambda, make_moto_function, moto_server
):
    names = [make_moto_function(TRACED) for _ in range(2)]
    for name, other in (names, reversed(names)):
        tell(moto_lambda, name, OnFailure=ARN.format(other))
        moto_lambda.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    moto_lambda.invoke(FunctionName=names[0], InvocationType="Event")
    listings = [f"events?function={name}" for name in names]
    (kept,) = eventually(
        lambda: [
            e for each in listings for e in moto_server.ask(each)["events"] if e["state"] == "dead"
        ]
    )
    assert kept["reason"] == "ZeroReservedConcurrency"
