"""HTTP/1.1 for the Runtime API: one connection of a client inside the instance.

How this works. A connection takes bytes as they come and yields whole requests, one at a time: the
next one is looked at when the last has been answered. Bodies come with a length or in chunks. What
is kept of a client is bounded: a body that is too large is read to its end and dropped, so that the
client is there to read the refusal. A body of any length may be had as it comes, too: the owner may
name a sink for it as soon as a request's head is there. Nothing here blocks; the owner waits for
readiness.

The client is the function: hostile or broken, but all that it can waste is its own instance.
Runs inside instances: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import socket
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from samovar.guest.reactor import Callback

MAX_HEAD_BYTES = 1280 * 1024
"""Request line and headers, or trailers. AWS's clients send error causes of up to 1 MiB in one."""
MAX_CHUNK_LINE_BYTES = 4096
_SMALL_BYTES = 256 * 1024
"""Up to here a copy into one buffer is cheaper than a second system call."""
_received = memoryview(bytearray(256 * 1024))
"""One for all connections: to allocate so much for each call costs more than the call."""
_HEX = frozenset("0123456789abcdefABCDEF")


class BadRequestError(Exception):
    """What came is not HTTP, or over a bound; the connection cannot go on."""


class BodySink(Protocol):
    """Takes a body in pieces, each time it has room."""

    @property
    def has_room(self) -> bool:
        """Whether more may be written."""

    def when_room(self, callback: Callback) -> None:
        """Call once, as soon as there is room again; at once if there is."""

    def write(self, data: bytes | bytearray) -> None:
        """Take the next piece."""

    def flush(self) -> None:
        """This is all that there is for now."""


class Request:
    """One request. `too_large`: its body was over the bound, and is not here. `sink`: has taken it,
    so it is not here either."""

    def __init__(self, method: str, path: str, headers: dict[str, str], keep_alive: bool) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.keep_alive = keep_alive
        self.body = bytearray()
        self.trailers: dict[str, str] = {}
        self.too_large = False
        self.sink: BodySink | None = None


def _no_sink(request: Request) -> BodySink | None:
    return None


