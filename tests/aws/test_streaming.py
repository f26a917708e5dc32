"""Streamed responses, as boto3 and plain HTTP clients read them."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from tests.aws.runtimes import python_bootstrap, when_free

MIB = 1 << 20

STREAMS = r"""
    import itertools
    INTEGRATION = "application/vnd.awslambda.http-integration-response"
    for number in itertools.count(1):
        id, event, _ = next_event()
        event = json.loads(event["body"]) if "rawPath" in event else event
        one = stream(id, {"Content-Type": event.get("type", "text/plain")})
        if "prelude" in event:
            one.sendall(chunk(json.dumps(event["prelude"]).encode() + bytes(8)))
        one.sendall(chunk(b"call %d of %s " % (number, socket.gethostname().encode())))
        try:
            for _ in range(event.get("mib", 0) * 16):
                one.sendall(chunk(b"x" * 65536))
        except OSError:
            continue
        end = event.get("end")
        if end == "hang":
            time.sleep(3600)
        if end == "crash":
            os.kill(os.getpid(), 9)
        if end == "fail":
            body = "eyJlcnJvclR5cGUiOiAiVGVhLkNvbGQifQ=="  # {"errorType": "Tea.Cold"}
            one.sendall((
                "0\r\nLambda-Runtime-Function-Error-Type: Tea.Cold\r\n"
                f"Lambda-Runtime-Function-Error-Body: {body}\r\n\r\n"
            ).encode())
        else:
            one.sendall(b"0\r\n\r\n")
        one.recv(4096)
        one.close()
