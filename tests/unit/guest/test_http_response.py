"""HTTP responses as servers send them, well and badly."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samovar.guest.http_response import MAX_HEAD_BYTES, BadResponseError, ResponseParser

WHOLE = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2;x\r\nab\r\n1\r\nc\r\n0\r\nT: x\r\n\r\n",
    "interim": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200\r\nContent-Length: 3\r\n\r\nabc",
    "to the end": b"HTTP/1.0 200 OK\r\n\r\nabc",
}


def parsed(data: bytes, cuts: list[int], method: str = "GET") -> tuple[ResponseParser, bytes]:
    """What comes of the bytes, cut into pieces at these places, and then the end."""
    parser, body = ResponseParser(method), b""
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for begin, end in itertools.pairwise(places):
        parser.feed(data[begin:end])
        body += parser.take()
    parser.end()
    return parser, body + bytes(parser.take())


@given(st.sampled_from(sorted(WHOLE)), st.lists(st.integers(0, 200), max_size=8))
def test_a_response_is_the_same_however_it_comes(kind, cuts):
    parser, body = parsed(WHOLE[kind], cuts)
    assert (parser.status, body, parser.done) == (200, b"abc", True)


@pytest.mark.parametrize(
    ("head", "method"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "HEAD"),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", "GET"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "GET"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "GET"),
    ],
)
def test_some_responses_have_no_body(head, method):
    parser, body = parsed(head, [], method)
    assert (parser.done, body) == (True, b"")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"SSH-2.0\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 099 x\r\n\r\n",
        b"HTTP/1.1 20x\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA b: c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: \0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 16 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\naXX",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 5000,
        b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * MAX_HEAD_BYTES,
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
def test_what_is_no_whole_response_is_an_error(data):
    with pytest.raises(BadResponseError):
        parsed(data, [])


@given(st.binary(max_size=300))
def test_any_bytes_are_a_response_or_an_error(data):
    for start in (
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ):
        try:
            parser, _ = parsed(start + data, [7])
        except BadResponseError:
            continue
        assert parser.done
