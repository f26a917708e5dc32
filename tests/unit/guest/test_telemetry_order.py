"""What telemetry tells when, and to whom: each thing once, and in its order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from samovar.guest import wire
from tests.unit.guest.bridged import BridgedInstance
from tests.unit.guest.test_telemetry import (
    FIGURES,
    READER,
    TALKER,
    StartBridged,
    events_until,
    has,
    records,
)


@pytest.fixture
def bridged(tmp_path: Path) -> Iterator[StartBridged]:
    """Makes instances: `bridged(program, name=extension, …)`."""
    instances = []

    def start(program: str = TALKER, **extensions: str) -> BridgedInstance:
        instances.append(BridgedInstance(tmp_path / str(len(instances)), program, extensions))
        return instances[-1]

    yield start
    for instance in instances:
        instance.close()


def test_what_a_streamed_response_had_is_counted_and_told_after_its_log(bridged):
    instance = bridged(
        """
        status, headers, body = call("GET", "/2018-06-01/runtime/invocation/next")
        id = headers["Lambda-Runtime-Aws-Request-Id"]
        one = http.client.HTTPConnection(HOST)
        one.request("POST", f"/2018-06-01/runtime/invocation/{id}/response", iter([b"abc", b"de"]),
            {"Lambda-Runtime-Function-Response-Mode": "streaming"}, encode_chunked=True)
        print("streamed", flush=True)
        one.getresponse().read()
        next_invocation()
        """,
        reader=READER,
    )
    instance.init()
    instance.invoke("tea")
    events = events_until(instance, has("platform.runtimeDone"))
    assert records(events, "platform.runtimeDone")[0]["metrics"]["producedBytes"] == 5


def test_a_runtime_that_asks_ahead_is_done_when_it_has_answered(bridged):
    instance = bridged(
        """
        def work():
            id, event = next_invocation()
            print("working", flush=True)
            call("POST", f"/2018-06-01/runtime/invocation/{id}/error", '{"errorType": "Tea.Cold"}',
                {"Lambda-Runtime-Function-Error-Type": "Tea.Cold"})
            threading.Event().wait()
        threading.Thread(target=work, daemon=True).start()
        work()
        """,
        reader=READER,
    )
    instance.init()
    assert instance.invoke("tea")[0] == wire.ERROR
    events = events_until(instance, has("platform.runtimeDone"))
    kinds = [event["type"] for event in events]
    assert kinds.index("function") < kinds.index("platform.runtimeDone")
    (done,) = records(events, "platform.runtimeDone")
    assert (done["status"], done["errorType"]) == ("error", "Tea.Cold")
    assert done["metrics"]["producedBytes"] > 0


@pytest.mark.parametrize(
    ("program", "status"),
    [
        ("respond(next_invocation()[0], 1); signal.pause()", "success"),
        ("next_invocation(); signal.pause()", "timeout"),
    ],
)
def test_the_runtimes_part_of_the_story_is_told_before_its_end(bridged, program, status):
    instance = bridged(program, reader=READER)
    instance.init()
    meta = {"id": "id-1", "arn": "arn:aws:lambda:x", "deadline_ms": 1 << 60}
    instance.send(wire.INVOKE, meta, b"1")
    events_until(instance, has("platform.start"))
    if status == "success":
        assert instance.read()[0] == wire.RESPONSE
    instance.send(wire.REPORT, FIGURES | {"status": status})
    instance.shut_down("timeout")
    events = instance.notes("events")
    kinds = [event["type"] for event in events]
    begun = kinds.index("platform.start")
    assert [kind for kind in kinds[begun:] if kind.startswith("platform.")] == [
        "platform.start",
        "platform.runtimeDone",
        "platform.report",
    ]
    assert records(events, "platform.runtimeDone")[0]["status"] == status


def test_who_subscribes_again_gets_what_has_not_reached_it_and_nothing_twice(bridged):
    instance = bridged(
        reader="""
        id = register("INVOKE", "SHUTDOWN")
        told = threading.Event()
        def take(events):
            for event in events:
                note("events", event)
            told.set()
        subscribe(id, listen(take))
        told.wait()
        nobody = socket.create_server(("127.0.0.1", 0)).getsockname()[1]
        subscribe(id, nobody)
        subscribe(id, listen(take))
        while next_event(id)["eventType"] != "SHUTDOWN":
            pass
        """
    )
    instance.init()
    instance.invoke("tea")
    events = events_until(instance, has("function", "platform.runtimeDone"))
    assert len(records(events, "platform.initStart")) == 1
    assert len(records(events, "platform.telemetrySubscription")) == 3


def test_a_subscriber_by_tcp_that_goes_elsewhere_is_hung_up_on(bridged):
    instance = bridged(
        reader="""
        listener = socket.create_server(("127.0.0.1", 0))
        id = register("INVOKE", "SHUTDOWN")
        place = {"protocol": "TCP", "port": listener.getsockname()[1]}
        subscribe(id, 1, destination=place)
        lines = listener.accept()[0].makefile("rb")
        lines.readline()
        subscribe(id, listen(lambda events: None))
        while lines.readline():
            pass
        note("events", "the end")
        while next_event(id)["eventType"] != "SHUTDOWN":
            pass
        """
    )
    instance.init()
    assert instance.notes("events") == ["the end"]


def test_after_a_batch_that_is_lost_the_next_is_sent_though_nothing_more_happens(bridged):
    instance = bridged(
        reader="""
        refused = threading.Event()
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                events = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if events[0]["type"] == "platform.initStart":
                    refused.set()
                    self.send_response(500)
                else:
                    for event in events:
                        note("events", event)
                    self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()
            def log_message(self, *args):
                pass
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        id = register("INVOKE", "SHUTDOWN")
        subscribe(id, server.server_port)
        refused.wait()
        while next_event(id)["eventType"] != "SHUTDOWN":
            pass
        """
    )
    instance.init()
    instance.invoke("tea")
    events_until(instance, has("platform.logsDropped", "platform.runtimeDone", "function"))
