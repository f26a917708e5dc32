"""The Lambda Runtime API, version 2018-06-01: what a program of any language calls for its work.

How this works. The program calls over HTTP on the instance's loopback; a *bridge* (`guest.bridge`)
has the routes served and the instance's phases kept, and what a call means is here:

    GET  /runtime/invocation/next            at rest; answered by the next INVOKE
    POST /runtime/invocation/ID/response     the response, in one piece or as a stream
    POST /runtime/invocation/ID/error        the invocation has failed
    POST /runtime/init/error                 init has failed
    GET  /runtime/restore/next               initialised; answered after a restore from a snapshot
    POST /runtime/restore/error              what had to be done after that has failed

Where many invocations run at once, there is no order between the calls of different ones: who asks
on several connections gets several.

States, statuses and error documents are those of AWS's own emulator of the API:
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html,
https://github.com/aws/aws-lambda-runtime-interface-emulator.

A streamed response (Lambda-Runtime-Function-Response-Mode: streaming) goes on to the worker as it
comes, from its head on, and as fast as it is taken; trailers may say that it has failed in its
midst, and a connection that breaks is such a failure, too.

Runs inside instances: standard library only, Python 3.9.
"""

from __future__ import annotations

import functools
from collections import deque
from typing import TYPE_CHECKING

from samovar.guest.payload import MAX_RESPONSE_BYTES
from samovar.guest.runtime_documents import (
    ERROR_TYPE,
    TOO_LARGE,
    document,
    error_document,
    error_type,
    next_headers,
    stream_error_document,
)
from samovar.guest.runtime_state import InvalidTransitionError, RuntimeState

if TYPE_CHECKING:
    from collections.abc import Callable

    from samovar.guest.http_listener import Exchange, Router
    from samovar.guest.phases import Part, Phases
    from samovar.guest.response_stream import ResponseStream
    from samovar.guest.wire import Meta

    Invocation = tuple[Meta, bytes | bytearray]

API = "/2018-06-01/runtime"
RESPONSE_MODE = "lambda-runtime-function-response-mode"
STANDS_STILL = "samovar-stands-still"
"""A header of /next, of a client of ours whose process does nothing else until the answer."""
_TRUNCATED = "Runtime.TruncatedResponse"


