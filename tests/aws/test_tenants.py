"""Functions that keep their tenants apart.

https://docs.aws.amazon.com/lambda/latest/dg/tenant-isolation.html
"""

from __future__ import annotations

import json

import pytest

from tests.aws.runtimes import python_bootstrap

PER_TENANT = {"TenancyConfig": {"TenantIsolationMode": "PER_TENANT"}}
COUNTING = """
    seen = []
    def handler(event, context):
        seen.append(context.tenant_id)
        return seen
"""


def ask(client, name, **more):
    return json.load(client.invoke(FunctionName=name, **more)["Payload"])


def test_each_tenant_has_instances_of_its_own(lambda_client, make_function):
    name = make_function(COUNTING, **PER_TENANT)
    tenants = ["blue", "green", "blue", "green", "blue"]
    answers = [ask(lambda_client, name, TenantId=tenant) for tenant in tenants]
    assert answers[-1] == ["blue"] * 3
    assert answers[-2] == ["green"] * 2


def test_a_program_is_told_its_tenant(lambda_client, make_function):
    script = """
        while True:
            id, event, headers = next_event()
            respond(id, headers["Lambda-Runtime-Aws-Tenant-Id"])
    """
    name = make_function("", **python_bootstrap(script), **PER_TENANT)
    assert ask(lambda_client, name, TenantId="a tenant=1") == "a tenant=1"


def test_the_configuration_tells_of_it_and_it_stays(lambda_client, make_function):
    name = make_function(COUNTING, **PER_TENANT)
    lambda_client.update_function_configuration(FunctionName=name, Description="new")
    lambda_client.get_waiter("function_updated_v2").wait(FunctionName=name)
    number = lambda_client.publish_version(FunctionName=name)["Version"]
    for qualifier in ("$LATEST", number):
        found = lambda_client.get_function_configuration(FunctionName=name, Qualifier=qualifier)
        assert found["TenancyConfig"] == {"TenantIsolationMode": "PER_TENANT"}


@pytest.mark.parametrize(
    ("config", "tenant"),
    [(PER_TENANT, {}), ({}, {"TenantId": "blue"})],
    ids=["missing", "needless"],
)
def test_a_tenant_must_be_named_exactly_where_they_are_kept_apart(
    lambda_client, make_function, config, tenant
):
    name = make_function(COUNTING, **config)
    with pytest.raises(lambda_client.exceptions.InvalidParameterValueException, match="tenant ID"):
        lambda_client.invoke(FunctionName=name, **tenant)
