"""Events as HTTP requests to a server in the instance, and its responses as what they call for.

Four kinds of events: function URLs and HTTP APIs (payload format 2.0), REST APIs (1.0), load
balancers, and all others, whose whole text is posted to a path of their own. What an event says is
a stranger's: nothing of it can end a line of the request.

https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html,
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html,
https://awslabs.github.io/aws-lambda-web-adapter/. Runs inside instances: standard library only,
Python 3.9 and later.
"""

from __future__ import annotations

import base64
import json
import re
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from samovar.guest.wire import Meta

    Fields = list[tuple[str, str]]

HTTP_API, REST_API, LOAD_BALANCER, OTHER = "http-api", "rest-api", "load-balancer", "other"

REQUEST_CONTEXT = "x-amzn-request-context"
LAMBDA_CONTEXT = "x-amzn-lambda-context"

_OF_A_CONNECTION = frozenset(
    {
        *("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding"),
        *("upgrade", "expect", "proxy-authenticate", "proxy-authorization"),
    }
)
"""Headers that are between two neighbours (RFC 9110, 7.6.1), and one that asks for an interim
answer."""
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_IN_TARGET = re.compile(r"[^\x21-\x7e]")
_TEXT_TYPE = re.compile(
    r"\s*(text/|application/(json|javascript|xml|x-www-form-urlencoded)\b|[^;]*\+(json|xml)\b)",
    re.I,
)


class UnfitEventError(Exception):
    """It looks like an HTTP request, and cannot be made one."""


class WebRequest:
    """One request: `head` and `body` are what is sent; `kind` is that of its event."""

    def __init__(
        self, kind: str, method: str, target: str, fields: Fields, body: bytes | bytearray
    ) -> None:
        self.kind = kind
        self.method = method
        self.many_values = False
        """Whether a load balancer's event had them for headers, so the answer has to."""
        self.body = body
        lines = [f"{_method(method)} {_NOT_IN_TARGET.sub(_escaped, target) or '/'} HTTP/1.1"]
        lines += [f"{name}: {_value(value)}" for name, value in fields if _NAME.fullmatch(name)]
        if body or method in ("POST", "PUT", "PATCH"):
            lines.append(f"content-length: {len(body)}")
        self.head = "\r\n".join([*lines, "", ""]).encode("latin-1")


def web_request(event: bytes | bytearray, meta: Meta, web: Mapping[str, Any]) -> WebRequest:
    """The request for an event. `meta` is that of its INVOKE, `web` what INIT says of the server.
    Raises `UnfitEventError`."""
    try:
        document = json.loads(event)
        kind = _kind(document)
    except (ValueError, RecursionError):
        kind = OTHER
    context = [(LAMBDA_CONTEXT, json.dumps(_lambda_context(meta)))]
    if "tenant_id" in meta:
        context.append(("x-amz-tenant-id", meta["tenant_id"]))
    if kind == OTHER:
        fields = [("host", f"127.0.0.1:{web['port']}"), ("content-type", "application/json")]
        return WebRequest(OTHER, "POST", web["pass_through_path"], [*fields, *context], event)
    try:
        context.append((REQUEST_CONTEXT, json.dumps(document["requestContext"])))
        request = _http_request(kind, document, context, web)
        request.many_values = kind == LOAD_BALANCER and "multiValueHeaders" in document
        return request
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError) as error:
        raise UnfitEventError(f"The event is no HTTP request: {error}") from error


def _kind(document: Any) -> str:
    context = document.get("requestContext") if isinstance(document, dict) else None
    if not isinstance(context, dict):
        return OTHER
    http = context.get("http")
    if isinstance(http, dict) and "method" in http:
        return HTTP_API
    if "httpMethod" in document:
        return LOAD_BALANCER if "elb" in context else REST_API
    return OTHER


def _http_request(
    kind: str, event: dict[str, Any], context: Fields, web: Mapping[str, Any]
) -> WebRequest:
    if kind == HTTP_API:
        method = event["requestContext"]["http"]["method"]
        path, query = _encoded(event["rawPath"]), event.get("rawQueryString") or ""
    else:
        method = event["httpMethod"]
        query = _query(event, encoded=kind == LOAD_BALANCER)
        path = event["path"] if kind == LOAD_BALANCER else _encoded(event["path"])
    fields = _fields(event, web)
    text = event.get("body") or ""
    body = base64.b64decode(text, validate=True) if event.get("isBase64Encoded") else text.encode()
    target = _without(web["base_path"], path) + (f"?{query}" if query else "")
    return WebRequest(kind, method, target, fields + context, body)


