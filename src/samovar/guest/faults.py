"""Failures of a function, as the documents that AWS's Python runtime makes of them.

https://docs.aws.amazon.com/lambda/latest/dg/python-exceptions.html:

    {"errorMessage": …, "errorType": …, "requestId": …, "stackTrace": ["  File …\\n    …\\n", …]}

The failing code is hostile or broken: its exceptions may have a `__str__` that raises, messages of
a gigabyte or a million frames. Whatever it does, a bounded document comes out.
"""

from __future__ import annotations

import os
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

MALFORMED_HANDLER_NAME = "Runtime.MalformedHandlerName"
BUILT_IN_MODULE_CONFLICT = "Runtime.BuiltInModuleConflict"
IMPORT_MODULE_ERROR = "Runtime.ImportModuleError"
USER_CODE_SYNTAX_ERROR = "Runtime.UserCodeSyntaxError"
HANDLER_NOT_FOUND = "Runtime.HandlerNotFound"
UNMARSHAL_ERROR = "Runtime.UnmarshalError"
MARSHAL_ERROR = "Runtime.MarshalError"
CONTEXT_UNMARSHAL_ERROR = "Runtime.LambdaContextUnmarshalError"
RESPONSE_SIZE_TOO_LARGE = "Function.ResponseSizeTooLarge"

MAX_MESSAGE_CHARS = 256 * 1024
"""A character is at most 12 bytes of JSON, so message and stack together fit one frame."""
MAX_TYPE_CHARS = 512
MAX_FRAMES = 1000
"""At each end of a deep stack. Python's own limit is 1,000 in all unless code raises it."""
MAX_FRAME_CHARS = 1024
MAX_STACK_CHARS = 192 * 1024
MAX_LOG_CHARS = 256 * 1024
"""AWS: up to 256 KB of an error is written to the log."""
LEFT_OUT = "…"

_OUR_DIRECTORY = os.path.dirname(os.path.abspath(__file__)) + os.sep


class FaultError(Exception):
    """A failure that the runtime words itself. `kind` is the document's errorType.

    `bare`: the document has no requestId and no stackTrace, as what AWS's platform (rather than
    its runtime) words.
    """

    def __init__(
        self, kind: str, message: str, stack: list[str] | None = None, *, bare: bool = False
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.stack = stack or []
        self.bare = bare


def document(error: BaseException, request_id: str) -> dict[str, Any]:
    """Return AWS's error document for what a function raised. Never raises an `Exception`."""
    # Not isinstance: that would ask the function's exception for its `__class__`.
    if type(error) is FaultError:
        kind, message, stack = error.kind, error.message, _bounded(error.stack)
        if error.bare:
            return {"errorType": kind, "errorMessage": message}
    else:
        kind, message, stack = _type_name(error), _message(error), _stack(error)
    return {
        "errorMessage": _cut(message, MAX_MESSAGE_CHARS),
        "errorType": _cut(kind, MAX_TYPE_CHARS),
        "requestId": request_id,
        "stackTrace": stack,
    }


def log_text(fault: dict[str, Any]) -> str:
    """Return what AWS writes to the function's log for an error document."""
    message = fault["errorMessage"]
    head = (
        f"[ERROR] {fault['errorType']}: {message}" if message else f"[ERROR] {fault['errorType']}"
    )
    if "stackTrace" not in fault:
        return head + "\n"
    lines = [head, "Traceback (most recent call last):"]
    for entry in fault["stackTrace"]:
        lines += entry.splitlines()
    return _cut("\n".join(lines), MAX_LOG_CHARS) + "\n"


def _type_name(error: BaseException) -> str:
    try:
        return _plain(type(error).__name__)
    except Exception:
        return "Exception"


def _message(error: BaseException) -> str:
    try:
        return _plain(str(error))
    except Exception:
        return f"<unprintable {_type_name(error)} object>"


def _plain(text: str) -> str:
    """The characters of what may be of a class of the function's own."""
    return str.__str__(text)


def _stack(error: BaseException) -> list[str]:
    """Format the frames of the function, each as `traceback.format_list` has it."""
    try:
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OUR_DIRECTORY):
            trace = trace.tb_next
        if trace is None:
            return []
        if _longer_than(trace, 2 * MAX_FRAMES):
            entries = [
                *_format(trace, MAX_FRAMES),
                f"  [{LEFT_OUT}]\n",
                *_format(trace, -MAX_FRAMES),
            ]
        else:
            entries = _format(trace, None)
        return _bounded(entries)
    except Exception:
        # The function has broken what formatting needs (linecache, a loader, the memory limit).
        return []


def _format(trace: TracebackType, limit: int | None) -> list[str]:
    # Tuples, as AWS's runtime has them: without the ^^^^ marks that 3.11 adds.
    frames = [
        (frame.filename, frame.lineno or 0, frame.name, frame.line)
        for frame in traceback.extract_tb(trace, limit)
    ]
    return traceback.format_list(frames)


def _longer_than(trace: TracebackType | None, frames: int) -> bool:
    while trace is not None and frames >= 0:
        trace = trace.tb_next
        frames -= 1
    return trace is not None


def _bounded(entries: list[str]) -> list[str]:
    budget = MAX_STACK_CHARS
    bounded = []
    for entry in entries:
        if budget <= 0:
            bounded.append(f"  [{LEFT_OUT}]\n")
            break
        bounded.append(_cut(entry, MAX_FRAME_CHARS))
        budget -= len(bounded[-1])
    return bounded


def _cut(text: str, chars: int) -> str:
    return text if len(text) <= chars else text[: chars - len(LEFT_OUT)] + LEFT_OUT
