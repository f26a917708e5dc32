"""An HTTP request and response as the frontend sees them: a thin layer over ASGI.

https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from samovar.model.errors import ErrorCode, PlatformError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODY_TIMEOUT_S = 60.0
"""How long a client may take to send its request."""


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
        """Read the whole body. Raises REQUEST_TOO_LARGE with the message `too_large`."""
        length = self.headers.get("content-length", "")
        if length.isdigit() and int(length) > limit_bytes:
            raise PlatformError(ErrorCode.REQUEST_TOO_LARGE, too_large)
        message = await self._receive()
        body: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            if len(body) > limit_bytes:
                raise PlatformError(ErrorCode.REQUEST_TOO_LARGE, too_large)
            return body
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                return await self._rest(bytearray(body), limit_bytes, too_large)
        except TimeoutError as error:
            raise ClientGoneError from error

    async def _rest(self, body: bytearray, limit_bytes: int, too_large: str) -> bytes:
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            body += message.get("body", b"")
            if len(body) > limit_bytes:
                raise PlatformError(ErrorCode.REQUEST_TOO_LARGE, too_large)
            more = message.get("more_body", False)
        return bytes(body)

    async def disconnected(self) -> None:
        """Return when the client has gone away."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A whole response."""

    status: int
    headers: Iterable[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    async def send(self, send: Send) -> None:
        """Write it to the client."""
        raw = [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in self.headers]
        raw.append((b"content-length", b"%d" % len(self.body)))
        await send({"type": "http.response.start", "status": self.status, "headers": raw})
        await send({"type": "http.response.body", "body": self.body})
