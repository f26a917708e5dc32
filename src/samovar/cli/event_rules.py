"""What becomes of asynchronous invocations, as the flags of `samovar deploy` say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

NONE = "none"
"""What a flag says to take a destination away."""


@dataclass(frozen=True, slots=True)
class EventRules:
    """None: as it is."""

    retries: int | None = None
    max_age_s: int | None = None
    on_success: str | None = None
    """An ARN, the name of a function, or NONE; so is the next."""
    on_failure: str | None = None


def apply_rules(client: LambdaClient, name: str, rules: EventRules) -> bool:
    """Have them apply to the function's `$LATEST`; return whether that changes anything."""
    current = _current(client, name)
    there: Any = {} if current is None else current
    wanted: Any = {
        "MaximumRetryAttempts": rules.retries,
        "MaximumEventAgeInSeconds": rules.max_age_s,
    }
    changes = {
        key: value for key, value in wanted.items() if value is not None and value != there.get(key)
    }
    destinations = {
        when: {"Destination": target_arn(client, target)}
        for when, target in (("OnSuccess", rules.on_success), ("OnFailure", rules.on_failure))
        if target is not None
    }
    known: Mapping[str, Any] = there.get("DestinationConfig", {})
    if any(
        destination["Destination"] != known.get(when, {}).get("Destination", "")
        for when, destination in destinations.items()
    ):
        changes["DestinationConfig"] = destinations
    if not changes:
        return False
    if current is None:
        client.put_function_event_invoke_config(FunctionName=name, **changes)
    else:
        client.update_function_event_invoke_config(FunctionName=name, **changes)
    return True


def target_arn(client: LambdaClient, target: str) -> str:
    """The ARN that a flag names; "" for none."""
    if target == NONE:
        return ""
    if target.startswith("arn:"):
        return target
    return client.get_function_configuration(FunctionName=target)["FunctionArn"]


def _current(client: LambdaClient, name: str) -> Mapping[str, Any] | None:
    try:
        return client.get_function_event_invoke_config(FunctionName=name)
    except client.exceptions.ResourceNotFoundException:
        return None
