"""`samovar up --test-controls`: what tests of users may do to a server."""

from __future__ import annotations

import datetime as dt
import json
import urllib.error
from collections.abc import Iterator
from typing import Any

import pytest

from tests.aws.functions import FunctionFactory
from tests.aws.layers import LayerFactory
from tests.aws.test_ends_with_extensions import SLOW_TO_GO
from tests.aws.test_extensions import layer
from tests.server import Server

COUNTING = """
count = 0
def handler(event, context):
    global count
    count += 1
    return count
"""


@pytest.fixture
def counter(controlled: Server, controlled_client: Any) -> Iterator[str]:
    """A function that counts the invocations of its instance."""
    factory = FunctionFactory(controlled_client, "counter", controlled.newest_runtime())
    yield factory(COUNTING)
    factory.close()
    controlled.ask("test/faults", method="DELETE")


def invoke(client: Any, name: str, **more: Any) -> tuple[Any, str]:
    """What it answers, and how it was started."""
    answer = client.invoke(FunctionName=name, **more)
    started = answer["ResponseMetadata"]["HTTPHeaders"]["x-samovar-start"]
    return json.load(answer["Payload"]), started


def now(server: Server) -> dt.datetime:
    return dt.datetime.fromisoformat(server.ask("test/clock")["now"])


