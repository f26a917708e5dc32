"""The HTTP server of the bridge: who is let in, which handler a request is for, and its answer.

How this works. API modules (`runtime_api`, …) add routes to a `Router`. A handler gets an
`Exchange`, one request to which an answer is due, and answers it then or at any later time. It
learns from the exchange when the answer has been handed over, or when the client has gone. A route
may be asked beforehand, as the head of a request is there, for a sink that takes its body as it
comes. What is HTTP is in `http_connection`; what is done about it, in the handlers; here is what
lies between.

The clients are the function: hostile or broken, but all that they can waste is their own instance.
Runs inside instances: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

from samovar.guest.http_connection import BadRequestError, Connection
from samovar.guest.payload import MAX_RESPONSE_BYTES
from samovar.guest.runtime_documents import document

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping

    from samovar.guest.http_connection import BodySink, Request
    from samovar.guest.reactor import Callback, Reactor

    Handler = Callable[..., None]
    SinkFor = Callable[..., BodySink | None]
    _Methods = dict[str, tuple[Handler, SinkFor | None]]

MAX_CONNECTIONS = 128
_LAST_READS = 64
"""Of a quarter MiB, from each connection of a program that has ended."""
_TRUNCATED = document("TruncatedHTTPRequest", "HTTP request detected as truncated") + b"\n"


class Router:
    """Which handler is for which request."""

    def __init__(self) -> None:
        self._exact: dict[str, _Methods] = {}
        self._patterns: dict[int, list[tuple[list[str], _Methods]]] = {}
        """By the number of steps in a path, so that few are looked at."""

    def add(
        self, method: str, path: str, handler: Handler, sink_for: SinkFor | None = None
    ) -> None:
        """Have `handler(exchange, *steps)` called for requests of `path`; a step of it that is
        `{}` stands for any, and the handler is given what stood there. `sink_for`, called likewise
        as the head of a request is there, may return what takes its body; the handler is called
        all the same when that has come to its end."""
        self._methods(path)[method] = handler, sink_for

    def _methods(self, path: str) -> _Methods:
        steps = path.split("/")
        if "{}" not in steps:
            return self._exact.setdefault(path, {})
        patterns = self._patterns.setdefault(len(steps), [])
        for known, methods in patterns:
            if known == steps:
                return methods
        patterns.append((steps, {}))
        return patterns[-1][1]

    def handle(self, exchange: Exchange) -> None:
        """Call the handler, or refuse as AWS's does."""
        if exchange.handler:
            exchange.handler(exchange, *exchange.steps)
        elif self._find(exchange.request)[0] is None:
            exchange.answer(404, b"404 page not found\n", "text/plain")
        else:
            exchange.answer(405, b"", "text/plain")

    def open(self, exchange: Exchange) -> BodySink | None:
        """Find the handler for a request whose head is there, and what is to take its body; None:
        it is to be kept."""
        methods, exchange.steps = self._find(exchange.request)
        exchange.handler, sink_for = (methods or {}).get(exchange.request.method, (None, None))
        return sink_for(exchange, *exchange.steps) if sink_for else None

    def _find(self, request: Request) -> tuple[_Methods | None, list[str]]:
        path = request.path.partition("?")[0]
        if path in self._exact:
            return self._exact[path], []
        steps = path.split("/")
        for known, methods in self._patterns.get(len(steps), []):
            if all(want in ("{}", step) for want, step in zip(known, steps)):  # noqa: B905 # 3.9
                return methods, [steps[at] for at, want in enumerate(known) if want == "{}"]
        return None, []


def _nothing() -> None:
    pass


