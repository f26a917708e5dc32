"""Streamed responses from a program to the worker: as they come, as fast as they are taken."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from samovar.guest import wire
from tests.aws.runtimes import python_client
from tests.unit.guest.bridge import Bridged, kinds, parts

Start = Callable[[str], Bridged]
PENDING = {"pending": True}
STREAM = [wire.HEAD, wire.PART, wire.RESPONSE]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a program of Python; it has asked for its first event."""
    started = []

    def start(script: str) -> Bridged:
        started.append(Bridged(tmp_path, {"bootstrap": python_client(script)}))
        assert started[-1].frame()[0] == wire.READY
        return started[-1]

    yield start
    for instance in started:
        instance.close()


def test_a_stream_is_seen_as_it_is_written(start, tmp_path):
    os.mkfifo(tmp_path / "go")
    instance = start("""
        go = os.open("go", os.O_RDWR)
        id, _, _ = next_event()
        one = stream(id, {"Content-Type": "text/tea"})
        for word in (b"green ", b"tea"):
            os.read(go, 1)
            one.sendall(chunk(word))
        os.read(go, 1)
        one.sendall(b"0\\r\\n\\r\\n")
        assert answer_of(one) == (202, b'{"status":"OK"}\\n')
        next_event()
    """)
    instance.invoke()
    assert instance.frame() == (wire.HEAD, {"content_type": "text/tea"}, b"")
    for word in (b"green ", b"tea"):
        (tmp_path / "go").write_text("!")
        assert instance.frame() == (wire.PART, {}, word)
    (tmp_path / "go").write_text("!")
    assert instance.frame() == (wire.RESPONSE, PENDING, b"")


def test_a_large_stream_comes_in_parts_of_the_agreed_size(start):
    instance = start("""
        while True:
            id, count, _ = next_event()
            one = stream(id)
            one.sendall(chunk(b"x" * count) + chunk(b"y" * 3) * 1000 + b"0\\r\\n\\r\\n")
            assert answer_of(one)[0] == 202
    """)
    for count in (1, 10_000_000):
        instance.invoke(event=str(count).encode())
        frames = instance.answer()
        assert list(kinds(frames)) == STREAM
        assert parts(frames) == b"x" * count + b"y" * 3000
        assert max(len(body) for _, _, body in frames) <= wire.MAX_PART_BYTES
        assert len(frames) < 1000  # what came together went together
        instance.rest()


def test_a_stream_with_a_length_is_one_too(start):
    instance = start("""
        id, _, _ = next_event()
        respond(id, "x" * 7_000_000, headers={"Lambda-Runtime-Function-Response-Mode": "streaming"})
        next_event()
    """)
    instance.invoke()
    frames = instance.answer()
    assert (list(kinds(frames)), len(parts(frames))) == (STREAM, 7_000_002)


@pytest.mark.parametrize(
    ("body", "document"),
    [
        (base64.b64encode(b'{"errorType": "Tea.Cold"}'), {"errorType": "Tea.Cold"}),
        (b"", {"errorMessage": "", "errorType": "Tea.Cold"}),
        (b"!no base64!", {"errorMessage": "", "errorType": "Tea.Cold"}),
    ],
)
def test_trailers_say_that_a_stream_has_failed(start, body, document):
    instance = start(f"""
        id, _, _ = next_event()
        one = stream(id)
        one.sendall(
            chunk(b"te") + b"0\\r\\nLambda-Runtime-Function-Error-Type: Tea.Cold\\r\\n"
            b"Lambda-Runtime-Function-Error-Body: " + {body!r} + b"\\r\\n\\r\\n"
        )
        assert answer_of(one)[0] == 202
        next_event()
    """)
    instance.invoke()
    frames = instance.answer()
    kind, meta, told = frames[-1]
    assert (parts(frames), kind, meta["type"], json.loads(told)) == (
        b"te",
        wire.ERROR,
        "Tea.Cold",
        document,
    )


