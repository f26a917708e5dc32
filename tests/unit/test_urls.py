"""Function URLs: the event that a request becomes, and the response that a result becomes."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samovar.frontend.url_response import url_response
from samovar.model.invocation import MAX_PAYLOAD_BYTES
from tests.unit.known_functions import front_door
from tests.unit.test_invoke import recorded

URL = "/_samovar/url/"


async def event_of(method="GET", target="f/", body=b"", **headers):
    """What a function is sent for a request."""
    async with front_door() as door:
        seen = recorded(door)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await door.ask(method, URL + target, body, signed=False, headers=named)
        assert answer.status == 200
        return json.loads(seen[0].payload)


async def test_an_event_is_of_payload_format_2():
    event = await event_of("POST", "f/a/b?x=1&y=2&x=3&z=", b"", user_agent="curl/8")
    assert (event["version"], event["routeKey"]) == ("2.0", "$default")
    assert event["rawPath"] == "/a/b"
    assert event["rawQueryString"] == "x=1&y=2&x=3&z="
    assert event["queryStringParameters"] == {"x": "1,3", "y": "2", "z": ""}
    assert event["headers"]["user-agent"] == "curl/8"
    assert event["isBase64Encoded"] is False
    assert "body" not in event and "cookies" not in event
    context = event["requestContext"]
    assert context["http"] == {
        "method": "POST",
        "path": "/a/b",
        "protocol": "HTTP/1.1",
        "sourceIp": "192.0.2.7",
        "userAgent": "curl/8",
    }
    assert (context["domainName"], context["stage"]) == ("127.0.0.1:9000", "$default")


async def test_cookies_have_a_place_of_their_own():
    event = await event_of(cookie="a=1; b=2;;")
    assert event["cookies"] == ["a=1", "b=2"]
    assert "cookie" not in event["headers"]


@pytest.mark.parametrize(
    ("kind", "body", "text"),
    [
        ("application/json", b'{"a": 1}', '{"a": 1}'),
        ("text/plain; charset=utf-8", "ö".encode(), "ö"),
        ("text/plain", b"\xff", None),
        ("image/png", b"\x89PNG", None),
        ("", b"abc", None),
    ],
)
async def test_a_body_is_text_where_it_says_so_and_is(kind, body, text):
    event = await event_of("POST", "f/", body, content_type=kind)
    expected = base64.b64encode(body).decode() if text is None else text
    assert (event["body"], event["isBase64Encoded"]) == (expected, text is None)


@pytest.mark.parametrize(
    ("target", "path"), [("f", "/"), ("f/", "/"), ("f/a%2Fb%20c", "/a/b c"), ("f/../g", "/../g")]
)
async def test_the_path_is_what_follows_the_name(target, path):
    assert (await event_of(target=target))["rawPath"] == path


async def test_a_body_that_is_too_large_as_an_event_is_refused():
    body = b"\x00" * (MAX_PAYLOAD_BYTES * 3 // 4 + 1)  # fits, but not in base64
    async with front_door() as door:
        answer = await door.ask("POST", URL + "f/", body, signed=False)
        assert answer.status == 413
        assert door.worker.asked == []


@pytest.mark.parametrize(("target", "status"), [("g/", 404), ("f:live/", 404), ("f%20/", 400)])
async def test_a_url_of_no_function_is_refused(target, status):
    async with front_door() as door:
        assert (await door.ask("GET", URL + target, signed=False)).status == status


@pytest.mark.parametrize("outcome", [{"function_error": "Unhandled"}, {}])
async def test_an_error_of_the_function_is_a_502_without_its_details(outcome):
    payload = b'{"errorMessage": "secret"}' if outcome else b"no JSON"
    async with front_door() as door:
        door.returns(payload, **outcome)
        answer = await door.ask("GET", URL + "f/", signed=False)
        assert (answer.status, answer.body) == (502, b'{"Message": "Internal Server Error"}')
        assert answer["x-samovar-start"].startswith("cold")


# ---------------------------------------------------------------- responses

EXTRA = [("x-amzn-RequestId", "r")]


def response(result):
    made = url_response(json.dumps(result).encode(), EXTRA)
    return made.status, dict(made.headers), made.body


def refused(result):
    """Whether a result is a 502 of ours."""
    status, headers, body = response(result)
    assert headers["x-amzn-RequestId"] == "r"
    return status == 502 and body == b'{"Message": "Internal Server Error"}'


@pytest.mark.parametrize("payload", [b'"Hello, world!"', b'{"message": "hi"}', b"[1]", b"null"])
def test_a_result_without_a_status_is_the_body_as_it_is(payload):
    made = url_response(payload, EXTRA)
    assert (made.status, made.body) == (200, payload)
    assert dict(made.headers)["content-type"] == "application/json"


def test_a_structured_result_is_the_response():
    status, headers, body = response(
        {"statusCode": 201, "headers": {"X-Custom": "1", "Content-Type": "text/html"}, "body": "ö"}
    )
    assert (status, body) == (201, "ö".encode())
    assert headers == {"x-custom": "1", "content-type": "text/html", "x-amzn-RequestId": "r"}


@pytest.mark.parametrize(
    ("result", "body"),
    [
        ({"statusCode": 200}, b""),
        ({"statusCode": "200", "body": None}, b""),
        ({"statusCode": 200, "body": {"a": 1}}, b'{"a": 1}'),
        ({"statusCode": 200, "body": "aGk=", "isBase64Encoded": True}, b"hi"),
    ],
)
def test_a_body_is_text_json_or_base64(result, body):
    assert response(result)[::2] == (200, body)


def test_cookies_are_headers_of_their_own():
    made = url_response(b'{"statusCode": 200, "cookies": ["a=1; Path=/", "b=2"]}', EXTRA)
    cookies = [value for name, value in made.headers if name == "set-cookie"]
    assert cookies == ["a=1; Path=/", "b=2"]


@pytest.mark.parametrize(
    "name",
    ["Connection", "content-LENGTH", "Transfer-Encoding", "Upgrade", "X-Amzn-RequestId"],
)
def test_headers_that_are_ours_are_not_the_handlers(name):
    _, headers, _ = response({"statusCode": 200, "headers": {name: "forged"}})
    assert "forged" not in headers.values()


@pytest.mark.parametrize(
    "result",
    [
        {"statusCode": status}
        for status in (0, 99, 100, 101, 199, 600, -200, 10**30, "abc", "", None, [], {}, True)
    ]
    + [
        {"statusCode": 200, "headers": {name: "x"}}
        for name in ("", "a b", "a:b", "a\r\nb", "content-length ", "ä", "a\0", "a\n")
    ]
    + [
        {"statusCode": 200, "headers": {"a": value}}
        for value in ("x\r\nset-cookie: a=b", "x\ny", "x\0", "\x07", "\u20ac", "\ud800")
    ]
    + [
        {"statusCode": 200, "headers": ["a"]},
        {"statusCode": 200, "headers": "a: b"},
        {"statusCode": 200, "cookies": "a=1"},
        {"statusCode": 200, "cookies": {"a": 1}},
        {"statusCode": 200, "cookies": ["a=1\r\nx: y"]},
        {"statusCode": 200, "body": "\ud800"},
        {"statusCode": 200, "body": "not base64!", "isBase64Encoded": True},
        {"statusCode": 200, "body": "aGk", "isBase64Encoded": True},
        {"statusCode": 200, "body": "ä", "isBase64Encoded": True},
    ],
    ids=repr,
)
def test_what_http_cannot_carry_is_a_502(result):
    assert refused(result)


@pytest.mark.parametrize("status", [b"Infinity", b"-Infinity", b"NaN", b"1e999", b"9" * 5000])
def test_a_status_that_is_no_number_is_a_502(status):
    assert url_response(b'{"statusCode": ' + status + b"}", EXTRA).status == 502


@pytest.mark.parametrize("payload", [b"", b"{", b"\xff", b"[" * 100_000])
def test_a_result_that_is_not_json_is_a_502(payload):
    assert url_response(payload, EXTRA).status == 502


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.fixed_dictionaries(
        {"statusCode": st.just(200) | anything},
        optional={
            "headers": st.dictionaries(st.text(), st.text()) | anything,
            "cookies": st.lists(st.text()) | anything,
            "body": anything,
            "isBase64Encoded": st.booleans(),
        },
    )
)
def test_whatever_a_handler_returns_the_response_is_one_that_http_can_carry(result):
    status, headers, _ = response(result)
    assert 200 <= status <= 599
    for name, value in headers.items():
        line = f"{name}: {value}".encode("latin-1")
        assert not set(line) & {0, 10, 13}
        assert name.partition(":")[0] == name.strip()


async def test_a_status_without_a_body_is_sent_without_one():
    async with front_door() as door:
        door.returns(b'{"statusCode": 304, "body": "HTTP/1.1 200 OK"}')
        answer = await door.ask("GET", URL + "f/", signed=False)
        assert (answer.status, answer.body, answer.all("content-length")) == (304, b"", [])
