"""Functions with extensions, in layers, through boto3: what their authors and users see."""

from __future__ import annotations

import json
import textwrap
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from tests.aws.functions import FunctionFactory, clients_of
from tests.aws.layers import LayerFactory
from tests.aws.runtimes import SHELL_BOOTSTRAP, custom, executables, invoke, needed
from tests.server import running
from tests.traces import traces_of
from tests.unit.guest.bridged import CLIENT

WITHIN_S = 30.0

HANDLER = """
    import os
    INSTANCE = os.urandom(8).hex()
    def handler(event, context):
        print("handling", event)
        if event == "notes":
            return {name: open("/tmp/" + name).read().splitlines()
                    for name in os.listdir("/tmp") if name.endswith(".notes")}
        if event == "raise":
            raise ValueError("so it is")
        return {"tea": event, "name": context.function_name, "instance": INSTANCE}
"""

NOTE = """
def note(value):
    with open(f"/tmp/{NAME}.notes", "a") as file:
        file.write(json.dumps(value) + "\\n")
"""

LISTENER = """
    id = register("INVOKE", "SHUTDOWN")
    print("listening", flush=True)
    while True:
        event = next_event(id)
        note(event)
        print(event["eventType"], event.get("shutdownReason", ""), flush=True)
        if event["eventType"] == "SHUTDOWN":
            break
"""

STUBBORN = """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    id = register("INVOKE", "SHUTDOWN")
    while True:
        next_event(id)
"""

SHELL_EXTENSION = """\
#!/bin/sh
set -eu
API="http://$AWS_LAMBDA_RUNTIME_API/2020-01-01/extension"
NAME=$(basename "$0")
curl -sS -o /tmp/registered -D /tmp/registration -d '{"events": ["INVOKE", "SHUTDOWN"]}' \\
  -H "Lambda-Extension-Name: $NAME" "$API/register"
ID=$(grep -i '^lambda-extension-identifier' /tmp/registration | tr -d '\\r' | cut -d' ' -f2)
while true; do
  event=$(curl -sS -H "Lambda-Extension-Identifier: $ID" "$API/event/next")
  echo "[$NAME] $event"
  case "$event" in *SHUTDOWN*) exit 0 ;; esac
done
"""


def layer(publish: LayerFactory, **scripts: str) -> str:
    """The ARN of a layer with these extensions."""
    files = {
        f"extensions/{name}": text
        if text.startswith("#!")
        else CLIENT + NOTE + textwrap.dedent(text)
        for name, text in scripts.items()
    }
    return publish.arn({}, Content={"ZipFile": executables(files)})


def log_until(endpoint: str, name: str, words: str) -> str:
    """The function's log, as soon as these words are in it."""
    deadline = time.monotonic() + WITHIN_S
    while True:
        with urllib.request.urlopen(f"{endpoint}/_samovar/logs/{name}") as answer:
            log: str = answer.read().decode(errors="replace")
        if words in log:
            return log
        assert time.monotonic() < deadline, log
        threading.Event().wait(0.02)


def notes(client: Any, name: str, extension: str) -> list[Any]:
    """What an extension has noted, by a function whose handler is `HANDLER`."""
    value, _, _ = invoke(client, name, "notes")
    return [json.loads(line) for line in value[f"{extension}.notes"]]


def notes_until(
    client: Any, name: str, extension: str, enough: Callable[[list[Any]], bool]
) -> list[Any]:
    """The same, as soon as it is enough."""
    deadline = time.monotonic() + WITHIN_S
    while not enough(noted := notes(client, name, extension)):
        assert time.monotonic() < deadline, noted
    return noted


def change(client: Any, name: str) -> None:
    """Have the function's instances replaced."""
    client.update_function_configuration(FunctionName=name, Description="changed")
    client.get_waiter("function_updated_v2").wait(
        FunctionName=name, WaiterConfig={"Delay": 0.05, "MaxAttempts": 600}
    )


@pytest.fixture
def python_function(make_function: FunctionFactory, publish: LayerFactory) -> Any:
    """Makes Python functions with extensions: `python_function(name=script, …)`."""

    def make(source: str = HANDLER, config: Any = None, **scripts: str) -> str:
        return make_function(source, Layers=[layer(publish, **scripts)], **(config or {}))

    return make


