"""A function called over plain HTTP: function URL events and responses, payload format 2.0.

https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
from typing import Any
from urllib.parse import unquote

from samovar.frontend.auth import Caller
from samovar.frontend.invoke import trace_id_of
from samovar.frontend.invoker import Invoker, start_headers
from samovar.frontend.names import parse_function_name
from samovar.frontend.request import HttpResponse, Request
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.invocation import MAX_PAYLOAD_BYTES, Invocation

_TOO_LARGE = f"Request must be smaller than {MAX_PAYLOAD_BYTES} bytes"
_TEXT = ("text/", "application/json", "application/javascript", "application/xml")
_HOP_BY_HOP = frozenset(
    {"connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
"""What HTTP can carry (RFC 9110, 5.1 and 5.5)."""


async def call_url(
    invoker: Invoker, request: Request, rest: str, caller: Caller, request_id: str
) -> HttpResponse:
    """Answer `/_samovar/url/<rest>`. A function error is a 502, as AWS has it."""
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
    done = await invoker.invoke(version, invocation)
    extra = [("x-amzn-RequestId", request_id), *start_headers(done)]
    if done.outcome.function_error is not None:
        return _plain(502, {"Message": "Internal Server Error"}, extra)
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


def url_response(payload: bytes, extra: list[tuple[str, str]]) -> HttpResponse:
    """Turn what the handler returned into an HTTP response.

    An object with `statusCode` is the response; anything else is the body of a 200 as it is. A
    502 where HTTP could not carry what the handler wants."""
    try:
        result = json.loads(payload)
    except (ValueError, RecursionError):
        return _plain(502, {"Message": "Internal Server Error"}, extra)
    if not isinstance(result, dict) or "statusCode" not in result:
        return HttpResponse(200, [("content-type", "application/json"), *extra], payload)
    try:
        return _structured(result, extra)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return _plain(502, {"Message": "Internal Server Error"}, extra)


def _structured(result: dict[str, Any], extra: list[tuple[str, str]]) -> HttpResponse:
    status = int(result["statusCode"])
    if not 200 <= status <= 599:  # a 1xx is no answer: the client would wait on
        raise ValueError(f"status {status}")
    headers = {str(k).lower(): str(v) for k, v in (result.get("headers") or {}).items()}
    headers.setdefault("content-type", "application/json")
    given = result.get("body") or ""
    text = given if isinstance(given, str) else json.dumps(given)
    body = base64.b64decode(text, validate=True) if result.get("isBase64Encoded") else text.encode()
    dropped = _HOP_BY_HOP | {name.lower() for name, _ in extra}
    sent = [(name, value) for name, value in headers.items() if name not in dropped]
    cookies = result.get("cookies") or []
    if not isinstance(cookies, list):
        raise TypeError("cookies are no list")
    sent += [("set-cookie", str(cookie)) for cookie in cookies]
    for name, value in sent:
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ValueError("a header that HTTP cannot carry")
    return HttpResponse(status, [*sent, *extra], body)


def _as_text(body: bytes) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def _plain(status: int, document: dict[str, str], extra: list[tuple[str, str]]) -> HttpResponse:
    return HttpResponse(
        status, [("content-type", "application/json"), *extra], json.dumps(document).encode()
    )
