"""What the rules of a function's scale come to, version by version. Pure.

Provisioned concurrency of an alias is shared out by its weights, as requests are. No version has
it from two sides: AWS refuses that, and so whose the instances are is never a question.
https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import LATEST, Alias, FunctionVersion
from samovar.model.scale import Provisioned, ProvisionedStatus, Scale, ScaleRule
from samovar.scale_stores import Scales

TAKEN = (
    "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned "
    "version"
)
POINTED_AT = "Version is pointed to by a Provisioned Concurrency alias"
UNPUBLISHED = "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
SNAP_STARTED = "Provisioned Concurrency is not supported for functions enabled with SnapStart."
TENANTS = "Provisioned Concurrency is not supported for functions with tenant isolation."
MANAGED = (
    "Provisioned Concurrency is not supported for functions with a capacity provider. Use "
    "PutFunctionScalingConfig."
)


def with_rule(scales: Scales, rule: ScaleRule) -> Scales:
    """The same with this rule in place of its qualifier's."""
    others = [other for other in scales.rules if other.qualifier != rule.qualifier]
    return replace(scales, rules=[*others, rule])


def with_alias(scales: Scales, alias: Alias, versions: Iterable[FunctionVersion]) -> Scales:
    """The same with the alias as it will be, and the versions that it will stand for."""
    aliases = [other for other in scales.aliases if other.name != alias.name]
    known = {version.version: version for version in (*scales.versions, *versions)}
    return replace(scales, aliases=[*aliases, alias], versions=[*known.values()])


def shares(rule: ScaleRule, aliases: Iterable[Alias]) -> Mapping[str, int]:
    """How much provisioned concurrency of a rule each version gets: all of it, together."""
    whole = rule.provisioned or 0
    alias = next((alias for alias in aliases if alias.name == rule.qualifier), None)
    if alias is None:
        return {rule.qualifier: whole}
    parts = {version: math.ceil(whole * share - 0.5) for version, share in alias.routing.items()}
    return {alias.version: whole - sum(parts.values()), **parts}


def wanted(scales: Scales) -> Mapping[str, Scale]:
    """What each version is to have; those that are not there are to have nothing."""
    found: dict[str, Scale] = {}
    for rule in scales.rules:
        if rule.provisioned is None:
            found[rule.qualifier] = Scale(0, rule.min_instances or 0, rule.max_instances)
            continue
        for version, provisioned in shares(rule, scales.aliases).items():
            if provisioned:
                before = found.get(version, Scale())
                found[version] = replace(before, provisioned=before.provisioned + provisioned)
    return found


def check_provisioned(scales: Scales, qualifier: str, versions: Iterable[FunctionVersion]) -> None:
    """Raise for provisioned concurrency that AWS refuses of a qualifier that stands for these
    versions: INVALID_PARAMETER, or CONFLICT where one of them has it from another side.

    `scales` is how everything will be."""
    is_alias = any(alias.name == qualifier for alias in scales.aliases)
    for version in versions:
        if version.version == LATEST:
            raise PlatformError(ErrorCode.INVALID_PARAMETER, UNPUBLISHED)
        if version.snap_start:
            raise PlatformError(ErrorCode.INVALID_PARAMETER, SNAP_STARTED)
        if version.tenant_isolation:
            raise PlatformError(ErrorCode.INVALID_PARAMETER, TENANTS)
        if version.capacity_provider is not None:
            raise PlatformError(ErrorCode.INVALID_PARAMETER, MANAGED)
        for rule in scales.rules:
            other = rule.qualifier != qualifier and rule.provisioned is not None
            if other and version.version in _stands_for(rule.qualifier, scales.aliases):
                raise PlatformError(ErrorCode.CONFLICT, TAKEN if is_alias else POINTED_AT)


def _stands_for(qualifier: str, aliases: Iterable[Alias]) -> tuple[str, ...]:
    for alias in aliases:
        if alias.name == qualifier:
            return (alias.version, *alias.routing)
    return (qualifier,)


def total(requested: int, parts: Iterable[Provisioned]) -> Provisioned:
    """How far the provisioned concurrency of several versions has come, as one."""
    found = list(parts)
    failed = next((part for part in found if part.status is ProvisionedStatus.FAILED), None)
    ready = bool(found) and all(part.status is ProvisionedStatus.READY for part in found)
    if failed is not None:
        status = ProvisionedStatus.FAILED
    else:
        status = ProvisionedStatus.READY if ready else ProvisionedStatus.IN_PROGRESS
    return Provisioned(
        requested=requested,
        allocated=sum(part.allocated for part in found),
        available=sum(part.available for part in found),
        status=status,
        reason=None if failed is None else failed.reason,
    )
