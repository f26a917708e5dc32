"""How many instances a function has and how they are kept, as the flags of `samovar deploy` say.

Provisioned concurrency and SnapStart are of published versions. Who asks for one of them gets a
version published, and the alias `live` pointed to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from samovar.cli.event_rules import NONE
from samovar.cli.failure import CommandError

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

LIVE = "live"
"""The alias that these flags are about."""

KEEP_ALIVE_TAG = "samovar:keep-alive"

POLL_S = 0.1
READY_TIMEOUT_S = 180
_WAITER = {"Delay": POLL_S, "MaxAttempts": int(READY_TIMEOUT_S / POLL_S)}
_PROVISIONED: Mapping[str, Any] = {
    "version": 2,
    "waiters": {
        "Provisioned": {
            "operation": "GetProvisionedConcurrencyConfig",
            "delay": POLL_S,
            "maxAttempts": _WAITER["MaxAttempts"],
            "acceptors": [
                {"matcher": "path", "argument": "Status", "expected": word, "state": state}
                for word, state in (("READY", "success"), ("FAILED", "failure"))
            ],
        }
    },
}


@dataclass(frozen=True, slots=True)
class InstanceRules:
    """None: as it is."""

    reserved: int | None = None
    """Negative: none any more."""
    provisioned: int | None = None
    """0: none any more."""
    keep_alive: str | None = None
    """A policy, or NONE."""
    snap_start: bool = False
    """Whether it was asked for: the setting itself is the function's."""

    @property
    def of_versions(self) -> bool:
        """Whether they need a published version."""
        return bool(self.provisioned) or self.snap_start


def parse_reserved(flag: str | None) -> int | None:
    """A number or NONE, as `InstanceRules` has it."""
    if flag is None:
        return None
    if flag == NONE:
        return -1
    if not (flag.isascii() and flag.isdigit() and len(flag) < 10):
        raise CommandError(f"--reserved {flag} is no number", f"say --reserved 5, or {NONE}")
    return int(flag)


def apply_instance_rules(client: LambdaClient, name: str, rules: InstanceRules) -> list[str]:
    """Have them apply to the function; return what that has changed."""
    changed = []
    if rules.keep_alive is not None and _keep_alive(client, name, rules.keep_alive):
        changed.append("keep-alive")
    if rules.reserved is not None and _reserve(client, name, rules.reserved):
        changed.append("reserved concurrency")
    if rules.of_versions:
        version = _publish(client, name)
        if _point(client, name, version):
            changed.append(f"{LIVE} is version {version}")
    if rules.provisioned is not None and _provision(client, name, rules.provisioned):
        changed.append("provisioned concurrency")
    if rules.provisioned:
        _await_provisioned(client, name)
    return changed


def provisioned_of(client: LambdaClient, name: str) -> int:
    """How much a function has provisioned, all in all."""
    pages = client.get_paginator("list_provisioned_concurrency_configs").paginate(FunctionName=name)
    return sum(
        config["RequestedProvisionedConcurrentExecutions"]
        for page in pages
        for config in page["ProvisionedConcurrencyConfigs"]
    )


def _keep_alive(client: LambdaClient, name: str, policy: str) -> bool:
    arn = client.get_function_configuration(FunctionName=name)["FunctionArn"]
    before = client.list_tags(Resource=arn)["Tags"].get(KEEP_ALIVE_TAG, NONE)
    if policy == before:
        return False
    if policy == NONE:
        client.untag_resource(Resource=arn, TagKeys=[KEEP_ALIVE_TAG])
    else:
        client.tag_resource(Resource=arn, Tags={KEEP_ALIVE_TAG: policy})
    return True


def _reserve(client: LambdaClient, name: str, reserved: int) -> bool:
    known = client.get_function_concurrency(FunctionName=name)
    if reserved == known.get("ReservedConcurrentExecutions", -1):
        return False
    if reserved < 0:
        client.delete_function_concurrency(FunctionName=name)
    else:
        client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=reserved)
    return True


def _publish(client: LambdaClient, name: str) -> str:
    """Have a published version of what the function is now; return its number when it is ready."""
    version = client.publish_version(FunctionName=name)["Version"]
    _wait(client.get_waiter("published_version_active"), name, version)
    return version


def _point(client: LambdaClient, name: str, version: str) -> bool:
    try:
        alias = client.get_alias(FunctionName=name, Name=LIVE)
    except client.exceptions.ResourceNotFoundException:
        client.create_alias(FunctionName=name, Name=LIVE, FunctionVersion=version)
        return True
    if alias["FunctionVersion"] == version and not alias.get("RoutingConfig"):
        return False
    client.update_alias(
        FunctionName=name,
        Name=LIVE,
        FunctionVersion=version,
        RoutingConfig={"AdditionalVersionWeights": {}},
    )
    return True


def _provision(client: LambdaClient, name: str, provisioned: int) -> bool:
    live: Any = {"FunctionName": name, "Qualifier": LIVE}
    try:
        known = client.get_provisioned_concurrency_config(**live)
        before = known["RequestedProvisionedConcurrentExecutions"]
    except (
        client.exceptions.ProvisionedConcurrencyConfigNotFoundException,
        client.exceptions.ResourceNotFoundException,  # there is no such alias, even
    ):
        before = 0
    if provisioned == before:
        return False
    if provisioned:
        count: Any = {"ProvisionedConcurrentExecutions": provisioned}
        client.put_provisioned_concurrency_config(**live, **count)
    else:
        client.delete_provisioned_concurrency_config(**live)
    return True


def _await_provisioned(client: LambdaClient, name: str) -> None:
    from botocore.waiter import WaiterModel, create_waiter_with_client

    model = WaiterModel(_PROVISIONED)
    _wait(create_waiter_with_client("Provisioned", model, client), name, LIVE)


def _wait(waiter: Any, name: str, qualifier: str) -> None:
    from botocore.exceptions import WaiterError

    try:
        waiter.wait(FunctionName=name, Qualifier=qualifier, WaiterConfig=_WAITER)
    except WaiterError as error:
        answer: Any = error.last_response
        reason = answer.get("StateReason") or answer.get("StatusReason")
        raise CommandError(
            f"{name}:{qualifier} did not become ready: {reason or 'the server gives no reason'}",
            "mend it and deploy again",
        ) from error
