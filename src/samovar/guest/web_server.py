"""A function that is a web server: its program serves HTTP, and events become requests to it.

How this works. It takes the place of the Runtime API: the program is started, asked again and again
until it is ready, and that ends init. Each INVOKE is then one request, and the response becomes the
function's result: a whole document, or, where the function is set to stream, parts as they come.
(`web_events` has the shapes of both, `web_exchange` the HTTP.) Each request has a connection of its
own: a server may close one that is kept at any time, so also just as the next request is sent, and
on a loopback a new one costs little.

What the server does wrong is the invocation's error; its end is the instance's. A response that is
too large is not read to its end. Nothing here blocks, and nothing is kept beyond a bound: of a
stream, what the worker has not read yet; of a document, AWS's 6 MB.

The settings are those of the AWS Lambda Web Adapter: see `samovar.model.web`.
Runs inside instances: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from samovar.guest import web_events
from samovar.guest.payload import MAX_RESPONSE_BYTES
from samovar.guest.runtime_documents import TOO_LARGE, document
from samovar.guest.web_exchange import WebExchange, connect, is_connected

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence
    from typing import Any

    from samovar.guest.http_response import ResponseParser
    from samovar.guest.phases import Phases
    from samovar.guest.reactor import Reactor, Timer
    from samovar.guest.response_stream import ResponseStream
    from samovar.guest.web_events import WebRequest
    from samovar.guest.wire import Meta

INTEGRATION = "application/vnd.awslambda.http-integration-response"
_POLL_S = 0.01
_ASYNC_INIT_S = 9.8
"""As the adapter: just within AWS's 10 s for init."""
_END_GRACE_S = 0.05
"""So long after its connections a process may end."""
_FIRST_READINESS_LIMIT_S = 1.0


class WebServer:
    """Takes part in `phases` as the runtime. `may_ask(port)`: whether it is this instance that
    serves there. Call `begin` when the program runs."""

    def __init__(
        self,
        reactor: Reactor,
        phases: Phases,
        web: dict[str, Any],
        may_ask: Callable[[int], bool],
    ) -> None:
        self._reactor = reactor
        self._phases = phases
        self._part = phases.join(is_runtime=True)
        self._web = web
        self._may_ask = may_ask
        self._ready = False
        self._waiting: list[tuple[str, WebRequest]] = []
        """Invocations that came before the server was ready."""
        phases.on_invoke.append(self._on_invoke)

    # ------------------------------------------------------------ init

    def begin(self) -> None:
        """Wait for the server; init is over when it is ready."""
        if self._web["async_init"]:
            self._reactor.later(_ASYNC_INIT_S, self._init_over)
        _Readiness(self._reactor, self._web, self._may_ask, self._on_ready)

    def _on_ready(self) -> None:
        self._ready = True
        self._init_over()
        waiting, self._waiting = self._waiting, []
        for request_id, request in waiting:
            self._ask(request_id, request)

    def _init_over(self) -> None:
        if not self._phases.ready:
            self._part.rest()

    # ------------------------------------------------------------ invocations

    def _on_invoke(self, meta: Meta, body: bytes | bytearray) -> None:
        try:
            request = web_events.web_request(body, meta, self._web)
        except web_events.UnfitEventError as error:
            self.fail(meta["id"], "WebServer.UnfitEvent", str(error))
            return
        if self._ready:
            self._ask(meta["id"], request)
        else:
            self._waiting.append((meta["id"], request))

    def _ask(self, request_id: str, request: WebRequest) -> None:
        if self._may_ask(self._web["port"]):
            _Answer(self, self._reactor, connect(self._web["port"]), request_id, request)
        else:
            message = "another instance serves on its port"
            self.fail(request_id, "WebServer.NoResponse", message)

    # ------------------------------------------------------------ results

    @property
    def web(self) -> dict[str, Any]:
        """What INIT says of the server."""
        return self._web

    def stream(self, request_id: str, content_type: str) -> ResponseStream:
        """An answer begins."""
        return self._phases.stream(request_id, content_type)

    def answer(self, request_id: str, body: bytes) -> None:
        """An invocation's answer, or the end of its stream."""
        self._phases.answer(request_id, body, self._part)

    def fail(self, request_id: str, kind: str, message: str) -> None:
        """An invocation has failed."""
        self.fail_with(request_id, kind, document(kind, message))

    def fail_with(self, request_id: str, kind: str, text: bytes) -> None:
        """The same with a document that is there already."""
        self._phases.fail(request_id, kind, text, self._part)


