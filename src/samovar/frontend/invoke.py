"""The hot path: POST /2015-03-31/functions/NAME/invocations, parsed by hand.

https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Awaitable, Mapping
from urllib.parse import unquote

import msgspec

from samovar.frontend.auth import authenticate
from samovar.frontend.invoke_later import AcceptInvocations, read_event
from samovar.frontend.invoker import Invoking, start_headers
from samovar.frontend.names import parse_function_name
from samovar.frontend.request import HttpResponse, Request
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import FunctionVersion
from samovar.model.invocation import MAX_PAYLOAD_BYTES, Invocation, new_trace_id

PREFIX = "/2015-03-31/functions/"
SUFFIX = "/invocations"
KINDS = ("RequestResponse", "Event", "DryRun")

MAX_CLIENT_CONTEXT_BYTES = 3583

_TOO_LARGE = (
    f"Request must be smaller than {MAX_PAYLOAD_BYTES} bytes for the InvokeFunction operation"
)
_json = msgspec.json.Decoder(msgspec.Raw)

_TENANT_ID = re.compile(r"[a-zA-Z0-9._:/=+\-@ ]{1,256}")

_TRACE_ID = re.compile(r"[\x21-\x7e]{1,512}")

UNSUPPORTED_HEADERS = ("x-amz-durable-execution-name",)


def function_in_path(request: Request) -> str | None:
    """The (still encoded) function name, if this request is an Invoke."""
    return name_between(request, PREFIX, SUFFIX)


def name_between(request: Request, prefix: str, suffix: str) -> str | None:
    """The function name in a POST's path, if that is of this form."""
    path = request.raw_path.removesuffix("/")  # as the router has it
    if request.method == "POST" and path.startswith(prefix) and path.endswith(suffix):
        name = path[len(prefix) : -len(suffix)]
        if name and "/" not in name:
            return name
    return None


async def invoke(
    invoker: Invoking, later: AcceptInvocations, request: Request, name: str, request_id: str
) -> HttpResponse:
    """Answer one Invoke. Raises `PlatformError`."""
    version, kind, invocation = await read_invocation(invoker, request, name, request_id, KINDS)
    if kind == "DryRun":
        return HttpResponse(204, [("X-Amz-Executed-Version", version.version)])
    if kind == "Event":
        return await later.accept(version, invocation)
    done = await invoker.invoke(version, invocation)
    answer = [
        ("Content-Type", "application/json"),
        ("X-Amz-Executed-Version", done.version.version),
        *start_headers(done),
    ]
    if done.outcome.function_error is not None:
        answer.append(("X-Amz-Function-Error", done.outcome.function_error))
    if invocation.want_log_tail:
        answer.append(("X-Amz-Log-Result", base64.b64encode(done.outcome.log_tail).decode()))
    return HttpResponse(200, answer, done.outcome.payload)


async def read_invocation(
    invoker: Invoking,
    request: Request,
    name: str,
    request_id: str,
    kinds: tuple[str, ...],
    *,
    kind: str | None = None,
) -> tuple[FunctionVersion, str, Invocation]:
    """Read a request to invoke: the version to run, the invocation type, the invocation.

    `kinds` are the invocation types that there are; it is `kind`, or what the request says. Raises
    `PlatformError`."""
    headers = request.headers
    caller = authenticate(headers, request.query)
    qualifier = request.query.get("Qualifier", [None])[0] if request.query_string else None
    function, qualifier = parse_function_name(unquote(name), caller, qualifier)
    for header in UNSUPPORTED_HEADERS:
        if header in headers:
            raise PlatformError(ErrorCode.INVALID_PARAMETER, f"{header} is not supported.")
    kind = kind or headers.get("x-amz-invocation-type", "RequestResponse")
    payload = await (read_event(request) if kind == "Event" else _read_payload(request))
    if payload:
        check_json(payload)
    log_type = headers.get("x-amz-log-type", "None")
    _check_enum("invocationType", kind, kinds)
    _check_enum("logType", log_type, ("None", "Tail"))
    version = await invoker.resolve(function, qualifier)
    invocation = Invocation(
        request_id=request_id,
        function_arn=function.qualified_arn(qualifier) if qualifier else function.arn,
        payload=payload or b"{}",
        client_context=_client_context(headers),
        trace_id=trace_id_of(headers, request_id),
        tenant_id=tenant_id_of(headers),
        want_log_tail=log_type == "Tail",
    )
    return version, kind, invocation


def _read_payload(request: Request) -> Awaitable[bytes]:
    return request.body(MAX_PAYLOAD_BYTES, _TOO_LARGE)


def check_json(payload: bytes) -> None:
    """Raise INVALID_REQUEST_CONTENT unless `payload` is one JSON value."""
    try:
        _json.decode(payload)
        payload.decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PlatformError(
            ErrorCode.INVALID_REQUEST_CONTENT, f"Could not parse request body into json: {error}"
        ) from error


def trace_id_of(headers: Mapping[str, str], request_id: str) -> str:
    """The caller's trace header if it could be one, else a new one."""
    given = headers.get("x-amzn-trace-id", "")
    return given if _TRACE_ID.fullmatch(given) else new_trace_id(request_id)


def tenant_id_of(headers: Mapping[str, str]) -> str | None:
    """The tenant that the caller names. Raises VALIDATION."""
    tenant = headers.get("x-amz-tenant-id")
    if tenant is not None and not _TENANT_ID.fullmatch(tenant):
        raise PlatformError(
            ErrorCode.VALIDATION,
            f"1 validation error detected: Value '{tenant[:300]}' at 'tenantId' failed to satisfy "
            f"constraint: Member must satisfy regular expression pattern: {_TENANT_ID.pattern}",
        )
    return tenant


def _client_context(headers: Mapping[str, str]) -> str | None:
    encoded = headers.get("x-amz-client-context")
    if encoded is None:
        return None
    if len(encoded) > MAX_CLIENT_CONTEXT_BYTES:
        raise PlatformError(
            ErrorCode.REQUEST_TOO_LARGE,
            f"Client context must be at most {MAX_CLIENT_CONTEXT_BYTES} bytes",
        )
    try:
        text = base64.b64decode(encoded, validate=True).decode()
        if not isinstance(json.loads(text), dict):
            raise ValueError("not an object")
    except (binascii.Error, ValueError, RecursionError) as error:
        raise PlatformError(
            ErrorCode.INVALID_REQUEST_CONTENT, "Client context must be a valid Base64-encoded JSON"
        ) from error
    return text


def _check_enum(member: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise PlatformError(
            ErrorCode.VALIDATION,
            f"1 validation error detected: Value '{value[:200]}' at '{member}' failed to satisfy "
            f"constraint: Member must satisfy enum value set: [{', '.join(allowed)}]",
        )
