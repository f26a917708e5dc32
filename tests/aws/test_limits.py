"""Limits are enforced, with AWS's answers: concurrency, account, warm reuse and scale-out."""

from __future__ import annotations

import contextlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tests.aws.functions import FunctionFactory, clients_of
from tests.server import running

WAITS_FOR_A_FILE = """
    import os, time
    def handler(event, context):
        deadline = time.monotonic() + 20
        print("running", flush=True)
        while time.monotonic() < deadline and event.get("s", 0) > 0:
            time.sleep(0.005)
            event["s"] -= 0.005
        return os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
"""


def invoke(client, name: str, seconds: float = 0.0) -> tuple[str, str]:
    """The instance's log stream and how it started."""
    answer = client.invoke(FunctionName=name, Payload=json.dumps({"s": seconds}))
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    return json.loads(answer["Payload"].read()), headers["x-samovar-start"]


def test_requests_at_once_run_in_instances_of_their_own(client_of, make_function):
    name = make_function(WAITS_FOR_A_FILE, Timeout=20)
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: invoke(client_of(), name, 1.0), range(4)))
    assert len({stream for stream, _ in answers}) == 4


def test_an_idle_instance_is_used_again(lambda_client, make_function):
    name = make_function(WAITS_FOR_A_FILE)
    (first, cold), (second, warm) = invoke(lambda_client, name), invoke(lambda_client, name)
    assert cold.startswith("cold") and warm == "warm"
    assert first == second


def test_reserved_concurrency_is_a_ceiling(client_of, lambda_client, make_function):
    name = make_function(WAITS_FOR_A_FILE, Timeout=20)
    put = lambda_client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=2)
    assert put["ReservedConcurrentExecutions"] == 2

    def outcome(_):
        try:
            return invoke(client_of(), name, 1.5)[1].split(";")[0]
        except ClientError as error:
            return error.response["Reason"]

    with ThreadPoolExecutor(6) as threads:
        outcomes = sorted(threads.map(outcome, range(6)))
    assert outcomes == ["ReservedFunctionConcurrentInvocationLimitExceeded"] * 4 + ["cold"] * 2
    read = lambda_client.get_function_concurrency(FunctionName=name)
    assert read["ReservedConcurrentExecutions"] == 2


def test_reserved_concurrency_of_zero_stops_a_function(lambda_client, make_function):
    name = make_function(WAITS_FOR_A_FILE)
    lambda_client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    with pytest.raises(lambda_client.exceptions.TooManyRequestsException) as raised:
        invoke(lambda_client, name)
    assert raised.value.response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
    lambda_client.delete_function_concurrency(FunctionName=name)
    invoke(lambda_client, name)


def test_a_reservation_must_leave_something_for_the_others(lambda_client, make_function):
    name = make_function(WAITS_FOR_A_FILE)
    with pytest.raises(lambda_client.exceptions.InvalidParameterValueException) as raised:
        lambda_client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=901)
    assert "below its minimum value of [100]" in str(raised.value)


def test_account_settings_tell_what_is_left(lambda_client, make_function):
    name = make_function(WAITS_FOR_A_FILE)
    before = lambda_client.get_account_settings()["AccountLimit"]
    lambda_client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=7)
    after = lambda_client.get_account_settings()["AccountLimit"]
    assert after["ConcurrentExecutions"] == before["ConcurrentExecutions"] == 1000
    left = before["UnreservedConcurrentExecutions"] - after["UnreservedConcurrentExecutions"]
    assert left == 7


@pytest.fixture
def small_server(tmp_path):
    """A server for two invocations at once, with room for three instances of 128 MB."""
    with running(
        tmp_path / "data",
        "--no-examples",
        SAMOVAR_ACCOUNT_CONCURRENCY="2",
        SAMOVAR_MEMORY_MIB="400",
        SAMOVAR_IDLE_TIMEOUT_S="2",
    ) as server:
        yield server


@pytest.fixture
def client_of_small(small_server):
    """Makes clients of the small server."""
    with clients_of(small_server.endpoint) as make:
        yield make


