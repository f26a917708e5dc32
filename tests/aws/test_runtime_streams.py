"""Programs that stream their responses, and programs that end at some point of the protocol."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.aws.runtimes import compiled, custom, invoke, needed, python_bootstrap
from tests.aws.streams import invoke_streamed

STREAM_IN_SHELL = """\
#!/bin/sh
set -eu
API="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime"
while true; do
  count=$(curl -sS -D /tmp/headers "$API/invocation/next")
  id=$(grep -i '^lambda-runtime-aws-request-id' /tmp/headers | tr -d '\\r' | cut -d' ' -f2)
  i=0
  while [ $i -lt "$count" ]; do echo "cup $i"; i=$((i + 1)); done |
    curl -sS -o /tmp/answer -X POST -T - -H 'Content-Type: text/plain' \\
      -H 'Lambda-Runtime-Function-Response-Mode: streaming' "$API/invocation/$id/response"
done
"""

STREAM_IN_C = r"""
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char buffer[65536];

static int api(void) {
    int port = atoi(strchr(getenv("AWS_LAMBDA_RUNTIME_API"), ':') + 1);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&to, sizeof to)) exit(3);
    return fd;
}

/* Small answers: each is in the buffer when its head and the connection's next silence are. */
static void answer(int fd) {
    ssize_t have = read(fd, buffer, sizeof buffer - 1);
    if (have <= 0) exit(4);
    buffer[have] = 0;
}

int main(void) {
    int fd = api();
    for (;;) {
        char id[64];
        dprintf(fd, "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n");
        answer(fd);
        sscanf(strcasestr(buffer, "aws-request-id:"), "%*s %63s", id);
        int fail = !!strstr(buffer, "\"fail\"");
        dprintf(fd, "POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: x\r\n"
            "Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n"
            "Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\r\n"
            "\r\n", id);
        dprintf(fd, "5\r\nfrom \r\n1\r\nC\r\n0\r\n");
        /* {"errorType": "Tea.Cold"} */
        if (fail) dprintf(fd, "Lambda-Runtime-Function-Error-Type: Tea.Cold\r\n"
            "Lambda-Runtime-Function-Error-Body: eyJlcnJvclR5cGUiOiAiVGVhLkNvbGQifQ==\r\n");
        dprintf(fd, "\r\n");
        answer(fd);
    }
}
"""


def test_a_shell_script_streams_with_curl(lambda_client, make_function):
    needed("curl")
    name = make_function("", **custom({"bootstrap": STREAM_IN_SHELL}))
    for count in (1, 10_000):
        streamed = invoke_streamed(lambda_client, name, count)
        assert streamed.body.split() == b" ".join(b"cup %d" % i for i in range(count)).split()
        assert streamed.error is None


def test_a_program_in_c_streams_chunks_and_trailers(lambda_client, make_function, tmp_path):
    name = make_function("", **custom({"bootstrap": compiled(STREAM_IN_C, tmp_path)}))
    for _ in range(3):
        assert invoke_streamed(lambda_client, name)[1:] == (None, None)
        streamed = invoke_streamed(lambda_client, name, "fail")
        assert (streamed.body, streamed.error) == (b"from C", "Tea.Cold")
        assert streamed.details == {"errorType": "Tea.Cold"}


# ---------------------------------------------------------------- ends

DIES_AT = {
    "before it asks": ("{end}", "Runtime.ExitError"),
    "between event and answer": ("id, _, _ = next_event(); {end}", "Runtime.ExitError"),
    "in mid-stream": (
        "one = stream(next_event()[0]); one.sendall(chunk(b'half')); {end}",
        "Runtime.TruncatedResponse",
    ),
    "after the answer": ("respond(next_event()[0], 'told'); {end}", None),
    "after the error": ("fail(next_event()[0], {{'errorType': 'Told'}}); {end}", "Told"),
    "after the stream": (
        "one = stream(next_event()[0]); one.sendall(chunk(b'told') + b'0\\r\\n\\r\\n');"
        "answer_of(one); {end}",
        None,
    ),
}


@pytest.mark.parametrize("end", ["os._exit(5)", "os.kill(os.getpid(), 9)"])
@pytest.mark.parametrize("point", DIES_AT)
@pytest.mark.usefixtures("last_words_are_heard")
def test_an_end_at_any_point_is_told_and_leaves_nothing(
    lambda_client, make_function, server, point, end
):
    script, error_type = DIES_AT[point]
    name = make_function("", **python_bootstrap(script.format(end=end)))
    descriptors = descriptors_of(server.pid)
    for _ in range(4):  # each is a new instance's
        streamed = invoke_streamed(lambda_client, name)
        told = (streamed.details or {}).get("errorType")
        assert told == error_type, streamed
    until(lambda: "/var/task/bootstrap" not in " ".join(commands_under(server.pid)))
    until(lambda: descriptors_of(server.pid) <= descriptors)


def descriptors_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def commands_under(pid: int) -> Iterator[str]:
    """The command lines of a process and of all that descend from it."""
    with contextlib.suppress(OSError):
        yield Path(f"/proc/{pid}/cmdline").read_text()
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield from commands_under(int(child))


def until(condition: Callable[[], bool], limit_s: float = 20) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)


# ---------------------------------------------------------------- hostile clients

HOSTILE = {
    "a head that comes byte by byte": """
        for byte in b"POST / HTTP/1.1":
            one.sendall(bytes([byte]))
    """,
    "a thousand connections": """
        many = []
        try:
            for _ in range(1000):
                many.append(socket.create_connection(place, 0.05))
        except OSError:
            pass
    """,
    "a chunk without end": """
        one.setblocking(False)
        one.send(b"POST /2018-06-01/runtime/invocation/x/response HTTP/1.1\\r\\n"
                 b"Transfer-Encoding: chunked\\r\\n\\r\\nffffffffffff\\r\\n")
        for _ in range(2000):
            try:
                one.send(b"x" * 65536)
            except BlockingIOError:
                select.select([], [one], [], 5)
    """,
    "a head of a gigabyte": """
        try:
            for _ in range(16_000):
                one.sendall(b"X-Y: " + b"z" * 65530 + b"\\r\\n")
        except OSError:
            pass
    """,
    "half a connection": """
        one.sendall(b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\\r\\n")
        one.shutdown(socket.SHUT_WR)
    """,
    "answers that are not read": """
        one.setblocking(False)
        for _ in range(20_000):
            try:
                one.send(b"GET /nothing HTTP/1.1\\r\\n\\r\\n")
            except BlockingIOError:
                break
    """,
}


@pytest.mark.parametrize("attack", HOSTILE)
def test_a_hostile_client_within_does_no_harm_to_the_rest(lambda_client, make_function, attack):
    script = (
        "import select, textwrap\n"
        "place = HOST.split(':')\n"
        "keep = http.client.HTTPConnection(HOST)\n"
        "def attack():\n"
        "    one = socket.create_connection(place)\n"
        f"    exec(textwrap.dedent({HOSTILE[attack]!r}), {{**globals(), 'one': one}})\n"
        "    return one\n"
        "while True:\n"
        "    headers, body = call('GET', '/invocation/next', connection=keep)[1:]\n"
        "    held = attack()\n"
        "    id = headers['Lambda-Runtime-Aws-Request-Id']\n"
        "    call('POST', f'/invocation/{id}/response', body, connection=keep)\n"
    )
    name = make_function("", **python_bootstrap(script), MemorySize=128, Timeout=30)
    for number in range(2):
        assert invoke(lambda_client, name, number)[:2] == (number, None)
