"""One attempt at an event: a function is invoked, anything else is sent to."""

from __future__ import annotations

from collections.abc import Callable

from samovar.events.schedules.occurrence import for_attempt
from samovar.events.sending import Sender, SendError
from samovar.events.verdict import (
    RECURSIVE_INVOCATION,
    RETRIES_EXHAUSTED,
    ZERO_RESERVED_CONCURRENCY,
    Attempt,
    Failed,
    NotBegun,
    Succeeded,
)
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.event import Event, function_of_arn
from samovar.model.function import FunctionId
from samovar.model.invocation import Invocation
from samovar.ports import Invoker
from samovar.telemetry.log import get_logger

log = get_logger("events")

ReservedConcurrency = Callable[[FunctionId], int | None]
"""How many invocations of a function may run at once; None: it has no reservation."""

LASTING = {
    ErrorCode.NOT_FOUND: RETRIES_EXHAUSTED,
    ErrorCode.INVALID_PARAMETER: RETRIES_EXHAUSTED,
    ErrorCode.REQUEST_TOO_LARGE: RETRIES_EXHAUSTED,
    ErrorCode.RECURSIVE_INVOCATION: RECURSIVE_INVOCATION,
}
"""Errors that trying again does not mend (the function is gone, takes no such event, has had it
too often) → what a record says then."""


class Targets:
    """Brings events to their targets."""

    def __init__(
        self, invoker: Invoker, sender: Sender | None, reserved_concurrency: ReservedConcurrency
    ) -> None:
        self._invoker = invoker
        self._sender = sender
        self._reserved_concurrency = reserved_concurrency

    async def attempt(self, event: Event) -> Attempt:
        """Try once. Raises nothing but cancellation."""
        event = for_attempt(event)
        try:
            named = function_of_arn(event.target)
            if named is None:
                return await self._send(event)
            return await self._invoke(event, *named)
        except Exception as error:
            log.exception("an attempt failed", event_id=event.id, target=event.target)
            return NotBegun(f"Internal error: {type(error).__name__}")

    async def _send(self, event: Event) -> Attempt:
        if self._sender is None:
            return NotBegun(f"Nothing here sends to {event.target}", lasting=True)
        try:
            await self._sender.send(event)
        except SendError as error:
            return NotBegun(str(error), lasting=error.lasting)
        return Succeeded()

    async def _invoke(self, event: Event, function: FunctionId, qualifier: str | None) -> Attempt:
        if self._reserved_concurrency(function) == 0:
            # https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
            return NotBegun(
                "Function not invoked: its reserved concurrency is zero.",
                lasting=True,
                condition=ZERO_RESERVED_CONCURRENCY,
            )
        invocation = Invocation(
            request_id=event.id,
            function_arn=event.target,
            payload=event.payload,
            trace_id=event.trace_id,
            tenant_id=event.tenant_id,
        )
        try:
            version = await self._invoker.resolve(function, qualifier)
            done = await self._invoker.invoke(version, invocation)
        except PlatformError as error:
            return NotBegun(
                error.message,
                lasting=error.code in LASTING,
                condition=LASTING.get(error.code, RETRIES_EXHAUSTED),
                status=error.status,
            )
        outcome = done.outcome
        if outcome.function_error is not None:
            return Failed(outcome.payload, outcome.function_error, done.version.version)
        return Succeeded(outcome.payload, done.version.version)
