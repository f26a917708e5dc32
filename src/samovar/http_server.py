"""uvicorn as we use it: without its own idea of signals, with one write for each response, and with
bounds on slow clients and long heads.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from samovar.claims import BACKLOG

CONNECTIONS_CLOSE_S = 5
"""How long connections may take to end once the server should exit."""

KEEP_ALIVE_S = 75

REQUEST_LIMIT_S = 300.0
"""How long a client may take to send one request, from its first byte (or from connecting) on, and
how long it may leave a response unread."""

MAX_HEAD_BYTES = 64 * 1024
"""Of a request line with its headers, beyond the first piece of it that is read. The parser would
gather whatever comes."""


_CUT_OFF = "ASGI callable returned without completing response."
"""What uvicorn says of a response that it cuts off: ours are, where a function fails in the midst
of a stream; that is no error of the server."""


def _says_more_than_cut_off(record: logging.LogRecord) -> bool:
    return _CUT_OFF not in str(record.msg)


class _JoinedWrites:
    """A transport that sends what is written within one turn of the event loop at once.

    uvicorn writes the head and the body of a response apart; as two packets they wake the client
    twice. Everything else goes to the transport itself."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._parts:
            parts, self._parts = self._parts, []
            self._transport.write(b"".join(parts))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _Protocol(HttpToolsProtocol):
    """A connection that knows since when it has been waiting for its client."""

    message_since = 0.0
    head_bytes = 0
    """Received of a head that is not complete."""
    unread_since: float | None = None
    """Since when its client has left unread what it was sent, so that more has to wait."""

    def connection_made(self, transport: Any) -> None:
        self.message_since = self.loop.time()
        super().connection_made(_JoinedWrites(transport))  # type: ignore[arg-type]

    def pause_writing(self) -> None:
        self.unread_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self.unread_since = None
        super().resume_writing()

    def on_message_begin(self) -> None:
        self.message_since = self.loop.time()
        super().on_message_begin()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and self.cycle.scope is self.scope:  # the head is complete
            self.head_bytes = 0
            return
        self.head_bytes += len(data)
        if self.head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The head of the request is too long.")

    def stalls(self, limit_s: float) -> bool:
        """Whether a request has begun and is not complete after `limit_s`, or the client has taken
        nothing of a response for so long.

        A connection between two requests is uvicorn's to end, by `KEEP_ALIVE_S`."""
        if self.unread_since is not None and self.loop.time() - self.unread_since > limit_s:
            return True
        cycle: Any = self.cycle
        between_requests = (
            cycle is not None
            and cycle.response_complete
            and self.timeout_keep_alive_task is not None
        )
        answering = cycle is not None and not cycle.more_body and not cycle.response_complete
        late = self.loop.time() - self.message_since > limit_s
        return late and not between_requests and not answering


class HttpServer(uvicorn.Server):
    """Serves one ASGI application until `should_exit` is set; signals are its owner's."""

    def __init__(self, application: Any, request_limit_s: float = REQUEST_LIMIT_S) -> None:
        self._request_limit_s = request_limit_s
        logging.getLogger("uvicorn.error").addFilter(_says_more_than_cut_off)
        super().__init__(
            uvicorn.Config(
                application,
                http=_Protocol,
                loop="none",
                lifespan="off",
                ws="none",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=CONNECTIONS_CLOSE_S,
                timeout_keep_alive=KEEP_ALIVE_S,
                callback_notify=self._end_stalled,
                timeout_notify=1,
                backlog=BACKLOG,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def _end_stalled(self) -> None:
        for connection in list(self.server_state.connections):
            if isinstance(connection, _Protocol) and connection.stalls(self._request_limit_s):
                connection.transport.abort()
