"""A function version as AWS describes it, and a request's settings as a function version's.

A setting that this platform cannot enforce is refused (invariant 3): `UNSUPPORTED` lists them.
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from samovar.frontend.operations.control import Params, Result
from samovar.frontend.operations.instances import (
    capacity_provider,
    check_together,
    describe_capacity_provider,
    describe_snap_start,
)
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import LATEST, CodeRef, FunctionVersion
from samovar.model.runtime import RESERVED_ENVIRONMENT, what_is_missing
from samovar.model.web import web_settings

MAX_TIMEOUT_S = 900
MAX_MEMORY_MIB = 10_240
MAX_ENVIRONMENT_BYTES = 4096

UNSUPPORTED: Mapping[str, Callable[[Any], bool]] = {
    # member → whether the given value asks for nothing
    "VpcConfig": lambda v: not v.get("SubnetIds") and not v.get("SecurityGroupIds"),
    "KMSKeyArn": lambda v: not v,
    "FileSystemConfigs": lambda v: not v,
    "ImageConfig": lambda v: not any(v.values()),
    "CodeSigningConfigArn": lambda v: not v,
    "TracingConfig": lambda v: v.get("Mode", "PassThrough") == "PassThrough",
    "LoggingConfig": lambda v: set(v) <= {"LogFormat"} and v.get("LogFormat", "Text") == "Text",
    "PackageType": lambda v: v == "Zip",
    "PublishTo": lambda _: False,
    "DurableConfig": lambda _: False,
}


def refuse_unsupported(params: Params) -> None:
    """Raise INVALID_PARAMETER for the first setting that would be stored and not enforced."""
    for member, harmless in UNSUPPORTED.items():
        value = params.get(member)
        if value is not None and not harmless(value):
            raise invalid(f"{member} is not supported by this server: it could not be enforced.")


def invalid(message: str) -> PlatformError:
    """An InvalidParameterValueException."""
    return PlatformError(ErrorCode.INVALID_PARAMETER, message)


def apply_settings(
    version: FunctionVersion,
    params: Params,
    runtimes: frozenset[str],
    architecture: str,
    snapshots: str | None,
) -> FunctionVersion:
    """Return `version` with the settings that `params` gives. `snapshots`: why there can be none
    here. Raises INVALID_PARAMETER."""
    refuse_unsupported(params)
    changes: dict[str, Any] = {}
    for member, field in (("Role", "role"), ("Handler", "handler"), ("Description", "description")):
        if params.get(member) is not None:
            changes[field] = params[member]
    if params.get("Runtime") is not None:
        changes["runtime"] = _runtime(params["Runtime"], runtimes)
    if params.get("MemorySize") is not None:
        changes["memory_mib"] = _at_most("memorySize", params["MemorySize"], MAX_MEMORY_MIB)
    if params.get("Timeout") is not None:
        changes["timeout_s"] = _at_most("timeout", params["Timeout"], MAX_TIMEOUT_S)
    if params.get("EphemeralStorage") is not None:
        changes["ephemeral_storage_mib"] = params["EphemeralStorage"]["Size"]
    if params.get("Environment") is not None:
        changes["environment"] = _environment(params["Environment"].get("Variables") or {})
    if params.get("Architectures"):
        changes["architecture"] = _architecture(params["Architectures"], architecture)
    if params.get("DeadLetterConfig") is not None:
        changes["dead_letter_arn"] = params["DeadLetterConfig"].get("TargetArn") or None
    if params.get("SnapStart") is not None:
        changes["snap_start"] = params["SnapStart"].get("ApplyOn") == "PublishedVersions"
        if changes["snap_start"] and snapshots is not None:
            raise invalid(f"SnapStart is not supported by this server: {snapshots}.")
    if params.get("TenancyConfig") is not None:  # its one mode; it can be given at creation only
        changes["tenant_isolation"] = True
    changed = replace(version, **changes)
    config = params.get("CapacityProviderConfig")
    if config is not None:
        provider = capacity_provider(version.id, config, changed.runtime, changed.memory_mib)
        changed = replace(changed, capacity_provider=provider)
    check_together(changed)
    return changed


def describe(version: FunctionVersion, *, qualified: bool) -> Result:
    """The FunctionConfiguration shape. `qualified`: whether the ARN carries the version."""
    result: Result = {
        "FunctionName": version.id.name,
        "FunctionArn": version.arn if qualified else version.id.arn,
        "Runtime": version.runtime,
        "Role": version.role,
        "Handler": version.handler,
        "CodeSize": version.code.size_bytes,
        "Description": version.description,
        "Timeout": version.timeout_s,
        "MemorySize": version.memory_mib,
        "LastModified": aws_time(version.last_modified),
        "CodeSha256": code_sha256(version.code),
        "Version": version.version,
        "TracingConfig": {"Mode": "PassThrough"},
        "RevisionId": version.revision_id,
        "State": version.state.value,
        "StateReason": version.state_reason,
        "StateReasonCode": version.state_reason_code,
        "LastUpdateStatus": version.last_update_status.value,
        "LastUpdateStatusReason": version.last_update_reason,
        "LastUpdateStatusReasonCode": version.last_update_reason_code,
        "PackageType": "Zip",
        "Architectures": [version.architecture],
        "EphemeralStorage": {"Size": version.ephemeral_storage_mib},
        "SnapStart": describe_snap_start(version),
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{version.id.name}"},
    }
    if version.layers:
        result["Layers"] = [
            {"Arn": layer.arn, "CodeSize": layer.code.size_bytes} for layer in version.layers
        ]
    if version.environment:
        result["Environment"] = {"Variables": dict(version.environment)}
    if version.dead_letter_arn:
        result["DeadLetterConfig"] = {"TargetArn": version.dead_letter_arn}
    if version.tenant_isolation:
        result["TenancyConfig"] = {"TenantIsolationMode": "PER_TENANT"}
    if version.capacity_provider is not None:
        result["CapacityProviderConfig"] = describe_capacity_provider(version.capacity_provider)
    return {member: value for member, value in result.items() if value is not None}


NOT_IN_LISTS = (
    "State",
    "StateReason",
    "StateReasonCode",
    "LastUpdateStatus",
    "LastUpdateStatusReason",
    "LastUpdateStatusReasonCode",
)
"""AWS leaves these out of ListFunctions and ListVersionsByFunction."""


def describe_in_list(version: FunctionVersion, *, qualified: bool) -> Result:
    """As `describe`, for a listing."""
    result = describe(version, qualified=qualified)
    for member in NOT_IN_LISTS:
        result.pop(member, None)
    return result


def code_sha256(code: CodeRef) -> str:
    """The hash of a package as AWS shows it: base64."""
    return base64.b64encode(bytes.fromhex(code.sha256_hex)).decode()


def aws_time(moment: dt.datetime) -> str:
    """An instant (UTC) as AWS writes it in texts."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}+0000"


