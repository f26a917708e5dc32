"""What a schedule may reach, and how: the `Target` of its API, checked.

https://docs.aws.amazon.com/scheduler/latest/APIReference/API_Target.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping

from samovar.config import no_endpoint
from samovar.frontend.auth import Caller
from samovar.frontend.operations.control import Params, Result
from samovar.frontend.operations.scheduler_control import refused
from samovar.model.arn import Arn
from samovar.model.event import function_of_arn
from samovar.model.schedule import MAX_AGE_S, MAX_INPUT_BYTES, MAX_RETRIES, ScheduleTarget
from samovar.model.universal_target import PREFIX, UniversalTargetError, universal_call

EndpointOf = Callable[[str], str | None]

_RESOURCES = {
    "sqs": re.compile(r"[\w-]{1,80}(?:\.fifo)?", re.ASCII),
    "sns": re.compile(r"[\w-]{1,256}(?:\.fifo)?", re.ASCII),
    "events": re.compile(r"event-bus/[\w./-]{1,256}", re.ASCII),
}
"""Service → how the resource in an ARN of its targets looks."""

_FUNCTION = re.compile(
    r"arn:aws(?:-[a-z]+)*:lambda:[a-z0-9-]+:\d{12}:function:[\w-]{1,140}(?::[\w$-]{1,128})?",
    re.ASCII,
)
PARAMETERS = {
    "SqsParameters": "sqs",
    "EventBridgeParameters": "events",
    "EcsParameters": "ecs",
    "KinesisParameters": "kinesis",
    "SageMakerPipelineParameters": "sagemaker",
}
"""Member → the service of the targets that have it."""

JSON_SERVICES = frozenset({"lambda", "events"})
"""What their targets are given has to be JSON."""

SUPPORTED = (
    "This server's schedules reach Lambda functions, SQS queues, SNS topics and EventBridge buses."
)


def target_of(caller: Caller, params: Params, endpoint_of: EndpointOf) -> ScheduleTarget:
    """Read a `Target`. Raises VALIDATION for one that could not be reached as it says."""
    arn, text = params["Arn"], params.get("Input")
    if text is not None and len(text.encode()) > MAX_INPUT_BYTES:
        raise refused(f"Input is larger than {MAX_INPUT_BYTES} bytes.")
    if arn.startswith(PREFIX):
        service = ""
        attributes = _check_universal(caller, arn, text, endpoint_of)
    else:
        service = _service(caller, arn, endpoint_of)
        attributes = _attributes(service, arn, params)
        _check_text(service, text)
    for member, of_service in PARAMETERS.items():
        if member in params and of_service != service:
            raise refused(f"{member} does not go with the target {arn}.")
    policy = params.get("RetryPolicy") or {}
    return ScheduleTarget(
        arn=arn,
        role_arn=params["RoleArn"],
        input=text,
        attributes=attributes,
        max_retries=_given(policy, "MaximumRetryAttempts", MAX_RETRIES),
        max_age_s=_given(policy, "MaximumEventAgeInSeconds", MAX_AGE_S),
        dead_letter_arn=_dead_letter_arn(params, endpoint_of),
    )


def describe_target(target: ScheduleTarget) -> Result:
    """The `Target` of a response."""
    described: Result = {
        "Arn": target.arn,
        "RoleArn": target.role_arn,
        "Input": target.input,
        "RetryPolicy": {
            "MaximumRetryAttempts": target.max_retries,
            "MaximumEventAgeInSeconds": target.max_age_s,
        },
    }
    if target.dead_letter_arn is not None:
        described["DeadLetterConfig"] = {"Arn": target.dead_letter_arn}
    if target.attributes:
        member = "EventBridgeParameters" if "DetailType" in target.attributes else "SqsParameters"
        described[member] = dict(target.attributes)
    return described


def _service(caller: Caller, arn: str, endpoint_of: EndpointOf) -> str:
    if _FUNCTION.fullmatch(arn):
        function = function_of_arn(arn)
        if function is None or function[0][:2] != (caller.account, caller.region):
            raise refused("A schedule invokes functions of its own account and region.")
        return "lambda"
    parts = Arn.parse(arn)
    form = _RESOURCES.get(parts.service) if parts is not None else None
    if parts is None or form is None or not parts.account or not form.fullmatch(parts.resource):
        raise refused(f"Provided Arn is not in correct format. {SUPPORTED}")
    if endpoint_of(parts.service) is None:
        raise refused(no_endpoint(parts.service))
    return parts.service


def _check_universal(
    caller: Caller, arn: str, text: str | None, endpoint_of: EndpointOf
) -> Mapping[str, str]:
    """A universal target has no attributes itself: what it calls has them."""
    try:
        call = universal_call(arn, text, f"{caller.region}:{caller.account}")
    except UniversalTargetError as error:
        raise refused(f"The target {arn} cannot be called: {error}.") from error
    service = _service(caller, call.target, endpoint_of)
    if service == "sqs":
        _check_group(call.target, call.attributes.get("MessageGroupId"))
    _check_text(service, call.payload)
    return {}


def _attributes(service: str, arn: str, params: Params) -> Mapping[str, str]:
    if service == "events":
        if "EventBridgeParameters" not in params:
            raise refused("A target that is an event bus needs EventBridgeParameters.")
        return {name: params["EventBridgeParameters"][name] for name in ("DetailType", "Source")}
    group = (params.get("SqsParameters") or {}).get("MessageGroupId")
    if service == "sqs":
        _check_group(arn, group)
    return {} if group is None else {"MessageGroupId": group}


def _check_group(queue: str, group: str | None) -> None:
    if (group is None) == queue.endswith(".fifo"):
        raise refused("A MessageGroupId is for FIFO queues, and they need one.")


def _check_text(service: str, text: str | None) -> None:
    if text is None or service not in JSON_SERVICES:
        return
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise refused(f"Invalid RequestJson provided. Reason {error}") from error


def _dead_letter_arn(params: Params, endpoint_of: EndpointOf) -> str | None:
    arn: str | None = (params.get("DeadLetterConfig") or {}).get("Arn")
    if arn is None:
        return None
    if arn.endswith(".fifo"):
        raise refused("A dead-letter queue is a standard queue, not a FIFO queue.")
    if endpoint_of("sqs") is None:
        raise refused(no_endpoint("sqs"))
    return arn


def _given(params: Params, member: str, default: int) -> int:
    value: int | None = params.get(member)
    return default if value is None else value
