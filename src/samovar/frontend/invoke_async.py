"""POST /2014-11-13/functions/NAME/invoke-async/: InvokeAsync, which AWS has deprecated in favour
of Invoke with InvocationType Event, and which does the same.

https://docs.aws.amazon.com/lambda/latest/api/API_InvokeAsync.html
"""

from __future__ import annotations

from samovar.frontend.invoke import name_between, read_invocation
from samovar.frontend.invoke_later import AcceptInvocations
from samovar.frontend.invoker import Invoking
from samovar.frontend.request import HttpResponse, Request

PREFIX = "/2014-11-13/functions/"
SUFFIX = "/invoke-async"


def async_function_in_path(request: Request) -> str | None:
    """The (still encoded) function name, if this request is an InvokeAsync."""
    return name_between(request, PREFIX, SUFFIX)


async def invoke_async(
    invoker: Invoking, later: AcceptInvocations, request: Request, name: str, request_id: str
) -> HttpResponse:
    """Answer one InvokeAsync. Raises `PlatformError`."""
    version, _, invocation = await read_invocation(
        invoker, request, name, request_id, ("Event",), kind="Event"
    )
    return await later.accept(version, invocation)
