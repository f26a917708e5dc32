"""An HTTP/1.1 response as it comes from a server: a parser, without I/O.

Interim responses (1xx) are passed over, for nobody here asks for any; a change of protocol (101) is
none that was agreed on. What is kept is bounded: a head, and the bytes of a body that have come and
not been taken. Runs inside instances: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Fields = list[tuple[str, str]]

MAX_HEAD_BYTES = 48 * 1024
"""Of a status line and headers: with what JSON adds, a prelude for the frontend (64 KiB)."""
_MAX_LINE_BYTES = 4096
_STATUS_LINE = re.compile(r"HTTP/1\.[01] ([1-9]\d\d)(?: .*)?", re.ASCII)
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SIZE = re.compile(r"[0-9A-Fa-f]{1,15}")


class BadResponseError(Exception):
    """It is no HTTP response, or over a bound."""


class ResponseParser:
    """`feed` it what comes, `end` it when the connection does. `method` is that of the request."""

    def __init__(self, method: str) -> None:
        self._method = method
        self._incoming = bytearray()
        self._step: Callable[[], bool] = self._read_head
        self._left = 0
        self._body = bytearray()
        self.status: int | None = None
        """None until the head is there."""
        self.fields: Fields = []
        """Names in lower case."""
        self.begun = False
        """Whether anything has come."""
        self.done = False

    def feed(self, data: bytes) -> None:
        """Take in what has come. Raises `BadResponseError`."""
        self.begun = True
        self._incoming += data
        while not self.done and self._step():
            pass

    def end(self) -> None:
        """No more will come. Raises `BadResponseError` where more was to come."""
        if self._step == self._read_to_end:
            self.done = True
        elif not self.done:
            raise BadResponseError("the connection was closed before the end of the response")

    def take(self) -> bytearray:
        """The bytes of the body that have come since the last time."""
        taken, self._body = self._body, bytearray()
        return taken

    # ------------------------------------------------------------ the head

    def _read_head(self) -> bool:
        end = self._incoming.find(b"\r\n\r\n")
        if end > MAX_HEAD_BYTES or (end < 0 and len(self._incoming) > MAX_HEAD_BYTES):
            raise BadResponseError("its headers are too large")
        if end < 0:
            if self._incoming and not b"HTTP/1.".startswith(self._incoming[:7]):
                raise BadResponseError("it is no HTTP")
            return False
        lines = bytes(self._incoming[:end]).decode("latin-1").split("\r\n")
        del self._incoming[: end + 4]
        found = _STATUS_LINE.fullmatch(lines[0])
        if not found:
            raise BadResponseError("it is no HTTP")
        status = int(found[1])
        if status == 101:
            raise BadResponseError("a change of protocol, which nobody asked for")
        if status < 200:
            return True
        self.fields = [_field(line) for line in lines[1:]]
        self.status = status
        self._expect_body(status)
        return True

    def _expect_body(self, status: int) -> None:
        codings = self._values("transfer-encoding")
        lengths = set(self._values("content-length"))
        if self._method == "HEAD" or status in (204, 304):
            self.done = True
        elif codings:
            if [coding.lower() for coding in codings] != ["chunked"]:
                raise BadResponseError(f"transfer coding {codings[0][:64]}")
            self._step = self._read_size
        elif lengths:
            text = lengths.pop()
            if lengths or not (text.isascii() and text.isdigit() and len(text) < 19):
                raise BadResponseError("its Content-Length is malformed")
            self._left = int(text)
            self._step = self._read_body
            self.done = not self._left
        else:
            self._step = self._read_to_end

    def _values(self, wanted: str) -> list[str]:
        return [value for name, value in self.fields if name == wanted]

    # ------------------------------------------------------------ the body

    def _move(self) -> bool:
        """Move what is there of `_left` bytes; whether that was all."""
        count = min(self._left, len(self._incoming))
        self._body += self._incoming[:count]
        del self._incoming[:count]
        self._left -= count
        return not self._left

    def _read_body(self) -> bool:
        self.done = self._move()
        return self.done

    def _read_to_end(self) -> bool:
        self._body += self._incoming
        self._incoming.clear()
        return False

    def _read_size(self) -> bool:
        line = self._line()
        if line is None:
            return False
        size = line.partition(";")[0].strip()
        if not _SIZE.fullmatch(size):
            raise BadResponseError("a chunk is malformed")
        self._left = int(size, 16)
        self._step = self._read_chunk if self._left else self._read_trailers
        return True

    def _read_chunk(self) -> bool:
        if not self._move() or len(self._incoming) < 2:
            return False
        if self._incoming[:2] != b"\r\n":
            raise BadResponseError("a chunk is malformed")
        del self._incoming[:2]
        self._step = self._read_size
        return True

    def _read_trailers(self) -> bool:
        """They are dropped: what becomes of the response has no place for them."""
        line = self._line()
        self.done = line == ""
        return line is not None

    def _line(self) -> str | None:
        end = self._incoming.find(b"\r\n", 0, _MAX_LINE_BYTES)
        if end < 0:
            if len(self._incoming) >= _MAX_LINE_BYTES:
                raise BadResponseError("a chunk is malformed")
            return None
        line = bytes(self._incoming[:end]).decode("latin-1")
        del self._incoming[: end + 2]
        return line


def _field(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not _NAME.fullmatch(name) or "\0" in value or "\n" in value or "\r" in value:
        raise BadResponseError("a header is malformed")
    return name.lower(), value.strip(" \t")
