"""What the Runtime API says beside bodies: headers, and error documents.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import os
import time
from typing import TYPE_CHECKING

from samovar.guest.payload import MAX_RESPONSE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from samovar.guest.http_connection import Request
    from samovar.guest.wire import Meta

ERROR_TYPE = "lambda-runtime-function-error-type"
"""A header of /error, or a trailer of a streamed /response."""
STREAM_ERROR_BODY = "lambda-runtime-function-error-body"
"""A trailer: an error document in base64."""

_MAX_TYPE_CHARS = 512


def next_headers(meta: Meta) -> dict[str, str]:
    """What comes with an event."""
    headers = {
        "Lambda-Runtime-Aws-Request-Id": meta["id"],
        "Lambda-Runtime-Deadline-Ms": str(meta["deadline_ms"]),
        "Lambda-Runtime-Invoked-Function-Arn": meta["arn"],
        "Lambda-Runtime-Trace-Id": meta.get("trace_id") or new_trace_id(),
    }
    if meta.get("client_context"):
        headers["Lambda-Runtime-Client-Context"] = _one_line(meta["client_context"])
    if meta.get("cognito_identity"):
        headers["Lambda-Runtime-Cognito-Identity"] = _one_line(meta["cognito_identity"])
    if meta.get("tenant_id"):
        headers["Lambda-Runtime-Aws-Tenant-Id"] = meta["tenant_id"]
    return headers


def new_trace_id() -> str:
    """A trace of its own, for an invocation without one: some clients insist on it."""
    return f"Root=1-{int(time.time()):08x}-{os.urandom(12).hex()};Sampled=0"


def _one_line(text: str) -> str:
    """JSON without what a header cannot hold."""
    try:
        return json.dumps(json.loads(text), separators=(",", ":"))
    except (ValueError, RecursionError):
        return text


def error_type(fields: Mapping[str, str]) -> str:
    """The type of an error by its header or trailer."""
    return fields.get(ERROR_TYPE, "Runtime.Unknown")[:_MAX_TYPE_CHARS]


def error_document(request: Request) -> bytes | bytearray:
    """What the client of the function gets: the program's own words, as they are."""
    if request.body and not request.too_large:
        return request.body
    return document(error_type(request.headers), "")


def stream_error_document(trailers: Mapping[str, str]) -> bytes:
    """What the client gets of a stream that its program has failed, by its trailers."""
    with contextlib.suppress(binascii.Error, ValueError):
        if text := base64.b64decode(trailers.get(STREAM_ERROR_BODY, ""), validate=True):
            return text
    return document(error_type(trailers), "")


def document(kind: str, message: str) -> bytes:
    """An error document in AWS's shape."""
    return json.dumps({"errorMessage": message, "errorType": kind}).encode()


TOO_LARGE = json.dumps(
    {
        "errorType": "Function.ResponseSizeTooLarge",
        "errorMessage": "Response payload size exceeded maximum allowed payload size "
        f"({MAX_RESPONSE_BYTES} bytes).",
    }
).encode()