def refusal(server: Server, path: str, body: Any = None, method: str = "") -> tuple[int, str]:
    """Status and code of an error."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.ask(path, body, method)
    with refused.value as answer:
        return answer.code, json.load(answer)["code"]


def test_the_clock_goes_as_far_ahead_as_it_was_advanced(controlled: Server):
    before, ahead_s = now(controlled), controlled.ask("test/clock")["ahead_s"]
    controlled.advance(3600)
    assert now(controlled) - before >= dt.timedelta(hours=1)
    assert controlled.ask("test/clock")["ahead_s"] == ahead_s + 3600


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"advance_s": -1},
        {"advance_s": "1"},
        {"advance_s": 1e9},
        {"advance_s": None},
        {"advance_s": 1, "more": 2},
    ],
)
def test_the_clock_is_not_advanced_by_nonsense(controlled: Server, body: Any):
    before = controlled.ask("test/clock")["ahead_s"]
    assert refusal(controlled, "test/clock", body) == (400, "ValidationException")
    assert controlled.ask("test/clock")["ahead_s"] == before


def test_a_forced_cold_start_is_one_for_just_so_many_invocations(
    controlled: Server, controlled_client: Any, counter: str
):
    assert [invoke(controlled_client, counter)[0] for _ in range(2)] == [1, 2]
    controlled.fault(counter, "cold-start", times=2)
    for _ in range(2):
        count, started = invoke(controlled_client, counter)
        assert (count, started.split("; from")[0]) == (1, "cold; cause=forced")
    assert invoke(controlled_client, counter) == (2, "warm")


def test_a_throttled_invocation_is_aws_s_429_with_its_reason(
    controlled: Server, controlled_client: Any, counter: str
):
    controlled.fault(counter, "throttle")
    with pytest.raises(controlled_client.exceptions.TooManyRequestsException) as throttled:
        controlled_client.invoke(FunctionName=counter)
    assert throttled.value.response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
    assert invoke(controlled_client, counter)[0] == 1


def test_a_crash_kills_the_instance_in_the_midst_of_its_invocation(
    controlled: Server, controlled_client: Any, counter: str
):
    invoke(controlled_client, counter)
    controlled.fault(counter, "crash")
    answer = controlled_client.invoke(FunctionName=counter)
    request_id = answer["ResponseMetadata"]["RequestId"]
    assert answer["FunctionError"] == "Unhandled"
    assert json.load(answer["Payload"]) == {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {request_id} Error: Runtime exited with error: signal: killed",
    }
    assert invoke(controlled_client, counter)[0] == 1


def test_a_crash_takes_extensions_along(controlled: Server, controlled_client: Any):
    layers = LayerFactory(controlled_client, "crash")
    functions = FunctionFactory(controlled_client, "extended", controlled.newest_runtime())
    try:
        name = functions(COUNTING, Layers=[layer(layers, extension=SLOW_TO_GO)])
        assert invoke(controlled_client, name)[0] == 1
        controlled.fault(name, "crash")
        answer = controlled_client.invoke(FunctionName=name)
        assert json.load(answer["Payload"])["errorMessage"].endswith("signal: killed")
        assert invoke(controlled_client, name)[0] == 1
        assert "Traceback" not in controlled.stderr()
    finally:
        functions.close()
        layers.close()


def test_a_crash_ends_a_streamed_response_too(
    controlled: Server, controlled_client: Any, counter: str
):
    controlled.fault(counter, "crash")
    answer = controlled_client.invoke_with_response_stream(FunctionName=counter)
    *_, end = answer["EventStream"]
    assert end["InvokeComplete"]["ErrorCode"] == "Unhandled"
    assert "signal: killed" in end["InvokeComplete"]["ErrorDetails"]


def test_faults_come_in_the_order_in_which_they_were_asked_for(
    controlled: Server, controlled_client: Any, counter: str
):
    controlled.fault(counter, "throttle")
    controlled.fault(counter, "crash")
    with pytest.raises(controlled_client.exceptions.TooManyRequestsException):
        controlled_client.invoke(FunctionName=counter)
    assert controlled_client.invoke(FunctionName=counter)["FunctionError"] == "Unhandled"
    assert invoke(controlled_client, counter)[0] == 1


def test_a_fault_for_an_alias_befalls_those_who_name_it(
    controlled: Server, controlled_client: Any, counter: str
):
    version = controlled_client.publish_version(FunctionName=counter)["Version"]
    controlled_client.create_alias(FunctionName=counter, Name="live", FunctionVersion=version)
    controlled.fault(f"{counter}:live", "throttle")
    assert invoke(controlled_client, counter)[0] == 1
    with pytest.raises(controlled_client.exceptions.TooManyRequestsException):
        controlled_client.invoke(FunctionName=counter, Qualifier="live")


def test_what_is_pending_is_told_and_can_be_taken_back(
    controlled: Server, controlled_client: Any, counter: str
):
    controlled.fault(counter, "crash", times=3)
    controlled.fault(f"{counter}:$LATEST", "throttle")
    arn = controlled_client.get_function_configuration(FunctionName=counter)["FunctionArn"]
    assert controlled.ask("test/faults")["pending"] == [
        {"function": arn, "qualifier": None, "fault": "crash", "times": 3},
        {"function": arn, "qualifier": "$LATEST", "fault": "throttle", "times": 1},
    ]
    left = controlled.ask(f"test/faults/{counter}:$LATEST", method="DELETE")["pending"]
    assert [each["fault"] for each in left] == ["crash"]
    assert controlled.ask("test/faults", method="DELETE") == {"pending": []}
    assert invoke(controlled_client, counter)[0] == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"fault": "earthquake"},
        {"fault": "crash", "times": 0},
        {"fault": "crash", "times": 1e9},
        {"fault": "crash", "when": "later"},
    ],
)
def test_nonsense_is_no_fault(controlled: Server, counter: str, body: Any):
    assert refusal(controlled, f"test/faults/{counter}", body) == (400, "ValidationException")
    assert controlled.ask("test/faults") == {"pending": []}


def test_what_is_not_there_has_no_faults(controlled: Server):
    answer = refusal(controlled, "test/faults/nobody", {"fault": "crash"})
    assert answer == (404, "ResourceNotFoundException")


@pytest.mark.parametrize(
    ("path", "method"), [("test", "GET"), ("test/x", "GET"), ("test/clock", "DELETE")]
)
def test_there_is_nothing_else(controlled: Server, path: str, method: str):
    assert refusal(controlled, path, method=method)[0] == 404


def test_the_pages_of_other_sites_control_nothing(controlled: Server):
    request = urllib.request.Request(
        f"{controlled.endpoint}/_samovar/test/clock",
        data=b'{"advance_s": 1}',
        headers={"Origin": "https://example.com"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=60)
    with refused.value as answer:
        assert answer.code == 403


def test_a_server_with_test_controls_says_so_in_its_banner_and_health(controlled: Server):
    assert controlled.health()["test_controls"] is True
    assert controlled.await_line("TEST CONTROLS ARE ON")


def test_other_servers_have_none(server: Server):
    assert server.health()["test_controls"] is False
    assert refusal(server, "test/clock", {"advance_s": 1})[0] == 404
    assert refusal(server, "test/faults", {"fault": "crash"})[0] == 404