@pytest.mark.parametrize(
    ("how", "refusal"),
    [
        ("one.close()", None),
        ("one.shutdown(socket.SHUT_WR)", "TruncatedHTTPRequest"),
        ("one.sendall(b'zz\\r\\n')", "TruncatedHTTPRequest"),
        ("one.sendall(b'5\\r\\nabcdefghij')", "TruncatedHTTPRequest"),
    ],
)
def test_a_stream_that_breaks_off_has_failed_and_the_program_goes_on(start, how, refusal):
    instance = start(f"""
        told = None
        while True:
            id, event, _ = next_event()
            if event == "break":
                one = stream(id)
                one.sendall(chunk(b"te"))
                call("GET", "/nothing")  # whoever is served has been let in
                {how}
                if {refusal!r}:
                    status, body = answer_of(one)
                    told = [status, json.loads(body)["errorType"]]
            else:
                respond(id, told)
    """)
    instance.invoke(event=b'"break"')
    frames = instance.answer()
    assert parts(frames)[:2] == b"te"
    assert (frames[-1][0], frames[-1][1]["type"]) == (wire.ERROR, "Runtime.TruncatedResponse")
    instance.rest()
    instance.invoke("two")
    expected = [400, refusal] if refusal else None
    assert instance.frame() == (wire.RESPONSE, PENDING, json.dumps(expected).encode())


@pytest.mark.parametrize(
    ("end", "status"), [("os._exit(3)", 3), ("os.kill(os.getpid(), 9)", -9), ("os.abort()", -6)]
)
def test_a_program_that_dies_in_mid_stream_has_said_what_it_said(start, end, status):
    instance = start(f"""
        id, _, _ = next_event()
        one = stream(id)
        call("GET", "/nothing")  # whoever is served has been let in
        one.sendall(chunk(b"x" * 2_000_000))
        {end}
    """)
    instance.invoke()
    frames = instance.answer()
    assert len(parts(frames)) == 2_000_000
    assert (frames[-1][0], frames[-1][1]["type"]) == (wire.ERROR, "Runtime.TruncatedResponse")
    assert instance.ended() == status


def test_calls_out_of_turn_in_mid_stream_are_refused_and_harm_nothing(start):
    instance = start("""
        id, _, _ = next_event()
        one = stream(id)
        seen = [
            call("GET", "/invocation/next"),
            respond(id, 1),
            fail(id, {}),
            respond(id, 1, headers={"Lambda-Runtime-Function-Response-Mode": "streaming"}),
        ]
        told = [[status, json.loads(body)["errorMessage"].split()[3]] for status, _, body in seen]
        one.sendall(chunk(json.dumps(told).encode()) + b"0\\r\\n\\r\\n")
        answer_of(one)
        next_event()
    """)
    instance.invoke()
    assert json.loads(parts(instance.answer())) == [[403, "InvocationResponse"]] * 4


def test_while_the_worker_does_not_read_the_program_waits_and_is_served_besides(start, tmp_path):
    os.mkfifo(tmp_path / "sent")
    instance = start("""
        id, _, _ = next_event()
        one = stream(id)
        one.settimeout(1)
        data, sent = memoryview(chunk(b"x" * 100_000_000) + b"0\\r\\n\\r\\n"), 0
        try:
            while sent < len(data):
                sent += one.send(data[sent:])
        except TimeoutError:
            pass
        with open("sent", "w") as file:
            file.write(f"{sent} {call('GET', '/nothing')[0]}")
        one.settimeout(None)
        one.sendall(data[sent:])
        assert answer_of(one)[0] == 202
        next_event()
    """)
    instance.invoke()
    sent, status = (tmp_path / "sent").read_text().split()
    assert (int(sent) < 30_000_000, status) == (True, "404")
    frames = instance.answer()
    assert (list(kinds(frames)), len(parts(frames))) == (STREAM, 100_000_000)


def test_what_a_dead_program_has_left_waits_for_a_slow_worker(start, tmp_path):
    os.mkfifo(tmp_path / "life")
    instance = start("""
        id, _, _ = next_event()
        life = open("life", "w")
        one = stream(id)
        one.settimeout(1)
        try:
            while True:
                one.sendall(chunk(b"x" * 1000))
        except TimeoutError:
            os._exit(0)
    """)
    instance.invoke()
    (tmp_path / "life").read_text()
    frames = instance.answer()
    assert len(parts(frames)) > 1_000_000
    assert frames[-1][1]["type"] == "Runtime.TruncatedResponse"
    assert instance.ended() == 0


def test_a_content_type_that_fits_no_frame_is_left_out(start):
    instance = start("""
        id, _, _ = next_event()
        one = stream(id, {"Content-Type": "x" * 70000})
        one.sendall(chunk(b"tea") + b"0\\r\\n\\r\\n")
        answer_of(one)
        next_event()
    """)
    instance.invoke()
    frames = instance.answer()
    assert frames[0] == (wire.HEAD, {}, b"")
    assert parts(frames) == b"tea"
