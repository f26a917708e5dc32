"""Provisioned concurrency: instances that are there before anybody asks for them."""

from __future__ import annotations

import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError, WaiterError

from tests.aws.functions import FunctionFactory, clients_of
from tests.aws.provisioning import await_ready, provision
from tests.aws.refusals import refusal
from tests.server import running

KIND = """
    import os
    def handler(event, context):
        if event == "die":
            os._exit(1)
        return [os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"], context.function_version]
"""
BROKEN = "raise RuntimeError('no tea')\n"
NOT_FOUND = "ResourceNotFoundException"
CONFLICT = "ResourceConflictException"
INVALID = "InvalidParameterValueException"
NO_CONFIG = "ProvisionedConcurrencyConfigNotFoundException"


def counts(config: dict[str, Any]) -> tuple[int, int, int, str]:
    """Requested, allocated, available, and the status."""
    kinds = ("Requested", "Allocated", "Available")
    found = [config[f"{kind}ProvisionedConcurrentExecutions"] for kind in kinds]
    return (*found, config["Status"])


def call(client: Any, name: str, qualifier: str, event: Any = None) -> tuple[Any, str]:
    """What a function answers, and how the instance that did so had been started."""
    answer = client.invoke(FunctionName=name, Qualifier=qualifier, Payload=json.dumps(event))
    start = answer["ResponseMetadata"]["HTTPHeaders"]["x-samovar-start"]
    return json.loads(answer["Payload"].read()), start


@pytest.fixture
def name(make_function, lambda_client):
    """A function with the versions 1 and 2, and the alias `live` for 1."""
    made = make_function(KIND, Publish=True)
    lambda_client.update_function_configuration(FunctionName=made, Timeout=9)
    lambda_client.get_waiter("function_updated_v2").wait(FunctionName=made)
    lambda_client.publish_version(FunctionName=made)
    lambda_client.create_alias(FunctionName=made, Name="live", FunctionVersion="1")
    return made


@pytest.mark.parametrize("qualifier", ["1", "live"])
def test_instances_are_there_before_the_first_request(lambda_client, name, qualifier):
    asked = lambda_client.put_provisioned_concurrency_config(
        FunctionName=name, Qualifier=qualifier, ProvisionedConcurrentExecutions=2
    )
    assert asked["RequestedProvisionedConcurrentExecutions"] == 2
    assert counts(await_ready(lambda_client, name, qualifier)) == (2, 2, 2, "READY")
    assert call(lambda_client, name, qualifier) == (["provisioned-concurrency", "1"], "warm")


def test_more_is_provisioned_and_less(lambda_client, name):
    for count in (1, 3, 2):
        assert counts(provision(lambda_client, name, "1", count)) == (count, count, count, "READY")


def test_it_is_taken_away_and_then_there_is_none(lambda_client, name):
    provision(lambda_client, name, "1", 1)
    lambda_client.delete_provisioned_concurrency_config(FunctionName=name, Qualifier="1")
    get = lambda_client.get_provisioned_concurrency_config
    assert refusal(get, FunctionName=name, Qualifier="1") == (
        NO_CONFIG,
        "No Provisioned Concurrency Config found for this function",
    )
    lambda_client.delete_provisioned_concurrency_config(FunctionName=name, Qualifier="1")


@pytest.mark.parametrize(
    ("qualifier", "code", "words"),
    [
        ("$LATEST", INVALID, "unpublished function versions"),
        ("3", NOT_FOUND, "Function not found"),
        ("dead", NOT_FOUND, "not found"),
        ("007", NOT_FOUND, "not found"),
        ("9" * 100, NOT_FOUND, "not found"),
        ("a b", "ValidationException", "qualifier"),
    ],
)
def test_only_published_versions_and_aliases_have_it(lambda_client, name, qualifier, code, words):
    for operation, more in (
        (lambda_client.put_provisioned_concurrency_config, {"ProvisionedConcurrentExecutions": 1}),
        (lambda_client.get_provisioned_concurrency_config, {}),
        (lambda_client.delete_provisioned_concurrency_config, {}),
    ):
        found, message = refusal(operation, FunctionName=name, Qualifier=qualifier, **more)
        assert found == code
        assert words in message


@pytest.mark.parametrize("count", [0, -1, 2**31, 2**63, 2**200])
def test_numbers_that_are_none_are_refused(client_of, lambda_client, name, count):
    put = client_of(parameter_validation=False).put_provisioned_concurrency_config
    code, _ = refusal(put, FunctionName=name, Qualifier="1", ProvisionedConcurrentExecutions=count)
    assert code in (INVALID, "ValidationException", "SerializationException")
    get = lambda_client.get_provisioned_concurrency_config
    assert refusal(get, FunctionName=name, Qualifier="1")[0] == NO_CONFIG


