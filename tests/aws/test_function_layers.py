"""Functions with layers: what may be attached, and what the API says of it."""

from __future__ import annotations

from typing import Any
from zipfile import ZIP_DEFLATED

from tests.aws.functions import FunctionFactory, package
from tests.aws.layers import LayerFactory, refused

HANDLER = "def handler(event, context):\n    import tea\n    return tea.KIND\n"
GREEN = {"python/tea.py": "KIND = 'green'\n"}
BLACK = {"python/tea.py": "KIND = 'black'\n"}


def answer(client: Any, name: str, **request: Any) -> str:
    response = client.invoke(FunctionName=name, **request)
    text: str = response["Payload"].read().decode()
    assert "FunctionError" not in response, text
    return text


def change_layers(client: Any, name: str, *arns: str) -> dict[str, Any]:
    changed: dict[str, Any] = client.update_function_configuration(
        FunctionName=name, Layers=list(arns)
    )
    client.get_waiter("function_updated_v2").wait(
        FunctionName=name, WaiterConfig={"Delay": 0.05, "MaxAttempts": 600}
    )
    return changed


def test_a_function_shows_its_layers(
    lambda_client: Any, make_function: FunctionFactory, publish: LayerFactory
) -> None:
    layer = publish(GREEN)
    name = make_function(HANDLER, Layers=[layer["LayerVersionArn"]])
    shown = [{"Arn": layer["LayerVersionArn"], "CodeSize": layer["Content"]["CodeSize"]}]
    assert lambda_client.get_function_configuration(FunctionName=name)["Layers"] == shown
    assert lambda_client.get_function(FunctionName=name)["Configuration"]["Layers"] == shown
    listed = lambda_client.get_paginator("list_functions").paginate().search("Functions[]")
    assert [f["Layers"] for f in listed if f["FunctionName"] == name] == [shown]
    assert lambda_client.publish_version(FunctionName=name)["Layers"] == shown


def test_a_new_list_replaces_the_old_and_an_empty_one_removes_it(
    lambda_client: Any, make_function: FunctionFactory, publish: LayerFactory
) -> None:
    green, black = publish.arn(GREEN), publish.arn(BLACK)
    name = make_function(HANDLER, Layers=[green])
    assert answer(lambda_client, name) == '"green"'
    assert [layer["Arn"] for layer in change_layers(lambda_client, name, black)["Layers"]] == [
        black
    ]
    assert answer(lambda_client, name) == '"black"'
    lambda_client.update_function_configuration(FunctionName=name, Description="unchanged")
    assert answer(lambda_client, name) == '"black"'
    assert "Layers" not in change_layers(lambda_client, name)
    failed = lambda_client.invoke(FunctionName=name)
    assert b"No module named 'tea'" in failed["Payload"].read()


def test_a_published_version_keeps_its_layers(
    lambda_client: Any, make_function: FunctionFactory, publish: LayerFactory
) -> None:
    green, black = publish.arn(GREEN), publish.arn(BLACK)
    name = make_function(HANDLER, Layers=[green], Publish=True)
    change_layers(lambda_client, name, black)
    assert answer(lambda_client, name, Qualifier="1") == '"green"'
    assert answer(lambda_client, name) == '"black"'


def test_a_new_version_of_a_layer_does_not_touch_functions(
    lambda_client: Any, make_function: FunctionFactory, publish: LayerFactory
) -> None:
    layer = publish(GREEN)
    name = make_function(HANDLER, Layers=[layer["LayerVersionArn"]])
    publish(BLACK, name=layer["LayerArn"].rpartition(":")[2])
    assert answer(lambda_client, name) == '"green"'


def test_a_deleted_version_serves_its_functions_and_no_new_ones(
    lambda_client: Any, make_function: FunctionFactory, publish: LayerFactory
) -> None:
    layer = publish(GREEN)
    arn = layer["LayerVersionArn"]
    name = make_function(HANDLER, Layers=[arn])
    lambda_client.delete_layer_version(LayerName=layer["LayerArn"], VersionNumber=1)
    lambda_client.update_function_configuration(FunctionName=name, MemorySize=192)
    assert answer(lambda_client, name) == '"green"'
    with refused("InvalidParameterValueException", f"Layer version {arn} does not exist."):
        make_function(HANDLER, Layers=[arn])


def test_what_cannot_be_attached_is_refused(
    lambda_client: Any, make_function: FunctionFactory, publish: LayerFactory
) -> None:
    layer = publish(GREEN)
    arn, name = layer["LayerArn"], layer["LayerArn"].rpartition(":")[2]
    publish(BLACK, name=name)
    arns = [publish.arn(GREEN) for _ in range(5)]
    invalid = "InvalidParameterValueException"
    both = f"{arn}:1 and {arn}:2 are versions of the same layer."
    with refused(invalid, "Two different versions of the same layer are not allowed to be ref"):
        make_function(HANDLER, Layers=[f"{arn}:1", f"{arn}:2"])
    with refused(invalid, both):
        make_function(HANDLER, Layers=[f"{arn}:1", f"{arn}:2"])
    with refused(invalid, "are versions of the same layer."):
        make_function(HANDLER, Layers=[f"{arn}:1", f"{arn}:1"])
    with refused(invalid, "Cannot reference more than 5 layers."):
        make_function(HANDLER, Layers=[f"{arn}:1", *arns])
    for missing in (f"{arn}:3", f"{arn}x:1", f"{arn}:{2**64}"):
        with refused(invalid, f"Layer version {missing} does not exist."):
            make_function(HANDLER, Layers=[missing])
    with refused(invalid, "Layers are expected to be in region us-east-1."):
        make_function(HANDLER, Layers=[f"{arn}:1".replace("us-east-1", "eu-west-1")])
    for malformed in (arn, "tea", "tea:1"):
        with refused("ValidationException"):
            make_function(HANDLER, Layers=[malformed])
    made = make_function(HANDLER, Layers=arns)
    with refused(invalid, "Cannot reference more than 5 layers."):
        change_layers(lambda_client, made, *arns, f"{arn}:1")
    assert answer(lambda_client, made) == '"green"'


def test_a_function_and_its_layers_together_are_bounded(
    lambda_client: Any, make_function: FunctionFactory, publish: LayerFactory
) -> None:
    half = package({"half": b"\0" * 131_072_000}, ZIP_DEFLATED)
    layer, other = [publish.arn({}, Content={"ZipFile": half}) for _ in range(2)]
    too_much = package({"app.py": HANDLER, "half": b"\0" * 131_072_000}, ZIP_DEFLATED)
    message = (
        "Function code combined with layers exceeds the maximum allowed size of 262144000 bytes. "
        "The actual size is "
    )
    with refused("InvalidParameterValueException", message):
        make_function(HANDLER, Layers=[layer, other])
    name = make_function(HANDLER, Layers=[layer])
    with refused("InvalidParameterValueException", message):
        change_layers(lambda_client, name, other, layer)
    with refused("InvalidParameterValueException", message):
        lambda_client.update_function_code(FunctionName=name, ZipFile=too_much)
