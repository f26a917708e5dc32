"""An endpoint that gives one answer to everything."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


@contextlib.asynccontextmanager
async def answering(*parts: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """An endpoint that gives this answer, or none: its URL, and the heads of its requests."""
    heads: list[bytes] = []
    open_: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            for part in parts:
                writer.write(part)
                await writer.drain()
            if not parts:
                await reader.read()
        writer.close()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_[asyncio.ensure_future(answer(reader, writer))] = writer

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heads
    finally:
        server.close()
        for writer in open_.values():
            writer.transport.abort()
        await asyncio.gather(*open_)
