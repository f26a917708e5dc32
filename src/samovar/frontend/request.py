"""An HTTP request and response as the frontend sees them: a thin layer over ASGI.

https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

import msgspec

from samovar.model.errors import ErrorCode, PlatformError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


MAX_LENGTH_DIGITS = 16
BODILESS = (204, 304)
"""Statuses whose responses end with their headers (RFC 9112, 6.3)."""


class ClientGoneError(Exception):
    """The client closed its connection before its request was complete."""


class Request:
    """One request. Header names are lower case."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.method: str = scope["method"]
        self.raw_path: str = scope["raw_path"].decode("latin-1")
        """Percent-encoded, without the query."""
        self.query_string: str = scope["query_string"].decode("latin-1")
        self.client: str = (scope.get("client") or ("", 0))[0]
        self._raw_headers: list[tuple[bytes, bytes]] = scope["headers"]
        self._headers: dict[str, str] | None = None
        self._receive = receive

    @property
    def headers(self) -> dict[str, str]:
        """Headers by lower-case name; repeated ones joined by commas."""
        if self._headers is None:
            self._headers = {}
            for raw_name, raw_value in self._raw_headers:
                name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
                before = self._headers.get(name)
                self._headers[name] = value if before is None else f"{before},{value}"
        return self._headers

    @property
    def query(self) -> dict[str, list[str]]:
        """Query parameters, decoded."""
        if not self.query_string:
            return {}
        return parse_qs(self.query_string, keep_blank_values=True)

    async def body(self, limit_bytes: int, too_large: str) -> bytes:
        """Read the whole body. How long that may take is the HTTP server's to bound.

        Raises REQUEST_TOO_LARGE with the message `too_large`, and `ClientGoneError`."""
        length = self.headers.get("content-length", "")
        if length.isdecimal() and (len(length) > MAX_LENGTH_DIGITS or int(length) > limit_bytes):
            raise PlatformError(ErrorCode.REQUEST_TOO_LARGE, too_large)
        parts: list[bytes] = []
        size_bytes = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            part: bytes = message.get("body", b"")
            size_bytes += len(part)
            if size_bytes > limit_bytes:
                raise PlatformError(ErrorCode.REQUEST_TOO_LARGE, too_large)
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts) if len(parts) > 1 else part

    async def disconnected(self) -> None:
        """Return when the client has gone away."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


class HttpResponse(msgspec.Struct, frozen=True):
    """A whole response."""

    status: int
    headers: Iterable[tuple[str, str]] = ()
    body: bytes = b""

    async def send(self, send: Send) -> None:
        """Write it to the client."""
        raw = [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in self.headers]
        body = b"" if self.status in BODILESS else self.body
        if self.status not in BODILESS:
            raw.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": self.status, "headers": raw})
        await send({"type": "http.response.body", "body": body})