def test_a_version_is_not_provisioned_from_two_sides(lambda_client, name):
    provision(lambda_client, name, "live", 1)
    put = lambda_client.put_provisioned_concurrency_config
    code, _ = refusal(put, FunctionName=name, Qualifier="1", ProvisionedConcurrentExecutions=1)
    assert code == CONFLICT
    provision(lambda_client, name, "2", 1)
    update = lambda_client.update_alias
    code, _ = refusal(update, FunctionName=name, Name="live", FunctionVersion="2")
    assert code == CONFLICT
    weights = {"AdditionalVersionWeights": {"2": 0.5}}
    assert refusal(update, FunctionName=name, Name="live", RoutingConfig=weights)[0] == CONFLICT
    assert lambda_client.get_alias(FunctionName=name, Name="live")["FunctionVersion"] == "1"
    lambda_client.create_alias(FunctionName=name, Name="other", FunctionVersion="2")
    code, _ = refusal(put, FunctionName=name, Qualifier="other", ProvisionedConcurrentExecutions=1)
    assert code == CONFLICT


def test_it_follows_its_alias(lambda_client, name):
    provision(lambda_client, name, "live", 2)
    lambda_client.update_alias(FunctionName=name, Name="live", FunctionVersion="2")
    assert counts(await_ready(lambda_client, name, "live")) == (2, 2, 2, "READY")
    assert call(lambda_client, name, "live") == (["provisioned-concurrency", "2"], "warm")
    provision(lambda_client, name, "1", 1)  # which nobody has any more


def test_weights_share_it_out(lambda_client, name):
    lambda_client.update_alias(
        FunctionName=name, Name="live", RoutingConfig={"AdditionalVersionWeights": {"2": 0.5}}
    )
    assert counts(provision(lambda_client, name, "live", 4)) == (4, 4, 4, "READY")
    found = Counter()
    while set(found) != {"1", "2"}:  # an alias that would never draw the other is no alias
        (kind, version), start = call(lambda_client, name, "live")
        assert (kind, start) == ("provisioned-concurrency", "warm")
        found[version] += 1


def test_configs_are_listed_in_pages(lambda_client, name):
    provision(lambda_client, name, "1", 1)
    provision(lambda_client, name, "2", 2)
    pages = lambda_client.get_paginator("list_provisioned_concurrency_configs").paginate(
        FunctionName=name, PaginationConfig={"PageSize": 1}
    )
    listed = [config for page in pages for config in page["ProvisionedConcurrencyConfigs"]]
    arn = f"arn:aws:lambda:us-east-1:000000000000:function:{name}"
    assert [config["FunctionArn"] for config in listed] == [f"{arn}:1", f"{arn}:2"]
    assert [counts(config)[0] for config in listed] == [1, 2]


def test_limits_hold_in_both_directions(lambda_client, name):
    put = lambda_client.put_provisioned_concurrency_config
    too_much = {"FunctionName": name, "Qualifier": "1", "ProvisionedConcurrentExecutions": 901}
    code, message = refusal(put, **too_much)
    assert (code, "below its minimum value of [100]" in message) == (INVALID, True)
    reserve = lambda_client.put_function_concurrency
    reserve(FunctionName=name, ReservedConcurrentExecutions=3)
    assert refusal(put, **(too_much | {"ProvisionedConcurrentExecutions": 4}))[0] == INVALID
    provision(lambda_client, name, "1", 2)
    assert refusal(reserve, FunctionName=name, ReservedConcurrentExecutions=1)[0] == INVALID
    provision(lambda_client, name, "2", 1)
    assert refusal(put, **(too_much | {"ProvisionedConcurrentExecutions": 3}))[0] == INVALID


def test_what_no_machine_has_room_for_is_refused(lambda_client, make_function):
    name = make_function(KIND, MemorySize=10240, Publish=True)
    put = lambda_client.put_provisioned_concurrency_config
    asked = {"FunctionName": name, "Qualifier": "1", "ProvisionedConcurrentExecutions": 900}
    code, message = refusal(put, **asked)
    assert (code, "more than the workers could hold" in message) == (INVALID, True)


def test_account_settings_tell_what_others_have_left(tmp_path):
    with running(tmp_path / "data", "--no-examples") as server, clients_of(server.endpoint) as make:
        client = make()
        name = FunctionFactory(client, "some", server.newest_runtime())(KIND, Publish=True)

        def left() -> tuple[int, int]:
            limit = client.get_account_settings()["AccountLimit"]
            return limit["ConcurrentExecutions"], limit["UnreservedConcurrentExecutions"]

        assert left() == (1000, 1000)
        provision(client, name, "1", 2)
        assert left() == (1000, 998)
        client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=5)
        assert left() == (1000, 995)  # what is provisioned is of these


