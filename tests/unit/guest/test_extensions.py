"""Extensions of a bridged instance: real processes that speak to a real bridge."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from samovar.guest import wire
from tests.unit.guest.bridged import ECHO, BridgedInstance

StartBridged = Callable[..., BridgedInstance]

LISTENER = """
    id = register("INVOKE", "SHUTDOWN")
    while True:
        event = next_event(id)
        note(NAME, event)
        if event["eventType"] == "SHUTDOWN":
            sys.exit(0)
"""


@pytest.fixture
def bridged(tmp_path: Path) -> Iterator[StartBridged]:
    """Makes instances: `bridged(program, name=extension, …)`."""
    instances = []

    def start(program: str = ECHO, **extensions: str) -> BridgedInstance:
        instances.append(BridgedInstance(tmp_path / str(len(instances)), program, extensions))
        return instances[-1]

    yield start
    for instance in instances:
        instance.close()


def test_an_extension_is_told_of_invocations_and_of_the_end(bridged):
    instance = bridged(listener=LISTENER)
    kind, meta, _ = instance.init()
    assert (kind, meta["shutdown"], meta["shutdown_ms"]) == (wire.READY, True, 2_000)
    assert instance.invoke({"tea": 1})[2] == b'{"tea": 1}'
    assert instance.shut_down() == 0
    invoke, shutdown = instance.notes("listener")
    assert invoke["eventType"] == "INVOKE"
    assert (invoke["requestId"], invoke["invokedFunctionArn"]) == ("id-1", "arn:aws:lambda:x")
    assert invoke["tracing"]["value"].startswith("Root=1-")
    assert (shutdown["eventType"], shutdown["shutdownReason"]) == ("SHUTDOWN", "spindown")
    assert "EXTENSION\tName: listener\tState: Ready\tEvents: [INVOKE, SHUTDOWN]\n" in instance.log


def test_extensions_register_before_the_runtime_starts(bridged):
    instance = bridged(
        """
        note("order", "runtime")
        while True:
            next_invocation()
        """,
        later="""
        note("order", "extension")
        next_event(register())
        """,
    )
    assert instance.init()[0] == wire.READY
    assert instance.notes("order") == ["extension", "runtime"]


def test_an_extension_begins_with_the_functions_environment_but_what_is_the_runtimes(bridged):
    instance = bridged(
        curious="""
        note("begins", [dict(os.environ), os.getcwd(), sys.argv[1:]])
        next_event(register())
        """
    )
    instance.init(TEA="green")
    ((env, folder, arguments),) = instance.notes("begins")
    assert (env["TEA"], env["AWS_LAMBDA_FUNCTION_NAME"]) == ("green", "tea")
    assert "AWS_LAMBDA_RUNTIME_API" in env
    assert not {"_HANDLER", "LAMBDA_TASK_ROOT", "AWS_EXECUTION_ENV"} & set(env)
    assert (folder, arguments) == ("/", [])


def test_a_registration_is_answered_with_the_function(bridged):
    instance = bridged(
        asks="""
        status, headers, body = call("POST", "/2020-01-01/extension/register", "{}", {
            "Lambda-Extension-Name": NAME, "Lambda-Extension-Accept-Feature": "accountId, other"})
        note("answer", [status, headers["Lambda-Extension-Identifier"], json.loads(body)])
        next_event(headers["Lambda-Extension-Identifier"])
        """
    )
    instance.init()
    ((status, identifier, document),) = instance.notes("answer")
    assert (status, len(identifier)) == (200, 36)
    assert document == {
        "functionName": "tea",
        "functionVersion": "$LATEST",
        "handler": "app.handler",
        "accountId": "123456789012",
    }


REFUSALS = [
    ("register", {}, "{}", "Extension.InvalidExtensionName"),
    ("register", {"Lambda-Extension-Name": "x"}, "nonsense", "InvalidRequestFormat"),
    ("register", {"Lambda-Extension-Name": "x"}, '["INVOKE"]', "InvalidRequestFormat"),
    ("register", {"Lambda-Extension-Name": "x"}, "[" * 9999, "InvalidRequestFormat"),
    (
        "register",
        {"Lambda-Extension-Name": "x"},
        '{"events": ["TEA"]}',
        "Extension.InvalidEventType",
    ),
    (
        "register",
        {"Lambda-Extension-Name": "x"},
        '{"events": ["SHUTDOWN"]}',
        "Extension.InvalidEventType",
    ),
    ("register", {"Lambda-Extension-Name": "asks"}, "{}", "Extension.InvalidExtensionState"),
    ("init/error", {}, "{}", "Extension.MissingExtensionIdentifier"),
    (
        "init/error",
        {"Lambda-Extension-Identifier": "7"},
        "{}",
        "Extension.InvalidExtensionIdentifier",
    ),
    (
        "exit/error",
        {"Lambda-Extension-Identifier": "00000000-0000-4000-8000-000000000000"},
        "{}",
        "Extension.UnknownExtensionIdentifier",
    ),
    ("exit/error", {"Lambda-Extension-Identifier": "own"}, "{}", "Extension.MissingHeader"),
]


def test_what_is_out_of_order_is_refused_in_awss_words(bridged):
    instance = bridged(
        asks=f"""
        id = register()
        for path, headers, body, _ in {REFUSALS!r}:
            headers = {{k: id if v == "own" else v for k, v in headers.items()}}
            status, _, text = call("POST", "/2020-01-01/extension/" + path, body, headers)
            note("answers", [status, json.loads(text)["errorType"]])
        next_event(id)
        """
    )
    assert instance.init()[0] == wire.READY
    assert instance.notes("answers") == [[403, error_type] for *_, error_type in REFUSALS]


def test_an_internal_extension_is_told_of_invocations_and_the_runtime_of_the_end(bridged):
    instance = bridged(
        """
        def extend(id):
            while True:
                note("internal", next_event(id))
        signal.signal(signal.SIGTERM, lambda *_: (note("internal", "SIGTERM"), os._exit(0)))
        inner = register("INVOKE", name="inner")
        threading.Thread(target=extend, args=[inner], daemon=True).start()
        while True:
            id, event = next_invocation()
            respond(id, event)
        """
    )
    kind, meta, _ = instance.init()
    assert (kind, meta["shutdown_ms"]) == (wire.READY, 500)
    assert instance.invoke("tea")[0] == wire.RESPONSE
    assert instance.shut_down() == 0
    invoke, end = instance.notes("internal")
    assert (invoke["eventType"], end) == ("INVOKE", "SIGTERM")


def test_after_init_nobody_registers_any_more(bridged):
    instance = bridged(
        """
        next_invocation()
        note("late", [call("POST", "/2020-01-01/extension/register", "{}",
                           {"Lambda-Extension-Name": "late"})[0]])
        respond("id-1", "done")
        """
    )
    instance.init()
    instance.invoke("tea")
    assert instance.notes("late") == [[403]]


def test_more_than_ten_extensions_are_too_many(bridged):
    instance = bridged(**{f"ext{number}": "next_event(register())" for number in range(11)})
    kind, _, body = instance.init()
    assert (kind, json.loads(body)["errorType"]) == (wire.INIT_ERROR, "Extension.LaunchError")


def test_who_does_not_register_for_invocations_is_not_waited_for(bridged):
    instance = bridged(
        lazy="""
        id = register("SHUTDOWN")
        note("lazy", next_event(id))
        """
    )
    instance.init()
    for number in range(3):
        assert instance.invoke(number, f"id-{number}")[0] == wire.RESPONSE
    instance.shut_down("timeout")
    assert [event["shutdownReason"] for event in instance.notes("lazy")] == ["timeout"]


# ---------------------------------------------------------------- failures

INIT_FAILURES = [
    ("sys.exit(3)", "Extension.Crash", "exit status 3"),
    ("sys.exit(0)", "Extension.Crash", "exit code 0"),
    ("register(); os.kill(os.getpid(), 9)", "Extension.Crash", "signal: killed"),
    ("report('init', register()); sys.exit(0)", "Extension.InitError", "exit code 0"),
    ("report('exit', register()); sys.exit(1)", "Extension.ExitError", "exit status 1"),
    ("report('init', register()); signal.pause()", "Extension.InitError", "Extension.Told"),
]


@pytest.mark.parametrize(("script", "error_type", "message"), INIT_FAILURES)
def test_an_extension_that_fails_in_init_fails_the_instance(bridged, script, error_type, message):
    instance = bridged(broken=script)
    kind, _, body = instance.init()
    document = {"errorType": error_type, "errorMessage": message}
    assert (kind, json.loads(body)) == (wire.INIT_ERROR, document)
    assert instance.wait() == 1


def test_what_is_no_program_is_told_as_such(bridged):
    instance = bridged(broken="")
    path = instance.folder / "opt" / "extensions" / "broken"
    path.write_text("#!/no/such/shell\n")
    kind, _, body = instance.init()
    assert (kind, json.loads(body)["errorType"]) == (wire.INIT_ERROR, "Extension.LaunchError")
    assert "fork/exec" in json.loads(body)["errorMessage"]


@pytest.mark.parametrize(
    ("end", "error_type"),
    [
        ("sys.exit(2)", "Extension.Crash"),
        ("report('exit', id); sys.exit(2)", "Extension.ExitError"),
    ],
)
def test_an_extension_that_fails_in_an_invocation_fails_it_and_the_others_are_told(
    bridged, end, error_type
):
    instance = bridged(
        "next_invocation(); signal.pause()",
        fails=f"id = register('INVOKE'); next_event(id); {end}",
        listener=LISTENER,
    )
    instance.init()
    kind, meta, body = instance.invoke("tea")
    assert (kind, meta["type"]) == (wire.ERROR, error_type)
    assert json.loads(body)["errorMessage"] == "RequestId: id-1 Error: exit status 2"
    assert instance.wait() == 1
    assert instance.notes("listener")[-1]["shutdownReason"] == "failure"


def test_what_the_runtime_answers_after_that_is_not_told(bridged):
    instance = bridged(
        """
        signal.signal(signal.SIGTERM, lambda *_: None)
        id, event = next_invocation()
        while not os.path.exists(os.path.join(os.environ["TEST_FOLDER"], "failed")):
            time.sleep(0.01)
        respond(id, event)
        next_invocation()
        """,
        fails="id = register('INVOKE'); next_event(id); sys.exit(2)",
        listener=LISTENER,
    )
    instance.init()
    assert instance.invoke("tea")[0] == wire.ERROR
    (instance.folder / "failed").touch()
    with pytest.raises(EOFError):
        instance.read()
    assert instance.wait() == 1
    assert instance.notes("listener")[-1]["shutdownReason"] == "failure"


def test_an_extension_that_fails_at_rest_takes_the_instance_out_of_use_at_once(bridged):
    instance = bridged(
        fails="""
        id = register("INVOKE")
        def fail():
            while not os.path.exists(os.path.join(os.environ["TEST_FOLDER"], "go")):
                time.sleep(0.01)
            os._exit(1)
        threading.Thread(target=fail).start()
        next_event(id)
        """,
        stubborn="""
        id = register("INVOKE", "SHUTDOWN")
        next_event(id)
        signal.pause()
        """,
    )
    assert instance.init()[0] == wire.READY
    (instance.folder / "go").touch()
    with pytest.raises(EOFError):
        instance.read()
    assert instance.process.poll() is None  # an extension has still something to do
    assert instance.wait() == 1


def test_a_runtime_that_ends_takes_the_extensions_along_and_its_status_is_told(bridged):
    instance = bridged("next_invocation(); sys.exit(7)", listener=LISTENER)
    instance.init()
    kind, meta, body = instance.invoke("tea")
    assert (kind, meta["type"]) == (wire.ERROR, "Runtime.ExitError")
    assert meta["fault"] == "Runtime exited with error: exit status 7"
    assert json.loads(body)["errorMessage"] == f"RequestId: id-1 Error: {meta['fault']}"
    assert instance.wait() == 7
    assert instance.notes("listener")[-1]["shutdownReason"] == "failure"


# ---------------------------------------------------------------- the end


def test_who_ignores_the_end_is_killed_when_time_is_up(bridged):
    instance = bridged(
        """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            id, event = next_invocation()
            respond(id, event)
        """,
        stubborn="""
        id = register("INVOKE", "SHUTDOWN")
        note("pid", os.getpid())
        while True:
            next_event(id)
        """,
    )
    instance.init()
    assert instance.shut_down(limit_ms=300) == 0
    (pid,) = instance.notes("pid")
    instance.await_end_of(pid)


def test_an_extension_that_is_at_work_learns_of_the_end_when_it_asks(bridged):
    instance = bridged(
        worker="""
        id = register("INVOKE", "SHUTDOWN")
        next_event(id)
        while not os.path.exists(os.path.join(os.environ["TEST_FOLDER"], "go")):
            time.sleep(0.01)
        note("worker", next_event(id))
        """
    )
    instance.init()
    instance.invoke("tea")
    instance.send(wire.SHUTDOWN, {"reason": "timeout", "deadline_ms": 1 << 60})
    (instance.folder / "go").touch()
    instance.wait()
    (event,) = instance.notes("worker")
    assert event["shutdownReason"] == "timeout"
