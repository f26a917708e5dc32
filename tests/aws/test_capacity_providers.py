"""The server's machines as its capacity provider, and functions that have one."""

from __future__ import annotations

import pytest

from tests.aws.functions import HANDLER, ROLE, package
from tests.aws.refusals import refusal

OURS = "arn:aws:lambda:us-east-1:000000000000:capacity-provider:default"
OTHERS = OURS.replace("default", "mine")
SOURCE = "def handler(event, context):\n    return event\n"


def provider(arn: str = OURS, **more):
    """A CapacityProviderConfig."""
    return {"LambdaManagedInstancesCapacityProviderConfig": {"CapacityProviderArn": arn} | more}


def kept(client, name):
    """What is told of a function's capacity provider."""
    found = client.get_function_configuration(FunctionName=name)["CapacityProviderConfig"]
    return found["LambdaManagedInstancesCapacityProviderConfig"]


@pytest.mark.parametrize("name", ["default", OURS])
def test_the_machines_are_the_one_capacity_provider(lambda_client, name):
    found = lambda_client.get_capacity_provider(CapacityProviderName=name)["CapacityProvider"]
    assert (found["CapacityProviderArn"], found["State"]) == (OURS, "Active")
    assert lambda_client.list_capacity_providers()["CapacityProviders"] == [found]
    assert lambda_client.list_capacity_providers(State="Failed")["CapacityProviders"] == []


def test_none_is_made_changed_or_deleted(lambda_client):
    needs = {
        "VpcConfig": {"SubnetIds": ["subnet-1"], "SecurityGroupIds": []},
        "PermissionsConfig": {"CapacityProviderOperatorRoleArn": ROLE},
    }
    create = lambda_client.create_capacity_provider
    code, message = refusal(create, CapacityProviderName="mine", **needs)
    assert code == "CapacityProviderLimitExceededException"
    assert OURS in message
    code, _ = refusal(create, CapacityProviderName="default", **needs)
    assert code == "ResourceConflictException"
    for change in (lambda_client.update_capacity_provider, lambda_client.delete_capacity_provider):
        code, message = refusal(change, CapacityProviderName="default")
        assert (code, "machines of this server" in message) == (
            "InvalidParameterValueException",
            True,
        )
        code, _ = refusal(change, CapacityProviderName="mine")
        assert code == "ResourceNotFoundException"


def test_what_is_asked_for_is_kept(lambda_client, make_function):
    asked = {
        "PerExecutionEnvironmentMaxConcurrency": 5,
        "ExecutionEnvironmentMemoryGiBPerVCpu": 4.0,
    }
    name = make_function(SOURCE, CapacityProviderConfig=provider(**asked))
    assert kept(lambda_client, name) == {"CapacityProviderArn": OURS} | asked
    assert lambda_client.invoke(FunctionName=name, Payload=b"7")["Payload"].read() == b"7"
    number = lambda_client.publish_version(FunctionName=name)["Version"]
    assert kept(lambda_client, f"{name}:{number}") == kept(lambda_client, name)


@pytest.mark.parametrize(
    ("memory", "more", "expected"),
    [
        (128, {}, 16),  # less than a vCPU counts as one
        (2048, {}, 16),
        (4096, {}, 32),
        (8192, {"ExecutionEnvironmentMemoryGiBPerVCpu": 8.0}, 16),
    ],
)
def test_without_a_number_it_is_the_runtimes_for_each_vcpu(
    lambda_client, make_function, memory, more, expected
):
    config = provider(**more)
    name = make_function(SOURCE, MemorySize=memory, CapacityProviderConfig=config)
    assert kept(lambda_client, name)["PerExecutionEnvironmentMaxConcurrency"] == expected


def test_an_update_changes_it(lambda_client, make_function):
    name = make_function(SOURCE)
    for concurrency in (3, 1):
        config = provider(PerExecutionEnvironmentMaxConcurrency=concurrency)
        lambda_client.update_function_configuration(
            FunctionName=name, CapacityProviderConfig=config
        )
        lambda_client.get_waiter("function_updated_v2").wait(FunctionName=name)
        found = kept(lambda_client, name)
        assert found["PerExecutionEnvironmentMaxConcurrency"] == concurrency


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"CapacityProviderConfig": provider(OTHERS)}, "does not exist"),
        (
            {"CapacityProviderConfig": provider(PerExecutionEnvironmentMaxConcurrency=1600)},
            "more than this server supports",
        ),
        (
            {
                "CapacityProviderConfig": provider(),
                "TenancyConfig": {"TenantIsolationMode": "PER_TENANT"},
            },
            "TenancyConfig is not supported",
        ),
        ({"CapacityProviderConfig": provider(), "PublishTo": "LATEST_PUBLISHED"}, "PublishTo"),
    ],
    ids=["another provider", "too many", "tenants", "another version"],
)
def test_what_could_not_be_kept_is_refused(lambda_client, server, config, words):
    code, message = refusal(
        lambda_client.create_function,
        FunctionName="never",
        Runtime=server.newest_runtime(),
        Role=ROLE,
        Handler=HANDLER,
        Code={"ZipFile": package(SOURCE)},
        **config,
    )
    assert code == "InvalidParameterValueException"
    assert words in message


def test_the_versions_that_have_it_are_listed(client_of, make_function, server):
    account = "111122223333"
    client = client_of(key_id=account)
    arn = OURS.replace("000000000000", account)
    for name in ("one", "two"):
        client.create_function(
            FunctionName=name,
            Runtime=server.newest_runtime(),
            Role=ROLE,
            Handler=HANDLER,
            Code={"ZipFile": package(SOURCE)},
            Publish=name == "one",
            **({"CapacityProviderConfig": provider(arn)} if name == "one" else {}),
        )
    listed = client.list_function_versions_by_capacity_provider(CapacityProviderName="default")
    prefix = f"arn:aws:lambda:us-east-1:{account}:function:"
    assert listed["CapacityProviderArn"] == arn
    assert [version["FunctionArn"] for version in listed["FunctionVersions"]] == [
        f"{prefix}one",
        f"{prefix}one:1",
    ]
    for name in ("one", "two"):
        client.delete_function(FunctionName=name)
