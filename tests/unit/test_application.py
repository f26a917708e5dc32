"""The front door: routing, authentication, errors, draining, and the guard against web pages."""

from __future__ import annotations

import json

import pytest

from samovar.frontend.origin import OriginGuard
from samovar.frontend.request import ClientGoneError, HttpResponse, Request
from samovar.model.errors import ErrorCode, PlatformError
from tests.unit.known_functions import front_door

FUNCTIONS = "/2015-03-31/functions/"
ROLE = "arn:aws:iam::000000000000:role/r"


def error_of(answer):
    assert len(answer["x-amzn-requestid"]) == 36
    assert answer["content-type"] == "application/json"
    return answer.status, answer["x-amzn-errortype"]


async def list_functions(caller, params):
    return {"Functions": [], "NextMarker": f"{caller.account} {params.get('MaxItems')}"}


async def test_an_operation_is_parsed_answered_and_serialised():
    async with front_door(handlers={"ListFunctions": list_functions}) as door:
        answer = await door.ask("GET", FUNCTIONS + "?MaxItems=7")
        assert answer.status == 200
        assert json.loads(answer.body) == {"Functions": [], "NextMarker": "000000000000 7"}
        assert len(answer["x-amzn-requestid"]) == 36


async def test_an_operation_that_is_not_built_yet_names_itself():
    async with front_door() as door:
        answer = await door.ask("GET", "/2015-03-31/event-source-mappings/")
        assert error_of(answer) == (501, "NotImplementedException")
        assert b"The operation ListEventSourceMappings is not implemented" in answer.body


@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", "/"), ("PATCH", FUNCTIONS), ("GET", "/2015-03-31/nothing"), ("GET", "/_samovar")],
)
async def test_what_is_no_operation_is_unknown(method, target):
    async with front_door() as door:
        answer = await door.ask(method, target)
        assert error_of(answer) == (404, "UnknownOperationException")


async def test_a_request_without_a_token_is_refused_before_its_body_is_read():
    async with front_door() as door:
        answer = await door.ask("POST", FUNCTIONS, [b"x"], signed=False, gone=True)
        assert error_of(answer) == (403, "MissingAuthenticationTokenException")


async def test_a_request_that_breaks_the_model_is_told_so_in_awss_words():
    async with front_door(handlers={"ListFunctions": list_functions}) as door:
        answer = await door.ask("GET", FUNCTIONS + "?MaxItems=0")
        assert answer.status == 400
        assert b"Value '0' at 'maxItems' failed to satisfy constraint" in answer.body


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b"[" * 100_000, b'"x"'])
async def test_a_body_that_is_no_object_is_refused(body):
    async with front_door() as door:
        answer = await door.ask("POST", FUNCTIONS, body)
        assert answer.status == 400
        assert door.worker.asked == []


async def test_a_control_request_that_is_too_large_is_refused_unread():
    async with front_door() as door:
        answer = await door.ask("POST", FUNCTIONS, b"{}", headers={"content-length": "70167212"})
        assert error_of(answer) == (413, "RequestTooLargeException")
        assert b"for the CreateFunction operation" in answer.body


async def test_a_defect_in_an_operation_is_a_500_and_no_end_of_the_server():
    async def broken(caller, params):
        raise ZeroDivisionError("secret")

    async with front_door(handlers={"ListFunctions": broken}) as door:
        answer = await door.ask("GET", FUNCTIONS)
        assert error_of(answer) == (500, "ServiceException")
        assert b"secret" not in answer.body


async def test_while_draining_every_request_is_refused_with_a_503():
    async with front_door(handlers={"ListFunctions": list_functions}) as door:
        door.application.draining = True
        for answer in (await door.ask("GET", FUNCTIONS), await door.invoke()):
            assert error_of(answer) == (503, "ServiceUnavailableException")


async def test_what_is_not_http_is_left_alone():
    async with front_door() as door:
        await door.application({"type": "lifespan"}, None, None)


# ---------------------------------------------------------------- web pages

