"""A program that ends, or calls, at each point of the protocol: what the worker is told of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from samovar.guest import wire
from tests.aws.runtimes import python_client
from tests.unit.guest.bridge import Bridged

PENDING = {"pending": True}


@pytest.fixture
def start(tmp_path: Path):
    started = []

    def start(script: str) -> Bridged:
        started.append(Bridged(tmp_path, {"bootstrap": python_client(script)}))
        return started[-1]

    yield start
    for instance in started:
        instance.close()


def test_an_answer_is_told_at_once_and_rest_when_the_next_event_is_asked_for(start):
    instance = start("""
        while True:
            id, event, _ = next_event()
            fail(id, {"no": 1}) if event == "fail" else respond(id, event)
    """)
    assert instance.frame()[0] == wire.READY
    for number in range(3):
        instance.invoke(event=b"%d" % number)
        assert instance.frame() == (wire.RESPONSE, PENDING, b"%d" % number)
        instance.rest()
    instance.invoke(event=b'"fail"')
    kind, meta, body = instance.frame()
    assert (kind, meta["pending"], json.loads(body)) == (wire.ERROR, True, {"no": 1})
    instance.rest()


def test_a_program_that_has_asked_beforehand_is_at_rest_with_its_answer(start):
    instance = start("""
        first, second = http.client.HTTPConnection(HOST), http.client.HTTPConnection(HOST)
        for one in (first, second):
            one.request("GET", ROOT + "/invocation/next")
        answer = first.getresponse()
        respond(answer.headers["Lambda-Runtime-Aws-Request-Id"], json.loads(answer.read()))
        answer = second.getresponse()
        respond(answer.headers["Lambda-Runtime-Aws-Request-Id"], json.loads(answer.read()))
        next_event()
    """)
    assert instance.frame()[0] == wire.READY
    instance.invoke(event=b"1")
    assert instance.frame() == (wire.RESPONSE, {}, b"1")
    instance.invoke("two", event=b"2")
    assert instance.frame() == (wire.RESPONSE, PENDING, b"2")
    instance.rest()


def test_every_header_of_an_event_is_passed_on(start):
    instance = start("""
        id, _, headers = next_event()
        respond(id, {k: v for k, v in headers.items() if k.startswith("Lambda-")})
        next_event()
    """)
    instance.frame()
    instance.invoke(
        trace_id="Root=1",
        tenant_id="blue",
        client_context='{"a": "\\u00e9"}',
        cognito_identity='{"cognitoIdentityId": "x"}',
        deadline_ms=17,
    )
    assert json.loads(instance.frame()[2]) == {
        "Lambda-Runtime-Aws-Request-Id": "one",
        "Lambda-Runtime-Deadline-Ms": "17",
        "Lambda-Runtime-Invoked-Function-Arn": "a",
        "Lambda-Runtime-Trace-Id": "Root=1",
        "Lambda-Runtime-Client-Context": '{"a":"\\u00e9"}',
        "Lambda-Runtime-Cognito-Identity": '{"cognitoIdentityId":"x"}',
        "Lambda-Runtime-Aws-Tenant-Id": "blue",
    }


def test_an_instance_without_a_snapshot_is_not_restored(start):
    instance = start("""
        seen = [call("GET", "/restore/next"), call("POST", "/restore/error", "{}")]
        id, _, _ = next_event()
        seen += [call("GET", "/restore/next")]
        respond(id, [[status, json.loads(body)["errorType"]] for status, _, body in seen])
        next_event()
    """)
    instance.frame()
    instance.invoke()
    assert json.loads(instance.frame()[2]) == [[403, "InvalidStateTransition"]] * 3


@pytest.mark.parametrize("end", ["os._exit(3)", "os.kill(os.getpid(), 9)"])
@pytest.mark.parametrize(
    ("before", "told"),
    [
        ("", []),
        ("call('POST', '/init/error', '{}')", [wire.INIT_ERROR]),
        ("next_event()", [wire.READY]),
        ("respond(next_event()[0], 1)", [wire.READY, wire.RESPONSE]),
        ("fail(next_event()[0], {})", [wire.READY, wire.ERROR]),
    ],
)
def test_a_program_that_ends_has_said_what_it_said(start, before, told, end):
    answers = [kind for kind in told if kind != wire.READY]
    instance = start(f"""
        {before}
        {end}
    """)
    if told[:1] == [wire.READY]:
        assert instance.frame()[0] == wire.READY
        instance.invoke()
    assert [instance.frame()[0] for _ in answers] == answers
    assert instance.ended() == (3 if "exit" in end else -9)