"""


@pytest.fixture
def streaming(make_function, lambda_client):
    """Makes functions that stream what their events say, of one instance at a time."""

    def make(*, instances=1, **config):
        name = make_function("", **python_bootstrap(STREAMS), **config)
        lambda_client.put_function_concurrency(
            FunctionName=name, ReservedConcurrentExecutions=instances
        )
        return name

    return make


def begin(client, name, **event):
    """The events of a stream, to be read one by one."""
    payload = json.dumps(event).encode()
    answer = client.invoke_with_response_stream(FunctionName=name, Payload=payload, LogType="Tail")
    assert answer["ExecutedVersion"] == "$LATEST"
    return answer["EventStream"]


def read(events):
    """(bytes, InvokeComplete)"""
    body, complete = b"", None
    for event in events:
        assert complete is None, "something comes after InvokeComplete"
        body += event.get("PayloadChunk", {}).get("Payload", b"")
        complete = event.get("InvokeComplete")
    return body, complete


def read_when_free(client, name, **event):
    return read(when_free(lambda: begin(client, name, **event)))


def call_of(body):
    return int(re.match(rb"call (\d+) of", body)[1])


def is_busy(client, name):
    """Whether the one instance of a function has something to do."""
    try:
        client.invoke(FunctionName=name, Payload=b"{}")
    except ClientError as error:
        assert error.response["Error"]["Code"] == "TooManyRequestsException"
        return True
    return False


def test_the_first_bytes_arrive_while_the_function_still_writes(streaming, client_of):
    name = streaming(Timeout=4)
    events = iter(begin(client_of(), name, end="hang"))
    first = next(events)["PayloadChunk"]["Payload"]
    assert call_of(first) == 1
    assert is_busy(client_of(), name)
    _, complete = read(events)
    assert complete["ErrorCode"] == "Sandbox.Timedout"
    assert "Task timed out after 4.00 seconds" in complete["ErrorDetails"]
    assert b"\tStatus: timeout\t" in base64.b64decode(complete["LogResult"])


def test_a_stream_is_whole_and_the_instance_serves_the_next(streaming, client_of):
    name = streaming(Timeout=30)
    for number in (1, 2):
        body, complete = read_when_free(client_of(), name, mib=9)
        assert (call_of(body), body.count(b"x" * 65536)) == (number, 9 * 16)
        assert list(complete) == ["LogResult"]
        assert base64.b64decode(complete["LogResult"]).startswith(b"START RequestId: ")


def test_a_plain_invoke_gets_a_stream_whole_up_to_its_limit(streaming, lambda_client):
    name = streaming(Timeout=30)

    def call(mib):
        payload = json.dumps({"mib": mib})
        answer = when_free(lambda: lambda_client.invoke(FunctionName=name, Payload=payload))
        return answer["Payload"].read()

    assert len(call(5)) > 5 * MIB
    assert json.loads(call(7))["errorType"] == "Function.ResponseSizeTooLarge"
    assert call_of(call(0)) == 3


def test_a_function_that_does_not_stream_is_one_chunk(make_function, lambda_client):
    name = make_function("def handler(event, context): return event")
    (chunk, end) = begin(lambda_client, name, tea="green")
    assert json.loads(chunk["PayloadChunk"]["Payload"]) == {"tea": "green"}
    assert list(end["InvokeComplete"]) == ["LogResult"]


def test_a_function_that_fails_before_it_streams_is_unhandled(make_function, lambda_client):
    name = make_function("def handler(event, context): raise ValueError('no')")
    body, complete = read(begin(lambda_client, name))
    assert (body, complete["ErrorCode"]) == (b"", "Unhandled")
    assert json.loads(complete["ErrorDetails"])["errorType"] == "ValueError"


# ---------------------------------------------------------------- ends in mid-stream


ENDS = {
    "crash": {"Runtime.TruncatedResponse", "Runtime.ExitError"},  # whichever is noticed first
    "hang": {"Sandbox.Timedout"},
    "fail": {"Tea.Cold"},
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.usefixtures("last_words_are_heard")
def test_a_stream_that_breaks_off_is_told_and_the_next_call_works(streaming, client_of, end):
    name = streaming(Timeout=2)
    body, complete = read(begin(client_of(), name, mib=1, end=end))
    assert body.count(b"x") == MIB
    assert complete["ErrorCode"] in ENDS[end]
    body, complete = read_when_free(client_of(), name)
    assert call_of(body) == (2 if end == "fail" else 1)
    assert list(complete) == ["LogResult"]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.usefixtures("last_words_are_heard")
def test_over_http_it_is_a_broken_connection(streaming, endpoint, end):
    name = streaming(Timeout=2)
    with url(endpoint, name, mib=1, end=end) as response, pytest.raises(http.client.IncompleteRead):
        response.read()


# ---------------------------------------------------------------- clients


def test_a_client_that_goes_away_frees_the_instance_when_it_is_done(
    streaming, client_of, lambda_client
):
    name = streaming(Timeout=60)
    client = client_of()
    events = begin(client, name, mib=50)
    assert next(iter(events))
    events.close()
    body, _ = read_when_free(lambda_client, name)
    assert call_of(body) == 2  # of the same instance


def test_a_client_that_does_not_read_stalls_nobody_and_has_until_the_timeout(
    streaming, client_of, lambda_client
):
    slow, quick = streaming(Timeout=5), streaming(Timeout=30)
    events = begin(client_of(), slow, mib=50)
    assert next(iter(events))
    assert is_busy(lambda_client, slow)
    for _ in range(3):
        body, _ = read(begin(lambda_client, quick, mib=10))
        assert body.count(b"x") == 10 * MIB
    read_when_free(lambda_client, slow)  # the timeout has ended it
    _, complete = read(events)
    assert complete["ErrorCode"] == "Sandbox.Timedout"


def test_a_large_stream_takes_little_memory_of_the_server(streaming, server, endpoint):
    name = streaming(Timeout=120)
    with url(endpoint, name) as response:
        response.read()
    status = Path(f"/proc/{server.pid}/status")
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")  # forget the peak: proc(5)
    before = resident_bytes(status, "VmRSS")
    size = 0
    with url(endpoint, name, mib=199) as response:
        while part := response.read(MIB):
            size += len(part)
    assert size > 199 * MIB
    assert resident_bytes(status, "VmHWM") - before < 16 * MIB


def resident_bytes(status, name):
    return int(re.search(rf"{name}:\s+(\d+) kB", status.read_text())[1]) * 1024


def test_a_hundred_streams_at_once(streaming, endpoint):
    name = streaming(instances=100, Timeout=120)
    all_begun = threading.Barrier(100)

    def one(_):
        with url(endpoint, name, mib=1) as response:
            first = response.read(5)
            all_begun.wait(100)
            return first + response.read()

    with ThreadPoolExecutor(100) as threads:
        bodies = list(threads.map(one, range(100)))
    assert all(body.count(b"x") == MIB for body in bodies)
    with url(endpoint, name) as response:
        assert response.read().startswith(b"call ")


# ---------------------------------------------------------------- function URLs


def test_a_prelude_is_the_head_of_the_response(streaming, endpoint):
    prelude = {"statusCode": 418, "headers": {"X-Tea": "green"}, "cookies": ["a=1", "b=2"]}
    kind = "application/vnd.awslambda.http-integration-response"
    with url(endpoint, streaming(), type=kind, prelude=prelude) as response:
        assert (response.status, response.headers["x-tea"]) == (418, "green")
        assert response.headers.get_all("set-cookie") == ["a=1", "b=2"]
        assert response.read().startswith(b"call 1 ")


def test_a_stream_without_one_is_a_200_of_its_type(streaming, endpoint):
    with url(endpoint, streaming(), type="text/event-stream") as response:
        assert (response.status, response.headers["content-type"]) == (200, "text/event-stream")


def test_a_prelude_that_is_none_is_a_502_and_the_instance_lives_on(
    streaming, endpoint, lambda_client
):
    name = streaming(Timeout=30)
    kind = "application/vnd.awslambda.http-integration-response"
    with url(endpoint, name, type=kind, mib=5) as response:
        assert response.status == 502
    body, _ = read_when_free(lambda_client, name)
    assert call_of(body) == 2


@contextlib.contextmanager
def url(endpoint, name, **event):
    """The response of a function URL, whose function is told `event`, once an instance is free."""
    connection = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=120)
    headers = {"content-type": "application/json"}
    try:
        while True:
            connection.request("POST", f"/_samovar/url/{name}/", json.dumps(event), headers)
            response = connection.getresponse()
            if response.status != 429:
                break
            response.read()
        yield response
    finally:
        connection.close()
