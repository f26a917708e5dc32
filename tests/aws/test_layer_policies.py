"""Layers of other accounts: what a policy says, and that it is kept to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.aws.functions import FunctionFactory, lambda_client_of
from tests.aws.layers import LayerFactory, refused
from tests.server import Server

FRIEND, STRANGER = "111111111111", "222222222222"
GREEN = {"python/tea.py": "KIND = 'green'\n"}
HANDLER = "def handler(event, context):\n    import tea\n    return tea.KIND\n"
USE = "lambda:GetLayerVersion"


def denial(account: str, action: str, arn: str) -> str:
    return (
        f"User: arn:aws:iam::{account}:root is not authorized to perform: lambda:{action} on "
        f"resource: {arn} because no resource-based policy allows the lambda:{action} action"
    )


@pytest.fixture
def friend(server: Server) -> Iterator[Any]:
    client = lambda_client_of(server.endpoint, key_id=FRIEND)
    yield client
    client.close()


@pytest.fixture
def stranger(server: Server) -> Iterator[Any]:
    client = lambda_client_of(server.endpoint, key_id=STRANGER)
    yield client
    client.close()


@pytest.fixture
def layer(publish: LayerFactory) -> dict[str, Any]:
    """What names a version of its own in requests."""
    published = publish(GREEN)
    return {"LayerName": published["LayerArn"], "VersionNumber": published["Version"]}


def arn_of(layer: dict[str, Any]) -> str:
    return f"{layer['LayerName']}:{layer['VersionNumber']}"


def allow(
    client: Any, layer: dict[str, Any], principal: str = FRIEND, **more: str
) -> dict[str, Any]:
    request = {"StatementId": "friends", "Action": USE, "Principal": principal} | more
    answer: dict[str, Any] = client.add_layer_version_permission(**layer, **request)
    return answer


def test_a_policy_is_told_as_it_was_made(lambda_client: Any, layer: dict[str, Any]) -> None:
    with refused("ResourceNotFoundException", "No policy is associated with the given resource."):
        lambda_client.get_layer_version_policy(**layer)
    added = allow(lambda_client, layer)
    assert json.loads(added["Statement"]) == {
        "Sid": "friends",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{FRIEND}:root"},
        "Action": USE,
        "Resource": arn_of(layer),
    }
    allow(lambda_client, layer, "*", StatementId="all")
    found = lambda_client.get_layer_version_policy(**layer)
    policy = json.loads(found["Policy"])
    assert [(s["Sid"], s["Principal"]) for s in policy["Statement"]][1] == ("all", "*")
    assert found["RevisionId"] != added["RevisionId"]
    for statement in ("friends", "all"):
        lambda_client.remove_layer_version_permission(**layer, StatementId=statement)
    with refused("ResourceNotFoundException", "No policy is associated with the given resource."):
        lambda_client.get_layer_version_policy(**layer)


def test_changes_to_what_has_changed_meanwhile_are_refused(
    lambda_client: Any, layer: dict[str, Any]
) -> None:
    old = allow(lambda_client, layer)["RevisionId"]
    new = allow(lambda_client, layer, StatementId="more", RevisionId=old)["RevisionId"]
    with refused("PreconditionFailedException", "Call the GetLayerPolicy API"):
        allow(lambda_client, layer, StatementId="third", RevisionId=old)
    with refused("PreconditionFailedException"):
        lambda_client.remove_layer_version_permission(**layer, StatementId="more", RevisionId=old)
    lambda_client.remove_layer_version_permission(**layer, StatementId="more", RevisionId=new)


def test_what_cannot_be_allowed_is_refused(lambda_client: Any, layer: dict[str, Any]) -> None:
    allow(lambda_client, layer)
    with refused("ResourceConflictException", "The statement id (friends) provided already"):
        allow(lambda_client, layer)
    with refused("InvalidParameterValueException", "OrganizationId is not supported"):
        allow(lambda_client, layer, "*", StatementId="o", OrganizationId="o-t194hfs8cz")
    for changes in ({"Action": "lambda:*"}, {"Principal": "tea"}, {"StatementId": "no spaces"}):
        with refused("ValidationException"):
            allow(lambda_client, layer, **changes)
    with refused("ResourceNotFoundException", "Statement tea is not found in resource policy."):
        lambda_client.remove_layer_version_permission(**layer, StatementId="tea")
    with refused("ResourceNotFoundException"):
        allow(lambda_client, layer | {"VersionNumber": 99})


def test_a_policy_is_bounded(lambda_client: Any, layer: dict[str, Any]) -> None:
    with refused("PolicyLengthExceededException"):
        for number in range(200):
            allow(lambda_client, layer, StatementId=f"{number:03}".ljust(100, "x"))
    policy = lambda_client.get_layer_version_policy(**layer)["Policy"]
    assert len(policy) <= 20_480


def test_another_account_may_use_a_layer_only_if_its_policy_allows_it(
    lambda_client: Any, layer: dict[str, Any], friend: Any, stranger: Any, runtime: str
) -> None:
    arn = arn_of(layer)
    for client, account in ((friend, FRIEND), (stranger, STRANGER)):
        make = FunctionFactory(client, "cross-account", runtime)
        with refused("AccessDeniedException", denial(account, "GetLayerVersion", arn)):
            make(HANDLER, Layers=[arn])
        with refused("AccessDeniedException", denial(account, "GetLayerVersion", arn)):
            client.get_layer_version_by_arn(Arn=arn)
    allow(lambda_client, layer)
    make = FunctionFactory(friend, "cross-account", runtime)
    name = make(HANDLER, Layers=[arn])
    assert friend.invoke(FunctionName=name)["Payload"].read() == b'"green"'
    assert friend.get_layer_version(**layer)["LayerVersionArn"] == arn
    with refused("AccessDeniedException"):
        FunctionFactory(stranger, "cross-account", runtime)(HANDLER, Layers=[arn])
    lambda_client.remove_layer_version_permission(**layer, StatementId="friends")
    friend.update_function_configuration(FunctionName=name, Description="goes on")
    assert friend.invoke(FunctionName=name)["Payload"].read() == b'"green"'
    with refused("AccessDeniedException"):
        friend.update_function_configuration(FunctionName=name, Layers=[arn])
    make.close()


def test_everybody_may_use_a_layer_that_is_for_everybody(
    lambda_client: Any, layer: dict[str, Any], stranger: Any
) -> None:
    allow(lambda_client, layer, "*")
    assert stranger.get_layer_version(**layer)["Version"] == layer["VersionNumber"]


def test_a_principal_may_be_named_by_its_arn(
    lambda_client: Any, layer: dict[str, Any], friend: Any
) -> None:
    allow(lambda_client, layer, f"arn:aws:iam::{FRIEND}:root")
    assert friend.get_layer_version(**layer)["Version"] == layer["VersionNumber"]


def test_nobody_but_its_account_changes_a_layer(
    lambda_client: Any, layer: dict[str, Any], friend: Any
) -> None:
    allow(lambda_client, layer)
    denied = "AccessDeniedException"
    name, arn = layer["LayerName"], arn_of(layer)
    with refused(denied, denial(FRIEND, "DeleteLayerVersion", arn)):
        friend.delete_layer_version(**layer)
    with refused(denied, denial(FRIEND, "PublishLayerVersion", name)):
        LayerFactory(friend, "x")(GREEN, name=name)
    with refused(denied, denial(FRIEND, "ListLayerVersions", name)):
        friend.list_layer_versions(LayerName=name)
    with refused(denied, denial(FRIEND, "AddLayerVersionPermission", arn)):
        allow(friend, layer, "*", StatementId="mine")
    with refused(denied, denial(FRIEND, "GetLayerVersionPolicy", arn)):
        friend.get_layer_version_policy(**layer)
    with refused(denied, denial(FRIEND, "RemoveLayerVersionPermission", arn)):
        friend.remove_layer_version_permission(**layer, StatementId="friends")
    assert name not in [found["LayerArn"] for found in friend.list_layers()["Layers"]]


def test_what_is_not_there_is_not_told_from_what_is_not_allowed(
    layer: dict[str, Any], friend: Any
) -> None:
    with refused("AccessDeniedException"):
        friend.get_layer_version(**layer | {"VersionNumber": 99})
