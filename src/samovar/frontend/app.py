"""The server's front door: an ASGI application.

The way of one request: Invoke takes the hot path (`invoke.py`, `invoke_async.py`, and
`invoke_stream.py`, which may have sent the response when it returns, and then returns none);
everything else of the AWS API is routed, parsed and validated from the service model and handed to
one operation; what is below `/_samovar/` is the platform's own (`own.py`). Errors become responses
here and nowhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

from samovar.awsproto import (
    Operation,
    parse_request,
    serialize_error,
    serialize_response,
    validate,
)
from samovar.frontend.auth import Caller, authenticate
from samovar.frontend.invoke import function_in_path, invoke
from samovar.frontend.invoke_async import async_function_in_path, invoke_async
from samovar.frontend.invoke_later import AcceptInvocations
from samovar.frontend.invoke_stream import invoke_stream, streamed_function_in_path
from samovar.frontend.invoker import Invoking
from samovar.frontend.own import PREFIX as OWN_PREFIX
from samovar.frontend.own import OwnRoutes
from samovar.frontend.request import ClientGoneError, HttpResponse, Receive, Request, Scope, Send
from samovar.frontend.service import Service
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.invocation import new_request_id
from samovar.telemetry.log import get_logger

log = get_logger("frontend")

LARGE_LENGTH_DIGITS = 7
"""A body of a million bytes and more, or of unknown length, is large."""

LARGE_AT_ONCE = 4
"""Requests with a large body that are read and performed at the same time."""


class Application:
    """Serves the AWS Lambda API, those of its neighbours, and the platform's own routes."""

    def __init__(
        self,
        main: Service,
        *neighbours: Service,
        invoker: Invoking,
        own: OwnRoutes,
        later: AcceptInvocations,
    ) -> None:
        """`main` is Lambda; what is not in any of them is its to refuse."""
        self._main = main
        self._by_root = {root: service for service in neighbours for root in service.roots}
        self._invoker = invoker
        self._own = own
        self._later = later
        self._guard = own.guard
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        if request.raw_path.startswith(OWN_PREFIX):
            await self._own(request, send, draining=self.draining)
            return
        request_id = new_request_id()
        response: HttpResponse | None
        try:
            response = await self._answer(request, request_id, send)
        except ClientGoneError:
            return
        except PlatformError as error:
            response = self._error(error, request, request_id)
        except Exception as error:
            log.exception("request failed", request_id=request_id, path=request.raw_path)
            failure = PlatformError(ErrorCode.SERVICE, f"Internal error: {type(error).__name__}")
            response = self._error(failure, request, request_id)
        if response is not None:
            await response.send(send)

    async def _answer(self, request: Request, request_id: str, send: Send) -> HttpResponse | None:
        self._guard.check(request.headers)
        if self.draining:
            raise PlatformError(ErrorCode.UNAVAILABLE, "The server is shutting down.")
        name = function_in_path(request)
        if name is not None:
            response = await invoke(self._invoker, self._later, request, name, request_id)
        elif (name := streamed_function_in_path(request)) is not None:
            streamed = await invoke_stream(self._invoker, request, name, request_id, send)
            if streamed is None:
                return None
            response = streamed
        elif (name := async_function_in_path(request)) is not None:
            response = await invoke_async(self._invoker, self._later, request, name, request_id)
        else:
            response = await self._operate(request)
        return HttpResponse(
            response.status, [("x-amzn-RequestId", request_id), *response.headers], response.body
        )

    async def _operate(self, request: Request) -> HttpResponse:
        service = self._service_of(request)
        match = service.model.route(request.method, request.raw_path, request.query)
        if match is None:
            raise PlatformError(
                ErrorCode.UNKNOWN_OPERATION,
                f"Unknown operation: {request.method} {request.raw_path[:200]}",
            )
        caller = authenticate(request.headers, request.query)
        async with self._turn(request):
            body = await request.body(
                service.max_body_bytes,
                f"Request must be smaller than {service.max_body_bytes} bytes for the "
                f"{match.operation.name} operation",
            )
            params = parse_request(match, request.query, request.headers, body)
            del body
            validate(match.operation, params)
            return await _perform(service, match.operation, caller, params)

    def _turn(self, request: Request) -> contextlib.AbstractAsyncContextManager[object]:
        """A request with a large body (a package) waits for its turn: each holds its body in
        memory several times over."""
        length = request.headers.get("content-length", "")
        if request.method not in ("POST", "PUT") or (
            length.isdecimal() and len(length) < LARGE_LENGTH_DIGITS
        ):
            return contextlib.nullcontext()
        return self._large

    def _service_of(self, request: Request) -> Service:
        root = request.raw_path.removeprefix("/").partition("/")[0]
        return self._by_root.get(root, self._main)

    def _error(self, error: PlatformError, request: Request, request_id: str) -> HttpResponse:
        service = self._service_of(request)
        name = service.error_names.get(error.code)
        answer = serialize_error(service.model, error, request_id, name)
        return HttpResponse(answer.status, answer.headers, answer.body)


async def _perform(
    service: Service, operation: Operation, caller: Caller, params: Mapping[str, Any]
) -> HttpResponse:
    handler = service.handlers.get(operation.name)
    if handler is None:
        raise PlatformError(
            ErrorCode.NOT_IMPLEMENTED,
            f"The operation {operation.name} is not implemented by this server yet.",
        )
    answer = serialize_response(operation, await handler(caller, params))
    return HttpResponse(answer.status, answer.headers, answer.body)
