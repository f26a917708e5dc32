"""Versions and aliases through an unmodified boto3."""

from __future__ import annotations

from collections import Counter

import pytest
from botocore.exceptions import ClientError

from tests.aws.functions import package


def answering(value: str) -> str:
    return f"def handler(event, context): return [{value!r}, context.function_version]"


@pytest.fixture
def function(lambda_client, make_function) -> str:
    """A function whose version 1 answers "one" and whose version 2 answers "two"."""
    name = make_function(answering("one"))
    lambda_client.publish_version(FunctionName=name, Description="first")
    lambda_client.update_function_code(FunctionName=name, ZipFile=package(answering("two")))
    lambda_client.publish_version(FunctionName=name)
    return name


def invoked(client, name: str, **qualifier) -> tuple[bytes, str]:
    answer = client.invoke(FunctionName=name, **qualifier)
    return answer["Payload"].read(), answer["ExecutedVersion"]


def test_a_published_version_keeps_its_code(lambda_client, function):
    assert invoked(lambda_client, function, Qualifier="1") == (b'["one", "1"]', "1")
    assert invoked(lambda_client, function, Qualifier="2") == (b'["two", "2"]', "2")
    assert invoked(lambda_client, function) == (b'["two", "$LATEST"]', "$LATEST")
    assert invoked(lambda_client, f"{function}:1") == (b'["one", "1"]', "1")


def test_publishing_without_a_change_gives_the_same_version(lambda_client, function):
    again = lambda_client.publish_version(FunctionName=function)
    assert again["Version"] == "2"
    assert again["FunctionArn"].endswith(f"{function}:2")


def test_a_version_number_is_never_used_again(lambda_client, function):
    lambda_client.delete_function(FunctionName=function, Qualifier="2")
    lambda_client.update_function_configuration(FunctionName=function, Timeout=9)
    assert lambda_client.publish_version(FunctionName=function)["Version"] == "3"


def test_versions_are_listed_latest_first(lambda_client, function):
    versions = lambda_client.list_versions_by_function(FunctionName=function)["Versions"]
    assert [version["Version"] for version in versions] == ["$LATEST", "1", "2"]


def test_publishing_checks_the_hash_of_the_code(lambda_client, function):
    with pytest.raises(lambda_client.exceptions.InvalidParameterValueException) as raised:
        lambda_client.publish_version(FunctionName=function, CodeSha256="bm90IGl0")
    assert "is different from current CodeSHA256" in str(raised.value)


def test_create_with_publish_makes_version_one(lambda_client, make_function):
    name = make_function(answering("x"), Publish=True)
    assert invoked(lambda_client, name, Qualifier="1") == (b'["x", "1"]', "1")


def test_an_alias_is_a_name_for_a_version(lambda_client, function):
    made = lambda_client.create_alias(FunctionName=function, Name="live", FunctionVersion="1")
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert made["AliasArn"].endswith(f":function:{function}:live")
    assert invoked(lambda_client, function, Qualifier="live") == (b'["one", "1"]', "1")
    lambda_client.update_alias(FunctionName=function, Name="live", FunctionVersion="2")
    assert invoked(lambda_client, function, Qualifier="live") == (b'["two", "2"]', "2")
    read = lambda_client.get_alias(FunctionName=function, Name="live")
    assert read["FunctionVersion"] == "2"
    lambda_client.delete_alias(FunctionName=function, Name="live")
    with pytest.raises(lambda_client.exceptions.ResourceNotFoundException):
        lambda_client.invoke(FunctionName=function, Qualifier="live")


def test_weights_share_the_traffic(lambda_client, function):
    lambda_client.create_alias(
        FunctionName=function,
        Name="canary",
        FunctionVersion="1",
        RoutingConfig={"AdditionalVersionWeights": {"2": 0.5}},
    )
    seen = Counter(invoked(lambda_client, function, Qualifier="canary")[1] for _ in range(60))
    assert set(seen) == {"1", "2"}
    assert min(seen.values()) >= 10  # fails once in 10^8


def test_the_context_knows_the_alias_it_was_invoked_by(lambda_client, make_function):
    name = make_function("def handler(e, c): return c.invoked_function_arn", Publish=True)
    lambda_client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    payload, _ = invoked(lambda_client, name, Qualifier="live")
    assert payload.decode().strip('"').endswith(f"function:{name}:live")


def test_aliases_are_listed_also_by_version(lambda_client, function):
    for alias, version in (("a", "1"), ("b", "1"), ("c", "2")):
        lambda_client.create_alias(FunctionName=function, Name=alias, FunctionVersion=version)
    every = lambda_client.list_aliases(FunctionName=function)["Aliases"]
    of_one = lambda_client.list_aliases(FunctionName=function, FunctionVersion="1")["Aliases"]
    assert [alias["Name"] for alias in every] == ["a", "b", "c"]
    assert [alias["Name"] for alias in of_one] == ["a", "b"]


def test_a_version_that_an_alias_points_to_cannot_be_deleted(lambda_client, function):
    lambda_client.create_alias(FunctionName=function, Name="live", FunctionVersion="1")
    with pytest.raises(lambda_client.exceptions.ResourceConflictException):
        lambda_client.delete_function(FunctionName=function, Qualifier="1")


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"Name": "live", "FunctionVersion": "99"}, "ResourceNotFoundException"),
        ({"Name": "42", "FunctionVersion": "1"}, "ValidationException"),
        ({"Name": "w", "FunctionVersion": "$LATEST",
          "RoutingConfig": {"AdditionalVersionWeights": {"1": 0.1}}},
         "InvalidParameterValueException"),
        ({"Name": "w", "FunctionVersion": "1",
          "RoutingConfig": {"AdditionalVersionWeights": {"1": 0.1}}},
         "InvalidParameterValueException"),
    ],
)  # fmt: skip
def test_bad_aliases_are_refused(lambda_client, function, request_, code):
    with pytest.raises(ClientError) as raised:
        lambda_client.create_alias(FunctionName=function, **request_)
    assert raised.value.response["Error"]["Code"] == code


def test_latest_cannot_be_deleted_alone(lambda_client, function):
    with pytest.raises(lambda_client.exceptions.InvalidParameterValueException):
        lambda_client.delete_function(FunctionName=function, Qualifier="$LATEST")
