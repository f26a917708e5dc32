"""What breaks the model's constraints is refused in AWS's words."""

from __future__ import annotations

from typing import Any

import pytest

from samovar.awsproto import ServiceModel, validate
from samovar.awsproto.validate import MAX_ECHO_CHARS, MAX_VIOLATIONS
from samovar.model.errors import ErrorCode, PlatformError

LAMBDA = ServiceModel.load("lambda")

VALID = {
    "FunctionName": "f",
    "Role": "arn:aws:iam::000000000000:role/r",
    "Code": {"ZipFile": b"zip"},
}


def refusal(operation: str = "CreateFunction", /, **params: Any) -> str:
    """Return the message of a ValidationException, without its count if that is one."""
    if operation == "CreateFunction":
        params = VALID | params
    with pytest.raises(PlatformError) as info:
        validate(LAMBDA.operations[operation], params)
    assert info.value.code is ErrorCode.VALIDATION
    return info.value.message.removeprefix("1 validation error detected: ")


def pattern_of(member: str) -> str | None:
    message = LAMBDA.operations["CreateFunction"].input
    assert message is not None
    return message.shape.members[member].shape.pattern


def test_a_valid_request_passes() -> None:
    validate(LAMBDA.operations["CreateFunction"], VALID | {"Runtime": "python3.11", "Timeout": 3})


def test_the_message_counts_what_is_wrong() -> None:
    assert refusal("CreateAlias", FunctionName="f", Name="a") == (
        "Value null at 'functionVersion' failed to satisfy constraint: Member must not be null"
    )
    with pytest.raises(
        PlatformError, match=r"^ValidationException: 2 validation errors detected: "
    ):
        validate(LAMBDA.operations["CreateAlias"], {"FunctionName": "f"})


@pytest.mark.parametrize(
    ("member", "value", "constraint"),
    [
        ("Timeout", 0, "Member must have value greater than or equal to 1"),
        ("MemorySize", 127, "Member must have value greater than or equal to 128"),
        ("MemorySize", 32769, "Member must have value less than or equal to 32768"),
        ("Description", "x" * 257, "Member must have length less than or equal to 256"),
        ("PackageType", "Jar", "Member must satisfy enum value set: [Zip, Image]"),
    ],
)
def test_a_value_is_told_its_bound(member: str, value: object, constraint: str) -> None:
    path = member[0].lower() + member[1:]

    assert refusal(**{member: value}) == (
        f"Value '{value}' at '{path}' failed to satisfy constraint: {constraint}"
    )


@pytest.mark.parametrize("name", ["a b", "a/b", "", "\u00e9", "f\n", "f:$LATES"])
def test_a_function_name_keeps_to_its_pattern(name: str) -> None:
    assert (
        f"Value '{name}' at 'functionName' failed to satisfy constraint: "
        f"Member must satisfy regular expression pattern: {pattern_of('FunctionName')}"
    ) in refusal(FunctionName=name)


def test_a_long_name_breaks_only_what_it_breaks() -> None:
    name = "x" * 141

    assert refusal(FunctionName=name) == (
        f"Value '{name}' at 'functionName' failed to satisfy constraint: "
        "Member must have length less than or equal to 140"
    )


@pytest.mark.parametrize(
    "name",
    [
        "f",
        "f:live",
        "f:$LATEST",
        "000000000000:function:f",
        "arn:aws:lambda:us-east-1:000000000000:function:f:1",
    ],
)
def test_a_function_has_names_of_many_forms(name: str) -> None:
    validate(LAMBDA.operations["GetFunction"], {"FunctionName": name})


def test_paths_reach_into_structures_and_lists() -> None:
    configs = [{"Arn": "arn:aws:elasticfilesystem:nowhere"}]

    message = refusal(FileSystemConfigs=configs, EphemeralStorage={"Size": 1})

    assert (
        "Value null at 'fileSystemConfigs.1.member.localMountPath' failed to satisfy constraint: "
        "Member must not be null"
    ) in message
    assert "at 'fileSystemConfigs.1.member.arn' failed" in message
    assert "Value '1' at 'ephemeralStorage.size' failed" in message


def test_only_the_first_letter_of_a_member_is_lowered() -> None:
    assert refusal(KMSKeyArn="x").startswith("Value 'x' at 'kMSKeyArn' failed")


def test_a_list_of_scalars_is_wrong_as_a_whole() -> None:
    assert refusal(Architectures=["foo"]) == (
        "Value '[foo]' at 'architectures' failed to satisfy constraint: "
        "Member must satisfy constraint: [Member must satisfy enum value set: [x86_64, arm64], "
        "Member must not be null]"
    )