def is_latest(qualifier: str | None) -> bool:
    """Whether a qualifier (or none) means the unpublished version."""
    return qualifier is None or qualifier == LATEST


def _runtime(name: str, runtimes: frozenset[str]) -> str:
    if name not in runtimes:
        raise invalid(
            f"The runtime parameter of {name} is not supported on this server"
            f"{what_is_missing(name)}. It has: {', '.join(sorted(runtimes)) or 'none'}."
        )
    return name


def _architecture(wanted: list[str], architecture: str) -> str:
    if wanted != [architecture]:
        raise invalid(
            f"Architectures {wanted} are not supported on this server: it is {architecture}."
        )
    return architecture


def _at_most(member: str, value: int, most: int) -> int:
    if value > most:
        raise PlatformError(
            ErrorCode.VALIDATION,
            f"1 validation error detected: Value '{value}' at '{member}' failed to satisfy "
            f"constraint: Member must have value less than or equal to {most}",
        )
    return value


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    prefix = "Lambda was unable to configure your environment variables because"
    reserved = sorted(RESERVED_ENVIRONMENT & variables.keys())
    if reserved:
        raise invalid(
            f"{prefix} the environment variables you have provided contains reserved keys that "
            f"are currently not supported for modification. Reserved keys used in this request: "
            f"{', '.join(reserved)}"
        )
    if any("\0" in text for pair in variables.items() for text in pair):
        raise invalid(f"{prefix} the environment variables you have provided contain null bytes.")
    size = sum(len(key.encode()) + len(value.encode()) for key, value in variables.items())
    if size > MAX_ENVIRONMENT_BYTES:
        raise invalid(
            f"{prefix} the environment variables you have provided exceeded the 4KB limit."
        )
    try:
        web_settings(variables)
    except ValueError as error:
        raise invalid(f"{prefix} {error}.") from error
    return dict(variables)