OURS = {"host": "127.0.0.1:9000"}


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:9000",
        "127.0.0.1",
        "192.168.1.7:9000",
        "[::1]:9000",
        "[2001:DB8::1]",
        "localhost:9000",
        "LOCALHOST",
        "localhost.:9000",
        "f.localhost:9000",
        "samovar:9000",
        "host.docker.internal:9000",
        "pi.local",
        "samovar.example.com:9000",
    ],
)
def test_a_host_that_nobody_else_can_have_is_served(host):
    OriginGuard("127.0.0.1", "samovar.example.com").check({"host": host})


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.com",
        "evil.com:9000",
        "localhost.evil.com",
        "127.0.0.1.evil.com",
        "evil.com.",
        "notlocalhost.com",
        "evillocal.net",
        "[evil.com]",
    ],
)
def test_a_name_that_was_rebound_to_our_address_is_refused(host):
    with pytest.raises(PlatformError, match="is not served here") as refused:
        OriginGuard("127.0.0.1").check({"host": host})
    assert refused.value.code is ErrorCode.ACCESS_DENIED


@pytest.mark.parametrize(
    "marks",
    [
        {"sec-fetch-site": "cross-site"},
        {"origin": "https://evil.com"},
        {"origin": "null"},
        {"origin": "http://6.6.6.6"},
        {"origin": "http://[::1"},
        {"origin": "http://localhost.evil.com"},
        {"origin": "http://localhost", "sec-fetch-site": "cross-site"},
        {"origin": ""},
    ],
)
def test_a_page_of_another_site_is_refused(marks):
    with pytest.raises(PlatformError, match="other sites' pages are refused"):
        OriginGuard("127.0.0.1").check({**OURS, **marks})


@pytest.mark.parametrize(
    "marks",
    [
        {},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1:9000"},
        {"sec-fetch-site": "same-site", "origin": "http://localhost:3000"},
        {"origin": "http://127.0.0.1:3000"},
        {"origin": "http://app.localhost:3000"},
    ],
)
def test_a_page_of_this_machine_is_let_through(marks):
    OriginGuard("127.0.0.1").check({**OURS, **marks})


async def test_no_page_can_sign_in_the_query_and_run_a_function():
    credential = "X-Amz-Credential=a%2F20261123%2Fus-east-1%2Flambda%2Faws4_request"
    target = f"{FUNCTIONS}f/invocations?{credential}"
    async with front_door() as door:
        page = {"origin": "https://evil.com"}
        answer = await door.ask("POST", target, b"{}", signed=False, headers=page)
        assert error_of(answer) == (403, "AccessDeniedException")
        assert door.worker.asked == []
        assert (await door.ask("POST", target, b"{}", signed=False)).status == 200


async def test_no_rebound_name_reaches_the_api_or_a_function_url():
    async with front_door() as door:
        rebound = {"host": "evil.com:9000"}
        for target in (FUNCTIONS, "/_samovar/url/f/", "/_samovar/health"):
            assert (await door.ask("GET", target, headers=rebound)).status == 403
        assert door.worker.asked == []


# ---------------------------------------------------------------- bodies and responses


def request(receive, **headers):
    scope = {
        "method": "POST",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
    }
    return Request(scope, receive)


async def test_a_client_that_leaves_at_any_moment_is_gone():
    for sent in (0, 1, 2):
        messages = [{"type": "http.request", "body": b"x", "more_body": True}] * sent

        async def receive(messages=messages):
            return messages.pop() if messages else {"type": "http.disconnect"}

        with pytest.raises(ClientGoneError):
            await request(receive).body(10, "too large")


async def test_a_body_without_a_length_is_bounded_as_it_comes():
    received = 0

    async def endless():
        nonlocal received
        received += 1
        return {"type": "http.request", "body": b"x" * 10, "more_body": True}

    with pytest.raises(PlatformError, match="too large"):
        await request(endless).body(25, "too large")
    assert received == 3


def test_repeated_headers_are_one_and_strange_bytes_are_kept():
    asked = request(None, a="\xff")
    asked._raw_headers.append((b"a", b"2"))
    assert asked.headers == {"a": "\xff,2"}


@pytest.mark.parametrize(("status", "length", "body"), [(200, b"1", b"x"), (204, None, b"")])
async def test_a_response_has_a_body_only_where_http_has_one(status, length, body):
    sent = []

    async def send(message):
        sent.append(message)

    await HttpResponse(status, [("A", "b")], b"x").send(send)
    assert dict(sent[0]["headers"]).get(b"content-length") == length
    assert sent[1]["body"] == body
