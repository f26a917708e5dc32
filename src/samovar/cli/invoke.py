"""`samovar invoke`: calls a function; its answer goes to stdout, all else to stderr."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samovar.cli.endpoint import INVOKE_TIMEOUT_S, Endpoint
from samovar.cli.failure import CommandError

if TYPE_CHECKING:
    from collections.abc import Mapping


def invoke(
    endpoint: Endpoint,
    name: str,
    payload: bytes,
    *,
    qualifier: str | None,
    asynchronous: bool,
    show_log: bool,
    show_start: bool,
) -> None:
    """Call the function and print. Raises `CommandError` where it or the server failed."""
    request: dict[str, Any] = {"FunctionName": name, "Payload": payload}
    request["InvocationType"] = "Event" if asynchronous else "RequestResponse"
    if qualifier:
        request["Qualifier"] = qualifier
    if show_log and not asynchronous:
        request["LogType"] = "Tail"
    client = endpoint.lambda_client(timeout_s=INVOKE_TIMEOUT_S)
    with endpoint.answers():
        answer = client.invoke(**request)
        body = answer["Payload"].read()
    if show_log:
        sys.stderr.write(base64.b64decode(answer.get("LogResult", "")).decode(errors="replace"))
    if show_log or show_start:
        sys.stderr.write(_start_line(answer))
    if kind := answer.get("FunctionError"):
        raise CommandError(_failure(name, kind, body))
    if asynchronous:
        sys.stderr.write(f"accepted as {answer['ResponseMetadata']['RequestId']}\n")
        return
    sys.stdout.buffer.write(body if body.endswith(b"\n") else body + b"\n")
    sys.stdout.buffer.flush()


def stream(
    endpoint: Endpoint,
    name: str,
    payload: bytes,
    *,
    qualifier: str | None,
    show_log: bool,
    show_start: bool,
) -> None:
    """Call the function and print its answer as it comes, byte for byte. Raises `CommandError`
    where it or the server failed."""
    request: dict[str, Any] = {"FunctionName": name, "Payload": payload}
    if qualifier:
        request["Qualifier"] = qualifier
    if show_log:
        request["LogType"] = "Tail"
    client = endpoint.lambda_client(timeout_s=INVOKE_TIMEOUT_S)
    complete: Any = None
    with endpoint.answers():
        answer = client.invoke_with_response_stream(**request)
        for event in answer["EventStream"]:
            if "PayloadChunk" in event:
                sys.stdout.buffer.write(event["PayloadChunk"]["Payload"])
                sys.stdout.buffer.flush()
            complete = event.get("InvokeComplete", complete)
    if complete is None:
        raise CommandError(f"the response of {name} was cut off", "look at the server's own log")
    if show_log:
        sys.stderr.write(base64.b64decode(complete.get("LogResult", "")).decode(errors="replace"))
    if show_log or show_start:
        sys.stderr.write(_start_line(answer))
    if kind := complete.get("ErrorCode"):
        raise CommandError(_failure(name, kind, complete.get("ErrorDetails", "").encode()))


def read_payload(payload: str) -> bytes:
    """The event that `--payload` names: JSON itself, `@file`, or `-` for stdin."""
    try:
        if payload == "-":
            raw = sys.stdin.buffer.read()
        elif payload.startswith("@"):
            raw = Path(payload[1:]).read_bytes()
        else:
            raw = payload.encode()
    except OSError as error:
        raise CommandError(
            f"cannot read {error.filename}: {error.strerror}", exit_status=2
        ) from error
    try:
        json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise CommandError(
            f"the payload is not JSON: {error}",
            """quote it for the shell: --payload '{"name": "world"}'""",
            exit_status=2,
        ) from error
    return raw


def _start_line(answer: Mapping[str, Any]) -> str:
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    parts = (headers.get("x-samovar-start"), headers.get("server-timing"))
    said = "  ".join(part for part in parts if part)
    return f"{said}\n" if said else ""


def _failure(name: str, kind: str, body: bytes) -> str:
    """The function's error as Python would print it; the document itself if it is no such one."""
    try:
        error = json.loads(body)
        line = f"{error['errorType']}: {error['errorMessage']}"
        trace = "".join(f"\n{entry.rstrip()}" for entry in error.get("stackTrace") or ())
    except (ValueError, LookupError, TypeError, AttributeError):
        line, trace = body.decode(errors="replace"), ""
    return f"{name} failed ({kind}): {line}{trace}"
