"""The layers of a function: which it may have, and how large they may be together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from samovar.frontend.auth import Caller
from samovar.frontend.layer_names import parse_layer_version_arn
from samovar.frontend.operations.configuration import invalid
from samovar.frontend.operations.control import Control
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import MAX_UNPACKED_BYTES, CodeRef, FunctionVersion, LayerRef
from samovar.model.layer import MAX_LAYERS, LayerId


async def find_layers(
    control: Control, caller: Caller, arns: Sequence[str]
) -> tuple[LayerRef, ...]:
    """The layer versions that the caller wants for a function.

    Raises `PlatformError`: INVALID_PARAMETER for too many, two of one layer, and what is not there;
    ACCESS_DENIED for another account's, unless its policy allows it."""
    if len(arns) > MAX_LAYERS:
        raise invalid(f"Cannot reference more than {MAX_LAYERS} layers.")
    seen: dict[LayerId, str] = {}
    found = []
    for arn in arns:
        named = parse_layer_version_arn(arn)
        if named is None:
            raise _not_there(arn)
        layer, number = named
        if layer in seen:
            raise invalid(
                "Two different versions of the same layer are not allowed to be referenced in the "
                f"same function. {seen[layer]} and {arn} are versions of the same layer."
            )
        seen[layer] = arn
        found.append(await _find(control, caller, layer, number))
    return tuple(found)


async def with_layers(
    control: Control, version: FunctionVersion, layers: tuple[LayerRef, ...]
) -> FunctionVersion:
    """The version with these layers. INVALID_PARAMETER where it is too large with them."""
    if layers:
        size_bytes = await _unpacked_bytes(control, version.code)
        size_bytes += sum([await _unpacked_bytes(control, layer.code) for layer in layers])
        if size_bytes > MAX_UNPACKED_BYTES:
            raise invalid(
                "Function code combined with layers exceeds the maximum allowed size of "
                f"{MAX_UNPACKED_BYTES} bytes. The actual size is {size_bytes} bytes."
            )
    return replace(version, layers=layers)


async def check_access(
    control: Control, caller: Caller, layer: LayerId, number: int, action: str = "GetLayerVersion"
) -> None:
    """Raise ACCESS_DENIED for another account's layer version, unless it is to be used only and its
    policy allows that. What is not there is not told apart from what is not allowed."""
    if layer.account == caller.account:
        return
    if action == "GetLayerVersion" and layer.region == caller.region:
        try:
            policy = await control.layers.policy(layer, number)
        except PlatformError as error:
            if error.code is not ErrorCode.NOT_FOUND:
                raise
            policy = None
        if policy is not None and policy.allows(caller.account):
            return
    raise denied(caller, action, layer.version_arn(number))


def denied(caller: Caller, action: str, arn: str) -> PlatformError:
    """AWS's words for what no policy allows."""
    return PlatformError(
        ErrorCode.ACCESS_DENIED,
        f"User: arn:aws:iam::{caller.account}:root is not authorized to perform: lambda:{action} "
        f"on resource: {arn} because no resource-based policy allows the lambda:{action} action",
    )


async def _find(control: Control, caller: Caller, layer: LayerId, number: int) -> LayerRef:
    await check_access(control, caller, layer, number)
    if layer.region != caller.region:
        raise invalid(
            "Layers are not in the same region as the function. Layers are expected to be in "
            f"region {caller.region}."
        )
    try:
        version = await control.layers.get(layer, number)
    except PlatformError as error:
        if error.code is not ErrorCode.NOT_FOUND:
            raise
        raise _not_there(layer.version_arn(number)) from error
    return LayerRef(version.arn, version.code)


async def _unpacked_bytes(control: Control, code: CodeRef) -> int:
    return code.unpacked_bytes or await control.inspect(await control.code.get(code.sha256_hex))


def _not_there(arn: str) -> PlatformError:
    return invalid(f"Layer version {arn} does not exist.")
