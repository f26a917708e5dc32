"""Events as requests: the shapes beside those that real servers are asked with."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samovar.guest.web_events import UnfitEventError, answer, prelude, web_request
from samovar.model.web import web_settings

META = {"id": "1-2", "deadline_ms": 7, "arn": "arn:x"}


def web(**more: str) -> dict[str, object]:
    found = web_settings({"AWS_LWA_PORT": "8080", **more})
    assert found is not None
    return found.as_meta()


def http_api(**more: object) -> dict[str, object]:
    return {"rawPath": "/", "requestContext": {"http": {"method": "GET"}}} | more


def lines(event: object, **settings: str) -> list[str]:
    head = web_request(json.dumps(event).encode(), META, web(**settings)).head
    assert head.endswith(b"\r\n\r\n")
    return head.decode("latin-1").split("\r\n")[:-2]


def test_a_header_may_become_the_authorization():
    event = http_api(headers={"x-key": "mine", "authorization": "theirs"})
    assert "authorization: mine" in lines(event, AWS_LWA_AUTHORIZATION_SOURCE="X-Key")
    assert "authorization: theirs" in lines(event)
    assert "authorization: theirs" in lines(event, AWS_LWA_AUTHORIZATION_SOURCE="x-none")


@pytest.mark.parametrize(
    ("path", "target"),
    [("/shop", "/"), ("/shop/a", "/a"), ("/shopping", "/shopping"), ("/x/shop", "/x/shop")],
)
def test_a_base_path_is_taken_off_at_its_end(path, target):
    first = lines(http_api(rawPath=path), AWS_LWA_REMOVE_BASE_PATH="/shop")[0]
    assert first == f"GET {target} HTTP/1.1"


def test_what_is_between_neighbours_stays_there():
    event = http_api(
        headers={
            "Connection": "upgrade",
            "Upgrade": "websocket",
            "Transfer-Encoding": "chunked",
            "Content-Length": "99",
            "Expect": "100-continue",
        },
        body="abc",
    )
    sent = [line.partition(":")[0] for line in lines(event)[1:]]
    assert set(sent) == {
        "host",
        "content-length",
        "x-amzn-lambda-context",
        "x-amzn-request-context",
    }
    assert "content-length: 3" in lines(event)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
KEYS = st.sampled_from(["rawPath", "rawQueryString", "headers", "cookies", "body", "httpMethod"])


@given(st.dictionaries(KEYS, JSON), JSON, st.booleans())
def test_no_event_makes_more_than_one_request(parts, method, encoded):
    context = {"requestContext": {"http": {"method": method}}, "isBase64Encoded": encoded}
    event = json.dumps(http_api() | parts | context).encode()
    try:
        request = web_request(event, META, web())
    except UnfitEventError:
        return
    assert request.head.count(b"\r\n\r\n") == 1
    first, *fields = request.head.decode("latin-1").split("\r\n")[:-2]
    assert len(first.split(" ")) == 3
    assert all("\n" not in line and ": " in line for line in fields)


@pytest.mark.parametrize(
    ("kind", "encoding", "body", "text"),
    [
        ("text/html", None, b"tea", "tea"),
        ("application/json; charset=utf-8", None, b"{}", "{}"),
        ("application/problem+json", None, b"{}", "{}"),
        ("application/octet-stream", None, b"tea", "dGVh"),
        ("text/plain", "gzip", b"tea", "dGVh"),
        ("text/plain", None, b"\xff", "/w=="),
    ],
)
def test_text_is_text_and_all_else_base64(kind, encoding, body, text):
    request = web_request(json.dumps(http_api()).encode(), META, web())
    fields = [("content-type", kind)] + ([("content-encoding", encoding)] if encoding else [])
    result = json.loads(answer(request, 200, fields, body))
    assert (result["body"], result["isBase64Encoded"]) == (text, text not in ("tea", "{}"))


def test_a_prelude_ends_with_eight_zero_bytes():
    text = prelude(201, [("set-cookie", "a=b"), ("x", "1"), ("x", "2")])
    assert text[-8:] == bytes(8)
    head = json.loads(text[:-8])
    assert head == {"statusCode": 201, "headers": {"x": "1, 2"}, "cookies": ["a=b"]}


def test_what_is_no_json_is_no_result():
    request = web_request(b"[1]", META, web())
    assert (request.method, bytes(request.body)) == ("POST", b"[1]")
    assert answer(request, 200, [], b"<html>") == b"null"
    assert answer(request, 200, [], b'{"a": 1}') == b'{"a": 1}'
