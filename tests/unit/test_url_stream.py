"""Streams to a function URL: the prelude, the body, and the ways in which both can fail."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samovar.frontend.url_stream import INTEGRATION, MAX_PRELUDE_BYTES, UrlSink
from samovar.model.invocation import Outcome
from tests.unit.known_functions import front_door

URL = "/_samovar/url/f/"
NULS = bytes(8)


def streams(*parts, content_type=INTEGRATION, **more):
    async def on_stream(sink):
        await sink.begin(content_type)
        for part in parts:
            await sink.write(part)
        return Outcome(b"", **more)

    return on_stream


def prelude(**members):
    return json.dumps(members).encode() + NULS


async def answer_to(*parts, method="GET", **more):
    async with front_door() as door:
        door.worker.on_stream = streams(*parts, **more)
        return await door.ask(method, URL, signed=False)


def refused(answer):
    """Whether it is our 502, whole."""
    body = b'{"Message": "Internal Server Error"}'
    return (answer.status, answer.body, answer.complete) == (502, body, True)


async def test_the_prelude_is_the_head_and_what_follows_the_body():
    head = prelude(statusCode=201, headers={"X-A": "1", "Content-Type": "a/b"}, cookies=["c=1"])
    answer = await answer_to(head + b"bo", b"dy")
    assert (answer.status, answer.body, answer.complete) == (201, b"body", True)
    assert (answer["x-a"], answer["content-type"], answer["set-cookie"]) == ("1", "a/b", "c=1")
    assert answer["x-samovar-start"].startswith("cold")
    assert len(answer["x-amzn-requestid"]) == 36


async def test_a_prelude_may_be_empty():
    answer = await answer_to(prelude() + b"x")
    assert (answer.status, answer["content-type"]) == (200, "application/octet-stream")


@given(st.lists(st.integers(0, 100)))
async def test_a_prelude_may_come_in_any_pieces(cuts):
    whole = prelude(statusCode=404, headers={"a": "b"}) + b"\0\0 body \0\0"
    edges = [0, *sorted(cut % len(whole) for cut in cuts), len(whole)]
    parts = [whole[a:b] for a, b in itertools.pairwise(edges)]
    sent = []

    async def send(message):
        sent.append(message)

    sink = UrlSink(send, "r")
    await sink.begin(INTEGRATION)
    for part in parts:
        await sink.write(part)
    assert await sink.finish(failed=False) is None
    assert sent[0]["status"] == 404
    assert b"".join(message["body"] for message in sent[1:]) == b"\0\0 body \0\0"


@pytest.mark.parametrize(
    ("content_type", "sent"),
    [("text/html", "text/html"), (None, "application/octet-stream")],
)
async def test_another_stream_is_a_200_of_its_own_type(content_type, sent):
    answer = await answer_to(b"{}" + NULS, b"x", content_type=content_type)
    assert (answer.status, answer["content-type"]) == (200, sent)
    assert answer.body == b"{}" + NULS + b"x"


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b"{}"],
        [b"{}" + NULS[1:]],
        [NULS],
        [b"[]" + NULS, b"body"],
        [b"{" + NULS],
        [b"\xff" + NULS],
        [b"[" * 60_000 + NULS],
        [prelude(statusCode=100)],
        [prelude(statusCode="abc")],
        [prelude(statusCode=None)],
        [prelude(headers={"a": "x\r\nset-cookie: b"})],
        [prelude(headers=[1])],
        [prelude(cookies="a=1")],
        [b" " * (MAX_PRELUDE_BYTES + 1) + b"{}" + NULS],
        [b" " * 60_000, b" " * 60_000, b" " * 60_000],
    ],
)
async def test_a_prelude_that_is_none_is_a_502(parts):
    assert refused(await answer_to(*parts))


@pytest.mark.parametrize("kind", ["a/b\r\nx: y", "a/" + "b" * 60_000, "a/\u20ac"])
async def test_a_content_type_that_http_cannot_carry_is_a_502(kind):
    assert refused(await answer_to(b"x", content_type=kind))


async def test_a_request_for_the_head_gets_a_head():
    answer = await answer_to(prelude(statusCode=201) + b"body", method="HEAD")
    assert (answer.status, answer.complete) == (201, True)


async def test_headers_that_are_ours_are_not_the_functions():
    names = ("Content-Length", "Transfer-Encoding", "Connection", "X-Amzn-RequestId")
    answer = await answer_to(prelude(headers=dict.fromkeys(names, "7")) + b"x")
    assert "7" not in dict(answer.headers).values()


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_a_body_is_sent_without_one(status):
    answer = await answer_to(prelude(statusCode=status) + b"HTTP/1.1 200 OK", b"more")
    assert (answer.status, answer.body, answer.complete) == (status, b"", True)


async def test_a_failure_in_mid_stream_cuts_the_response_off():
    answer = await answer_to(prelude() + b"some", function_error="Unhandled")
    assert (answer.status, answer.body, answer.complete) == (200, b"some", False)


@pytest.mark.parametrize("parts", [[], [b"{"]])
async def test_a_failure_before_the_body_is_a_502(parts):
    assert refused(await answer_to(*parts, function_error="Unhandled"))
