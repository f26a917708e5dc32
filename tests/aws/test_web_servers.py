"""Functions that are web servers: real servers, in Python and Node.js, and real clients."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import time
from urllib.parse import quote, unquote, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.aws.runtimes import custom, executables, installed, invoke, needed
from tests.aws.web_servers import DEADLINE_S, ECHO, LWA, Caller, web_function


@pytest.fixture
def call(make_function, endpoint):
    """Calls a function whose server is `ECHO`."""
    return Caller(endpoint, web_function(make_function))


# ---------------------------------------------------------------- requests

NAMES = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12).map(lambda n: f"x-t{n}")
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=30)
COOKIES = st.text("abcdefghijklmnopqrstuvwxyz0123456789=_-", min_size=1, max_size=20)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
    path=st.lists(st.text(min_size=1, max_size=8).filter(lambda s: s.strip(".")), max_size=4),
    query=st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=4),
    headers=st.dictionaries(NAMES, VALUES, max_size=4),
    cookies=st.lists(COOKIES, max_size=3),
    body=st.binary(max_size=2000),
    kind=st.sampled_from(["text/plain", "application/json", "application/octet-stream"]),
)
def test_the_server_sees_what_the_client_sends(
    call, method, path, query, headers, cookies, body, kind
):
    where = "/" + "/".join(quote(step.encode("utf-8", "replace"), safe="") for step in path)
    pairs = [[quote(t.encode("utf-8", "replace"), safe="") for t in pair] for pair in query]
    target = where + ("?" + "&".join(map("=".join, pairs)) if pairs else "")
    sent = {**headers, "Content-Type": kind}
    if cookies:
        sent["Cookie"] = "; ".join(cookies)
    status, _, text = call(target, method, body, sent)
    assert status == 200
    seen = json.loads(text)
    got = {name.lower(): value for name, value in seen["headers"]}
    assert seen["method"] == method
    # AWS's events have paths decoded: what was a %2F is a / on the way out.
    assert unquote(seen["target"].partition("?")[0]) == unquote(where)
    assert seen["target"].partition("?")[2] == target.partition("?")[2]
    assert {name.lower(): value for name, value in sent.items()}.items() <= got.items()
    assert seen["body"].encode("latin-1") == body


def test_the_server_is_told_of_the_invocation_and_nobody_can_pretend_to(call):
    false = {"x-amzn-lambda-context": "false", "x-amzn-request-context": "false"}
    _, headers, text = call("/", headers=false)
    got = dict(json.loads(text)["headers"])
    assert json.loads(got["x-amzn-lambda-context"])["request_id"] == headers["x-amzn-RequestId"]
    assert json.loads(got["x-amzn-request-context"])["http"]["method"] == "GET"


def test_each_request_has_a_connection_of_its_own(call):
    peers = [json.loads(call("/")[2])["peer"] for _ in range(3)]
    assert len(set(peers)) > 1
    for _ in range(3):
        assert call("/closes_afterwards")[2] == b"bye"
        assert call("/")[0] == 200


def test_a_body_of_megabytes_arrives(call):
    body = bytes(range(256)) * 16_000
    assert call("/count", "POST", body)[2] == b"4096000"


# ---------------------------------------------------------------- responses


def test_a_response_arrives_as_it_is(call):
    assert call("/binary")[2] == bytes(range(256))
    assert call("/untruly_text")[2] == b"\xff\xfe"
    assert call("/chunks")[2] == b"one two"
    assert call("/to_the_end")[2] == b"all of it"
    assert call("/interim")[2] == b"after"
    assert call("/redirect")[0::2] == (302, b"")
    assert call("/redirect")[1]["location"] == "/elsewhere"
    assert call("/error")[0::2] == (503, b"overloaded")
    status, headers, _ = call("/cookies")
    assert (status, headers.get_all("set-cookie")) == (200, ["a=1; Path=/", "b=2"])
    assert headers["vary"] == "a, b"
    assert call("/", "HEAD")[0::2] == (200, b"")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/garbage", "WebServer.BadResponse"),
        ("/nothing", "WebServer.NoResponse"),
        ("/upgrade", "WebServer.BadResponse"),
        ("/short", "WebServer.BadResponse"),
        ("/split", "WebServer.BadResponse"),
        ("/huge_head", "WebServer.BadResponse"),
        ("/huge", "Function.ResponseSizeTooLarge"),
    ],
)
def test_a_wrong_response_is_the_invocations_error_and_the_next_is_right(
    make_function, lambda_client, path, kind
):
    name = web_function(make_function)
    event = {"version": "2.0", "rawPath": path, "requestContext": {"http": {"method": "POST"}}}
    value, error, _ = invoke(lambda_client, name, event)
    assert (error, value["errorType"]) == ("Unhandled", kind)
    event["rawPath"] = "/binary"
    value, error, _ = invoke(lambda_client, name, event)
    assert (error, value["statusCode"]) == (None, 200)


def test_a_server_that_dies_takes_its_instance_along(make_function, lambda_client, endpoint):
    name = web_function(make_function)
    call = Caller(endpoint, name)
    for _ in range(2):
        assert call("/die", "POST", b"x")[0] == 502
        assert call("/")[0] == 200


def test_statuses_may_be_errors(make_function, lambda_client):
    name = web_function(make_function, AWS_LWA_ERROR_STATUS_CODES="404,500-599")
    event = {"version": "2.0", "rawPath": "/error", "requestContext": {"http": {"method": "GET"}}}
    value, error, _ = invoke(lambda_client, name, event)
    assert (error, value["errorType"]) == ("Unhandled", "WebServer.ErrorStatus")
    assert "503" in value["errorMessage"]


# ---------------------------------------------------------------- streams


def test_the_client_reads_while_the_server_still_writes(make_function, endpoint):
    name = web_function(make_function, AWS_LWA_INVOKE_MODE="response_stream", PAUSE_S="30")
    parts = urlsplit(endpoint)
    begun = time.monotonic()
    with socket.create_connection((parts.hostname, parts.port), DEADLINE_S) as client:
        client.sendall(
            f"GET /_samovar/url/{name}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        )
        received = b""
        while b"data: 1" not in received:
            received += client.recv(65536)
        assert b"data: 2" not in received
    assert time.monotonic() - begun < 30  # the server is at its pause
    head = received.decode().lower()
    assert "content-type: text/event-stream" in head
    assert "set-cookie: s=1" in head


def test_a_stream_is_whole_or_visibly_cut(make_function, endpoint):
    name = web_function(make_function, AWS_LWA_INVOKE_MODE="response_stream", PAUSE_S="0")
    call = Caller(endpoint, name)
    assert call("/events")[2] == b"data: 1\n\ndata: 2\n\n"
    assert call("/binary")[2] == bytes(range(256))
    assert len(call("/huge")[2]) == 100_000_000
    with pytest.raises(http.client.IncompleteRead):
        call("/cut")
    assert call("/redirect")[0] == 302


# ---------------------------------------------------------------- events of other kinds


def test_rest_apis_and_load_balancers_get_answers_of_their_own_shape(make_function, lambda_client):
    name = web_function(make_function, AWS_LWA_REMOVE_BASE_PATH="/shop")
    rest = {
        "httpMethod": "GET",
        "path": "/shop/a b",
        "multiValueQueryStringParameters": {"q": ["1 2", "3"]},
        "multiValueHeaders": {"X-Many": ["a", "b"]},
        "requestContext": {"stage": "prod"},
    }
    value, error, _ = invoke(lambda_client, name, rest)
    seen = json.loads(value["body"])
    assert (error, value["isBase64Encoded"]) == (None, False)
    assert seen["target"] == "/a%20b?q=1+2&q=3"
    assert [value for name, value in seen["headers"] if name == "x-many"] == ["a", "b"]
    assert value["multiValueHeaders"]["content-type"] == ["application/json"]
    balancer = {
        "httpMethod": "POST",
        "path": "/shopping/%2F",
        "queryStringParameters": {"q": "%20"},
        "headers": {"x-forwarded-port": "80"},
        "requestContext": {"elb": {"targetGroupArn": "arn:…"}},
        "body": base64.b64encode(b"\xff").decode(),
        "isBase64Encoded": True,
    }
    value, _, _ = invoke(lambda_client, name, balancer)
    seen = json.loads(value["body"])
    assert (seen["target"], seen["body"]) == ("/shopping/%2F?q=%20", "\xff")
    assert value["statusDescription"] == "200 OK"
    assert value["headers"]["content-type"] == "application/json"


def test_other_events_are_posted_to_a_path_of_their_own(make_function, lambda_client):
    name = web_function(make_function, AWS_LWA_PASS_THROUGH_PATH="/inbox")
    for event in ({"Records": [1]}, [1, 2], "text", None):
        value, error, _ = invoke(lambda_client, name, event)
        assert (error, value["method"], value["target"]) == (None, "POST", "/inbox")
        assert json.loads(value["body"]) == event


@pytest.mark.parametrize(
    "change",
    [
        {"requestContext": {"http": {"method": "GET / HTTP/1.1\r\nX-Evil: 1\r\n\r\nGET"}}},
        {"headers": {"x": "1\r\nX-Evil: 1"}},
        {"headers": [1]},
        {"rawPath": 7},
        {"cookies": [{"a": 1}]},
        {"body": "%", "isBase64Encoded": True},
    ],
)
def test_an_event_that_is_no_request_reaches_no_server(make_function, lambda_client, change):
    name = web_function(make_function)
    good = {"version": "2.0", "rawPath": "/", "requestContext": {"http": {"method": "GET"}}}
    value, error, _ = invoke(lambda_client, name, good | change)
    assert (error, value["errorType"]) == ("Unhandled", "WebServer.UnfitEvent")
    value, error, _ = invoke(lambda_client, name, good | {"rawPath": "/a\r\nX-Evil: 1 b"})
    assert json.loads(value["body"])["target"] == "/a%0D%0AX-Evil:%201%20b"


# ---------------------------------------------------------------- servers


def test_pythons_own_server_serves_files(make_function, endpoint):
    files = {"bootstrap": "#!/bin/sh\nexec python3 -m http.server $PORT\n", "tea.txt": "green"}
    call = Caller(endpoint, web_function(make_function, files))
    assert call("/tea.txt")[2] == b"green"
    assert call("/coffee.txt")[0] == 404


def test_a_node_server_is_started_by_the_script_that_the_handler_names(
    make_function, endpoint, server
):
    runtimes = [name for name in server.health()["runtimes"] if name.startswith("nodejs")]
    if not runtimes:
        pytest.skip("this machine has no Node.js below /usr")
    files = {
        "run.sh": "#!/bin/sh\nexec node index.js\n",
        "index.js": "require('http').createServer((request, response) => {\n"
        "  response.end(`node at ${request.url}`)\n}).listen(process.env.PORT)\n",
    }
    name = make_function(
        "",
        Runtime=runtimes[0],
        Handler="run.sh",
        MemorySize=256,
        Code={"ZipFile": executables(files)},
        Environment={
            "Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/bootstrap", "PORT": "3000"},
        },
    )
    assert Caller(endpoint, name)("/tea?x=1")[2] == b"node at /tea?x=1"


ASGI = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-type", b"text/plain")]})
    for number in range(3):
        await send({"type": "http.response.body", "body": b"%d " % number, "more_body": True})
    await send({"type": "http.response.body", "body": scope["path"].encode()})
"""


