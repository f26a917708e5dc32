"""What a function answers to a function URL's request, as HTTP.

https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from samovar.frontend.request import HttpResponse

Headers = list[tuple[str, str]]

_HOP_BY_HOP = frozenset(
    {"connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
"""What HTTP can carry (RFC 9110, 5.1 and 5.5)."""

UNFIT = (ValueError, TypeError, AttributeError, OverflowError, RecursionError, LookupError)
"""What reading a handler's result may raise, where that is not as it should be."""


def url_response(payload: bytes, extra: Headers) -> HttpResponse:
    """Turn what the handler returned into an HTTP response.

    An object with `statusCode` is the response; anything else is the body of a 200 as it is. A
    502 where HTTP could not carry what the handler wants."""
    try:
        result = json.loads(payload)
    except (ValueError, RecursionError):
        return bad_gateway(extra)
    if not isinstance(result, dict) or "statusCode" not in result:
        return HttpResponse(200, [("content-type", "application/json"), *extra], payload)
    try:
        return _structured(result, extra)
    except UNFIT:
        return bad_gateway(extra)


def _structured(result: dict[str, Any], extra: Headers) -> HttpResponse:
    status, headers = response_head(result, extra, content_type="application/json")
    given = result.get("body") or ""
    text = given if isinstance(given, str) else json.dumps(given)
    body = base64.b64decode(text, validate=True) if result.get("isBase64Encoded") else text.encode()
    return HttpResponse(status, headers, body)


def response_head(
    result: dict[str, Any], extra: Headers, *, content_type: str
) -> tuple[int, Headers]:
    """The status and the headers that a handler wants, with `extra`. Raises one of `UNFIT` where
    HTTP could not carry them; `content_type` is for a handler that names none."""
    status = int(result["statusCode"])
    if not 200 <= status <= 599:  # a 1xx is no answer: the client would wait on
        raise ValueError(f"status {status}")
    headers = {str(k).lower(): str(v) for k, v in (result.get("headers") or {}).items()}
    headers.setdefault("content-type", content_type)
    dropped = _HOP_BY_HOP | {name.lower() for name, _ in extra}
    sent = [(name, value) for name, value in headers.items() if name not in dropped]
    cookies = result.get("cookies") or []
    if not isinstance(cookies, list):
        raise TypeError("cookies are no list")
    sent += [("set-cookie", str(cookie)) for cookie in cookies]
    if not all(can_carry(name, value) for name, value in sent):
        raise ValueError("a header that HTTP cannot carry")
    return status, [*sent, *extra]


def can_carry(name: str, value: str) -> bool:
    """Whether HTTP can carry a header. Its name is in lower case."""
    return bool(_HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(value))


def bad_gateway(extra: Headers) -> HttpResponse:
    """The function's fault, of which the client learns nothing more."""
    body = json.dumps({"Message": "Internal Server Error"}).encode()
    return HttpResponse(502, [("content-type", "application/json"), *extra], body)