def test_a_shell_script_extends_a_python_function(lambda_client, python_function):
    needed("curl")
    name = python_function(watcher=SHELL_EXTENSION)
    value, error, log = invoke(lambda_client, name, "green")
    assert (value["tea"], value["name"], error) == ("green", name, None)
    value, error, log = invoke(lambda_client, name, "again")
    assert value["tea"] == "again"
    assert "handling again\n" in log


def test_an_extension_is_told_of_each_invocation_and_of_the_end(
    lambda_client, python_function, endpoint
):
    name = python_function(listener=LISTENER)
    for number in range(3):
        invoke(lambda_client, name, number)
    noted = notes_until(lambda_client, name, "listener", lambda events: len(events) >= 4)[:4]
    assert [event["eventType"] for event in noted] == ["INVOKE"] * 4
    assert all(f":function:{name}" in event["invokedFunctionArn"] for event in noted)
    assert len({event["requestId"] for event in noted}) == 4
    change(lambda_client, name)
    log = log_until(endpoint, name, "SHUTDOWN spindown")
    assert "EXTENSION\tName: listener\tState: Ready\tEvents: [INVOKE, SHUTDOWN]" in log


def test_a_telemetry_subscriber_gets_the_functions_lines_and_the_report(
    lambda_client, python_function
):
    name = python_function(
        reader="""
        id = register("INVOKE", "SHUTDOWN")
        subscribe(id, listen(lambda events: [note(event) for event in events]))
        while next_event(id)["eventType"] != "SHUTDOWN":
            pass
        """
    )
    _, error, log = invoke(lambda_client, name, "green")
    assert error is None
    noted = notes_until(
        lambda_client,
        name,
        "reader",
        lambda events: any(event["type"] == "platform.report" for event in events),
    )
    assert {"function", "platform.initStart", "platform.start", "platform.initReport"} <= {
        event["type"] for event in noted
    }
    lines = [event["record"] for event in noted if event["type"] == "function"]
    assert lines[0] == "handling green"
    report = next(event["record"] for event in noted if event["type"] == "platform.report")
    said = dict(
        field.split(": ", 1) for field in log.rpartition("REPORT ")[2].split("\t") if ": " in field
    )
    metrics = report["metrics"]
    assert report["requestId"] == said["RequestId"]
    assert f"{metrics['durationMs']:.2f} ms" == said["Duration"]
    assert f"{metrics['initDurationMs']:.2f} ms" == said["Init Duration"]
    assert f"{metrics['maxMemoryUsedMB']} MB" == said["Max Memory Used"]
    assert metrics["maxMemoryUsedMB"] > 0


def test_sandbox_localdomain_is_the_instance_itself(lambda_client, python_function, server):
    if "mounts" not in server.health()["isolation"]["layers"]:
        pytest.skip("the host's own /etc/hosts is in force")
    name = python_function(
        asks="""
        note([socket.gethostbyname(host) for host in ("sandbox.localdomain", "sandbox")])
        next_event(register("INVOKE"))
        """
    )
    assert notes(lambda_client, name, "asks") == [["127.0.0.1", "127.0.0.1"]]


def test_other_runtimes_have_extensions_too(lambda_client, make_function, publish, endpoint):
    needed("curl")
    arn = layer(publish, listener=LISTENER)
    name = make_function("", **custom({"bootstrap": SHELL_BOOTSTRAP}), Layers=[arn])
    value, error, log = invoke(lambda_client, name, {"tea": 1})
    assert (value["event"], error) == ({"tea": 1}, None)
    assert "got " in log
    change(lambda_client, name)
    log_until(endpoint, name, "SHUTDOWN spindown")


# ---------------------------------------------------------------- failures

FAILURES = {
    "before it registers": ("sys.exit(3)", "Extension.Crash", "exit status 3"),
    "once registered": ("register(); sys.exit(0)", "Extension.Crash", "exit code 0"),
    "by a signal": ("register(); os.abort()", "Extension.Crash", "signal: aborted"),
    "by its report": ("report('init', register()); sys.exit(1)", "Extension.InitError", "exit"),
    "in an invocation": (
        "id = register('INVOKE'); next_event(id); sys.exit(4)",
        "Extension.Crash",
        "exit status 4",
    ),
    "by its report in an invocation": (
        "id = register('INVOKE'); next_event(id); report('exit', id); sys.exit(4)",
        "Extension.ExitError",
        "exit status 4",
    ),
}