class RuntimeApi:
    """Adds its routes to `router`, and takes part in `phases` as the runtime.

    `has_company`: whether the program has more to do than to wait for events, as internal
    extensions have. `snapshots`: see `RuntimeState`; nobody makes them yet."""

    def __init__(
        self,
        phases: Phases,
        router: Router,
        has_company: Callable[[], bool] = lambda: False,
        snapshots: bool = False,
    ) -> None:
        self._phases = phases
        self._has_company = has_company
        self._part = phases.join(is_runtime=True)
        self._state = RuntimeState(snapshots)
        self._running: dict[str, RuntimeState] = {}
        """Where many invocations run at once: the state of each, by its id."""
        self._waiting: list[Exchange] = []
        """For their answer to /next, the oldest first."""
        self._due: deque[Invocation] = deque()
        """Those that nobody has asked for yet, the oldest first."""
        self._sending = 0
        """So many are on their ways to who has."""
        self._restoring: Exchange | None = None
        """For its answer to /restore/next."""
        phases.on_invoke.append(self._on_invoke)
        router.add("GET", f"{API}/invocation/next", self._next)
        router.add("POST", f"{API}/invocation/{{}}/response", self._response, self._begin_stream)
        router.add("POST", f"{API}/invocation/{{}}/error", self._error)
        router.add("POST", f"{API}/init/error", self._init_error)
        router.add("GET", f"{API}/restore/next", self._restore_next)
        router.add("POST", f"{API}/restore/error", self._restore_error)

    # ------------------------------------------------------------ events

    def _next(self, exchange: Exchange) -> None:
        if STANDS_STILL in exchange.request.headers and self._has_company():
            message = "Others in the process have to go on: ask without blocking it"
            return _refuse(exchange, 409, "Runtime.HasCompany", message)
        try:
            self._state.ready(delivered=self._all_delivered)
        except InvalidTransitionError as error:
            return _refuse(exchange, 403, "InvalidStateTransition", str(error))
        exchange.on_gone = functools.partial(self._waiting.remove, exchange)
        self._waiting.append(exchange)
        if self._all_delivered:  # else one that did not arrive is still to be done
            self._part.rest()
        return self._deliver()

    def _on_invoke(self, meta: Meta, body: bytes | bytearray) -> None:
        self._due.append((meta, body))
        self._deliver()

    @property
    def _all_delivered(self) -> bool:
        return not self._due and not self._sending

    def _deliver(self) -> None:
        """Answer the oldest /next, as long as there are invocations."""
        while self._waiting and self._due:
            exchange, invocation = self._waiting.pop(0), self._due.popleft()
            meta, body = invocation
            self._begin(meta["id"])
            self._sending += 1
            exchange.on_sent = functools.partial(self._taken, exchange)
            exchange.on_gone = functools.partial(self._not_taken, invocation)
            exchange.answer(200, body, headers=next_headers(meta))

    def _taken(self, exchange: Exchange) -> None:
        # The event is the function's now; here it would only count against its memory.
        exchange.on_gone = _nothing
        self._sending -= 1

    def _not_taken(self, invocation: Invocation) -> None:
        self._sending -= 1
        self._withdraw(invocation[0]["id"])  # the next one gets it
        self._due.appendleft(invocation)
        self._deliver()

    # ------------------------------------------------------------ states

    def _begin(self, request_id: str) -> None:
        if self._phases.takes_many:
            state = self._running[request_id] = RuntimeState()
            state.ready(delivered=True)
            state.begin(request_id)
        else:
            self._state.begin(request_id)

    def _withdraw(self, request_id: str) -> None:
        if not self._running.pop(request_id, None):
            self._state.withdraw()

    def _state_of(self, request_id: str) -> RuntimeState | None:
        """That of an invocation that has been delivered, of the newest one or of those at once."""
        if self._phases.takes_many:
            return self._running.get(request_id)
        return self._state if request_id == self._state.request_id else None

    # ------------------------------------------------------------ results

    def _init_error(self, exchange: Exchange) -> None:
        try:
            self._state.fail_init()
        except InvalidTransitionError as error:
            return _refuse(exchange, 403, "InvalidStateTransition", str(error))
        self._phases.fail_init(error_document(exchange.request))
        return _accept(exchange)

    def _restore_next(self, exchange: Exchange) -> None:
        try:
            self._state.await_restore()
        except InvalidTransitionError as error:
            return _refuse(exchange, 403, "InvalidStateTransition", str(error))
        self._restoring = exchange
        return self._part.rest()

    def restored(self) -> None:
        """The instance, which was at rest at /restore/next, goes on from a snapshot."""
        self._state.restore()
        if self._restoring:
            self._restoring.answer(200, b"")

    def _restore_error(self, exchange: Exchange) -> None:
        try:
            self._state.fail_restore()
        except InvalidTransitionError as error:
            return _refuse(exchange, 403, "InvalidStateTransition", str(error))
        self._phases.fail_init(error_document(exchange.request))
        return _accept(exchange)

    def _begin_stream(self, exchange: Exchange, request_id: str) -> ResponseStream | None:
        headers = exchange.request.headers
        state = self._state_of(request_id)
        if headers.get(RESPONSE_MODE) != "streaming":
            return None
        if state is None or not state.may_respond(request_id):
            return None
        state.begin_response()
        exchange.on_gone = lambda: self._stream_broken(request_id, state)
        return self._phases.stream(request_id, headers.get("content-type"))

    def _stream_broken(self, request_id: str, state: RuntimeState) -> None:
        state.end_response()
        self._fail(request_id, _TRUNCATED, document(_TRUNCATED, "The response was cut off"))

    def _response(self, exchange: Exchange, request_id: str) -> None:
        request = exchange.request
        state = self._state_of(request_id)
        if request.sink and state:
            exchange.on_gone = _nothing
            state.end_response()
        elif not self._ends(exchange, request_id, "response"):
            return
        if ERROR_TYPE in request.trailers:
            text = stream_error_document(request.trailers)
            self._fail(request_id, error_type(request.trailers), text)
        else:
            self._answer(request_id, request.body)
        _accept(exchange)

    def _error(self, exchange: Exchange, request_id: str) -> None:
        request = exchange.request
        if self._ends(exchange, request_id, "error"):
            self._fail(request_id, error_type(request.headers), error_document(request))
            _accept(exchange)

    def _ends(self, exchange: Exchange, request_id: str, what: str) -> bool:
        """Whether the call is one that ends the invocation well; else it has been refused."""
        state = self._state_of(request_id)
        if state is None:
            _refuse(exchange, 400, "InvalidRequestID", "Invalid request ID")
            return False
        try:
            state.end(what)
        except InvalidTransitionError as error:
            _refuse(exchange, 403, "InvalidStateTransition", str(error))
            return False
        mode = exchange.request.headers.get(RESPONSE_MODE, "streaming")
        if exchange.request.too_large:
            self._fail(request_id, "Function.ResponseSizeTooLarge", TOO_LARGE)
            message = f"Exceeded maximum allowed payload size ({MAX_RESPONSE_BYTES} bytes)."
            _refuse(exchange, 413, "RequestEntityTooLarge", message)
            return False
        if mode != "streaming":
            kind = "Runtime.InvalidResponseModeHeader"
            message = "Invalid function response mode"
            self._fail(request_id, kind, document(kind, message))
            _refuse(exchange, 400, "InvalidFunctionResponseMode", message)
            return False
        return True

    def _answer(self, request_id: str, body: bytes | bytearray) -> None:
        self._running.pop(request_id, None)
        self._phases.answer(request_id, body, self._resting())

    def _fail(self, request_id: str, kind: str, document: bytes | bytearray) -> None:
        self._running.pop(request_id, None)
        self._phases.fail(request_id, kind, document, self._resting())

    def _resting(self) -> Part | None:
        """A program may ask for its next event on a second connection beforehand."""
        return self._part if self._waiting else None


def _nothing() -> None:
    pass


def _accept(exchange: Exchange) -> None:
    exchange.answer(202, b'{"status":"OK"}\n')


def _refuse(exchange: Exchange, status: int, kind: str, message: str) -> None:
    exchange.answer(status, document(kind, message) + b"\n")
