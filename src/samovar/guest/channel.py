"""The loop's end of the channel: blocking, one frame at a time.

`wire.FrameReader` serves a worker that reads many channels and trusts none of them. Here is one
trusted peer and a path that every invocation takes, so a small frame costs one `recv` to read and
one `send` to write.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from samovar.guest.wire import HEADER, MAX_BODY_BYTES, MAX_META_BYTES, RECV_BYTES, ProtocolError

if TYPE_CHECKING:
    import socket

    from samovar.guest.wire import Meta

_SMALL_BYTES = 64 * 1024
"""Up to here a copy into one buffer is cheaper than a second system call."""

_parse = json.JSONDecoder().raw_decode
_unpack = HEADER.unpack_from
_pack = HEADER.pack
_HEADER_BYTES = HEADER.size


class ChannelClosedError(Exception):
    """The worker has closed the channel: the instance's life is over."""


class Channel:
    """Reads and writes whole frames. `ChannelClosedError` at the end, `OSError` if it is broken."""

    def __init__(self, sock: socket.socket) -> None:
        self._recv = sock.recv
        self._recv_into = sock.recv_into
        self._sendall = sock.sendall
        self._rest = b""

    def read(self) -> tuple[int, Meta, bytes | bytearray]:
        """Wait for one frame: `(kind, meta, body)`."""
        data = self._rest or self._receive()
        while len(data) < _HEADER_BYTES:
            data += self._receive()
        kind, meta_bytes, body_bytes = _unpack(data)
        if meta_bytes > MAX_META_BYTES or body_bytes > MAX_BODY_BYTES:
            raise ProtocolError(f"frame of {meta_bytes} + {body_bytes} bytes")
        body_at = _HEADER_BYTES + meta_bytes
        end = body_at + body_bytes
        while len(data) < body_at:
            data += self._receive()
        meta: Meta = _parse(str(data[_HEADER_BYTES:body_at], "utf-8"))[0] if meta_bytes else {}
        if len(data) < end:
            self._rest = b""
            return kind, meta, self._receive_body(data[body_at:], body_bytes)
        self._rest = data[end:]
        return kind, meta, data[body_at:end]

    def write(self, kind: int, meta: bytes, body: bytes | bytearray) -> None:
        """Send one frame; `meta` is JSON text already, or empty."""
        head = _pack(kind, len(meta), len(body)) + meta
        if len(body) <= _SMALL_BYTES:
            self._sendall(head + body)
        else:
            self._sendall(head)
            self._sendall(body)

    def _receive(self) -> bytes:
        data = self._recv(RECV_BYTES)
        if not data:
            raise ChannelClosedError
        return data

    def _receive_body(self, start: bytes, count: int) -> bytearray:
        # An event may be 6 MB in an instance of 128 MiB: it is received in place.
        body = bytearray(count)
        at = len(start)
        body[:at] = start
        with memoryview(body) as view:
            while at < count:
                received = self._recv_into(view[at:])
                if not received:
                    raise ChannelClosedError
                at += received
        return body
