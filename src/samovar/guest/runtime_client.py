"""A client of the Runtime API: one connection, and no more HTTP than our own server speaks.

The answer to one event and the question for the next go out in one piece: the server looks at the
second when it has answered the first.

Runs in a function's process: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import os
import socket
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from samovar.guest.wire import Meta

_API = "/2018-06-01/runtime"
_RECV_BYTES = 64 * 1024
_NEXT = f"GET {_API}/invocation/next HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
_HEADERS = {
    b"lambda-runtime-client-context": "client_context",
    b"lambda-runtime-cognito-identity": "cognito_identity",
    b"lambda-runtime-trace-id": "trace_id",
    b"lambda-runtime-aws-tenant-id": "tenant_id",
}


def connect(address: str, fd: int) -> socket.socket:
    """Return a connection to the Runtime API: the one that is open as `fd`, or, where a wrapper has
    not passed that on, a new one to `address` (AWS_LAMBDA_RUNTIME_API)."""
    try:
        inherited = stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        inherited = False
    if inherited:
        sock = socket.socket(fileno=fd)
    else:
        host, _, port = address.rpartition(":")
        sock = socket.create_connection((host, int(port)))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.set_inheritable(False)
    return sock


class RuntimeApiError(Exception):
    """The server has gone, or says what it should not."""


class RuntimeClient:
    """Its calls wait; `OSError` where the connection is broken."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._recv = self._sock.recv
        self._sendall = self._sock.sendall
        self._rest = b""
        self._asked = False

    def next(self) -> tuple[Meta, bytes]:
        """Wait for an event; return what came with it (as an INVOKE frame has it) and itself."""
        if not self._asked:
            self._sendall(_NEXT)
            self._asked = True
        status, headers, body = self._read()
        if status != b"200":
            raise RuntimeApiError(f"status {status.decode()}: {body[:1000].decode()}")
        self._asked = False
        meta: Meta = {
            "id": headers[b"lambda-runtime-aws-request-id"].decode(),
            "arn": headers[b"lambda-runtime-invoked-function-arn"].decode(),
            "deadline_ms": int(headers[b"lambda-runtime-deadline-ms"]),
        }
        for name, key in _HEADERS.items():
            if name in headers:
                meta[key] = headers[name].decode()
        return meta, body

    def respond(self, request_id: str, body: bytes) -> None:
        """Answer an event, and ask for the next."""
        head = (
            f"POST {_API}/invocation/{request_id}/response HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._answer(head, body)

    def fail(self, request_id: str, error_type: str, body: bytes) -> None:
        """Say that the function has failed on an event, and ask for the next."""
        self._answer(_error_head(f"/invocation/{request_id}/error", error_type, body), body)

    def fail_init(self, error_type: str, body: bytes) -> None:
        """Say that init has failed."""
        self._sendall(_error_head("/init/error", error_type, body).encode() + body)
        self._read()

    def _answer(self, head: str, body: bytes) -> None:
        self._sendall(head.encode() + body + _NEXT)
        self._asked = True
        # Accepted or refused: the server has told the worker what came of it.
        self._read()

    def _read(self) -> tuple[bytes, dict[bytes, bytes], bytes]:
        data = self._rest or self._receive()
        end = data.find(b"\r\n\r\n")
        while end < 0:
            data += self._receive()
            end = data.find(b"\r\n\r\n")
        first, *lines = data[:end].split(b"\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(b": ")
            headers[name.lower()] = value
        body_end = end + 4 + int(headers[b"content-length"])
        if len(data) < body_end:
            buffer = bytearray(data)
            while len(buffer) < body_end:
                buffer += self._receive()
            data = bytes(buffer)
        self._rest = data[body_end:]
        return first[9:12], headers, data[end + 4 : body_end]

    def _receive(self) -> bytes:
        data = self._recv(_RECV_BYTES)
        if not data:
            raise RuntimeApiError("the Runtime API has closed the connection")
        return data


def _error_head(where: str, error_type: str, body: bytes) -> str:
    plain = "".join(char if " " <= char <= "~" else "?" for char in error_type)
    return (
        f"POST {_API}{where} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Lambda-Runtime-Function-Error-Type: {plain}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
