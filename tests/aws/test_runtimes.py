"""Functions in any language: what speaks the Lambda Runtime API runs here, unmodified."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import sys

import pytest
from botocore.exceptions import ClientError

from tests.aws.functions import FunctionFactory, clients_of
from tests.aws.runtimes import (
    SHELL_BOOTSTRAP,
    compiled,
    custom,
    executables,
    installed,
    invoke,
    needed,
    python_bootstrap,
)
from tests.server import running

ECHO_IN_C = r"""
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

static int connect_to(const char *address) {
    char host[64];
    int port = 0;
    if (sscanf(address, "%63[^:]:%d", host, &port) != 2) exit(2);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &to.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to)) exit(3);
    return fd;
}

/* One keep-alive connection; answers fit into the buffer. */
static char buffer[65536];
static char *read_answer(int fd) {
    size_t have = 0;
    for (;;) {
        ssize_t got = read(fd, buffer + have, sizeof buffer - 1 - have);
        if (got <= 0) exit(4);
        buffer[have += got] = 0;
        char *body = strstr(buffer, "\r\n\r\n");
        char *length = strcasestr(buffer, "content-length:");
        if (body && length && have >= (size_t)(body + 4 - buffer) + atol(length + 15))
            return body + 4;
    }
}

int main(void) {
    int fd = connect_to(getenv("AWS_LAMBDA_RUNTIME_API"));
    for (;;) {
        dprintf(fd, "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: runtime\r\n\r\n");
        char *body = read_answer(fd), id[64];
        if (sscanf(strcasestr(buffer, "aws-request-id:") + 15, "%63s", id) != 1) exit(5);
        size_t length = strlen(body);
        char *copy = strdup(body);
        dprintf(fd, "POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: runtime\r\n"
                    "Transfer-Encoding: chunked\r\n\r\n1\r\n[\r\n%zx\r\n%s\r\n1\r\n]\r\n0\r\n\r\n",
                id, length, copy);
        free(copy);
        read_answer(fd);
    }
}
"""


# ---------------------------------------------------------------- programs that nobody here wrote


def test_a_shell_script_with_curl_is_a_runtime(lambda_client, make_function):
    needed("curl")
    name = make_function("", **custom({"bootstrap": SHELL_BOOTSTRAP}), Handler="any.thing")
    for number in range(3):
        value, error, log = invoke(lambda_client, name, {"n": number})
        assert (value, error) == ({"event": {"n": number}, "handler": "any.thing"}, None)
        assert f'got {{"n": {number}}}' in log


def test_a_program_in_c_with_bare_sockets_is_a_runtime(lambda_client, make_function, tmp_path):
    name = make_function("", **custom({"bootstrap": compiled(ECHO_IN_C, tmp_path)}))
    for number in range(3):
        assert invoke(lambda_client, name, {"n": number})[:2] == ([{"n": number}], None)


def test_awss_own_client_for_python_is_a_runtime(lambda_client, make_function):
    files = installed("awslambdaric", "snapshot-restore-py", "simplejson")
    version = f"python3.{sys.version_info.minor}"
    bootstrap = f"#!/bin/sh\nexec {needed(version)} -m awslambdaric $_HANDLER\n"
    app = (
        "import os\n"
        "def handler(event, context):\n"
        "    if event.get('fail'): raise KeyError('lost')\n"
        "    print('in the log')\n"
        "    return {'event': event, 'id': context.aws_request_id, 'custom':"
        " context.client_context and context.client_context.custom,"
        " 'arn': context.invoked_function_arn, 'left': context.get_remaining_time_in_millis()}\n"
    )
    name = make_function(
        "", **custom(files | {"bootstrap": bootstrap, "app.py": app}), MemorySize=256, Timeout=20
    )
    context = base64.b64encode(json.dumps({"custom": {"k": "ü\n"}}).encode()).decode()
    value, error, log = invoke(lambda_client, name, {"a": "é"}, ClientContext=context)
    assert error is None
    assert value["event"] == {"a": "é"}
    assert value["custom"] == {"k": "ü\n"}
    assert value["arn"].endswith(f":function:{name}")
    assert 0 < value["left"] <= 20_000
    assert "in the log" in log
    value, error, log = invoke(lambda_client, name, {"fail": True})
    assert (error, value["errorType"], value["errorMessage"]) == ("Unhandled", "KeyError", "'lost'")
    assert invoke(lambda_client, name, {})[1] is None


# ---------------------------------------------------------------- what a program is told


def test_a_program_is_told_all_about_its_invocation(lambda_client, make_function):
    name = make_function(
        "",
        **python_bootstrap("""
            while True:
                id, event, headers = next_event()
                respond(id, {"headers": dict(headers), "env": dict(os.environ), "cwd": os.getcwd()})
        """),
        Timeout=30,
        Handler="some.handler",
        Environment={"Variables": {"TEA": "green"}},
    )
    context = base64.b64encode(b'{"custom":\n{"k": "\xc3\xbc"}}').decode()
    value, _, log = invoke(lambda_client, name, {}, ClientContext=context)
    headers, env = value["headers"], value["env"]
    assert f"START RequestId: {headers['Lambda-Runtime-Aws-Request-Id']} " in log
    assert headers["Lambda-Runtime-Invoked-Function-Arn"].endswith(f":function:{name}")
    assert headers["Lambda-Runtime-Deadline-Ms"].isdigit()
    assert headers["Lambda-Runtime-Trace-Id"].startswith("Root=1-")
    assert json.loads(headers["Lambda-Runtime-Client-Context"]) == {"custom": {"k": "ü"}}
    assert (env["TEA"], env["_HANDLER"]) == ("green", "some.handler")
    assert "AWS_EXECUTION_ENV" not in env
    assert value["cwd"] == env["LAMBDA_TASK_ROOT"]


@pytest.mark.parametrize("size", [0, 100_000, 6_000_000])
def test_large_events_and_responses_pass(lambda_client, make_function, size):
    name = make_function(
        "",
        **python_bootstrap("""
            while True:
                id, event, _ = next_event()
                respond(id, event[::-1])
        """),
        MemorySize=512,
        Timeout=30,
    )
    value, error, _ = invoke(lambda_client, name, "a" + "b" * size)
    assert error is None
    assert value == "b" * size + "a"


def test_a_body_in_chunks_passes_with_its_trailers(lambda_client, make_function):
    name = make_function(
        "",
        **python_bootstrap("""
            while True:
                id, event, _ = next_event()
                text = json.dumps("x" * 1000).encode()
                trailers = b"Lambda-Runtime-Function-Error-Type: Broken\\r\\n" if event else b""
                body = b"".join(b"%x\\r\\n%c\\r\\n" % (1, c) for c in text)
                host, port = HOST.split(":")
                with socket.create_connection((host, int(port))) as raw:
                    raw.sendall(
                        f"POST {ROOT}/invocation/{id}/response HTTP/1.1\\r\\n"
                        "Host: x\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n".encode()
                        + body + b"0\\r\\n" + trailers + b"\\r\\n"
                    )
                    raw.recv(1000)
        """),
    )
    assert invoke(lambda_client, name, 0)[:2] == ("x" * 1000, None)
    value, error, _ = invoke(lambda_client, name, 1)
    assert (value["errorType"], error) == ("Broken", "Unhandled")


@pytest.mark.parametrize("runtime", ["provided", "provided.al2", "provided.al2023"])
def test_each_name_of_a_custom_runtime_works(lambda_client, make_function, runtime):
    settings = python_bootstrap("while True: respond(next_event()[0], 1)")
    name = make_function("", **settings | {"Runtime": runtime})
    assert invoke(lambda_client, name)[0] == 1


def test_a_runtime_that_the_machine_lacks_is_refused_with_what_is_missing(lambda_client):
    with pytest.raises(ClientError) as refused:
        lambda_client.create_function(
            FunctionName="lacking",
            Runtime="nodejs18.x",
            Role="arn:aws:iam::000000000000:role/test",
            Handler="a.b",
            Code={"ZipFile": executables({"a.js": ""})},
        )
    assert refused.value.response["Error"]["Code"] == "InvalidParameterValueException"
    assert "it needs Node.js 18: `node` in" in str(refused.value)


# ---------------------------------------------------------------- where the network is shared


@pytest.fixture(scope="module")
def bare_server(tmp_path_factory):
    """Without any isolation, instances have the machine's loopback."""
    with running(tmp_path_factory.mktemp("bare") / "data", "--isolation", "none") as started:
        yield started