def _fields(event: Mapping[str, Any], web: Mapping[str, Any]) -> Fields:
    many = event.get("multiValueHeaders") or {}
    given = [(name.lower(), value) for name, values in many.items() for value in values]
    if not given:
        given = [(name.lower(), value) for name, value in (event.get("headers") or {}).items()]
    if event.get("cookies"):
        given.append(("cookie", "; ".join(event["cookies"])))
    ours = {LAMBDA_CONTEXT, REQUEST_CONTEXT, "x-amz-tenant-id", "content-length"}
    fields = [(n, v) for n, v in given if n not in _OF_A_CONNECTION and n not in ours]
    source = web["authorization_source"]
    if source and any(name == source for name, _ in fields):
        fields = [(name, value) for name, value in fields if name != "authorization"]
        fields = [("authorization" if n == source else n, value) for n, value in fields]
    if not any(name == "host" for name, _ in fields):
        fields.append(("host", f"127.0.0.1:{web['port']}"))
    return fields


def _query(event: Mapping[str, Any], *, encoded: bool) -> str:
    """Load balancers leave it encoded, REST APIs do not."""
    many = event.get("multiValueQueryStringParameters") or {}
    pairs = [(name, value) for name, values in many.items() for value in values]
    pairs = pairs or list((event.get("queryStringParameters") or {}).items())
    if encoded:
        return "&".join(f"{name}={value}" for name, value in pairs)
    return urlencode(pairs)


def _encoded(path: str) -> str:
    """AWS's gateways decode paths."""
    return quote(path, safe="/:@!$&'()*+,;=~", errors="surrogatepass")


def _without(base_path: str, path: str) -> str:
    if base_path and (path == base_path or path.startswith(f"{base_path}/")):
        path = path[len(base_path) :]
    return path if path.startswith("/") else f"/{path}"


def _escaped(found: re.Match[str]) -> str:
    return quote(found[0], errors="surrogatepass")


def _method(method: str) -> str:
    if not _NAME.fullmatch(method):
        raise ValueError("its method is none")
    return method


def _value(value: Any) -> str:
    text = str(value)
    if any(char in text for char in "\r\n\0"):
        raise ValueError("a header has several lines")
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode("latin-1")
    return text


def _lambda_context(meta: Meta) -> dict[str, Any]:
    """As AWS's own client for Rust, of which the adapter is made, writes it."""
    return {
        "request_id": meta["id"],
        "deadline": meta["deadline_ms"],
        "invoked_function_arn": meta["arn"],
        "xray_trace_id": meta.get("trace_id"),
        "client_context": meta.get("client_context"),
        "identity": meta.get("cognito_identity"),
    }


# ---------------------------------------------------------------- answers


def answer(request: WebRequest, status: int, fields: Fields, body: bytes | bytearray) -> bytes:
    """The function's result for a whole response."""
    if request.kind == OTHER:
        return _result(body)
    encoding = next((value for name, value in fields if name == "content-encoding"), "identity")
    content_type = next((value for name, value in fields if name == "content-type"), "text/plain")
    text = None
    if encoding == "identity" and _TEXT_TYPE.match(content_type):
        text = _as_text(body)
    result = _head(request, status, fields)
    result["isBase64Encoded"] = text is None
    result["body"] = base64.b64encode(body).decode() if text is None else text
    return json.dumps(result).encode()


def prelude(status: int, fields: Fields) -> bytes:
    """What a streamed response of the type application/vnd.awslambda.http-integration-response
    begins with."""
    cookies, headers = _apart(fields)
    head = {"statusCode": status, "headers": _joined(headers), "cookies": cookies}
    return json.dumps(head).encode() + bytes(8)


def _result(body: bytes | bytearray) -> bytes:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return b"null"
    return bytes(body)


def _head(request: WebRequest, status: int, fields: Fields) -> dict[str, Any]:
    if request.kind == HTTP_API:
        cookies, headers = _apart(fields)
        return {"statusCode": status, "headers": _joined(headers), "cookies": cookies}
    many: dict[str, list[str]] = {}
    for name, value in fields:
        many.setdefault(name, []).append(value)
    head: dict[str, Any] = {"statusCode": status}
    if request.kind == LOAD_BALANCER:
        head["statusDescription"] = f"{status} {_phrase(status)}".strip()
        if not request.many_values:
            return {**head, "headers": _joined(fields)}
    return {**head, "multiValueHeaders": many}


def kept(fields: Fields) -> Fields:
    """A response's headers without those that were for us."""
    return [(name, value) for name, value in fields if name not in _OF_A_CONNECTION]


def _apart(fields: Fields) -> tuple[list[str], Fields]:
    cookies = [value for name, value in fields if name == "set-cookie"]
    return cookies, [(name, value) for name, value in fields if name != "set-cookie"]


def _joined(fields: Fields) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in fields:
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _as_text(body: bytes | bytearray) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None