@pytest.mark.parametrize("when", FAILURES)
def test_an_extension_that_fails_fails_the_invocation(lambda_client, python_function, when):
    script, error_type, message = FAILURES[when]
    slow = """
    import time
    def handler(event, context):
        while True:
            pass
    """
    name = python_function(slow if "invocation" in when else HANDLER, broken=script)
    value, error, _ = invoke(lambda_client, name)
    assert (value["errorType"], error) == (error_type, "Unhandled")
    assert message in value["errorMessage"]


def test_an_extension_that_fails_once_fails_one_invocation(lambda_client, python_function):
    name = python_function(
        fragile="""
        id = register("INVOKE")
        next_event(id)
        next_event(id)
        os._exit(1)
        """
    )
    instances = set()
    for _ in range(6):
        value, error, _ = invoke(lambda_client, name, "green")
        if error is None:
            instances.add(value["instance"])
        else:
            assert value["errorType"] == "Extension.Crash"
    assert len(instances) >= 2


def test_an_extension_that_never_asks_for_an_event_runs_into_the_init_limit(
    tmp_path, lambda_client, python_function
):
    name = python_function(mute="register(); signal.pause()", config={"Timeout": 1})
    value, error, log = invoke(lambda_client, name)
    assert error == "Unhandled"
    assert "timed out" in value["errorMessage"]
    assert "Status: timeout" in log


# ---------------------------------------------------------------- the end


def test_a_timeout_is_answered_at_once_and_the_extensions_are_told(
    lambda_client, python_function, endpoint
):
    name = python_function(
        """
        import time
        def handler(event, context):
            time.sleep(60)
        """,
        config={"Timeout": 1},
        stubborn="""
        id = register("INVOKE", "SHUTDOWN")
        while True:
            event = next_event(id)
            if event["eventType"] == "SHUTDOWN":
                print("told of", event["shutdownReason"], flush=True)
                signal.pause()
        """,
    )
    value, error, _ = invoke(lambda_client, name)
    assert (value["errorType"], error) == ("Sandbox.Timedout", "Unhandled")
    log_until(endpoint, name, "told of timeout")


@pytest.mark.parametrize("isolation", ["auto", "none"])
def test_the_end_of_the_server_tells_all_instances_and_leaves_nothing(tmp_path, isolation):
    flags = ["--no-examples", "--isolation", isolation]
    with running(tmp_path / "data", *flags) as server, clients_of(server.endpoint) as make:
        client = make()
        runtime = server.newest_runtime()
        functions = FunctionFactory(client, "ending", runtime)
        layers = LayerFactory(client, "ending")
        arn = layer(layers, stubborn=STUBBORN)
        names = [functions(HANDLER, Layers=[arn]) for _ in range(4)]
        for name in names:
            assert invoke(client, name, "green")[1] is None
        traces = traces_of(server.pid)
        assert server.stop() == 0
        assert traces.left() == {}


# ---------------------------------------------------------------- attacks


def test_an_extension_cannot_speak_for_another(lambda_client, python_function):
    name = python_function(
        forger="""
        id = register("INVOKE")
        note([call("GET", "/2020-01-01/extension/event/next",
                   headers={"Lambda-Extension-Identifier": other})[0]
              for other in ("", "victim", "00000000-0000-4000-8000-000000000000")])
        while True:
            next_event(id)
        """,
        victim="""
        id = register("INVOKE")
        while True:
            next_event(id)
        """,
    )
    (refused,) = notes(lambda_client, name, "forger")
    assert refused == [403, 403, 403]


def test_a_flood_of_lines_ends_and_the_next_call_works(lambda_client, python_function):
    name = python_function(
        """
        import os
        def handler(event, context):
            line = b"x" * 999 + b"\\n"
            for _ in range(event):
                os.write(1, line * 60)
            return event
        """,
        config={"Timeout": 30, "MemorySize": 512},
        deaf="""
        listener = socket.create_server(("127.0.0.1", 0))
        id = register("INVOKE")
        subscribe(id, listener.getsockname()[1])
        while True:
            next_event(id)
        """,
    )
    assert invoke(lambda_client, name, 200)[0] == 200
    assert invoke(lambda_client, name, 1)[0] == 1
