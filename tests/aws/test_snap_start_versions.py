"""SnapStart as the API tells of it: versions that are prepared when they are published."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import WaiterError

from tests.aws.functions import HANDLER, ROLE, FunctionFactory, clients_of, package
from tests.aws.refusals import refusal
from tests.aws.test_capacity_providers import provider
from tests.server import running

SNAP_START = {"ApplyOn": "PublishedVersions"}
POLL = {"Delay": 0.05, "MaxAttempts": 1200}
KIND = """
    import os
    def handler(event, context):
        return [os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"], context.function_version]
"""
BROKEN = """
    import os
    if os.environ["AWS_LAMBDA_FUNCTION_VERSION"] != "$LATEST":
        raise RuntimeError("no tea")
    def handler(event, context):
        return event
"""
INVALID = "InvalidParameterValueException"


def told(client, name, qualifier="$LATEST"):
    """Whether it is asked for, and whether it is on."""
    found = client.get_function_configuration(FunctionName=name, Qualifier=qualifier)["SnapStart"]
    return found["ApplyOn"], found["OptimizationStatus"]


def await_version(client, name, version):
    """With the waiter that AWS has for it."""
    client.get_waiter("published_version_active").wait(
        FunctionName=name, Qualifier=version, WaiterConfig=POLL
    )


def test_a_version_is_prepared_when_it_is_published(lambda_client, make_function):
    name = make_function(KIND, SnapStart=SNAP_START)
    assert told(lambda_client, name) == ("PublishedVersions", "Off")
    published = lambda_client.publish_version(FunctionName=name)
    assert (published["State"], published["StateReasonCode"]) == ("Pending", "Creating")
    await_version(lambda_client, name, "1")
    lambda_client.get_waiter("function_active_v2").wait(
        FunctionName=name, Qualifier="1", WaiterConfig=POLL
    )
    assert told(lambda_client, name, "1") == ("PublishedVersions", "On")
    answer = lambda_client.invoke(FunctionName=name, Qualifier="1")
    assert json.loads(answer["Payload"].read()) == ["snap-start", "1"]
    answer = lambda_client.invoke(FunctionName=name)
    assert json.loads(answer["Payload"].read()) == ["on-demand", "$LATEST"]


def test_a_request_that_comes_before_that_waits_for_it(lambda_client, make_function):
    name = make_function(KIND, SnapStart=SNAP_START, Publish=True)
    answer = lambda_client.invoke(FunctionName=name, Qualifier="1")
    assert json.loads(answer["Payload"].read()) == ["snap-start", "1"]


def test_publishing_what_has_not_changed_gives_the_same_version(lambda_client, make_function):
    name = make_function(KIND, SnapStart=SNAP_START)
    for _ in range(3):  # the first is being prepared meanwhile
        assert lambda_client.publish_version(FunctionName=name)["Version"] == "1"
    await_version(lambda_client, name, "1")
    assert lambda_client.publish_version(FunctionName=name)["State"] == "Active"


def test_it_is_turned_on_and_off_by_updates(lambda_client, make_function):
    name = make_function(KIND)
    for wanted, version in (("PublishedVersions", "1"), ("None", "2")):
        lambda_client.update_function_configuration(
            FunctionName=name, SnapStart={"ApplyOn": wanted}
        )
        lambda_client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig=POLL)
        assert lambda_client.publish_version(FunctionName=name)["Version"] == version
        await_version(lambda_client, name, version)
    assert told(lambda_client, name, "1") == ("PublishedVersions", "On")
    assert told(lambda_client, name, "2") == ("None", "Off")


def test_an_init_that_fails_is_told_in_the_versions_state(lambda_client, make_function):
    name = make_function(BROKEN, SnapStart=SNAP_START, Publish=True)
    with pytest.raises(WaiterError):
        await_version(lambda_client, name, "1")
    failed = lambda_client.get_function_configuration(FunctionName=name, Qualifier="1")
    assert (failed["State"], failed["StateReasonCode"]) == ("Failed", "FunctionError")
    assert failed["StateReason"] == "RuntimeError: no tea"
    assert failed["SnapStart"]["OptimizationStatus"] == "Off"
    code, _ = refusal(lambda_client.invoke, FunctionName=name, Qualifier="1")
    assert code == "ResourceConflictException"
    assert lambda_client.publish_version(FunctionName=name)["Version"] == "2"  # tries again


def test_functions_that_run_as_a_program_of_their_own_fail_and_say_why(
    lambda_client, make_function
):
    wrapped = {"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrapper"}}
    name = make_function(KIND, SnapStart=SNAP_START, Environment=wrapped, Publish=True)
    with pytest.raises(WaiterError):
        await_version(lambda_client, name, "1")
    failed = lambda_client.get_function_configuration(FunctionName=name, Qualifier="1")
    assert failed["State"] == "Failed"
    assert failed["StateReason"]


def test_a_version_is_there_again_after_a_restart(tmp_path):
    flags = (tmp_path / "data", "--no-examples")
    with running(*flags) as server, clients_of(server.endpoint) as make:
        client = make()
        factory = FunctionFactory(client, "kept", server.newest_runtime())
        name = factory(KIND, SnapStart=SNAP_START, Publish=True)
        await_version(client, name, "1")
        client.publish_version(FunctionName=name)
        server.kill()
    with running(*flags) as server, clients_of(server.endpoint) as make:
        client = make()
        assert told(client, name, "1") == ("PublishedVersions", "On")
        answer = client.invoke(FunctionName=name, Qualifier="1")
        assert json.loads(answer["Payload"].read()) == ["snap-start", "1"]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"EphemeralStorage": {"Size": 513}}, "ephemeral storage greater than 512 MB"),
        ({"TenancyConfig": {"TenantIsolationMode": "PER_TENANT"}}, "TenancyConfig"),
        ({"CapacityProviderConfig": provider()}, "capacity provider"),
        ({"Runtime": "provided.al2023"}, "provided.al2023 is not supported for SnapStart"),
        (
            {
                "FileSystemConfigs": [
                    {
                        "Arn": (
                            "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/"
                            "fsap-01234567890abcdef"
                        ),
                        "LocalMountPath": "/mnt/a",
                    }
                ]
            },
            "FileSystemConfigs",
        ),
    ],
    ids=["storage", "tenants", "capacity provider", "runtime", "file system"],
)
def test_what_does_not_go_with_it_is_refused(lambda_client, make_function, server, config, words):
    request = {
        "FunctionName": "never",
        "Runtime": server.newest_runtime(),
        "Role": ROLE,
        "Handler": HANDLER,
        "Code": {"ZipFile": package(KIND)},
        "SnapStart": SNAP_START,
    }
    code, message = refusal(lambda_client.create_function, **(request | config))
    assert (code, words in message) == (INVALID, True)


def test_it_cannot_be_turned_on_where_something_stands_against_it(lambda_client, make_function):
    name = make_function(KIND, EphemeralStorage={"Size": 1024})
    update = lambda_client.update_function_configuration
    assert refusal(update, FunctionName=name, SnapStart=SNAP_START)[0] == INVALID
    update(FunctionName=name, SnapStart=SNAP_START, EphemeralStorage={"Size": 512})
    lambda_client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig=POLL)
    assert refusal(update, FunctionName=name, EphemeralStorage={"Size": 1024})[0] == INVALID


def test_it_excludes_provisioned_concurrency(lambda_client, make_function):
    name = make_function(KIND, SnapStart=SNAP_START, Publish=True)
    await_version(lambda_client, name, "1")
    put = lambda_client.put_provisioned_concurrency_config
    asked = {"FunctionName": name, "Qualifier": "1", "ProvisionedConcurrentExecutions": 1}
    code, message = refusal(put, **asked)
    assert (code, "SnapStart" in message) == (INVALID, True)