@pytest.mark.parametrize("mode", ["buffered", "response_stream"])
def test_an_asgi_application_is_served_by_uvicorn(make_function, endpoint, mode):
    needed("python3")
    files = installed("uvicorn", "h11", "click")
    files |= {"bootstrap": b"#!/bin/sh\nexec python3 -m uvicorn app:app --port $PORT\n"}
    files |= {"app.py": ASGI.encode()}
    name = web_function(make_function, files, AWS_LWA_INVOKE_MODE=mode)
    assert Caller(endpoint, name)("/tea")[2] == b"0 1 2 /tea"


@pytest.mark.parametrize("wrapper", [{}, {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/bootstrap"}])
def test_a_python_runtime_starts_the_script_too_with_its_own_interpreter(
    make_function, endpoint, runtime, wrapper
):
    server = """
import http.server, os, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"python%d.%d" % sys.version_info[:2])

http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
    files = {"run.sh": "#!/bin/sh\nexec python3 server.py\n", "server.py": server}
    name = make_function(
        "",
        Runtime=runtime,
        Handler="run.sh",
        Code={"ZipFile": executables(files)},
        Environment={"Variables": LWA | wrapper},
    )
    assert Caller(endpoint, name)("/")[2] == runtime.encode()


def test_a_server_that_is_slow_to_start_is_waited_for(make_function, endpoint):
    slow = ECHO.replace(
        "http.server.ThreadingHTTPServer(\n", "time.sleep(1)\nhttp.server.ThreadingHTTPServer(\n"
    )
    name = web_function(make_function, {"bootstrap": slow}, AWS_LWA_READINESS_CHECK_PROTOCOL="tcp")
    assert Caller(endpoint, name)("/")[0] == 200


def test_the_adapters_wrapper_alone_makes_a_server_on_its_default_port(make_function, endpoint):
    server = "#!/bin/sh\nexec python3 -m http.server --bind 127.0.0.1 8080\n"
    name = make_function(
        "",
        Handler="run.sh",
        Code={"ZipFile": executables({"run.sh": server, "tea.txt": "green"})},
        Environment={"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/bootstrap"}},
    )
    assert Caller(endpoint, name)("/tea.txt")[2] == b"green"


@pytest.mark.slow
def test_a_server_that_never_gets_ready_fails_init(make_function, lambda_client):
    name = make_function(
        "",
        Timeout=1,
        Environment={"Variables": LWA | {"AWS_LWA_READINESS_CHECK_HEALTHY_STATUS": "404"}},
        **custom({"bootstrap": ECHO}),
    )
    _, error, _ = invoke(lambda_client, name)
    assert error == "Unhandled"


@pytest.mark.slow
def test_init_may_end_before_the_server_is_ready(make_function, endpoint):
    slow = ECHO.replace(
        "http.server.ThreadingHTTPServer(\n", "time.sleep(11)\nhttp.server.ThreadingHTTPServer(\n"
    )
    name = web_function(make_function, {"bootstrap": slow}, AWS_LWA_ASYNC_INIT="true")
    assert Caller(endpoint, name)("/")[0] == 200


def test_a_server_that_ends_in_init_says_how(make_function, lambda_client):
    name = web_function(make_function, {"bootstrap": "#!/bin/sh\necho no luck\nexit 4\n"})
    value, error, log = invoke(lambda_client, name)
    assert (error, value["errorType"]) == ("Unhandled", "Runtime.ExitError")
    assert "exit status 4" in value["errorMessage"]
    assert "no luck" in log


@pytest.mark.parametrize(
    "variables",
    [
        {"AWS_LWA_PORT": "http"},
        {"AWS_LWA_PORT": "0"},
        {"AWS_LWA_PORT": "9001"},
        {"AWS_LWA_ENABLE_COMPRESSION": "true"},
        {"AWS_LWA_INVOKE_MODE": "both"},
        {"AWS_LWA_READINESS_CHECK_PATH": "x"},
        {"AWS_LWA_READINESS_CHECK_PATH": "/a b"},
        {"AWS_LWA_READINESS_CHECK_PROTOCOL": "udp"},
        {"AWS_LWA_READINESS_CHECK_HEALTHY_STATUS": "fine"},
        {"AWS_LWA_ERROR_STATUS_CODES": "599-500"},
        {"AWS_LWA_AUTHORIZATION_SOURCE": "a b"},
        {"AWS_LWA_ASYNC_INIT": "perhaps"},
        {"AWS_LWA_HOST": "192.0.2.1"},
        {"AWS_LWA_LAMBDA_RUNTIME_API_PROXY": "x"},
    ],
)
def test_a_setting_that_would_not_be_followed_is_refused(make_function, lambda_client, variables):
    with pytest.raises(lambda_client.exceptions.InvalidParameterValueException) as refused:
        web_function(make_function, **variables)
    assert next(iter(variables)) in str(refused.value)
