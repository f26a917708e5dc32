"""A response that reaches its client while the function still writes it.

Whoever is asked to stream (`invoke_stream.py`, `urls.py`) answers with a whole response as ever,
unless the function has streamed: then the response has been sent already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from samovar.frontend.invoker import Invoking
from samovar.frontend.request import BODILESS, Send
from samovar.model.function import FunctionVersion
from samovar.model.invocation import Invocation, StartReport
from samovar.ports import Invoked, ResponseSink
from samovar.telemetry.log import get_logger

log = get_logger("frontend")


class ClientStream:
    """The response itself. One that is not ended is cut off by the HTTP server: its client sees a
    broken connection instead of a short response. When the client has gone, writes do nothing."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._bodiless = False
        self.begun = False

    async def begin(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        """Send the head."""
        self.begun, self._bodiless = True, status in BODILESS
        raw = [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in headers]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def write(self, data: bytes) -> None:
        """Send more of the body; returns when there is room for the next."""
        if data and not self._bodiless:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        """Send the last of the body."""
        body = b"" if self._bodiless else data
        await self._send({"type": "http.response.body", "body": body})


class ClientSink(ResponseSink, Protocol):
    """A sink that leads to a client."""

    @property
    def begun(self) -> bool:
        """Whether the function has begun to stream."""
        ...

    def leased(self, start: StartReport) -> None:
        """An instance has been found: headers may tell how it came to be. Perhaps again, where
        it could not be used."""
        ...


async def run_streamed(
    invoker: Invoking, version: FunctionVersion, invocation: Invocation, sink: ClientSink
) -> Invoked | None:
    """Run one invocation into `sink`. Raises `PlatformError` where it could not begin; None where
    it failed by a defect of ours when the client had part of the response: what is left is to
    cut that off."""
    try:
        return await invoker.invoke(version, invocation, sink, leased=sink.leased)
    except Exception:
        if not sink.begun:
            raise
        log.exception("a stream failed", request_id=invocation.request_id)
        return None
