"""What is below `/_samovar/`: the platform's own routes.

    GET  /_samovar/health                    is it ready, what isolation is in force
    GET  /_samovar/logs/NAME?tail_bytes=&follow=1
    GET  /_samovar/code/SHA256               a code package (GetFunction links to it)
    POST /_samovar/init/NAME[:QUALIFIER]     have an instance initialised, or told why not
    ANY  /_samovar/url/NAME[:QUALIFIER]/…    a function, called as through a function URL
    ANY  /_samovar/NOUN/…                    what others have added: see where wiring does

These need no signature; `origin.py` keeps web pages away from them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import unquote

import msgspec

from samovar.frontend.auth import DEFAULT_ACCOUNT, Caller
from samovar.frontend.invoker import Invoking
from samovar.frontend.names import parse_function_name
from samovar.frontend.origin import OriginGuard
from samovar.frontend.request import ClientGoneError, HttpResponse, Request, Send
from samovar.frontend.urls import call_url
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.invocation import ErrorDocument, new_request_id
from samovar.ports import CodeStore, InitFailedError, LogStore
from samovar.telemetry.log import get_logger

log = get_logger("frontend")

PREFIX = "/_samovar/"
DEFAULT_REGION = "us-east-1"
DEFAULT_TAIL_BYTES = 64 * 1024
MAX_TAIL_BYTES = 4 * 1024 * 1024
MAX_DIGITS = 16
LOG_TYPE = "text/plain; charset=utf-8"
TENANTS_OWN = "Its instances are its tenants': none starts before a tenant's first invocation."

_SHA256 = re.compile(r"[0-9a-f]{64}")

MAX_DOCUMENT_BYTES = 256 * 1024

Document = TypeVar("Document")

Health = Callable[[], Mapping[str, Any]]

Route = Callable[[Request, str], Awaitable[HttpResponse]]
"""Answers a request; the second parameter is the path below its noun, decoded. Raises
`PlatformError`."""


class OwnRoutes:
    """See the module's text."""

    def __init__(
        self,
        invoker: Invoking,
        code: CodeStore,
        logs: LogStore,
        health: Health,
        guard: OriginGuard,
        more: Mapping[str, Route] | None = None,
    ) -> None:
        self._invoker = invoker
        self._code = code
        self._logs = logs
        self._health = health
        self.guard = guard
        self._more = more or {}

    async def __call__(self, request: Request, send: Send, *, draining: bool) -> None:
        """Answer one request."""
        request_id = new_request_id()
        response: HttpResponse | None
        try:
            self.guard.check(request.headers)
            noun, _, rest = request.raw_path.removeprefix(PREFIX).partition("/")
            if noun == "logs" and request.method == "GET":
                await self._send_logs(request, unquote(rest), send)
                return
            response = await self._answer(request, noun, rest, send, request_id, draining=draining)
        except ClientGoneError:
            return
        except PlatformError as error:
            response = json_response(
                error.status, {"message": error.message, "code": error.code.value}
            )
        except Exception:
            log.exception("request failed", request_id=request_id, path=request.raw_path)
            response = json_response(500, {"message": "Internal error", "code": "ServiceException"})
        if response is not None:
            await response.send(send)

    async def _answer(
        self, request: Request, noun: str, rest: str, send: Send, request_id: str, *, draining: bool
    ) -> HttpResponse | None:
        """The response, unless it has been sent already."""
        if noun == "health" and not rest:
            status = "draining" if draining else "ready"
            return json_response(503 if draining else 200, {"status": status, **self._health()})
        if draining:
            raise PlatformError(ErrorCode.UNAVAILABLE, "The server is shutting down.")
        if noun == "code" and _SHA256.fullmatch(rest) and request.method == "GET":
            package = await self._code.get(rest)
            return HttpResponse(200, [("Content-Type", "application/zip")], package)
        if noun == "init" and rest and request.method == "POST":
            return await self._initialise(request, unquote(rest))
        if noun == "url" and rest:
            return await call_url(
                self._invoker, request, rest, caller_of(request), request_id, send
            )
        if noun in self._more:
            return await self._more[noun](request, unquote(rest))
        raise PlatformError(ErrorCode.UNKNOWN_OPERATION, f"No such page: {request.raw_path[:200]}")

    async def _initialise(self, request: Request, name: str) -> HttpResponse:
        """So that who deploys learns at once whether what was deployed starts."""
        function, qualifier = parse_function_name(name, caller_of(request))
        version = await self._invoker.resolve(function, qualifier)
        try:
            initialised = await self._invoker.initialise(version)
        except InitFailedError as error:
            return json_response(502, _init_failure(error.payload))
        if not initialised:
            return json_response(200, {"skipped": version.arn, "message": TENANTS_OWN})
        return json_response(200, {"initialised": version.arn})

    async def _send_logs(self, request: Request, name: str, send: Send) -> None:
        function, _ = parse_function_name(name, caller_of(request))
        await self._invoker.resolve(function, None)  # NOT_FOUND where there is none
        wanted = request.query.get("tail_bytes", [""])[0]
        known = wanted.isdecimal() and len(wanted) < MAX_DIGITS
        tail_bytes = min(int(wanted), MAX_TAIL_BYTES) if known else DEFAULT_TAIL_BYTES
        if request.query.get("follow", ["0"])[0] == "1":
            text, news = await self._logs.follow(function, tail_bytes=tail_bytes)
            # Were it deleted before we followed, nothing would end this.
            await self._invoker.resolve(function, None)
            await self._send_log_until_gone(request, text, news, send)
        else:
            text = await asyncio.to_thread(self._logs.read, function, max_bytes=tail_bytes)
            await HttpResponse(200, [("Content-Type", LOG_TYPE)], text).send(send)

    async def _send_log_until_gone(
        self, request: Request, text: bytes, news: AsyncIterator[bytes], send: Send
    ) -> None:
        content = [(b"content-type", LOG_TYPE.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": content})
        await send({"type": "http.response.body", "body": text, "more_body": True})
        gone = asyncio.create_task(request.disconnected())
        feed = asyncio.create_task(_feed(news, send))
        try:
            await asyncio.wait((gone, feed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (gone, feed):
                task.cancel()
            await asyncio.gather(gone, feed, return_exceptions=True)
        if gone.cancelled():
            await send({"type": "http.response.body", "body": b""})


async def _feed(news: AsyncIterator[bytes], send: Send) -> None:
    with contextlib.suppress(OSError):
        async for text in news:
            await send({"type": "http.response.body", "body": text, "more_body": True})


def _init_failure(document: bytes) -> Mapping[str, str]:
    """A function's own error document, as one of ours."""
    error = ErrorDocument.of(document)
    if error is None:
        return {"message": "The init phase failed.", "code": "Runtime.Unknown"}
    return {"message": str(error.error_message or ""), "code": error.error_type}


def caller_of(request: Request) -> Caller:
    """Who a request that is not signed speaks for: whom its query names."""
    query = request.query
    region = query.get("region", [DEFAULT_REGION])[0]
    account = query.get("account", [DEFAULT_ACCOUNT])[0]
    return Caller(account, region)


async def document_in(request: Request, kind: type[Document]) -> Document:
    """The body of a request, as such a document. Raises `PlatformError` VALIDATION."""
    body = await request.body(MAX_DOCUMENT_BYTES, f"More than {MAX_DOCUMENT_BYTES} bytes.")
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PlatformError(ErrorCode.VALIDATION, f"The body is no such thing: {error}") from error


def json_response(status: int, document: Mapping[str, Any]) -> HttpResponse:
    """A document as a response."""
    body = json.dumps(document).encode() + b"\n"
    return HttpResponse(status, [("Content-Type", "application/json")], body)