class Exchange:
    """One request, and the answer that is due to it. A handler may set what is called:

    - `on_sent`: the answer has been handed over, all of it;
    - `on_gone`: the client went before that, in the midst of its request even, if there is a sink
      for it. `answer` has no effect any more."""

    def __init__(self, client: _Client, request: Request) -> None:
        self._client = client
        self.request = request
        self.handler: Handler | None = None
        self.steps: list[str] = []
        """Of the route that it is for: see `Router.open`."""
        self.on_sent: Callback = _nothing
        self.on_gone: Callback = _nothing

    def answer(
        self,
        status: int,
        body: bytes | bytearray,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer it, once. `body` is not to be changed any more."""
        self._client.answer(self, status, body, content_type, headers)


class _Client:
    """One connection, and what is due to it."""

    def __init__(self, listener: HttpListener, sock: socket.socket) -> None:
        self._listener = listener
        self._reactor = listener.reactor
        self._connection = Connection(sock, MAX_RESPONSE_BYTES, self._sink_for)
        self._exchange: Exchange | None = None
        self._closed = False
        self._handling = False
        self._reading, self._writing = True, False
        """What is watched for."""
        self._awaits_room = False
        self._reactor.watch(sock, self._readable)

    @property
    def paused(self) -> bool:
        """Whether there may be more to read when there is room for it."""
        return not (self._closed or self._reading)

    def answer(
        self,
        exchange: Exchange,
        status: int,
        body: bytes | bytearray,
        content_type: str,
        headers: Mapping[str, str] | None,
    ) -> None:
        """See `Exchange.answer`."""
        if exchange is self._exchange and not self._connection.answered:
            self._sent(self._connection.answer(status, body, content_type, headers))
            self._go_on()

    def read_last(self) -> None:
        """Take in what it had said when its program ended."""
        for _ in range(_LAST_READS):
            if self._closed or self.paused or not _can_read(self._connection.sock):
                return
            self._readable()

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._reactor.unwatch(self._connection.sock)
        self._connection.sock.close()
        self._listener.closed(self)
        exchange, self._exchange = self._exchange, None
        if exchange:
            exchange.on_gone()

    def _sink_for(self, request: Request) -> BodySink | None:
        self._exchange = Exchange(self, request)
        return self._listener.router.open(self._exchange)

    def _readable(self) -> None:
        if self._connection.receive():
            self._go_on()
            return
        # It may have said its last word and then have gone.
        if self._connection.answered:
            self._go_on()
        self._cut_off()

    def _cut_off(self) -> None:
        """The end, be it in the midst of a body."""
        if not self._closed and self._connection.in_stream:
            self._connection.refuse(_TRUNCATED, "application/json")
        self._close()

    def _writable(self) -> None:
        self._sent(self._connection.send())
        self._go_on()

    def _sent(self, unbroken: bool) -> None:
        """After a try to hand over the answer."""
        if not unbroken:
            self._close()
            return
        self._watch()
        if not self._connection.unsent and self._connection.answered:
            exchange, self._exchange = self._exchange, None
            if exchange:
                exchange.on_sent()
            if not self._connection.keep_alive:
                self._close()

    def _watch(self) -> None:
        slow = self._connection.waits_for
        if slow and not self._awaits_room:
            self._awaits_room = True
            slow.when_room(self._resume)
        reading, writing = slow is None, self._connection.unsent
        if (reading, writing) == (self._reading, self._writing):
            return
        self._reactor.watch(
            self._connection.sock,
            self._readable if reading else None,
            self._writable if writing else None,
        )
        self._reading, self._writing = reading, writing

    def _resume(self) -> None:
        self._awaits_room = False
        if not self._closed:
            self._go_on()

    def _go_on(self) -> None:
        """Handle what requests there are."""
        if self._handling:
            return  # from a handler, called below
        self._handling = True
        try:
            while not self._closed:
                request = self._connection.next_request()
                if request is None:
                    self._watch()
                    return
                assert self._exchange
                self._listener.router.handle(self._exchange)
        except BadRequestError as error:
            if not self._connection.in_stream:
                self._connection.refuse(str(error).encode("latin-1", "replace"))
            self._cut_off()
        finally:
            self._handling = False


class HttpListener:
    """Serves `router` on a listening socket to whom `admit(socket)` lets in."""

    def __init__(
        self,
        sock: socket.socket,
        reactor: Reactor,
        router: Router,
        admit: Callable[[socket.socket], bool],
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        sock.setblocking(False)
        self._max_connections = max_connections
        self._sock = sock
        self._admit = admit
        self._clients: set[_Client] = set()
        self._full = False
        self.reactor = reactor
        self.router = router
        reactor.watch(sock, self._accept)

    def adopt(self, sock: socket.socket) -> None:
        """Serve a client that is connected already."""
        self._clients.add(_Client(self, sock))

    def finish(self) -> bool:
        """Handle what has been said by now; for when the program has ended. True if that was all,
        False if it is to be called again when there is room for more."""
        self._accept()
        for client in list(self._clients):
            client.read_last()
        return not any(client.paused for client in self._clients)

    def closed(self, client: _Client) -> None:
        """For clients to say."""
        self._clients.discard(client)
        if self._full:
            self._full = False
            self.reactor.watch(self._sock, self._accept)

    def _accept(self) -> None:
        while len(self._clients) < self._max_connections:
            try:
                sock, _ = self._sock.accept()
            except OSError:
                return  # none waits, or the one that did has gone: the reactor will tell
            if self._admit(sock):
                self._clients.add(_Client(self, sock))
            else:
                sock.close()
        if not self._full:
            self._full = True
            self.reactor.unwatch(self._sock)


def _can_read(sock: socket.socket) -> bool:
    return bool(select.select([sock], [], [], 0)[0])