class _Readiness:
    """Asks until the server is ready, then calls `ready` once. A question that has no answer is
    given up and asked again, each time with twice as much time: one may have been lost, and a
    server may be slow."""

    def __init__(
        self,
        reactor: Reactor,
        web: dict[str, Any],
        may_ask: Callable[[int], bool],
        ready: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._web = web
        self._may_ask = may_ask
        self._ready = ready
        head = f"GET {web['readiness_path']} HTTP/1.1\r\nhost: 127.0.0.1:{web['port']}\r\n"
        self._request = f"{head}connection: close\r\n\r\n".encode()
        self._exchange: WebExchange | None = None
        self._limit_s = _FIRST_READINESS_LIMIT_S
        self._timer: Timer | None = None
        self._try()

    def _try(self) -> None:
        port = self._web["readiness_port"]
        if not self._may_ask(port):
            self._later()
        elif self._web["readiness_tcp"]:
            sock = connect(port)
            accepts = is_connected(sock)  # on a loopback, at once
            sock.close()
            if accepts:
                self._ready()
            else:
                self._later()
        else:
            request = (self._request, b"")
            self._timer = self._reactor.later(self._limit_s, self._give_up)
            self._exchange = WebExchange(self._reactor, connect(port), request, "GET", self)

    def _give_up(self) -> None:
        self._limit_s *= 2
        if self._exchange:
            self._exchange.abandon()
        self._try()

    def _later(self) -> None:
        self._reactor.later(_POLL_S, self._try)

    def on_progress(self, response: ResponseParser) -> None:
        if response.status is None or not self._exchange:
            return
        self._exchange.abandon()  # its status is all that counts
        self._answered()
        if _among(self._web["healthy"], response.status):
            self._ready()
        else:
            self._later()

    def on_end(self, response: ResponseParser) -> None:
        """It never comes to that."""

    def on_failure(self, reason: str, *, begun: bool) -> None:
        self._answered()
        self._later()

    def _answered(self) -> None:
        if self._timer:
            self._timer.cancel()


class _Answer:
    """What becomes of one invocation."""

    def __init__(
        self,
        server: WebServer,
        reactor: Reactor,
        sock: socket.socket,
        request_id: str,
        request: WebRequest,
    ) -> None:
        self._server = server
        self._reactor = reactor
        self._id = request_id
        self._request = request
        self._body = bytearray()
        self._stream: ResponseStream | None = None
        pieces = (request.head, request.body)
        self._exchange = WebExchange(reactor, sock, pieces, request.method, self)

    def on_progress(self, response: ResponseParser) -> None:
        if response.status is None:
            return
        if self._stream is None and _among(self._server.web["errors"], response.status):
            self._exchange.abandon()
            message = f"The web server answered with status {response.status}"
            self._server.fail(self._id, "WebServer.ErrorStatus", message)
        elif self._server.web["streams"]:
            self._pass_on(response)
        else:
            self._body += response.take()
            if len(self._body) > MAX_RESPONSE_BYTES:
                self._exchange.abandon()
                self._server.fail_with(self._id, "Function.ResponseSizeTooLarge", TOO_LARGE)

    def _pass_on(self, response: ResponseParser) -> None:
        if self._stream is None:
            self._stream = self._begin(response)
        self._stream.write(response.take())
        self._stream.flush()
        if not (response.done or self._stream.has_room):
            self._exchange.pause()
            self._stream.when_room(self._exchange.resume)

    def _begin(self, response: ResponseParser) -> ResponseStream:
        assert response.status is not None
        fields = web_events.kept(response.fields)
        if self._request.kind == web_events.OTHER:
            types = [value for name, value in fields if name == "content-type"]
            return self._server.stream(self._id, (types or ["application/octet-stream"])[0])
        stream = self._server.stream(self._id, INTEGRATION)
        stream.write(web_events.prelude(response.status, fields))
        return stream

    def on_end(self, response: ResponseParser) -> None:
        assert response.status is not None
        if self._stream:
            self._server.answer(self._id, b"")
            return
        fields = web_events.kept(response.fields)
        answer = web_events.answer(self._request, response.status, fields, self._body)
        if len(answer) > MAX_RESPONSE_BYTES:
            self._server.fail_with(self._id, "Function.ResponseSizeTooLarge", TOO_LARGE)
        else:
            self._server.answer(self._id, answer)

    def on_failure(self, reason: str, *, begun: bool) -> None:
        if self._stream:
            self._fail("Runtime.TruncatedResponse", f"The response was cut off: {reason}")
        else:
            kind = "WebServer.BadResponse" if begun else "WebServer.NoResponse"
            self._fail(kind, f"The web server gave no whole answer: {reason}")

    def _fail(self, kind: str, message: str) -> None:
        """A little later: if it is for the server's end, that ends the instance, and is what the
        client is to hear of."""
        self._reactor.later(_END_GRACE_S, lambda: self._server.fail(self._id, kind, message))


def _among(ranges: Sequence[Sequence[int]], status: int) -> bool:
    return any(first <= status <= last for first, last in ranges)
