"""Bounds on the instances of functions with a capacity provider."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.aws.functions import FunctionFactory, clients_of
from tests.aws.refusals import refusal
from tests.aws.sources import eventually
from tests.aws.test_capacity_providers import SOURCE, provider
from tests.server import running

INVALID = "InvalidParameterValueException"
LATEST = "$LATEST.PUBLISHED"
WHO = """
    import os, time
    def handler(event, context):
        time.sleep(event)
        return os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
"""


def bounds(client, name, qualifier):
    """What was asked for, and what there is."""
    found = client.get_function_scaling_config(FunctionName=name, Qualifier=qualifier)
    return found.get("RequestedFunctionScalingConfig"), found["AppliedFunctionScalingConfig"]


def put(client, name, qualifier, **config):
    """Ask for bounds, by AWS's names; return the state that is told."""
    return client.put_function_scaling_config(
        FunctionName=name, Qualifier=qualifier, FunctionScalingConfig=config
    )["FunctionState"]


@pytest.fixture
def name(make_function):
    """A function with a capacity provider, and its version 1."""
    config = provider(PerExecutionEnvironmentMaxConcurrency=1)
    return make_function(WHO, CapacityProviderConfig=config, Publish=True, Timeout=30)


@pytest.mark.parametrize("qualifier", ["1", LATEST])
def test_bounds_are_kept_and_told_and_taken_away(lambda_client, name, qualifier):
    assert bounds(lambda_client, name, qualifier) == (None, {"MinExecutionEnvironments": 0})
    for wanted in (
        {"MinExecutionEnvironments": 1, "MaxExecutionEnvironments": 3},
        {"MinExecutionEnvironments": 0, "MaxExecutionEnvironments": 1},
    ):
        assert put(lambda_client, name, qualifier, **wanted) == "Active"
        assert bounds(lambda_client, name, qualifier) == (wanted, wanted)
    put(lambda_client, name, qualifier)
    assert bounds(lambda_client, name, qualifier) == (None, {"MinExecutionEnvironments": 0})


def test_the_most_is_never_exceeded(client_of, lambda_client, name):
    put(lambda_client, name, LATEST, MaxExecutionEnvironments=1)

    def who(client) -> str:
        try:
            answer = client.invoke(FunctionName=name, Payload=b"0.5")
        except client.exceptions.TooManyRequestsException:
            return "nobody"
        return json.loads(answer["Payload"].read())

    with ThreadPoolExecutor(4) as threads:
        served = set(threads.map(who, [client_of() for _ in range(4)]))
    assert len(served - {"nobody"}) == 1


def test_bounds_of_latest_outlive_an_update(lambda_client, name):
    wanted = {"MinExecutionEnvironments": 1, "MaxExecutionEnvironments": 2}
    put(lambda_client, name, LATEST, **wanted)
    lambda_client.update_function_configuration(FunctionName=name, Timeout=29)
    lambda_client.get_waiter("function_updated_v2").wait(FunctionName=name)
    assert eventually(lambda: bounds(lambda_client, name, LATEST) == (wanted, wanted))


@pytest.mark.parametrize(
    ("qualifier", "config", "code"),
    [
        ("1", {"MinExecutionEnvironments": 2, "MaxExecutionEnvironments": 1}, INVALID),
        ("1", {"MaxExecutionEnvironments": 0}, INVALID),
        ("1", {"MinExecutionEnvironments": 15000}, INVALID),  # no machine has room for so many
        ("1", {"MinExecutionEnvironments": 15001}, "ValidationException"),
        ("1", {"MinExecutionEnvironments": -1}, "ValidationException"),
        ("$LATEST", {"MinExecutionEnvironments": 1}, "ValidationException"),
        ("live", {"MinExecutionEnvironments": 1}, "ValidationException"),
        ("2", {"MinExecutionEnvironments": 1}, "ResourceNotFoundException"),
    ],
)
def test_what_makes_no_sense_is_refused(client_of, name, qualifier, config, code):
    call = client_of(parameter_validation=False).put_function_scaling_config
    asked = {"FunctionName": name, "Qualifier": qualifier, "FunctionScalingConfig": config}
    assert refusal(call, **asked)[0] == code


def test_functions_without_a_capacity_provider_have_none(lambda_client, make_function):
    plain = make_function(SOURCE)
    code, message = refusal(
        lambda_client.get_function_scaling_config, FunctionName=plain, Qualifier=LATEST
    )
    assert (code, "capacity provider" in message) == (INVALID, True)


def idle_instances(server) -> int:
    """Of all functions of the server."""
    return sum(function["instances"].get("idle", 0) for function in server.ask("top")["functions"])


def test_the_least_is_there_before_the_first_request_and_after_a_restart(tmp_path):
    flags = (tmp_path / "data", "--no-examples")
    wanted = {"MinExecutionEnvironments": 2}
    with running(*flags) as server, clients_of(server.endpoint) as make:
        client = make()
        config = provider(PerExecutionEnvironmentMaxConcurrency=1)
        factory = FunctionFactory(client, "kept", server.newest_runtime())
        name = factory(WHO, CapacityProviderConfig=config)
        put(client, name, LATEST, **wanted)
        assert eventually(lambda: idle_instances(server) == 2)
        server.kill()
    with running(*flags) as server, clients_of(server.endpoint) as make:
        assert bounds(make(), name, LATEST) == (wanted, wanted)
        assert eventually(lambda: idle_instances(server) == 2)
