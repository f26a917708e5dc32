"""The Runtime API's HTTP: requests, however their bytes arrive, and bounds on all of them."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from samovar.guest.http_connection import BadRequestError, Connection, Request

GET = b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nContent-Length: 5\r\nX-Y:  z \r\n\r\nhello"
CHUNKS = (
    b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nX-End: yes\r\n\r\n"
)


@pytest.fixture
def ends() -> Iterator[tuple[Connection, socket.socket]]:
    """A connection that takes bodies of 10 bytes, and its client."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=10)
        ours, _ = listener.accept()
    with client, ours:
        yield Connection(ours, max_body_bytes=10), client


def receive(ends, data: bytes) -> list[Request]:
    """Send; return the requests that came of it, each answered."""
    connection, client = ends
    client.sendall(data)
    connection.sock.setblocking(True)
    connection.sock.recv(len(data), socket.MSG_PEEK | socket.MSG_WAITALL)
    connection.sock.setblocking(False)
    assert connection.receive()
    requests = []
    while request := connection.next_request():
        requests.append(request)
        connection.answer(200, b"ok")
    return requests


@pytest.mark.parametrize("data", [GET, POST, CHUNKS], ids=["get", "length", "chunks"])
def test_a_request_is_the_same_in_one_piece_and_in_many(ends, data):
    connection, client = ends
    (whole,) = receive(ends, data)
    for byte in data[:-1]:
        client.sendall(bytes([byte]))
        connection.sock.setblocking(True)
        assert connection.receive()
        assert connection.next_request() is None
    (pieces,) = receive(ends, data[-1:])
    assert vars(pieces) == vars(whole)


def test_bodies_headers_and_trailers_are_read(ends):
    post, chunks = receive(ends, POST + CHUNKS)
    assert (post.method, post.path, post.body, post.headers["x-y"]) == ("POST", "/a", b"hello", "z")
    assert (chunks.body, chunks.trailers) == (b"hello", {"x-end": "yes"})


@pytest.mark.parametrize(
    "data",
    [
        b"POST /a HTTP/1.1\r\nContent-Length: 11\r\n\r\nhello world",
        b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n",
    ],
)
def test_a_body_over_the_bound_is_dropped_and_the_next_request_is_read(ends, data):
    large, small = receive(ends, data + POST)
    assert (large.too_large, large.body) == (True, b"")
    assert (small.too_large, small.body) == (False, b"hello")


def test_a_client_that_expects_100_is_told_to_go_on(ends):
    client = ends[1]
    assert receive(ends, POST.replace(b"X-Y:  z", b"Expect: 100-continue")[:-5]) == []
    assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    (request,) = receive(ends, b"hello")
    assert request.body == b"hello"


def test_a_header_is_one_line_of_ascii_whatever_is_put_into_it(ends):
    connection, client = ends
    client.sendall(GET)
    connection.sock.setblocking(True)
    assert connection.receive()
    assert connection.next_request()
    connection.answer(200, b"", headers={"A": "x\r\nSet-Cookie: evil\0", "B": "tëa"})
    assert client.recv(1000).split(b"\r\n")[3:] == [
        b"A: x  Set-Cookie: evil ", b"B: t\\xeba", b"", b"",
    ]  # fmt: skip


@pytest.mark.parametrize("version", [b"HTTP/1.0\r\n", b"HTTP/1.1\r\nConnection: close\r\n"])
def test_a_client_that_wants_no_more_is_let_go(ends, version):
    connection, client = ends
    client.sendall(b"GET / " + version + b"\r\n")
    connection.sock.setblocking(True)
    assert connection.receive()
    assert connection.next_request()
    assert connection.answer(200, b"")
    assert not connection.keep_alive


@pytest.mark.parametrize(
    "data",
    [
        b"GET /\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 5000,
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n",
    ],
)
def test_what_is_no_http_is_refused(ends, data):
    with pytest.raises(BadRequestError):
        receive(ends, data)
