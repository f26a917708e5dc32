"""The settings of how a version's instances begin, and how many requests each takes at once.

https://docs.aws.amazon.com/lambda/latest/dg/lambda-managed-instances.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from samovar.frontend.operations.control import Result
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import (
    MAX_CONCURRENCY_PER_INSTANCE,
    CapacityProvider,
    FunctionId,
    FunctionVersion,
    State,
)

PROVIDER_NAME = "default"
"""The machines of this server are its one capacity provider."""

SNAP_START_STORAGE_MIB = 512

_MEMBER = "LambdaManagedInstancesCapacityProviderConfig"

_PER_VCPU: Mapping[str, int] = {"python": 16, "nodejs": 64, "java": 32, "dotnet": 32}
"""AWS's default of requests at once, for each vCPU, where none is asked for."""
_PER_VCPU_OF_OTHERS = 16


def provider_arn(account: str, region: str) -> str:
    """Of the server's capacity provider, as an account sees it."""
    return f"arn:aws:lambda:{region}:{account}:capacity-provider:{PROVIDER_NAME}"


def capacity_provider(
    function: FunctionId, config: Mapping[str, Any], runtime: str, memory_mib: int
) -> CapacityProvider:
    """A CapacityProviderConfig as ours. Raises INVALID_PARAMETER for what could not be kept to."""
    given: Mapping[str, Any] = config[_MEMBER]
    arn, own = given["CapacityProviderArn"], provider_arn(function.account, function.region)
    if arn != own:
        raise _invalid(
            f"The capacity provider {arn} does not exist. This server has one: {own}, its machines."
        )
    gib_per_vcpu = given.get("ExecutionEnvironmentMemoryGiBPerVCpu")
    asked = given.get("PerExecutionEnvironmentMaxConcurrency")
    if asked is not None and asked > MAX_CONCURRENCY_PER_INSTANCE:
        raise _invalid(
            f"PerExecutionEnvironmentMaxConcurrency {asked} is more than this server supports: "
            f"{MAX_CONCURRENCY_PER_INSTANCE}."
        )
    return CapacityProvider(
        arn, asked or _default_concurrency(runtime, memory_mib, gib_per_vcpu), gib_per_vcpu
    )


def describe_capacity_provider(provider: CapacityProvider) -> Result:
    """The CapacityProviderConfig shape."""
    described: Result = {
        "CapacityProviderArn": provider.arn,
        "PerExecutionEnvironmentMaxConcurrency": provider.max_concurrency,
    }
    if provider.memory_gib_per_vcpu is not None:
        described["ExecutionEnvironmentMemoryGiBPerVCpu"] = provider.memory_gib_per_vcpu
    return {_MEMBER: described}


def describe_snap_start(version: FunctionVersion) -> Result:
    """The SnapStartResponse shape: it is on where instances do begin from a snapshot."""
    on = version.snapshotted and version.state is State.ACTIVE
    return {
        "ApplyOn": "PublishedVersions" if version.snap_start else "None",
        "OptimizationStatus": "On" if on else "Off",
    }


def check_together(version: FunctionVersion) -> None:
    """Raise INVALID_PARAMETER for settings that exclude each other."""
    if version.capacity_provider is not None and version.tenant_isolation:
        raise _invalid("TenancyConfig is not supported for functions with a capacity provider.")
    if version.snap_start:
        _check_snap_start(version)


def _check_snap_start(version: FunctionVersion) -> None:
    """https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html#snapstart-runtimes"""
    if not version.runtime.startswith("python"):
        raise _invalid(
            f"{version.runtime} is not supported for SnapStart enabled functions. This server has "
            "it for Python, where a function runs in the platform's own loop."
        )
    if version.ephemeral_storage_mib > SNAP_START_STORAGE_MIB:
        raise _invalid(
            "SnapStart does not support ephemeral storage greater than "
            f"{SNAP_START_STORAGE_MIB} MB."
        )
    if version.tenant_isolation:
        raise _invalid("TenancyConfig is not supported for SnapStart enabled functions.")
    if version.capacity_provider is not None:
        raise _invalid("SnapStart is not supported for functions with a capacity provider.")


def _default_concurrency(runtime: str, memory_mib: int, gib_per_vcpu: float | None) -> int:
    """AWS has no instance with less than one vCPU there; ours may, and it counts as one."""
    vcpus = max(1.0, memory_mib / 1024 / (gib_per_vcpu or 2.0))
    family = runtime.rstrip(".x0123456789")
    per_vcpu = _PER_VCPU.get(family, _PER_VCPU_OF_OTHERS)
    return min(int(vcpus * per_vcpu), MAX_CONCURRENCY_PER_INSTANCE)


def _invalid(message: str) -> PlatformError:
    return PlatformError(ErrorCode.INVALID_PARAMETER, message)