@pytest.fixture
def make_bare_function(bare_server):
    with clients_of(bare_server.endpoint) as client_of:
        factory = FunctionFactory(client_of(), "bare", "")
        yield client_of(), factory
        factory.close()


def test_strangers_cannot_reach_a_runtime_api_on_a_shared_loopback(make_bare_function):
    client, make_function = make_bare_function
    name = make_function(
        "",
        **python_bootstrap("""
            if os.fork() == 0:  # a child of a child is the function's, too
                while True:
                    id, event, _ = next_event()
                    respond(id, HOST)
            os.wait()
        """),
    )
    host, port = invoke(client, name)[0].split(":")
    stranger = socket.create_connection((host, int(port)), timeout=20)
    with stranger, contextlib.suppress(ConnectionError):
        stranger.sendall(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\n\r\n")
        assert stranger.recv(100) == b""
    assert invoke(client, name)[0] == f"{host}:{port}"


def test_node_runs_without_isolation(make_bare_function, bare_server):
    names = [name for name in bare_server.health()["runtimes"] if name.startswith("nodejs")]
    if not names:
        pytest.skip("this machine has no Node.js")
    client, make_function = make_bare_function
    source = {"app.js": "exports.handler = async (event) => event"}
    name = make_function(source, Runtime=names[-1], MemorySize=512)
    assert invoke(client, name, {"a": 1})[:2] == ({"a": 1}, None)
