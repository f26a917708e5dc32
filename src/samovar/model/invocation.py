"""One invocation: what was asked, and what came of it."""

from __future__ import annotations

import os
import re
import time
from enum import StrEnum

import msgspec

MAX_PAYLOAD_BYTES = 6 * 1024 * 1024
"""Synchronous request and response: AWS's 6 MB."""

MAX_STREAMED_BYTES = 200 * 1024 * 1024
"""AWS's 200 MB for a response that is streamed.
https://docs.aws.amazon.com/lambda/latest/dg/configuration-response-streaming.html"""

INIT_LIMIT_S = 10.0
"""AWS's bound on the init phase of an on-demand instance."""


AT_TERMINAL_LIMIT_S = 3600
"""For init and invocation alike, where a person may be debugging the function."""


def new_request_id() -> str:
    """A random UUID, as AWS's request ids are. (uuid.uuid4 costs five times as much.)"""
    digits = os.urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def new_trace_id(request_id: str, now: float | None = None) -> str:
    """An X-Ray trace header that is not sampled, made from a request's id and the present time.

    https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader
    """
    digits = request_id.replace("-", "")
    return f"Root=1-{int(now or time.time()):08x}-{digits[:24]};Parent={digits[16:]};Sampled=0"


class ColdCause(StrEnum):
    """Why no idle instance could take a request."""

    FIRST = "first"
    """No instance of this code and configuration has run yet (new, updated, or after a restart)."""
    SCALE_OUT = "scale-out"
    """All instances were busy."""
    EXPIRED = "expired"
    """The last one was stopped for being idle."""
    EVICTED = "evicted"
    """The last one was stopped to make room."""
    REPLACED = "replaced"
    """The last one crashed, timed out or failed."""
    FORCED = "forced"
    """A test has asked for a new one."""
    PROVISIONED = "provisioned"
    """None had to: it was started beforehand, as provisioned concurrency asks for."""
    MINIMUM = "minimum"
    """Likewise, as the least number of instances asks for."""
    PREDICTED = "predicted"
    """Likewise, for a request that its keep-alive policy expects."""


class Invocation(msgspec.Struct, frozen=True):
    """One event on its way to one instance."""

    request_id: str
    function_arn: str
    """As the client named it, qualifier included: `context.invoked_function_arn`."""
    payload: bytes
    client_context: str | None = None
    """JSON text, decoded from base64."""
    trace_id: str | None = None
    tenant_id: str | None = None
    """Where the function keeps its tenants apart."""
    want_log_tail: bool = False


class Timing(msgspec.Struct, frozen=True):
    """Where the time before an invocation ran went, in milliseconds: the `Server-Timing` header
    has it, with the run's own time."""

    queue_ms: float = 0.0
    place_ms: float = 0.0
    start_ms: float = 0.0
    init_ms: float = 0.0


class Outcome(msgspec.Struct, frozen=True):
    """What came of an invocation."""

    payload: bytes
    """Empty where a response was streamed to its end; what failed it, where that failed."""
    function_error: str | None = None
    """`Unhandled` when the function failed: the `X-Amz-Function-Error` header."""
    log_tail: bytes = b""
    """The last 4 KiB of the invocation's log."""
    run_ms: float = 0.0
    instance_survives: bool = True
    """False when the instance must not be used again (crash, timeout, protocol breach)."""
    pending: bool = False
    """The instance is still at work, and is not free before `ports.Worker.await_idle` says so."""


_ERROR_TYPE = re.compile(r"[\x21-\x7e]{1,128}")
"""As in `java.lang.Error` and `App::Error`. No blanks: it stands in log lines, in which tabs part
fields."""


class ErrorDocument(msgspec.Struct, frozen=True, rename="camel"):
    """What the platform looks at of a document that an instance made. The rest is skipped, and
    not built in memory: it may be 6 MB of anything."""

    error_type: str
    error_message: str | int | float | bool | None = None

    @classmethod
    def of(cls, document: bytes) -> ErrorDocument | None:
        """None where it is no such document."""
        try:
            return _error_document.decode(document)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None


_error_document = msgspec.json.Decoder(ErrorDocument)


def error_type_of(document: bytes, otherwise: str) -> str:
    """The type in an error document that an instance made, fit for headers and log lines;
    `otherwise` where it has none that is."""
    found = ErrorDocument.of(document)
    return found.error_type if found and _ERROR_TYPE.fullmatch(found.error_type) else otherwise


class StartReport(msgspec.Struct, frozen=True):
    """How an instance came to be."""

    cause: ColdCause | None
    """None: it was warm."""
    origin: str = "warm"
    """`warm`, `blank` (taken from the blank pool) or `fork` (forked on demand)."""
    timing: Timing = Timing()
