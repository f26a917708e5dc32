"""Tags of functions."""

from __future__ import annotations

import pytest

from tests.aws.functions import HANDLER, ROLE, package
from tests.aws.refusals import refusal

SOURCE = "def handler(event, context):\n    return event\n"
PREFIX = "arn:aws:lambda:us-east-1:000000000000"


def arn_of(name: str) -> str:
    """A function's ARN."""
    return f"{PREFIX}:function:{name}"


def test_tags_are_given_changed_and_taken(lambda_client, make_function):
    name = make_function(SOURCE, Tags={"team": "tea", "stage": "test"})
    arn = arn_of(name)
    lambda_client.tag_resource(Resource=arn, Tags={"stage": "production", "größe": "5+ @/"})
    lambda_client.untag_resource(Resource=arn, TagKeys=["team", "never-there"])
    expected = {"stage": "production", "größe": "5+ @/"}
    assert lambda_client.list_tags(Resource=arn)["Tags"] == expected
    assert lambda_client.get_function(FunctionName=name)["Tags"] == expected


def test_a_function_made_anew_has_no_old_tags(lambda_client, make_function):
    name = make_function(SOURCE, Tags={"team": "tea"})
    lambda_client.delete_function(FunctionName=name)
    make_function(SOURCE, FunctionName=name)
    assert lambda_client.list_tags(Resource=arn_of(name))["Tags"] == {}


@pytest.mark.parametrize("qualifier", ["1", "live", "$LATEST"])
def test_versions_and_aliases_have_none(lambda_client, make_function, qualifier):
    resource = f"{arn_of(make_function(SOURCE))}:{qualifier}"
    for call, more in (
        (lambda_client.tag_resource, {"Tags": {"a": "b"}}),
        (lambda_client.untag_resource, {"TagKeys": ["a"]}),
        (lambda_client.list_tags, {}),
    ):
        code, message = refusal(call, Resource=resource, **more)
        assert code == "InvalidParameterValueException"
        assert message.startswith("Tags on function aliases and versions are not supported.")


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        (arn_of("nobody"), "ResourceNotFoundException"),
        (f"{PREFIX}:layer:l", "ValidationException"),
        (f"{PREFIX}:layer:l:1", "ValidationException"),
        ("arn:aws:s3:::bucket", "ValidationException"),
        (f"{PREFIX}:capacity-provider:default", "InvalidParameterValueException"),
        (
            f"{PREFIX}:event-source-mapping:00000000-0000-0000-0000-000000000000",
            "InvalidParameterValueException",
        ),
        (f"{PREFIX}:code-signing-config:csc-01234567890abcdef", "InvalidParameterValueException"),
        (arn_of("f").replace("000000000000", "111122223333"), "AccessDeniedException"),
        (arn_of("f").replace("us-east-1", "eu-north-1"), "ResourceNotFoundException"),
    ],
)
def test_what_cannot_have_tags_is_refused(lambda_client, resource, expected):
    assert refusal(lambda_client.tag_resource, Resource=resource, Tags={"a": "b"})[0] == expected


def test_fifty_tags_are_the_most(lambda_client, make_function):
    fifty = {f"key{number}": "" for number in range(50)}
    arn = arn_of(make_function(SOURCE, Tags=fifty))
    code, message = refusal(lambda_client.tag_resource, Resource=arn, Tags={"one-more": ""})
    assert (code, "50" in message) == ("InvalidParameterValueException", True)
    lambda_client.tag_resource(Resource=arn, Tags={"key7": "in place of another"})
    assert len(lambda_client.list_tags(Resource=arn)["Tags"]) == 50


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"k" * 129: ""}, "ValidationException"),
        ({"k": "v" * 257}, "ValidationException"),
        ({"k": "new\nline\0"}, "ValidationException"),
        ({"k<script>": ""}, "ValidationException"),
        ({"aws:mine": ""}, "InvalidParameterValueException"),
        ({"samovar:colour": "red"}, "InvalidParameterValueException"),
        ({"samovar:keep-alive": "for ever"}, "InvalidParameterValueException"),
        ({"samovar:soft-concurrency": "0"}, "InvalidParameterValueException"),
    ],
    ids=range(8),
)
def test_hostile_tags_are_refused_wherever_they_come(
    lambda_client, make_function, server, tags, expected
):
    arn = arn_of(make_function(SOURCE))
    assert refusal(lambda_client.tag_resource, Resource=arn, Tags=tags)[0] == expected
    assert lambda_client.list_tags(Resource=arn)["Tags"] == {}
    creation = {
        "FunctionName": "never",
        "Runtime": server.newest_runtime(),
        "Role": ROLE,
        "Handler": HANDLER,
        "Code": {"ZipFile": package(SOURCE)},
    }
    assert refusal(lambda_client.create_function, Tags=tags, **creation)[0] == expected
    assert refusal(lambda_client.get_function, FunctionName="never")[0] == (
        "ResourceNotFoundException"
    )


def test_tags_of_ours_are_in_force_at_once_and_leave_the_function_alone(
    lambda_client, make_function
):
    name = make_function(SOURCE, Tags={"samovar:keep-alive": "greedy-dual"})
    arn = arn_of(name)
    lambda_client.tag_resource(Resource=arn, Tags={"samovar:soft-concurrency": "3"})
    assert lambda_client.invoke(FunctionName=name, Payload=b"7")["Payload"].read() == b"7"
    lambda_client.untag_resource(Resource=arn, TagKeys=["samovar:keep-alive"])
    assert lambda_client.list_tags(Resource=arn)["Tags"] == {"samovar:soft-concurrency": "3"}
    assert lambda_client.invoke(FunctionName=name, Payload=b"8")["Payload"].read() == b"8"
