"""One request to a server in the instance and its response, on the reactor.

Runs inside instances: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from typing import TYPE_CHECKING, Protocol

from samovar.guest.http_response import BadResponseError, ResponseParser

if TYPE_CHECKING:
    from samovar.guest.reactor import Reactor

_RECV_BYTES = 64 * 1024


class Owner(Protocol):
    """Who is told how it goes. After `on_end` or `on_failure` nothing more comes."""

    def on_progress(self, response: ResponseParser) -> None:
        """There may be a head, and more of the body."""

    def on_end(self, response: ResponseParser) -> None:
        """The response is whole."""

    def on_failure(self, reason: str, *, begun: bool) -> None:
        """There is none, or its rest will not come; `begun`: something had come of it."""


def connect(port: int) -> socket.socket:
    """A connection to the instance's loopback, which may still be in the making."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.connect_ex(("127.0.0.1", port))
    return sock


def is_connected(sock: socket.socket) -> bool:
    """Whether a connection has come to be."""
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


class WebExchange:
    """See the module. The socket is the exchange's, which closes it at its end."""

    def __init__(
        self,
        reactor: Reactor,
        sock: socket.socket,
        request: tuple[bytes, bytes | bytearray],
        method: str,
        owner: Owner,
    ) -> None:
        self._sock = sock
        self._reactor = reactor
        self._owner = owner
        self._unsent = deque(memoryview(piece) for piece in request if piece)
        self._response = ResponseParser(method)
        self._connected = False
        self._paused = False
        self._over = False
        self._watch()

    def pause(self) -> None:
        """Read no more until `resume`."""
        self._paused = True
        self._watch()

    def resume(self) -> None:
        """Read on."""
        self._paused = False
        self._watch()

    def abandon(self) -> None:
        """Nobody wants it any more. Idempotent."""
        if not self._over:
            self._over = True
            self._reactor.unwatch(self._sock)
            self._sock.close()

    def _watch(self) -> None:
        if not self._over:
            readable = self._readable if self._connected and not self._paused else None
            writable = self._writable if self._unsent or not self._connected else None
            self._reactor.watch(self._sock, readable, writable)

    def _fail(self, reason: str) -> None:
        if not self._over:
            self.abandon()
            self._owner.on_failure(reason, begun=self._response.begun)

    # ------------------------------------------------------------ sending

    def _writable(self) -> None:
        if not self._connected:
            if not is_connected(self._sock):
                return self._fail("it does not accept connections")
            self._connected = True
        try:
            while self._unsent:
                sent = self._sock.send(self._unsent[0])
                if sent < len(self._unsent[0]):
                    self._unsent[0] = self._unsent[0][sent:]
                else:
                    self._unsent.popleft()
        except BlockingIOError:
            pass
        except OSError:
            # It wants no more of the request; perhaps it has said why.
            self._unsent.clear()
        return self._watch()

    # ------------------------------------------------------------ receiving

    def _readable(self) -> None:
        try:
            data = self._sock.recv(_RECV_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(errno.errorcode.get(error.errno or 0, "EIO"))
            return
        response = self._response
        try:
            if data:
                response.feed(data)
            else:
                response.end()
        except BadResponseError as error:
            self._fail(str(error))
            return
        self._owner.on_progress(response)
        if response.done and not self._over:
            self.abandon()
            self._owner.on_end(response)