def test_account_concurrency_memory_and_idle_time_are_enforced(small_server, client_of_small):
    client = client_of_small()
    factory = FunctionFactory(client, "small", small_server.newest_runtime())
    slow = factory(WAITS_FOR_A_FILE, Timeout=20)

    def outcome(_):
        try:
            return invoke(client_of_small(), slow, 1.5)[1].split(";")[0]
        except ClientError as error:
            return error.response["Reason"]

    with ThreadPoolExecutor(4) as threads:
        outcomes = sorted(threads.map(outcome, range(4)))
    assert outcomes == ["ConcurrentInvocationLimitExceeded"] * 2 + ["cold"] * 2

    others = [factory(WAITS_FOR_A_FILE) for _ in range(4)]
    for name in others:  # the fourth instance makes the longest idle one go
        assert invoke(client, name)[1].startswith("cold; cause=first")
    assert invoke(client, others[-1])[1] == "warm"
    assert invoke(client, slow)[1].startswith("cold; cause=evicted")

    with pytest.raises(ClientError) as raised:
        invoke(client, factory(WAITS_FOR_A_FILE, MemorySize=1024))
    assert "largest worker has 400 MB" in str(raised.value)
    factory.close()


def test_an_idle_instance_expires(small_server, client_of_small):
    client = client_of_small()
    factory = FunctionFactory(client, "idle", small_server.newest_runtime())
    mark = f"idle-{os.urandom(4).hex()}"
    name = factory(TAKES_A_NAME)
    answer = client.invoke(FunctionName=name, Payload=json.dumps(mark))
    assert json.loads(answer["Payload"].read()) == 0
    assert mark in running_names()
    deadline = time.monotonic() + 30
    while mark in running_names():
        assert time.monotonic() < deadline, "it did not expire"
        time.sleep(0.1)
    answer = client.invoke(FunctionName=name, Payload=json.dumps(mark))
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-samovar-start"].startswith("cold; cause=expired")
    factory.close()


TAKES_A_NAME = """
    import ctypes
    PR_SET_NAME = 15
    def handler(event, context):
        return ctypes.CDLL(None).prctl(PR_SET_NAME, event.encode(), 0, 0, 0)
"""


def running_names() -> set[str]:
    """The names (comm) of all processes on the host."""
    names = set()
    for comm in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):  # it has just ended
            names.add(comm.read_text().strip())
    return names


@pytest.mark.parametrize("operation", ["CreateFunction", "UpdateFunctionCode"])
def test_a_package_over_50_mb_is_refused(lambda_client, make_function, operation):
    package = b"\0" * (50 * 1024 * 1024 + 1)
    with pytest.raises(ClientError) as refused:
        if operation == "CreateFunction":
            make_function("", Code={"ZipFile": package})
        else:
            name = make_function("def handler(event, context): return 1")
            lambda_client.update_function_code(FunctionName=name, ZipFile=package)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413
    assert refused.value.response["Error"]["Code"] == "RequestTooLargeException"
    assert f"for the {operation} operation" in refused.value.response["Error"]["Message"]


def test_a_line_over_a_limit_and_rates_are_as_configured(tmp_path):
    settings = {
        "SAMOVAR_QUEUE_REQUESTS": "2",
        "SAMOVAR_INVOCATION_RATE_FACTOR": "10",
    }
    with (
        running(tmp_path / "data", "--no-examples", **settings) as server,
        clients_of(server.endpoint) as make_client,
    ):
        client = make_client()
        name = FunctionFactory(client, "line", server.newest_runtime())(WAITS_FOR_A_FILE)
        client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)

        def outcome(_):
            try:
                invoke(make_client(), name, 0.5)
            except ClientError as error:
                return error.response["Reason"]
            return "served"

        with ThreadPoolExecutor(5) as threads:
            outcomes = sorted(threads.map(outcome, range(5)))
        over = "ReservedFunctionConcurrentInvocationLimitExceeded"
        assert outcomes == [over, over, "served", "served", "served"]
        client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
        assert outcome(0) == over  # it is stopped: nobody waits for it