def test_an_init_that_fails_is_told(lambda_client, make_function):
    name = make_function(BROKEN)
    lambda_client.publish_version(FunctionName=name)
    with pytest.raises(WaiterError):
        provision(lambda_client, name, "1", 1)
    found = lambda_client.get_provisioned_concurrency_config(FunctionName=name, Qualifier="1")
    assert counts(found) == (1, 0, 0, "FAILED")
    assert found["StatusReason"]


def test_a_crash_is_made_good(lambda_client, name):
    provision(lambda_client, name, "1", 1)
    answer, _ = call(lambda_client, name, "1", "die")
    assert answer["errorType"] == "Runtime.ExitError"
    assert counts(await_ready(lambda_client, name, "1")) == (1, 1, 1, "READY")
    assert call(lambda_client, name, "1") == (["provisioned-concurrency", "1"], "warm")


def test_it_ends_with_what_it_is_of(lambda_client, name):
    provision(lambda_client, name, "live", 1)
    provision(lambda_client, name, "2", 1)
    lambda_client.delete_alias(FunctionName=name, Name="live")
    lambda_client.delete_function(FunctionName=name, Qualifier="2")
    listed = lambda_client.list_provisioned_concurrency_configs(FunctionName=name)
    assert listed["ProvisionedConcurrencyConfigs"] == []
    lambda_client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    get = lambda_client.get_provisioned_concurrency_config
    assert refusal(get, FunctionName=name, Qualifier="live")[0] == NO_CONFIG
    reserve = lambda_client.put_function_concurrency
    reserve(FunctionName=name, ReservedConcurrentExecutions=0)  # as far as nothing is provisioned


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"TenancyConfig": {"TenantIsolationMode": "PER_TENANT"}}, "tenant"),
        (
            {
                "CapacityProviderConfig": {
                    "LambdaManagedInstancesCapacityProviderConfig": {
                        "CapacityProviderArn": (
                            "arn:aws:lambda:us-east-1:000000000000:capacity-provider:default"
                        )
                    }
                }
            },
            "capacity provider",
        ),
    ],
    ids=["tenants", "capacity provider"],
)
def test_some_functions_cannot_have_it(lambda_client, make_function, config, words):
    name = make_function(KIND, Publish=True, **config)
    put = lambda_client.put_provisioned_concurrency_config
    code, message = refusal(
        put, FunctionName=name, Qualifier="1", ProvisionedConcurrentExecutions=1
    )
    assert (code, words in message) == (INVALID, True)


def test_races_leave_nothing_half_made(client_of, lambda_client, name):
    """Whatever came first: what is told afterwards is what there is, and it can be taken away."""
    begin = threading.Barrier(6)

    def act(number: int) -> None:
        client = client_of()
        begin.wait()
        for turn in range(4):
            try:
                match (number + turn) % 3:
                    case 0:
                        client.put_provisioned_concurrency_config(
                            FunctionName=name,
                            Qualifier=("live", "1", "2")[number % 3],
                            ProvisionedConcurrentExecutions=1 + turn % 2,
                        )
                    case 1:
                        client.update_alias(
                            FunctionName=name, Name="live", FunctionVersion=str(1 + turn % 2)
                        )
                    case 2:
                        client.delete_provisioned_concurrency_config(
                            FunctionName=name, Qualifier=("live", "1", "2")[number % 3]
                        )
            except ClientError as error:
                assert error.response["Error"]["Code"] in (CONFLICT, "PreconditionFailedException")

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(act, range(6)))
    listing = lambda_client.list_provisioned_concurrency_configs(FunctionName=name)
    for config in listing["ProvisionedConcurrencyConfigs"]:
        qualifier = config["FunctionArn"].rpartition(":")[2]
        ready = await_ready(lambda_client, name, qualifier)
        asked = config["RequestedProvisionedConcurrentExecutions"]
        assert counts(ready)[:2] == (asked, asked)
        lambda_client.delete_provisioned_concurrency_config(FunctionName=name, Qualifier=qualifier)
    lambda_client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)


def test_it_is_there_again_after_a_restart(tmp_path):
    with running(tmp_path / "data", "--no-examples") as server, clients_of(server.endpoint) as make:
        client = make()
        name = FunctionFactory(client, "kept", server.newest_runtime())(KIND, Publish=True)
        client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
        provision(client, name, "live", 2)
        server.kill()
    with running(tmp_path / "data", "--no-examples") as server, clients_of(server.endpoint) as make:
        client = make()
        assert counts(await_ready(client, name, "live")) == (2, 2, 2, "READY")
        assert call(client, name, "live") == (["provisioned-concurrency", "1"], "warm")
