"""Invoke with InvocationType Event: accepted now, run later.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-async.html
"""

from __future__ import annotations

from samovar.clock import Clock
from samovar.frontend.invoker import check_tenant
from samovar.frontend.request import HttpResponse, Request
from samovar.model.event import MAX_EVENT_BYTES, Event
from samovar.model.function import FunctionVersion
from samovar.model.invocation import Invocation
from samovar.ports import EventQueue


class AcceptInvocations:
    """Turns requests to invoke into events that are kept."""

    def __init__(self, queue: EventQueue, clock: Clock) -> None:
        self._queue = queue
        self._clock = clock

    async def accept(self, version: FunctionVersion, invocation: Invocation) -> HttpResponse:
        """Answer 202 when the invocation is durable. Raises `PlatformError` TOO_MANY_REQUESTS where
        the function's queue is full."""
        check_tenant(version, invocation.tenant_id)
        now = self._clock.now()
        event = Event(
            id=invocation.request_id,
            queue=version.id.arn,
            target=invocation.function_arn,
            payload=invocation.payload,
            accepted_at=now,
            due_at=now,
            trace_id=invocation.trace_id,
            tenant_id=invocation.tenant_id,
        )
        await self._queue.accept(event)
        return HttpResponse(202)


async def read_event(request: Request) -> bytes:
    """The payload of an asynchronous invocation. Raises REQUEST_TOO_LARGE in AWS's words."""
    length = request.headers.get("content-length", "")
    known = length if length.isdecimal() and len(length) < 17 else f"more than {MAX_EVENT_BYTES}"
    return await request.body(
        MAX_EVENT_BYTES,
        f"{known} byte payload is too large for the Event invocation type "
        f"(limit {MAX_EVENT_BYTES} bytes)",
    )
