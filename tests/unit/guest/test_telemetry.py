"""The telemetry of a bridged instance, as a subscribed extension gets it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from samovar.guest import wire
from tests.unit.guest.bridged import BridgedInstance

StartBridged = Callable[..., BridgedInstance]
WITHIN_S = 20.0

TALKER = """
    print("init line", flush=True)
    while True:
        id, event = next_invocation()
        print("hello", event, flush=True)
        print("to stderr", file=sys.stderr, flush=True)
        respond(id, event)
"""

READER = """
    id = register("INVOKE", "SHUTDOWN")
    print("I am an extension", flush=True)
    subscribe(id, listen(lambda events: [note("events", event) for event in events]))
    while next_event(id)["eventType"] != "SHUTDOWN":
        pass
"""


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


def events_until(
    instance: BridgedInstance, enough: Callable[[list[dict[str, Any]]], bool]
) -> list[dict[str, Any]]:
    """What the subscriber has written, as soon as it is enough."""
    deadline = time.monotonic() + WITHIN_S
    while not enough(events := instance.notes("events")):
        assert time.monotonic() < deadline, events
        instance.pause()
    return events


def has(*types: str) -> Callable[[list[dict[str, Any]]], bool]:
    return lambda events: set(types) <= {event["type"] for event in events}


def records(events: list[dict[str, Any]], kind: str) -> list[Any]:
    return [event["record"] for event in events if event["type"] == kind]


FIGURES = {
    "id": "id-1",
    "status": "success",
    "run_ms": 12.5,
    "billed_ms": 13,
    "memory_mib": 128,
    "peak_mib": 40,
    "init_ms": 77.0,
}


def test_a_subscriber_gets_the_story_of_an_invocation(bridged):
    instance = bridged(reader=READER)
    instance.init()
    assert instance.invoke("tea")[0] == wire.RESPONSE
    instance.send(wire.REPORT, FIGURES)
    events = events_until(instance, has("platform.report", "platform.runtimeDone"))
    kinds = [event["type"] for event in events if event["type"].startswith("platform.")]
    assert kinds == [
        "platform.initStart",
        "platform.telemetrySubscription",
        "platform.initRuntimeDone",
        "platform.extension",
        "platform.initReport",
        "platform.start",
        *sorted(["platform.runtimeDone", "platform.report"], key=kinds.index),
    ]
    assert records(events, "function") == ["init line", "hello tea", "to stderr"]
    assert records(events, "extension") == ["I am an extension"]
    assert records(events, "platform.start")[0]["requestId"] == "id-1"
    done = records(events, "platform.runtimeDone")[0]
    assert (done["status"], done["metrics"]["producedBytes"]) == ("success", 5)
    assert records(events, "platform.report")[0]["metrics"] == {
        "durationMs": 12.5,
        "billedDurationMs": 13,
        "memorySizeMB": 128,
        "maxMemoryUsedMB": 40,
        "initDurationMs": 77.0,
    }
    assert all(event["time"].endswith("Z") and len(event["time"]) == 24 for event in events)


def test_what_is_printed_is_in_the_log_too_before_the_answer(bridged):
    instance = bridged(reader=READER)
    instance.init()
    instance.invoke("tea")
    assert "hello tea\nto stderr\n" in instance.log
    assert "I am an extension\n" in instance.log
    assert "TELEMETRY\tName: reader\tState: Subscribed\tTypes: [Extension, Function, Platform]" in (
        instance.log
    )


def test_the_end_brings_what_was_still_waiting(bridged):
    instance = bridged(
        reader=READER.replace(
            "subscribe(id,", "subscribe(id, buffering={'timeoutMs': 30000}, port="
        )
    )
    instance.init()
    instance.invoke("tea")
    assert instance.notes("events") == []
    instance.send(wire.SHUTDOWN, {"reason": "spindown", "deadline_ms": 1 << 60})
    instance.wait()
    assert "hello tea" in records(instance.notes("events"), "function")


def test_a_failed_runtime_is_told_before_the_end(bridged):
    instance = bridged("next_invocation(); sys.exit(3)", reader=READER)
    instance.init()
    assert instance.invoke("tea")[0] == wire.ERROR
    instance.wait()
    (done,) = records(instance.notes("events"), "platform.runtimeDone")
    assert (done["status"], done["errorType"]) == ("error", "Runtime.ExitError")


def test_a_subscriber_by_tcp_gets_lines(bridged):
    instance = bridged(
        reader="""
        listener = socket.create_server(("127.0.0.1", 0))
        def read():
            for line in listener.accept()[0].makefile():
                note("events", json.loads(line))
        threading.Thread(target=read, daemon=True).start()
        id = register("INVOKE")
        port = listener.getsockname()[1]
        subscribe(id, 0, destination={"protocol": "TCP", "port": port})
        while True:
            next_event(id)
        """
    )
    instance.init()
    for number in range(3):
        instance.invoke(number, f"id-{number}")
    events = events_until(instance, lambda events: "hello 2" in records(events, "function"))
    assert records(events, "platform.initStart")


def test_the_logs_api_has_its_own_events(bridged):
    instance = bridged(
        reader="""
        id = register("INVOKE")
        port = listen(lambda events: [note("events", event) for event in events])
        note("answer", subscribe(id, port, "/2020-08-15/logs", schemaVersion="2020-08-15")[0])
        while True:
            next_event(id)
        """
    )
    instance.init()
    instance.invoke("tea")
    instance.send(wire.REPORT, FIGURES)
    events = events_until(instance, has("platform.report"))
    assert instance.notes("answer") == [200]
    assert records(events, "platform.end") == [{"requestId": "id-1"}]
    kinds = {event["type"] for event in events}
    assert {"platform.logsSubscription", "function", "platform.start"} <= kinds
    assert not {"platform.initStart", "platform.telemetrySubscription"} & kinds


REFUSED = [
    ({"types": []}, "types should not be empty"),
    ({"types": ["tea"]}, "unknown types: tea"),
    ({"schemaVersion": "1"}, "schemaVersion should be one of"),
    ({"destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain"}}, "URI port"),
    ({"destination": {"protocol": "HTTP", "URI": "http://example.com:80"}}, "URI host"),
    ({"destination": {"protocol": "HTTP", "URI": "https://sandbox:80"}}, "URI scheme"),
    ({"destination": {"protocol": "HTTP", "URI": "http://sandbox:1/\r\nX: y"}}, "URI is invalid"),
    ({"destination": {"protocol": "TCP", "port": 70000}}, "TCP port"),
    ({"destination": {"protocol": "UDP"}}, "protocol should be"),
    ({"destination": 3}, "destination is not provided"),
    ({"buffering": {"maxItems": 1}}, "maxItems should be from 1000 to 10000"),
    ({"buffering": {"timeoutMs": True}}, "timeoutMs should be from 25 to 30000"),
]


def test_a_subscription_that_is_wrong_is_refused(bridged):
    instance = bridged(
        reader=f"""
        id = register()
        for request, _ in {REFUSED!r}:
            status, _, body = subscribe(id, 4000, **request)
            note("answers", [status, json.loads(body)["errorMessage"]])
        runtime_api = int(HOST.split(":")[1])
        note("own", json.loads(subscribe(id, runtime_api)[2])["errorMessage"])
        note("stranger", subscribe("00000000-0000-4000-8000-000000000000", 4000)[0])
        next_event(id)
        """
    )
    assert instance.init()[0] == wire.READY
    for (status, message), (_, words) in zip(instance.notes("answers"), REFUSED, strict=True):
        assert status == 400
        assert words in message
    assert "is reserved" in instance.notes("own")[0]
    assert instance.notes("stranger") == [403]


def test_after_init_nobody_subscribes_any_more(bridged):
    instance = bridged(
        reader="""
        id = register("INVOKE")
        next_event(id)
        note("late", [subscribe(id, 4000)[0], json.loads(subscribe(id, 4000)[2])["errorType"]])
        next_event(id)
        """
    )
    instance.init()
    instance.invoke("tea")
    events = instance.notes_until("late")
    assert events == [[403, "Telemetry.SubscriptionClosed"]]


# ---------------------------------------------------------------- who cannot or will not read

NEVER_READS = """
    listener = socket.create_server(("127.0.0.1", 0))
    id = register("INVOKE", "SHUTDOWN")
    subscribe(id, listener.getsockname()[1])
    while next_event(id)["eventType"] != "SHUTDOWN":
        pass
