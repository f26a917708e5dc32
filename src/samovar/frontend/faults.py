"""Faults that tests ask for: the next invocations of a function meet them, whoever invokes.

How this works. `FaultyInvoker` stands in front of the real invoker, where test controls are on, and
takes what is pending for each invocation. The effects are real: a *throttle* is what the limits
answer, a *cold start* comes of the other instances having been retired, and a *crash* is the kill
of an instance that has just been given the event.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from samovar.frontend.invoker import Invoking
from samovar.model.errors import ErrorCode, PlatformError, ThrottleReason
from samovar.model.event import function_of_arn
from samovar.model.function import LATEST, FunctionId, FunctionVersion
from samovar.model.invocation import Invocation, Outcome, StartReport
from samovar.ports import Invoked, Lease, Manager, ResponseSink

MAX_PENDING = 1000
"""Requests for faults that have not all happened yet."""


class Fault(StrEnum):
    """What may befall an invocation."""

    COLD_START = "cold-start"
    THROTTLE = "throttle"
    CRASH = "crash"


@dataclass(frozen=True, slots=True)
class Pending:
    """A fault that the next invocations of a function will meet."""

    function: FunctionId
    qualifier: str | None
    """Only those that name it; None: all of them."""
    fault: Fault
    times: int

    def concerns(self, function: FunctionId, qualifier: str | None) -> bool:
        """Whether an invocation that names this meets it."""
        return self.function == function and self.qualifier in (None, qualifier or LATEST)


class Faults:
    """What is pending, in the order in which it was asked for."""

    def __init__(self) -> None:
        self._pending: list[Pending] = []

    def pending(self) -> Sequence[Pending]:
        """All of it."""
        return tuple(self._pending)

    def ask(self, pending: Pending) -> None:
        """Have one more. Raises TOO_MANY_REQUESTS."""
        if len(self._pending) >= MAX_PENDING:
            raise PlatformError(
                ErrorCode.TOO_MANY_REQUESTS, f"{MAX_PENDING} faults are pending; DELETE some."
            )
        self._pending.append(pending)

    def take(self, function: FunctionId, qualifier: str | None) -> Fault | None:
        """What an invocation meets that names this: once less is pending then."""
        for place, pending in enumerate(self._pending):
            if pending.concerns(function, qualifier):
                left = replace(pending, times=pending.times - 1)
                self._pending[place : place + 1] = [left] if left.times else []
                return pending.fault
        return None

    def clear(self, of: Callable[[Pending], bool]) -> None:
        """Forget those."""
        self._pending = [pending for pending in self._pending if not of(pending)]


class FaultyInvoker:
    """See the module's text. `crashing` is an invoker that runs invocations by `run_and_kill`."""

    def __init__(
        self, invoker: Invoking, crashing: Invoking, manager: Manager, faults: Faults
    ) -> None:
        self._invoker = invoker
        self._crashing = crashing
        self._manager = manager
        self._faults = faults

    async def resolve(self, function: FunctionId, qualifier: str | None) -> FunctionVersion:
        """See `Invoking`."""
        return await self._invoker.resolve(function, qualifier)

    async def initialise(self, version: FunctionVersion) -> bool:
        """See `Invoking`."""
        return await self._invoker.initialise(version)

    async def invoke(
        self,
        version: FunctionVersion,
        invocation: Invocation,
        sink: ResponseSink | None = None,
        leased: Callable[[StartReport], None] | None = None,
    ) -> Invoked:
        """See `Invoking`."""
        invoker = self._invoker
        named = function_of_arn(invocation.function_arn)
        match self._faults.take(version.id, named[1] if named else None):
            case Fault.THROTTLE:
                raise PlatformError(
                    ErrorCode.TOO_MANY_REQUESTS,
                    "Rate Exceeded.",
                    ThrottleReason.RESERVED_CONCURRENCY,
                )
            case Fault.COLD_START:
                self._manager.renew(version)
            case Fault.CRASH:
                invoker = self._crashing
        return await invoker.invoke(version, invocation, sink, leased)


def run_and_kill(
    lease: Lease, invocation: Invocation, _: ResponseSink | None
) -> Coroutine[Any, Any, Outcome]:
    """Run an invocation whose instance is killed as soon as it has been given the event."""
    return lease.worker.crash(lease.instance, invocation)


def described(pending: Sequence[Pending]) -> list[dict[str, object]]:
    """As the API tells of them."""
    return [
        {
            "function": each.function.arn,
            "qualifier": each.qualifier,
            "fault": each.fault.value,
            "times": each.times,
        }
        for each in pending
    ]
