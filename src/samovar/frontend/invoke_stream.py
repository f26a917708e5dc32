"""POST /2021-11-15/functions/NAME/response-streaming-invocations: Invoke, answered as it comes.

https://docs.aws.amazon.com/lambda/latest/api/API_InvokeWithResponseStream.html

The response is an event stream: PayloadChunks, then one InvokeComplete that says how it ended. Of a
function that fails before it streams, there is InvokeComplete alone, with ErrorCode `Unhandled`;
of one that fails in the midst of it, ErrorCode is the error's type. ErrorDetails is the error
document either way.
"""

from __future__ import annotations

import base64

from samovar.frontend import event_stream
from samovar.frontend.client_stream import ClientStream, run_streamed
from samovar.frontend.invoke import name_between, read_invocation
from samovar.frontend.invoker import Invoking, lease_headers
from samovar.frontend.request import HttpResponse, Request, Send
from samovar.model.function import FunctionVersion
from samovar.model.invocation import Outcome, StartReport, error_type_of

PREFIX = "/2021-11-15/functions/"
SUFFIX = "/response-streaming-invocations"
KINDS = ("RequestResponse", "DryRun")

UNHANDLED = "Unhandled"


def streamed_function_in_path(request: Request) -> str | None:
    """The (still encoded) function name, if this request is an InvokeWithResponseStream."""
    return name_between(request, PREFIX, SUFFIX)


async def invoke_stream(
    invoker: Invoking, request: Request, name: str, request_id: str, send: Send
) -> HttpResponse | None:
    """Answer one InvokeWithResponseStream; None if it has been answered already. Raises
    `PlatformError`."""
    version, kind, invocation = await read_invocation(invoker, request, name, request_id, KINDS)
    if kind == "DryRun":
        return HttpResponse(204, [("X-Amz-Executed-Version", version.version)])
    sink = _EventSink(send, version, request_id)
    done = await run_streamed(invoker, version, invocation, sink)
    if done is None:
        return None
    complete = _complete(done.outcome, want_log=invocation.want_log_tail, begun=sink.begun)
    if sink.begun:
        await sink.stream.end(complete)
        return None
    failed = done.outcome.function_error is not None
    chunk = b"" if failed else event_stream.payload_chunk(done.outcome.payload)
    return HttpResponse(200, _headers(version, done.start), chunk + complete)


class _EventSink:
    """Sends each part as a PayloadChunk. See `ClientSink`."""

    def __init__(self, send: Send, version: FunctionVersion, request_id: str) -> None:
        self.stream = ClientStream(send)
        self._version = version
        self._request_id = request_id
        self._start = StartReport(cause=None)

    @property
    def begun(self) -> bool:
        return self.stream.begun

    def leased(self, start: StartReport) -> None:
        self._start = start

    async def begin(self, content_type: str | None) -> None:
        headers = _headers(self._version, self._start)
        await self.stream.begin(200, [("x-amzn-RequestId", self._request_id), *headers])

    async def write(self, part: bytes) -> None:
        await self.stream.write(event_stream.payload_chunk(part))


def _headers(version: FunctionVersion, start: StartReport) -> list[tuple[str, str]]:
    return [
        ("Content-Type", event_stream.CONTENT_TYPE),
        ("X-Amz-Executed-Version", version.version),
        *lease_headers(start),
    ]


def _complete(outcome: Outcome, *, want_log: bool, begun: bool) -> bytes:
    log_result = base64.b64encode(outcome.log_tail).decode() if want_log else None
    if outcome.function_error is None:
        return event_stream.invoke_complete(log_result=log_result)
    code = error_type_of(outcome.payload, UNHANDLED) if begun else UNHANDLED
    details = outcome.payload.decode(errors="replace")
    return event_stream.invoke_complete(code, details, log_result)
