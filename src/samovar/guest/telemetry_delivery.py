"""Bringing batches to a telemetry subscriber: a client that waits for nothing.

How this works. One batch is under way at a time. By HTTP it is a request on a connection of its
own, and has arrived when a status of 2xx has come and the answer is whole; by TCP it is lines on
one connection, and has arrived when the kernel took the last of it. What fails is tried again, with
growing pauses, a bounded number of times; each attempt has a bounded time. Who reads slowly, or
never, or answers without end, costs no more than that.

The subscriber is an extension, so hostile at will; what it can waste is its own instance. Runs
inside instances: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from samovar.guest.reactor import Reactor, Timer
    from samovar.guest.telemetry_subscription import Subscription

ATTEMPTS = 8
ATTEMPT_LIMIT_S = 5.0
FIRST_PAUSE_S = 0.02
MAX_PAUSE_S = 1.0

_MAX_ANSWER_BYTES = 64 * 1024
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*\r\n", re.IGNORECASE)


class _Attempt:
    """One try to hand over one batch; `done(arrived)` is called once."""

    def __init__(
        self,
        reactor: Reactor,
        sock: socket.socket,
        data: bytes,
        wants_answer: bool,
        done: Callable[[bool], None],
    ) -> None:
        self._reactor = reactor
        self._sock = sock
        self._unsent = memoryview(data)
        self._wants_answer = wants_answer
        self._answer = bytearray()
        self._done = done
        self._timer: Timer = reactor.later(ATTEMPT_LIMIT_S, self.give_up)
        reactor.watch(sock, self._readable, self._writable)

    def give_up(self) -> None:
        """It has not arrived."""
        self._end(False)

    def _end(self, arrived: bool) -> None:
        self._timer.cancel()
        self._reactor.unwatch(self._sock)
        self._done(arrived)

    def _writable(self) -> None:
        try:
            self._unsent = self._unsent[self._sock.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError:
            self._end(False)
            return
        if self._unsent:
            return
        if self._wants_answer:
            self._reactor.watch(self._sock, self._readable)
        else:
            self._end(True)

    def _readable(self) -> None:
        try:
            data = self._sock.recv(_MAX_ANSWER_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not self._wants_answer:
            if not data:  # else: who listens to lines has nothing to say
                self._end(False)
            return
        self._answer += data
        over = not data or len(self._answer) > _MAX_ANSWER_BYTES
        if over or _is_whole(self._answer):
            self._end(_is_success(self._answer))


def _is_whole(answer: bytearray) -> bool:
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    length = _LENGTH.search(answer, 0, end + 2)
    return length is not None and len(answer) >= end + 4 + int(length[1])


def _is_success(answer: bytearray) -> bool:
    status = _STATUS.match(answer)
    return status is not None and status[1][:1] == b"2"


class Delivery:
    """Hands batches to where a subscription says."""

    def __init__(self, reactor: Reactor, subscription: Subscription) -> None:
        self._reactor = reactor
        self._subscription = subscription
        self._sock: socket.socket | None = None
        self._attempt: _Attempt | None = None
        self._closed = False

    def close(self) -> None:
        """Give up what is under way; `done` is called. Nothing more is to be sent."""
        self._closed = True
        if self._attempt:
            self._attempt.give_up()
        self._close()  # where nothing is under way, a connection may be kept

    def send(self, records: list[bytes], done: Callable[[bool], None]) -> None:
        """Hand over a batch; `done(arrived)` is called once, later. One at a time."""
        if self._subscription.protocol == "TCP":
            data = b"".join(record + b"\n" for record in records)
        else:
            body = b"[" + b",".join(records) + b"]"
            data = self._head(len(body)) + body
        self._try(data, ATTEMPTS, FIRST_PAUSE_S, done)

    def _head(self, length: int) -> bytes:
        to = self._subscription
        return (
            f"{to.method} {to.path} HTTP/1.1\r\nHost: sandbox.localdomain:{to.port}\r\n"
            "Content-Type: application/json\r\n"
            f"Content-Length: {length}\r\nConnection: close\r\n\r\n"
        ).encode()

    def _try(self, data: bytes, left: int, pause_s: float, done: Callable[[bool], None]) -> None:
        is_http = self._subscription.protocol == "HTTP"

        def ended(arrived: bool) -> None:
            self._attempt = None
            if is_http or not arrived:
                self._close()
            if arrived or left <= 1 or self._closed:
                done(arrived)
                return
            next_s = min(2 * pause_s, MAX_PAUSE_S)
            self._reactor.later(pause_s, lambda: self._try(data, left - 1, next_s, done))

        if self._closed:
            done(False)
            return
        try:
            sock = self._sock = self._sock or self._connect()
        except OSError:
            ended(False)
            return
        self._attempt = _Attempt(self._reactor, sock, data, is_http, ended)

    def _connect(self) -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        error = sock.connect_ex(("127.0.0.1", self._subscription.port))
        if error not in (0, errno.EINPROGRESS):
            sock.close()
            raise OSError(error, os.strerror(error))
        return sock

    def _close(self) -> None:
        if self._sock:
            self._sock.close()
            self._sock = None
