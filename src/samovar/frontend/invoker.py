"""From a version to an outcome: lease, invoke, release. Shared by Invoke, function URLs and the
events role, which knows it as `ports.Invoker`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from msgspec import structs

from samovar.frontend.catalog import Catalog
from samovar.frontend.deployments import Deployments
from samovar.model import lineage
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import FunctionId, FunctionVersion, State, UpdateStatus
from samovar.model.invocation import Invocation, Outcome, StartReport, new_trace_id
from samovar.ports import InitFailedError, Invoked, Lease, Manager, ResponseSink

ATTEMPTS = 3
"""An instance may end between its lease and its use; the invocation has not begun then, so
another one is leased."""

RECURSIVE = (
    "Lambda has detected your function being invoked in a recursive loop with other Amazon Web "
    "Services resources and stopped your function's invocation."
)


class Invoking(Protocol):
    """What the frontend asks of an invoker: the port, and some more."""

    async def resolve(self, function: FunctionId, qualifier: str | None) -> FunctionVersion:
        """See `Invoker.resolve`."""
        ...

    async def initialise(self, version: FunctionVersion) -> bool:
        """See `Invoker.initialise`."""
        ...

    async def invoke(
        self,
        version: FunctionVersion,
        invocation: Invocation,
        sink: ResponseSink | None = None,
        leased: Callable[[StartReport], None] | None = None,
    ) -> Invoked:
        """See `Invoker.invoke`."""
        ...


Run = Callable[[Lease, Invocation, ResponseSink | None], Coroutine[Any, Any, Outcome]]


def run(
    lease: Lease, invocation: Invocation, sink: ResponseSink | None
) -> Coroutine[Any, Any, Outcome]:
    """Run an invocation on the instance that it has."""
    return lease.worker.invoke(lease.instance, invocation, sink)


LoopsAllowed = Callable[[FunctionId], Awaitable[bool]]
"""Whether a function may be invoked in a recursive loop. Raises NOT_FOUND."""


async def no_loops(_: FunctionId) -> bool:
    """AWS's default."""
    return False


class Invoker:
    """The synchronous path. Nothing durable is written on it (invariant 5)."""

    def __init__(
        self,
        catalog: Catalog,
        deployments: Deployments,
        manager: Manager,
        run: Run = run,
        loops_allowed: LoopsAllowed = no_loops,
    ) -> None:
        self._catalog = catalog
        self._run = run
        self._loops_allowed = loops_allowed
        self._deployments = deployments
        self._manager = manager

    async def resolve(self, function: FunctionId, qualifier: str | None) -> FunctionVersion:
        """The version to run now, ready to run. Raises NOT_FOUND or CONFLICT."""
        version = self._catalog.cached(function, qualifier)
        if version is None:
            version = await self._catalog.resolve(function, qualifier)
        while not _is_ready(version) and await self._deployments.ready(version):
            # What it was when this request came may have been replaced while it waited.
            version = await self._catalog.resolve(function, qualifier)
        return version

    async def initialise(self, version: FunctionVersion) -> bool:
        """Have an idle instance of it. False: of one with tenants there is none, for an instance
        is some tenant's. Raises `InitFailedError`, and `PlatformError` where there is no room."""
        if version.tenant_isolation:
            return False
        lease = await self._manager.acquire(version)
        self._manager.release(lease, Outcome(b""))
        return True

    async def invoke(
        self,
        version: FunctionVersion,
        invocation: Invocation,
        sink: ResponseSink | None = None,
        leased: Callable[[StartReport], None] | None = None,
    ) -> Invoked:
        """Run one invocation. Raises `PlatformError` where it could not begin.

        What the function streams goes to `sink`, after `leased` was told of the instance."""
        check_tenant(version, invocation.tenant_id)
        trace_id = invocation.trace_id or new_trace_id(invocation.request_id)
        trace_id, rounds = lineage.enter(trace_id, version.id)
        if rounds >= lineage.MAX_ROUNDS and not await self._loops_allowed(version.id):
            raise PlatformError(ErrorCode.RECURSIVE_INVOCATION, RECURSIVE)
        invocation = structs.replace(invocation, trace_id=trace_id)
        attempts = ATTEMPTS
        while True:
            attempts -= 1
            try:
                lease = await self._manager.acquire(version, invocation.tenant_id)
            except InitFailedError as error:
                outcome = Outcome(error.payload, "Unhandled", error.log_tail)
                return Invoked(outcome, version, StartReport(cause=None, origin="failed"))
            outcome_or_none: Outcome | None = None
            try:
                if leased is not None:
                    leased(lease.start)
                outcome_or_none = await self._run(lease, invocation, sink)
            except PlatformError:
                if not attempts:
                    raise
                continue
            finally:
                self._manager.release(lease, outcome_or_none)
            return Invoked(outcome_or_none, version, lease.start)


def check_tenant(version: FunctionVersion, tenant: str | None) -> None:
    """Raise INVALID_PARAMETER unless a tenant is named where, and only where, there are any."""
    if version.tenant_isolation == (tenant is not None):
        return
    has, do = ("", "Add a valid") if tenant is None else (" not", "Remove the")
    there = "in" if tenant is None else "from"
    raise PlatformError(
        ErrorCode.INVALID_PARAMETER,
        f"The invoked function is{has} enabled with tenancy configuration. "
        f"{do} tenant ID {there} your request and try again.",
    )


def _is_ready(version: FunctionVersion) -> bool:
    return version.state is State.ACTIVE and version.last_update_status is UpdateStatus.SUCCESSFUL


def start_headers(done: Invoked) -> list[tuple[str, str]]:
    """`X-Samovar-Start` and `Server-Timing` (https://www.w3.org/TR/server-timing/)."""
    return lease_headers(done.start, f", run;dur={done.outcome.run_ms:.3f}")


def lease_headers(start: StartReport, more_timing: str = "") -> list[tuple[str, str]]:
    """The same before the run: what is known of an instance when it is leased."""
    cause = "warm" if start.cause is None else f"cold; cause={start.cause}; from={start.origin}"
    if start.origin == "failed":
        cause = "cold; init=failed"
    timing = start.timing
    return [
        ("X-Samovar-Start", cause),
        (
            "Server-Timing",
            f"queue;dur={timing.queue_ms:.3f}, place;dur={timing.place_ms:.3f}, "
            f"start;dur={timing.start_ms:.3f}, init;dur={timing.init_ms:.3f}{more_timing}",
        ),
    ]