"""


def test_a_subscriber_that_never_reads_holds_up_nothing(bridged):
    instance = bridged(
        """
        while True:
            id, event = next_invocation()
            for _ in range(event):
                print("x" * 1000)
            sys.stdout.flush()
            respond(id, event)
        """,
        deaf=NEVER_READS,
    )
    instance.init()
    for number in range(3):
        assert instance.invoke(5_000, f"id-{number}")[0] == wire.RESPONSE
    assert instance.memory_kib() < 64 << 10
    assert instance.shut_down() == 0


def test_what_a_slow_subscriber_misses_is_counted(bridged):
    instance = bridged(
        """
        while True:
            id, event = next_invocation()
            for number in range(event):
                print("line", number)
            sys.stdout.flush()
            respond(id, event)
        """,
        slow="""
        gate = threading.Event()
        def take(events):
            gate.wait()
            note("batches", events)
        id = register("INVOKE")
        subscribe(id, listen(take))
        next_event(id)
        next_event(id)
        gate.set()
        next_event(id)
        """,
    )
    instance.init()
    assert instance.invoke(30_000)[0] == wire.RESPONSE
    instance.invoke(0, "id-2")

    def told() -> tuple[int, int]:
        """Lines that have arrived, and how many are said to be missing. What has not been taken in
        time is sent again, so a batch may come twice."""
        events = [event for batch in instance.notes("batches") for event in batch]
        lines = set(records(events, "function"))
        dropped = {e["time"]: e["record"] for e in events if e["type"] == "platform.logsDropped"}
        return len(lines), sum(record["droppedRecords"] for record in dropped.values())

    deadline = time.monotonic() + WITHIN_S
    while sum(told()) < 30_000:
        assert time.monotonic() < deadline, told()
        instance.pause()
    assert all(told())


def test_who_subscribes_again_is_sent_to_the_new_place_alone(bridged):
    instance = bridged(
        reader="""
        listener = socket.create_server(("127.0.0.1", 0))
        id = register("INVOKE", "SHUTDOWN")
        for _ in range(50):
            subscribe(id, listener.getsockname()[1])
        subscribe(id, listen(lambda events: [note("events", event) for event in events]))
        while next_event(id)["eventType"] != "SHUTDOWN":
            pass
        """
    )
    instance.init()
    instance.invoke("tea")
    events = events_until(instance, has("function", "platform.start"))
    assert len(records(events, "platform.initStart")) == 1
    assert instance.descriptors() < 40


def test_a_fault_is_an_event_of_the_logs_api(bridged):
    instance = bridged(
        "next_invocation(); sys.exit(3)",
        reader="""
        id = register("INVOKE", "SHUTDOWN")
        port = listen(lambda events: [note("events", event) for event in events])
        subscribe(id, port, "/2020-08-15/logs", schemaVersion="2020-08-15")
        while next_event(id)["eventType"] != "SHUTDOWN":
            pass
        """,
    )
    instance.init()
    assert instance.invoke("tea")[0] == wire.ERROR
    instance.wait()
    assert records(instance.notes("events"), "platform.fault") == [
        "RequestId: id-1 Error: Runtime exited with error: exit status 3\nRuntime.ExitError"
    ]


def test_a_line_without_end_is_told_in_pieces(bridged):
    instance = bridged(
        """
        id, event = next_invocation()
        sys.stdout.write("x" * 300_000)
        sys.stdout.flush()
        respond(id, event)
        next_invocation()
        """,
        reader=READER,
    )
    instance.init()
    instance.invoke("tea")
    instance.shut_down()
    pieces = records(instance.notes("events"), "function")
    assert "".join(pieces) == "x" * 300_000
    assert max(map(len, pieces)) == 64 * 1024


def test_a_subscriber_that_comes_later_is_tried_again(bridged):
    instance = bridged(
        reader="""
        id = register("INVOKE")
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        subscribe(id, port)
        next_event(id)
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                for event in json.loads(body):
                    note("events", event)
                self.send_response(200)
                self.end_headers()
            def log_message(self, *args):
                pass
        http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
        """
    )
    instance.init()
    instance.invoke("tea")
    events_until(instance, has("platform.initStart", "function"))
