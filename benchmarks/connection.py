"""HTTP as cheap as it can be, so that what is timed is the server: prebuilt requests, raw sockets.

Nothing here is general: responses must carry a Content-Length or be chunked, and connections are
kept alive.
"""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

TIMEOUT_S = 60.0
_BUFFER_BYTES = 64 * 1024

AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/lambda/aws4_request, "
    "SignedHeaders=host, Signature=0"
)
"""The shape is enough: signatures are not verified, but they must be there."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens."""

    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Address:
        """From `http://HOST:PORT`."""
        host, _, port = url.removeprefix("http://").rstrip("/").rpartition(":")
        return cls(host, int(port))

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return f"http://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response."""

    raw_head: bytes
    body: bytes

    @property
    def status(self) -> int:
        """200, …"""
        return int(self.raw_head[9:12])

    def header(self, name: str) -> str:
        """A header's value; empty where there is none."""
        wanted = name.lower().encode()
        for line in self.raw_head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.strip().lower() == wanted:
                return value.strip().decode("latin-1")
        return ""

    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body or b"null")

    def expect(self, *statuses: int) -> Answer:
        """Itself, if the status is one of these; else raises `UnexpectedAnswerError`."""
        if self.status not in (statuses or (200,)):
            raise UnexpectedAnswerError(
                f"{self.raw_head.splitlines()[0].decode()}: {self.body[:500]!r}"
            )
        return self

    def expect_header(self, name: str, start: str) -> Answer:
        """Itself, if a header's value begins so; else raises `UnexpectedAnswerError`."""
        if not self.header(name).startswith(start):
            raise UnexpectedAnswerError(f"{name} is {self.header(name)!r}, not {start}…")
        return self


class UnexpectedAnswerError(Exception):
    """A server said something else than the benchmark is about."""


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """A request, ready to be sent. Underscores in header names stand for hyphens."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: {AUTHORIZATION}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body or method in ("POST", "PUT"):
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Connection:
    """One kept-alive connection. One request at a time."""

    def __init__(self, address: Address) -> None:
        self._socket = socket.create_connection((address.host, address.port), TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *failure: object) -> None:
        self._socket.close()

    def fileno(self) -> int:
        """For selectors."""
        return self._socket.fileno()

    def send(self, raw_request: bytes) -> None:
        """Send a whole request."""
        self._socket.sendall(raw_request)

    def read(self) -> bytes:
        """Read once, whatever is there of an answer."""
        chunk = self._socket.recv(_BUFFER_BYTES)
        if not chunk:
            raise UnexpectedAnswerError(f"the server hung up after {self._received[:200]!r}")
        return chunk

    def receive(self) -> Answer | None:
        """Read once; the answer, if it is complete now."""
        self._received += self.read()
        answer = _complete(self._received)
        if answer is not None:
            self._received = b""
        return answer

    def exchange(self, raw_request: bytes) -> Answer:
        """Send a request, and wait for its answer."""
        self.send(raw_request)
        answer = self.receive()
        while answer is None:
            answer = self.receive()
        return answer


def _complete(received: bytes) -> Answer | None:
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return None
    lowered = head.lower()
    start = lowered.find(b"\r\ncontent-length:")
    if start >= 0:
        length = int(lowered[start + 17 :].partition(b"\r\n")[0])
        return Answer(head, body) if len(body) >= length else None
    if b"\r\ntransfer-encoding: chunked" in lowered:
        return Answer(head, _unchunk(body)) if body.endswith(b"0\r\n\r\n") else None
    return Answer(head, b"")  # 204


def _unchunk(body: bytes) -> bytes:
    parts = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size.partition(b";")[0], 16)
        parts.append(rest[:length])
        body = rest[length + 2 :] if length else b""
    return b"".join(parts)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request of `drive`. Times are seconds since its start."""

    sent_s: float
    done_s: float
    answer: Answer


def drive(connections: Sequence[Connection], requests: Sequence[bytes]) -> list[Exchange]:
    """Send all requests, each connection taking the next one as soon as it is free.

    With as many connections as requests that is a burst: all are sent at once. In the order in
    which answers came."""
    exchanges: list[Exchange] = []
    waiting = iter(requests)
    sent_s: dict[Connection, float] = {}
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection, selectors.EVENT_READ, connection)
        start = time.perf_counter()
        for connection, raw_request in zip(connections, waiting, strict=False):
            sent_s[connection] = time.perf_counter() - start
            connection.send(raw_request)
        while len(exchanges) < len(requests):
            ready = selector.select(TIMEOUT_S)
            if not ready:
                raise UnexpectedAnswerError(f"no answer for {TIMEOUT_S:.0f} s")
            for key, _ in ready:
                connection = key.data
                answer = connection.receive()
                if answer is None:
                    continue
                now = time.perf_counter() - start
                exchanges.append(Exchange(sent_s[connection], now, answer))
                raw_request = next(waiting, b"")
                if raw_request:
                    sent_s[connection] = now
                    connection.send(raw_request)
    return exchanges
