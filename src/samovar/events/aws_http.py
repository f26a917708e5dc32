"""How requests to services get out: aiohttp, for aiobotocore.

aiobotocore's own would follow a redirect to any host, and take an answer of any size. What a
service answers is not to be trusted that far. Import it lazily: aiohttp takes its time.
"""

from __future__ import annotations

from typing import Any

import aiohttp
from aiobotocore.awsrequest import AioAWSResponse
from botocore.exceptions import (
    ConnectionClosedError,
    EndpointConnectionError,
    HTTPClientError,
    ReadTimeoutError,
)
from yarl import URL

MAX_ANSWER_BYTES = 32 * 1024 * 1024
"""Kinesis' 10 MB of records in base64 is the largest answer that there is."""

REQUEST_LIMIT_S = 60.0
"""From the wait for a connection to the last byte of the answer."""


class AwsHttpSession:
    """What aiobotocore asks of an HTTP session. Proxies and client certificates are not used."""

    def __init__(
        self,
        verify: bool = True,
        timeout: tuple[float, float] = (10.0, 30.0),
        max_pool_connections: int = 10,
        **_: Any,
    ) -> None:
        self._verify = verify
        connect_s, read_s = timeout
        self._timeout = aiohttp.ClientTimeout(
            total=REQUEST_LIMIT_S, connect=connect_s, sock_read=read_s
        )
        self._connections = max_pool_connections
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> AwsHttpSession:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of every connection. Idempotent."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        """On the loop of whoever sends first, which need not be the one that this was made on."""
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections, ssl=self._verify),
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=["Content-Type", "User-Agent"],
            auto_decompress=False,
        )

    async def send(self, request: Any) -> AioAWSResponse:
        """Send a prepared request; return when its answer is here. Raises botocore's errors."""
        session = self._session = self._session or self._open()
        url = request.url
        try:
            async with session.request(
                request.method,
                URL(url, encoded=True),
                headers=_headers(request),
                data=request.body,
                allow_redirects=False,
            ) as answer:
                if 300 <= answer.status < 400:  # botocore would follow some, and go in circles
                    raise ValueError("a redirect, which is not followed")
                body = await _read(answer)
                headers = {
                    name.decode().lower(): value.decode("latin-1")
                    for name, value in answer.raw_headers
                }
                return AioAWSResponse(url, answer.status, headers, _Body(body))
        except TimeoutError as error:
            raise ReadTimeoutError(endpoint_url=url, error=error) from error
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError) as error:
            raise ConnectionClosedError(endpoint_url=url, error=error) from error
        except (aiohttp.ClientConnectionError, OSError) as error:
            raise EndpointConnectionError(endpoint_url=url, error=error) from error
        except (aiohttp.ClientError, ValueError) as error:
            raise HTTPClientError(error=error) from error


class _Body:
    """An answer's body, as botocore reads it."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def read(self) -> bytes:
        return self._content


def _headers(request: Any) -> dict[str, str]:
    headers = {
        name: value.decode("latin-1") if isinstance(value, bytes) else str(value)
        for name, value in request.headers.items()
    }
    return headers | {"Accept-Encoding": "identity"}


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for part in answer.content.iter_any():
        body += part
        if len(body) > MAX_ANSWER_BYTES:
            answer.close()
            raise ValueError(f"the answer has more than {MAX_ANSWER_BYTES} bytes")
    return bytes(body)