class Connection:
    """One client. Its owner calls `receive` when there is something to read, `send` when there is
    room and `unsent`, and closes it when either returns False, or after its last answer."""

    def __init__(
        self,
        sock: socket.socket,
        max_body_bytes: int,
        sink_for: Callable[[Request], BodySink | None] = _no_sink,
    ) -> None:
        sock.setblocking(False)
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self._max_body_bytes = max_body_bytes
        self._sink_for = sink_for
        self._incoming = bytearray()
        self._outgoing: deque[memoryview] = deque()
        self._request: Request | None = None
        self._step: Callable[[], bool] = self._read_head
        self._body_left = 0
        self._ready = False
        self.keep_alive = True
        """Whether it goes on after the answer that is due, or was the last."""
        self.answered = True
        """Whether nobody owes it an answer."""

    @property
    def unsent(self) -> bool:
        """Whether a part of an answer waits for room."""
        return bool(self._outgoing)

    @property
    def in_stream(self) -> bool:
        """Whether a sink has a part of a body, and not yet all of it."""
        return self._sink is not None

    @property
    def waits_for(self) -> BodySink | None:
        """The sink without room, if there is one: it is of no use to `receive` before it has."""
        return self._sink if self._sink and not self._sink.has_room else None

    @property
    def _sink(self) -> BodySink | None:
        return self._request.sink if self._request else None

    # ------------------------------------------------------------ reading

    def receive(self) -> bool:
        """Take in what has come; False at the end of the stream, or if it is broken."""
        try:
            count = self.sock.recv_into(_received)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._incoming += _received[:count]
        # While an answer is due, only what a client may have sent ahead.
        return bool(count) and (self.answered or len(self._incoming) <= MAX_HEAD_BYTES)

    def next_request(self) -> Request | None:
        """Return a request that is whole; its answer is then due. Raises `BadRequestError`."""
        if not self.answered or self.unsent:
            return None
        try:
            while not self._ready:
                if not self._step():
                    return None
        finally:
            if self._sink:
                self._sink.flush()
        request, self._request = self._request, None
        self._ready, self._step = False, self._read_head
        self.answered = False
        assert request is not None
        self.keep_alive = request.keep_alive
        return request

    def _read_head(self) -> bool:
        end = self._incoming.find(b"\r\n\r\n")
        if end < 0:
            if len(self._incoming) > MAX_HEAD_BYTES:
                raise BadRequestError("headers are too large")
            return False
        lines = bytes(self._incoming[:end]).decode("latin-1").lstrip("\r\n").split("\r\n")
        del self._incoming[: end + 4]
        words = lines[0].split(" ")
        if len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
            raise BadRequestError("malformed request line")
        headers = _parse_fields(lines[1:])
        connection = headers.get("connection", "").lower()
        keep_alive = "close" not in connection and (
            words[2] == "HTTP/1.1" or "keep-alive" in connection
        )
        self._request = Request(words[0], words[1], headers, keep_alive)
        self._expect_body(headers)
        self._request.sink = self._sink_for(self._request)
        return True

    def _expect_body(self, headers: Mapping[str, str]) -> None:
        coding = headers.get("transfer-encoding", "").strip().lower()
        length = headers.get("content-length", "0").strip()
        if coding and coding != "chunked":
            raise BadRequestError(f"transfer coding {coding[:64]}")
        if not (length.isascii() and length.isdigit() and len(length) < 19):
            raise BadRequestError("malformed Content-Length")
        if coding and "content-length" in headers:
            raise BadRequestError("both a length and chunks")
        if headers.get("expect", "").lower() == "100-continue" and (coding or length != "0"):
            self._outgoing.append(memoryview(b"HTTP/1.1 100 Continue\r\n\r\n"))
            self.send()
        if coding:
            self._step = self._read_chunk_size
        else:
            self._body_left = int(length)
            self._step = self._read_body

    def _read_body(self) -> bool:
        self._ready = self._take_body()
        return self._ready

    def _take_body(self) -> bool:
        """Move what is there of `_body_left` bytes; return whether that was all."""
        request = self._request
        assert request is not None
        incoming = self._incoming
        count = min(len(incoming), self._body_left)
        if request.sink:
            if not request.sink.has_room:
                return False
            request.sink.write(incoming[:count])
            del incoming[:count]
            self._body_left -= count
            return not self._body_left
        if len(request.body) + self._body_left > self._max_body_bytes:
            request.too_large = True
            request.body.clear()
        if count == len(incoming) and not request.body and not request.too_large:
            request.body, self._incoming = incoming, bytearray()
        else:
            if not request.too_large:
                request.body += incoming[:count]
            del incoming[:count]
        self._body_left -= count
        return not self._body_left

    def _read_chunk_size(self) -> bool:
        line = self._take_line()
        if line is None:
            return False
        size = line.partition(";")[0].strip()
        if not size or len(size) > 15 or not _HEX.issuperset(size):
            raise BadRequestError("malformed chunk")
        self._body_left = int(size, 16)
        self._step = self._read_chunk if self._body_left else self._read_trailer
        return True

    def _read_chunk(self) -> bool:
        if self._body_left and not self._take_body():
            return False
        if len(self._incoming) < 2:
            return False
        if self._incoming[:2] != b"\r\n":
            raise BadRequestError("malformed chunk")
        del self._incoming[:2]
        self._step = self._read_chunk_size
        return True

    def _read_trailer(self) -> bool:
        if self._incoming[:2] == b"\r\n":
            del self._incoming[:2]
            self._ready = True
            return True
        end = self._incoming.find(b"\r\n\r\n")
        if end < 0:
            if len(self._incoming) > MAX_HEAD_BYTES:
                raise BadRequestError("trailers are too large")
            return False
        assert self._request is not None
        lines = bytes(self._incoming[:end]).decode("latin-1").split("\r\n")
        del self._incoming[: end + 4]
        self._request.trailers = _parse_fields(lines)
        self._ready = True
        return True

    def _take_line(self) -> str | None:
        end = self._incoming.find(b"\r\n", 0, MAX_CHUNK_LINE_BYTES)
        if end < 0:
            if len(self._incoming) >= MAX_CHUNK_LINE_BYTES:
                raise BadRequestError("malformed chunk")
            return None
        line = bytes(self._incoming[:end]).decode("latin-1")
        del self._incoming[: end + 2]
        return line

    # ------------------------------------------------------------ writing

    def answer(
        self,
        status: int,
        body: bytes | bytearray,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> bool:
        """Answer the request that is due; return as `send` does."""
        lines = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            f"Content-Type: {content_type}",
            f"Content-Length: {len(body)}",
        ]
        if headers:
            lines += [f"{name}: {_plain(value)}" for name, value in headers.items()]
        if not self.keep_alive:
            lines.append("Connection: close")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        if len(body) <= _SMALL_BYTES:
            self._outgoing.append(memoryview(head + body))
        else:
            self._outgoing.append(memoryview(head))
            self._outgoing.append(memoryview(body))
        self.answered = True
        return self.send()

    def refuse(self, message: bytes, content_type: str = "text/plain") -> None:
        """Say why the connection cannot go on, as far as there is room; then it is to be closed."""
        self.keep_alive = False
        self.answer(400, message, content_type)

    def send(self) -> bool:
        """Send what there is room for; False if it is broken."""
        outgoing = self._outgoing
        try:
            while outgoing:
                sent = self.sock.send(outgoing[0])
                if sent < len(outgoing[0]):
                    outgoing[0] = outgoing[0][sent:]
                else:
                    outgoing.popleft()
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True


def _parse_fields(lines: list[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequestError("malformed header")
        if name.lower() == "content-length" and "content-length" in fields:
            raise BadRequestError("two lengths")
        fields[name.lower()] = value.strip()
    return fields


def _plain(value: str) -> str:
    """A header's value: one line of ASCII, whatever a caller of the function has put into it."""
    if value.isascii() and value.isprintable():
        return value
    text = value.encode("ascii", "backslashreplace").decode()
    return "".join(char if char.isprintable() else " " for char in text)
