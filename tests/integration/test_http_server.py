"""The HTTP server: slow clients are bounded, quick ones get one packet."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from samovar.frontend.client_stream import ClientStream
from samovar.http_server import MAX_HEAD_BYTES, HttpServer


async def echo(scope, receive, send):
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message.get("body", b""), message.get("more_body", False)
    length = str(len(body)).encode()
    headers = [(b"content-length", length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextlib.asynccontextmanager
async def serving(application=echo, **limits):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = HttpServer(application, **limits)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        yield listener.getsockname()
        server.should_exit = True
        await task


@pytest.fixture
async def address():
    async with serving(request_limit_s=0.1) as address:
        yield address


@contextlib.asynccontextmanager
async def connected(address):
    reader, writer = await asyncio.open_connection(*address, limit=1 << 20)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"POST / HTTP/1.1\r\nHost: x\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabc",
    ],
    ids=["nothing", "half a head", "half a body"],
)
async def test_a_request_that_never_ends_ends_its_connection(address, sent):
    async with connected(address) as (reader, writer):
        writer.write(sent)
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionResetError):
                await reader.read(-1)  # returns at the end of the connection


async def test_so_does_a_second_request_that_never_ends(address):
    async with connected(address) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na")
        await reader.readuntil(b"\r\n\r\na")
        writer.write(b"POST / HTTP/1.1\r\n")
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionResetError):
                await reader.read(-1)


@pytest.mark.parametrize("begun", [b"GET /", b"GET / HTTP/1.1\r\nHost: x\r\nX: "])
async def test_a_head_without_end_is_refused(begun):
    async with serving() as address, connected(address) as (reader, writer):
        writer.write(begun + b"a" * 2 * MAX_HEAD_BYTES)
        async with asyncio.timeout(20):
            assert (await reader.readline()).startswith(b"HTTP/1.1 400")


async def test_a_connection_between_two_requests_stays(address):
    async with connected(address) as (reader, writer):
        for body in (b"a", b"b"):
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n" + body)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(1) == body
            async with connected(address) as (stalled, _):  # longer than the limit
                async with asyncio.timeout(20):
                    with contextlib.suppress(ConnectionResetError):
                        await stalled.read(-1)


async def test_pipelined_requests_are_answered_in_order(address):
    request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n"
    async with connected(address) as (reader, writer):
        writer.write(b"".join(request + body for body in (b"1", b"2", b"3")))
        for body in (b"1", b"2", b"3"):
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(1) == body


# ---------------------------------------------------------------- streams

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
PART = b"x" * 65536


class Streaming:
    """An application that streams parts without end, or so many of them."""

    def __init__(self, parts=None, *, cut=False):
        self.parts = parts
        self.cut = cut
        self.sent = 0
        self.over = asyncio.Event()

    async def __call__(self, scope, receive, send):
        stream = ClientStream(send)
        await stream.begin(200, [("x-a", "b")])
        while self.sent != self.parts:
            await stream.write(PART)
            self.sent += 1
            await asyncio.sleep(0)
        if not self.cut:
            await stream.end()
        self.over.set()


async def test_a_stream_arrives_whole_and_the_connection_stays():
    async with serving(Streaming(parts=3)) as address, connected(address) as (reader, writer):
        writer.write(GET)
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"transfer-encoding: chunked\r\n" in head
        body = await reader.readuntil(b"\r\n0\r\n\r\n")
        assert body.count(b"x") == 3 * len(PART)
        writer.write(GET)
        await reader.readuntil(b"\r\n0\r\n\r\n")


async def test_a_stream_that_is_not_ended_is_cut_off_and_that_is_no_error(capfd, caplog):
    application = Streaming(parts=2, cut=True)
    async with serving(application) as address, connected(address) as (reader, writer):
        writer.write(GET)
        async with asyncio.timeout(20):
            body = await reader.read(-1)
        assert body.count(b"x") == 1 + 2 * len(PART)  # with that of its own header
        assert not body.endswith(b"0\r\n\r\n")
    assert (caplog.records, capfd.readouterr().err) == ([], "")


async def test_a_client_that_does_not_read_makes_the_stream_wait():
    application = Streaming()
    async with serving(application) as address, connected(address) as (reader, writer):
        writer.write(GET)
        await reader.readuntil(b"\r\n\r\n")
        before = -1
        while application.sent != before:  # until the sockets are full
            before = application.sent
            async with connected(address) as (other, _):
                other.feed_eof()
                for _ in range(1000):
                    await asyncio.sleep(0)
        assert application.sent * len(PART) < 64 << 20
        writer.transport.abort()
        application.parts = application.sent + 1000
        async with asyncio.timeout(20):
            await application.over.wait()  # the rest is thrown away


async def test_a_client_that_never_reads_is_cut_off():
    application = Streaming(parts=10_000)  # far more than sockets hold
    async with serving(application, request_limit_s=0.1) as address:
        with socket.create_connection(address) as client:
            client.sendall(GET)
            async with asyncio.timeout(20):
                await application.over.wait()
