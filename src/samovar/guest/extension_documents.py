"""What the Extensions API says: events, answers, and the refusals in AWS's words.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from samovar.guest.wire import Meta

INVOKE, SHUTDOWN = "INVOKE", "SHUTDOWN"

MAX_EXTENSIONS = 10
MAX_NAME_CHARS = 255
"""Of a file's name; an internal extension may choose any."""


class RefusedError(Exception):
    """A request that AWS answers with status 403."""

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type


def parse_registration(
    body: bytes | bytearray, external: bool, *, invoked: bool = True
) -> list[str]:
    """Return the events that are asked for, each once. Raises `RefusedError`. `invoked`: whether
    extensions are told of invocations; AWS does not where many run at once in an instance.
    https://docs.aws.amazon.com/lambda/latest/dg/lambda-managed-instances-execution-environment.html
    """
    try:
        request = json.loads(body)
        events = request.get("events") or []
        if not isinstance(events, list) or not all(isinstance(event, str) for event in events):
            raise TypeError("events should be a list of strings")
        if request.get("configurationKeys"):
            raise ValueError("configurationKeys are deprecated; use environment variables instead")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise RefusedError("InvalidRequestFormat", str(error)) from error
    for event in events:
        if event not in (INVOKE, SHUTDOWN) or (event == INVOKE and not invoked):
            raise RefusedError("Extension.InvalidEventType", f"{event[:64]}: ErrorInvalidEventType")
        if event == SHUTDOWN and not external:
            message = f"{event}: ShutdownEventNotSupportedForInternalExtension"
            raise RefusedError("Extension.InvalidEventType", message)
    return sorted(set(events))


def registration(env: Mapping[str, str], features: str) -> bytes:
    """The answer to a registration; `features` is the header that says what is wanted besides."""
    answer = {
        "functionName": env.get("AWS_LAMBDA_FUNCTION_NAME", ""),
        "functionVersion": env.get("AWS_LAMBDA_FUNCTION_VERSION", ""),
        "handler": env.get("_HANDLER", ""),
    }
    if "accountId" in [feature.strip() for feature in features.split(",")]:
        # Here, as in the ARN of the function, the key's id is the account.
        answer["accountId"] = env.get("AWS_ACCESS_KEY_ID", "")
    return json.dumps(answer).encode()


def invoke_event(meta: Meta) -> bytes:
    """What an extension is told of an invocation, by the meta of its INVOKE."""
    event: dict[str, Any] = {
        "eventType": INVOKE,
        "deadlineMs": meta["deadline_ms"],
        "requestId": meta["id"],
        "invokedFunctionArn": meta["arn"],
        "tracing": {"type": "X-Amzn-Trace-Id", "value": meta["trace_id"]},
    }
    return json.dumps(event).encode()


def shutdown_event(reason: str, deadline_ms: int) -> bytes:
    """What an extension is told at the end. `reason` is `spindown`, `timeout` or `failure`."""
    event = {"eventType": SHUTDOWN, "deadlineMs": deadline_ms, "shutdownReason": reason}
    return json.dumps(event).encode()


def log_line(name: str, state: str, events: list[str], error_type: str = "") -> bytes:
    """What AWS writes into the log of each extension when init is over."""
    line = f"EXTENSION\tName: {name}\tState: {state}\tEvents: [{', '.join(events)}]"
    return (line + (f"\tError Type: {error_type}" if error_type else "") + "\n").encode()