def test_a_list_says_every_constraint_of_its_items() -> None:
    # Word for word what AWS answers.
    message = refusal(
        "CreateFunctionUrlConfig",
        FunctionName="f",
        AuthType="NONE",
        Cors={"AllowMethods": ["GET", "POST", "OPTIONS"]},
    )

    assert message == (
        "Value '[GET, POST, OPTIONS]' at 'cors.allowMethods' failed to satisfy constraint: "
        "Member must satisfy constraint: [Member must have length less than or equal to 6, "
        "Member must have length greater than or equal to 0, "
        "Member must satisfy regular expression pattern: .*, Member must not be null]"
    )


def test_a_list_has_a_size() -> None:
    assert refusal(Architectures=["x86_64", "arm64"]) == (
        "Value '[x86_64, arm64]' at 'architectures' failed to satisfy constraint: "
        "Member must have length less than or equal to 1"
    )


def test_a_list_holds_no_null() -> None:
    assert "Member must not be null]" in refusal(Layers=[None])


def test_the_keys_of_a_map_have_constraints() -> None:
    weights = {"a": 0.5}

    message = refusal(
        "CreateAlias",
        FunctionName="f",
        Name="live",
        FunctionVersion="1",
        RoutingConfig={"AdditionalVersionWeights": weights},
    )

    assert message == (
        "Value '{a=0.5}' at 'routingConfig.additionalVersionWeights' failed to satisfy constraint: "
        "Map keys must satisfy constraint: [Member must have length less than or equal to 1024, "
        "Member must have length greater than or equal to 1, "
        "Member must satisfy regular expression pattern: [0-9]+, Member must not be null]"
    )


def test_the_values_of_a_map_have_constraints() -> None:
    assert refusal(Tags={"k": "v" * 257}).startswith(
        "Value '{k=" + "v" * 257 + "}' at 'tags' failed to satisfy constraint: "
        "Map value must satisfy constraint: [Member must have length less than or equal to 256"
    )


def test_tags_are_of_any_script() -> None:
    validate(
        LAMBDA.operations["CreateFunction"],
        VALID | {"Tags": {"\u0438\u043c\u044f \u6f22": "\u0663"}},
    )


def test_what_is_sensitive_is_not_echoed() -> None:
    message = refusal(Environment={"Variables": {"1A": "hunter2"}})

    assert message.startswith(
        "Value at 'environment.variables' failed to satisfy constraint: "
        "Map keys must satisfy constraint: ["
    )
    assert "hunter2" not in message
    assert "1A" not in message


def test_an_unknown_runtime_is_an_invalid_parameter() -> None:
    with pytest.raises(PlatformError) as info:
        validate(LAMBDA.operations["CreateFunction"], VALID | {"Runtime": "haskell"})

    assert info.value.code is ErrorCode.INVALID_PARAMETER
    assert info.value.message.startswith(
        "Value haskell at 'runtime' failed to satisfy constraint: "
        "Member must satisfy enum value set: [nodejs, "
    )
    assert info.value.message.endswith("] or be a valid ARN")


def test_the_framework_is_asked_before_lambda() -> None:
    assert refusal(Runtime="haskell", Timeout=0).startswith("Value '0' at 'timeout' failed")


def test_a_runtime_elsewhere_is_a_member_as_any_other() -> None:
    message = refusal("ListLayers", CompatibleRuntime="haskell")

    assert message.startswith("Value 'haskell' at 'compatibleRuntime' failed to satisfy constraint")


def test_a_message_does_not_grow_with_the_request() -> None:
    hostile = {
        "Description": "x" * 5_000_000,
        "Layers": ["y" * 3000] * 5000,
        "Tags": {"k" * 1000 + str(n): "v" * 300 for n in range(2000)},
        "FileSystemConfigs": [{}] * 100_000,
        "ImageConfig": {"Command": ["z" * 100] * 10_000},
    }

    message = refusal(**hostile)

    assert len(message) < MAX_VIOLATIONS * (MAX_ECHO_CHARS + 1000)


def test_violations_are_counted_to_a_limit() -> None:
    mappings = [{"Pattern": "x" * 4097}] * 1000

    message = refusal("CreateEventSourceMapping", FilterCriteria={"Filters": mappings})

    assert message.startswith(f"{MAX_VIOLATIONS} validation errors detected: ")
