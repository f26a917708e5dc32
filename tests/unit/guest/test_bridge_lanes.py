"""A bridged instance takes many requests at once, if its program asks for many at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from samovar.guest import wire
from tests.unit.guest.bridged import BridgedInstance

MANY = 8

POOL = """
    def serve():
        while True:
            id, event = next_invocation()
            answer(id, event)

    barrier = threading.Barrier(8)

    def answer(id, event):
        if event == "meet":
            barrier.wait(20)
        if event == "end":
            os._exit(3)
        if event == "fail":
            call("POST", f"/2018-06-01/runtime/invocation/{id}/error", '{"errorType": "E"}',
                 {"Lambda-Runtime-Function-Error-Type": "E"})
        elif event == "twice":
            respond(id, 1)
            status, headers, body = respond(id, 2)
            print(json.dumps({"second": status}), flush=True)
        elif event != "wait":
            respond(id, event)
        else:
            time.sleep(60)

    for _ in range(8):
        threading.Thread(target=serve).start()
"""

Start = Callable[..., BridgedInstance]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    instances = []

    def start(program: str = POOL, **extensions: str) -> BridgedInstance:
        instances.append(BridgedInstance(tmp_path / "instance", program, extensions))
        instance = instances[-1]
        assert instance.init(concurrency=MANY)[0] == wire.READY, instance.log
        return instance

    yield start
    for instance in instances:
        instance.close()


def test_as_many_run_at_once_as_there_are_lanes(start):
    instance = start()
    lanes = [instance.lane() for _ in range(MANY)]
    for number, lane in enumerate(lanes):
        lane.begin("meet", id=f"request-{number}")
    for lane in lanes:
        answer = lane.answer()
        assert (answer.kind, answer.meta, answer.json) == (wire.RESPONSE, {}, "meet")


def test_more_than_are_asked_for_wait_for_their_turn(start):
    instance = start(POOL.replace("range(8)", "range(1)"))
    lanes = [instance.lane() for _ in range(MANY)]
    for number, lane in enumerate(lanes):
        lane.begin(number, id=f"request-{number}")
    assert [lane.answer().json for lane in lanes] == list(range(MANY))


def test_one_that_fails_does_not_touch_the_others(start):
    instance = start()
    waiting, failing, last = (instance.lane() for _ in range(3))
    waiting.begin("wait", id="waiting")
    failed = failing.invoke("fail", id="failing")
    assert (failed.kind, failed.meta, failed.json) == (
        wire.ERROR,
        {"type": "E"},
        {"errorType": "E"},
    )
    assert failing.invoke("again", id="again").json == "again"
    assert last.invoke("last", id="last").json == "last"


def test_a_second_answer_to_one_is_refused(start):
    instance = start()
    lane = instance.lane()
    assert lane.invoke("twice", id="one").json == 1
    assert lane.invoke("next", id="two").json == "next"
    while '"second"' not in instance.log:
        instance.pause()
    assert '{"second": 400}' in instance.log


def test_the_end_of_the_program_ends_all(start):
    instance = start()
    waiting, ending = instance.lane(), instance.lane()
    waiting.begin("wait", id="waiting")
    ending.begin("end", id="ending")
    for lane in (waiting, ending):
        with pytest.raises(EOFError):
            lane.answer()
    assert instance.wait() == 3


def test_two_requests_of_one_id_are_not_one(start):
    instance = start()
    first, second = instance.lane(), instance.lane()
    first.begin("wait", id="same")
    assert second.invoke("x", id="same").meta["type"] == "Runtime.RequestInProgress"


EXTENSION = """
    status, headers, body = call(
        "POST", "/2020-01-01/extension/register", '{"events": ["INVOKE"]}',
        {"Lambda-Extension-Name": NAME})
    note("refused", [status, json.loads(body)])
    id = register("SHUTDOWN")
    subscribe(id, listen(lambda events: [note("events", event) for event in events]))
    while True:
        event = next_event(id)
        note("told", event["eventType"])
        if event["eventType"] == "SHUTDOWN":
            break
"""


def test_extensions_are_not_told_of_invocations_and_telemetry_is_true(start):
    instance = start(POOL, listener=EXTENSION)
    assert instance.notes("refused") == [
        [
            403,
            {
                "errorMessage": "INVOKE: ErrorInvalidEventType",
                "errorType": "Extension.InvalidEventType",
            },
        ]
    ]
    lanes = [instance.lane() for _ in range(MANY)]
    for number, lane in enumerate(lanes):
        lane.begin("meet", id=f"request-{number}")
    assert {lane.answer().json for lane in lanes} == {"meet"}
    lanes[0].invoke("fail", id="failing")
    assert instance.shut_down() == 0
    assert instance.notes("told") == ["SHUTDOWN"]
    events = instance.notes("events")
    ids = {f"request-{number}" for number in range(MANY)}
    done = [e["record"] for e in events if e["type"] == "platform.runtimeDone"]
    assert {record["requestId"]: record["status"] for record in done} == {
        **dict.fromkeys(ids, "success"),
        "failing": "error",
    }
    started = [e["record"]["requestId"] for e in events if e["type"] == "platform.start"]
    assert sorted(started) == sorted([*ids, "failing"])


def test_a_stream_that_nobody_takes_holds_up_no_other(start):
    instance = start(
        """
    def stream(id):
        connection = http.client.HTTPConnection(HOST)
        parts = (b"x" * 65536 for _ in range(100))
        connection.request("POST", f"/2018-06-01/runtime/invocation/{id}/response", parts,
            {"Lambda-Runtime-Function-Response-Mode": "streaming"}, encode_chunked=True)
        connection.getresponse().read()

    def serve():
        while True:
            id, event = next_invocation()
            stream(id) if event == "stream" else respond(id, event)

    for _ in range(2):
        threading.Thread(target=serve).start()
    """
    )
    streaming, other = instance.lane(), instance.lane()
    streaming.begin("stream", id="stream")
    assert streaming.answer().kind == wire.HEAD
    for number in range(20):
        assert other.invoke(number, id=f"other-{number}").json == number
    streamed = b""
    while (frame := streaming.answer()).kind == wire.PART:
        streamed += frame.body
    assert (frame.kind, len(streamed)) == (wire.RESPONSE, 100 * 65536)
