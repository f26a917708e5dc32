"""A function that streams to a function URL.

A stream of the content type `INTEGRATION` begins with a prelude: a JSON object with `statusCode`,
`headers` and `cookies`, and eight zero bytes; the body follows. Of any other stream, all is body,
the status is 200 and the content type its own.

https://docs.aws.amazon.com/lambda/latest/dg/response-streaming-tutorial.html,
https://github.com/aws/aws-lambda-nodejs-runtime-interface-client (HttpResponseStream)
"""

from __future__ import annotations

import json

from samovar.frontend.client_stream import ClientStream
from samovar.frontend.invoker import lease_headers
from samovar.frontend.request import HttpResponse, Send
from samovar.frontend.url_response import UNFIT, Headers, bad_gateway, can_carry, response_head
from samovar.model.invocation import StartReport

INTEGRATION = "application/vnd.awslambda.http-integration-response"
PRELUDE_END = bytes(8)
MAX_PRELUDE_BYTES = 64 * 1024
DEFAULT_TYPE = "application/octet-stream"
MAX_TYPE_CHARS = 1024


class UrlSink:
    """Sends a stream as an HTTP response. See `client_stream.ClientSink`.

    A prelude that is none is answered with a 502, and what follows it is thrown away."""

    def __init__(self, send: Send, request_id: str) -> None:
        self.begun = False
        self._send = send
        self._stream = ClientStream(send)
        self._extra: Headers = [("x-amzn-RequestId", request_id)]
        self._request_id = request_id
        self._prelude: bytearray | None = None
        """What there is of it, until it is complete."""
        self._refused = False

    def leased(self, start: StartReport) -> None:
        """See `ClientSink`."""
        self._extra = [("x-amzn-RequestId", self._request_id), *lease_headers(start)]

    async def begin(self, content_type: str | None) -> None:
        """See `ports.ResponseSink`."""
        self.begun = True
        kind = content_type or DEFAULT_TYPE
        if kind == INTEGRATION:
            self._prelude = bytearray()
        elif len(kind) <= MAX_TYPE_CHARS and can_carry("content-type", kind):
            await self._stream.begin(200, [("content-type", kind), *self._extra])
        else:
            await self._refuse()

    async def write(self, part: bytes) -> None:
        """See `ports.ResponseSink`."""
        if self._prelude is not None:
            part = await self._read_prelude(part)
        if not self._refused:
            await self._stream.write(part)

    async def finish(self, *, failed: bool) -> HttpResponse | None:
        """The function has ended. A stream that `failed` in its midst is not ended: it is cut."""
        if self._refused:
            return None
        if not self._stream.begun:
            return bad_gateway(self._extra)
        if not failed:
            await self._stream.end()
        return None

    async def _read_prelude(self, part: bytes) -> bytes:
        """Take in what there is of the prelude; return what is body."""
        prelude = self._prelude
        assert prelude is not None
        searched = max(0, len(prelude) - len(PRELUDE_END))
        prelude += part
        at = prelude.find(PRELUDE_END, searched)
        if at > MAX_PRELUDE_BYTES or (at < 0 and len(prelude) > MAX_PRELUDE_BYTES):
            await self._refuse()
        elif at >= 0:
            self._prelude = None
            await self._begin_with(bytes(prelude[:at]))
            return bytes(prelude[at + len(PRELUDE_END) :])
        return b""

    async def _begin_with(self, prelude: bytes) -> None:
        try:
            wanted = {"statusCode": 200, **json.loads(prelude)}
            status, headers = response_head(wanted, self._extra, content_type=DEFAULT_TYPE)
        except UNFIT:
            await self._refuse()
        else:
            await self._stream.begin(status, headers)

    async def _refuse(self) -> None:
        self._refused, self._prelude = True, None
        await bad_gateway(self._extra).send(self._send)
