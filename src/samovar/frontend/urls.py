"""A function called over plain HTTP: function URL events and responses, payload format 2.0.

https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
"""

from __future__ import annotations

import base64
import datetime as dt
import json
from typing import Any
from urllib.parse import unquote

from samovar.frontend.auth import Caller
from samovar.frontend.client_stream import run_streamed
from samovar.frontend.invoke import trace_id_of
from samovar.frontend.invoker import Invoking, start_headers
from samovar.frontend.names import parse_function_name
from samovar.frontend.request import HttpResponse, Request, Send
from samovar.frontend.url_response import bad_gateway, url_response
from samovar.frontend.url_stream import UrlSink
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.invocation import MAX_PAYLOAD_BYTES, Invocation

_TOO_LARGE = f"Request must be smaller than {MAX_PAYLOAD_BYTES} bytes"
_TEXT = ("text/", "application/json", "application/javascript", "application/xml")


async def call_url(
    invoker: Invoking, request: Request, rest: str, caller: Caller, request_id: str, send: Send
) -> HttpResponse | None:
    """Answer `/_samovar/url/<rest>`; None if it has been answered already, since the function
    streams. A function error is a 502, as AWS has it."""
    name, _, path = rest.partition("/")
    function, qualifier = parse_function_name(unquote(name), caller)
    body = await request.body(MAX_PAYLOAD_BYTES, _TOO_LARGE)
    version = await invoker.resolve(function, qualifier)
    event = json.dumps(url_event(request, "/" + unquote(path), body, caller, request_id)).encode()
    if len(event) > MAX_PAYLOAD_BYTES:
        raise PlatformError(ErrorCode.REQUEST_TOO_LARGE, _TOO_LARGE)
    invocation = Invocation(
        request_id=request_id,
        function_arn=function.qualified_arn(qualifier) if qualifier else function.arn,
        payload=event,
        trace_id=trace_id_of(request.headers, request_id),
    )
    sink = UrlSink(send, request_id)
    done = await run_streamed(invoker, version, invocation, sink)
    if done is None:
        return None
    if sink.begun:
        return await sink.finish(failed=done.outcome.function_error is not None)
    extra = [("x-amzn-RequestId", request_id), *start_headers(done)]
    if done.outcome.function_error is not None:
        return bad_gateway(extra)
    return url_response(done.outcome.payload, extra)


def url_event(
    request: Request, path: str, body: bytes, caller: Caller, request_id: str
) -> dict[str, Any]:
    """The event of payload format 2.0."""
    now = dt.datetime.now(dt.UTC)
    headers = dict(request.headers)
    cookies = [part.strip() for part in headers.pop("cookie", "").split(";") if part.strip()]
    host = headers.get("host", "")
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": request.query_string,
        "headers": headers,
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "samovar",
            "domainName": host,
            "domainPrefix": host.partition(".")[0].partition(":")[0],
            "http": {
                "method": request.method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": request.client,
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": request_id,
            "routeKey": "$default",
            "stage": "$default",
            "time": f"{now:%d/%b/%Y:%H:%M:%S} +0000",
            "timeEpoch": int(now.timestamp() * 1e3),
        },
        "isBase64Encoded": False,
    }
    if request.query:
        event["queryStringParameters"] = {k: ",".join(v) for k, v in request.query.items()}
    if cookies:
        event["cookies"] = cookies
    if body:
        kind = headers.get("content-type", "")
        text = _as_text(body) if kind.startswith(_TEXT) else None
        event["isBase64Encoded"] = text is None
        event["body"] = base64.b64encode(body).decode() if text is None else text
    return event


def _as_text(body: bytes) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None
