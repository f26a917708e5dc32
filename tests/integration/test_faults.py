"""Faults: what a kill, a change in mid-flight or a hostile function may and may not do."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.aws.functions import FunctionFactory, clients_of, package
from tests.server import Server, running
from tests.traces import mounts_naming, traces_of

ECHO = "def handler(event, context): return event"
SLOW = """
    import time
    def handler(event, context):
        print("begun", flush=True)
        time.sleep(event)
        return "old"
"""
STUCK = """
    import time
    print("begun", flush=True)
    time.sleep(900)
"""


def begin(client, name: str, seconds: float) -> tuple[threading.Thread, list]:
    """Invoke in a thread; return when the function has begun."""
    answers: list = []

    def invoke():
        answer = client.invoke(FunctionName=name, Payload=json.dumps(seconds))
        answers.append(answer["Payload"].read())

    thread = threading.Thread(target=invoke)
    thread.start()
    return thread, answers


def wait_until_printed(endpoint: str, name: str, text: bytes) -> None:
    """Wait until the function's log has `text`."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"{endpoint}/_samovar/logs/{name}", timeout=10) as log:
            if text in log.read():
                return
        time.sleep(0.02)
    raise AssertionError(f"{name} never printed {text!r}")


def test_a_killed_server_leaves_nothing_running_and_loses_nothing(tmp_path):
    data_dir = tmp_path / "data"
    server = Server(data_dir, "--no-examples").start()
    with clients_of(server.endpoint) as make:
        factory = FunctionFactory(make(), "kept", server.newest_runtime())
        names = [factory(ECHO) for _ in range(3)]
        make().publish_version(FunctionName=names[0])
        for name in names:
            make().invoke(FunctionName=name)
        traces = traces_of(server.pid)
        assert traces.processes
        server.kill()
        deadline = time.monotonic() + 20
        while traces.left().get("processes") and time.monotonic() < deadline:
            time.sleep(0.05)
        assert "processes" not in traces.left()
        assert mounts_naming(str(data_dir)) == []

    with running(data_dir, "--no-examples") as again, clients_of(again.endpoint) as make:
        assert set(traces.left()) <= {"links"}  # by now the new server's, of the same name
        for name in names:
            answer = make().invoke(FunctionName=name, Payload=b'"tea"')
            assert answer["Payload"].read() == b'"tea"'
        assert make().invoke(FunctionName=names[0], Qualifier="1")["StatusCode"] == 200
    assert traces.left() == {}


def test_every_create_that_was_acknowledged_survives_a_kill_at_any_moment(tmp_path):
    data_dir = tmp_path / "data"
    server = Server(data_dir, "--no-examples").start()
    runtime = server.newest_runtime()
    acknowledged: list[str] = []

    def create_until_it_dies(worker: int) -> None:
        with clients_of(server.endpoint) as make:
            client, number = make(), 0
            while True:
                number += 1
                name = f"k{worker}-{number}"
                try:
                    client.create_function(
                        FunctionName=name,
                        Runtime=runtime,
                        Role="arn:aws:iam::000000000000:role/test",
                        Handler="app.handler",
                        Code={"ZipFile": package(f"def handler(e, c): return '{name}'")},
                    )
                except BotoCoreError:  # it is gone
                    return
                acknowledged.append(name)

    with ThreadPoolExecutor(2) as threads:
        for worker in range(2):
            threads.submit(create_until_it_dies, worker)
        deadline = time.monotonic() + 60
        while len(acknowledged) < 15 and time.monotonic() < deadline:
            time.sleep(0.001)
        server.kill()
    assert len(acknowledged) >= 15
    with running(data_dir, "--no-examples") as again, clients_of(again.endpoint) as make:
        client = make()
        for name in acknowledged:
            answer = client.invoke(FunctionName=name)["Payload"].read()
            assert answer == json.dumps(name).encode()


def test_sigterm_lets_running_invocations_finish_and_refuses_new_ones(tmp_path):
    server = Server(tmp_path / "data", "--no-examples").start()
    with clients_of(server.endpoint) as make:
        factory = FunctionFactory(make(), "drain", server.newest_runtime())
        name = factory(SLOW, Timeout=20)
        thread, answers = begin(make(), name, 2.0)
        wait_until_printed(server.endpoint, name, b"begun")
        traces = traces_of(server.pid)
        server.process.terminate()
        refusal = None
        deadline = time.monotonic() + 10
        while refusal is None and time.monotonic() < deadline:
            try:
                make().get_function(FunctionName=name)
            except ClientError as error:
                refusal = error.response["ResponseMetadata"]["HTTPStatusCode"]
        assert refusal == 503
        thread.join(30)
        assert answers == [b'"old"']
        assert server.process.wait(30) == 0
        assert traces.left() == {}
    server.kill()


def test_a_drain_is_bounded(tmp_path):
    flags = ("--no-examples", "--drain-timeout", "0.5")
    server = Server(tmp_path / "data", *flags).start()
    with clients_of(server.endpoint) as make:
        factory = FunctionFactory(make(), "endless", server.newest_runtime())
        name = factory(SLOW, Timeout=900)
        begun = threading.Thread(target=lambda: _ignore_errors(make(), name))
        begun.start()
        wait_until_printed(server.endpoint, name, b"begun")
        traces = traces_of(server.pid)
        server.process.terminate()
        assert server.process.wait(30) == 0
        begun.join(30)
        assert traces.left() == {}
    server.kill()


def test_an_init_for_a_snapshot_that_never_ends_holds_up_nothing(tmp_path):
    flags = (tmp_path / "data", "--no-examples", "--drain-timeout", "0.5")
    with running(*flags) as server, clients_of(server.endpoint) as make:
        factory = FunctionFactory(make(), "stuck", server.newest_runtime())
        settings = {"Timeout": 900, "SnapStart": {"ApplyOn": "PublishedVersions"}, "Publish": True}
        name = factory(STUCK, **settings)
        wait_until_printed(server.endpoint, name, b"begun")
        traces = traces_of(server.pid)
        assert server.stop() == 0
        assert traces.left() == {}
    with running(*flags) as server, clients_of(server.endpoint) as make:
        told = make().get_function_configuration(FunctionName=name, Qualifier="1")
        assert told["State"] == "Pending"
        make().delete_function(FunctionName=name)


def _ignore_errors(client, name: str) -> None:
    with contextlib.suppress(BotoCoreError, ClientError):
        client.invoke(FunctionName=name, Payload=b"600")


def test_a_delete_in_mid_flight_lets_the_invocation_finish(server, client_of, make_function):
    name = make_function(SLOW, Timeout=20)
    thread, answers = begin(client_of(), name, 1.0)
    wait_until_printed(server.endpoint, name, b"begun")
    client_of().delete_function(FunctionName=name)
    with pytest.raises(ClientError) as raised:
        client_of().invoke(FunctionName=name, Payload=b"0")
    assert raised.value.response["Error"]["Code"] == "ResourceNotFoundException"
    thread.join(30)
    assert answers == [b'"old"']


def test_an_update_in_mid_flight_serves_new_code_at_once(server, client_of, make_function):
    name = make_function(SLOW, Timeout=20)
    thread, answers = begin(client_of(), name, 1.5)
    wait_until_printed(server.endpoint, name, b"begun")
    client_of().update_function_code(
        FunctionName=name, ZipFile=package("def handler(e, c): return 'new'")
    )
    new = client_of().invoke(FunctionName=name, Payload=b"0")["Payload"].read()
    assert (new, answers) == (b'"new"', [])
    thread.join(30)
    assert answers == [b'"old"']


def test_the_examples_replace_no_function_of_ones_own(tmp_path):
    for flags in (["--no-examples"], []):
        with running(tmp_path / "data", *flags) as server, clients_of(server.endpoint) as make:
            client = make()
            if flags:
                FunctionFactory(client, "own", server.newest_runtime())(ECHO, FunctionName="hello")
            answer = client.invoke(FunctionName="hello", Payload=b'"mine"')
            assert answer["Payload"].read() == b'"mine"'


def test_a_second_server_on_the_same_data_is_refused(server):
    second = Server(server.data_dir, "--no-examples")
    with pytest.raises(AssertionError, match="another server uses"):
        second.start()


def test_a_port_in_use_is_one_clear_line(server, tmp_path):
    port = server.endpoint.rpartition(":")[2]
    second = Server(tmp_path / "data", "--no-examples", "--port", port)
    with pytest.raises(AssertionError, match="cannot be listened on"):
        second.start()


HOSTILE = {
    "forks for ever": "while True:\n        try: os.fork()\n        except OSError: pass",
    "fills /tmp": "f = open('/tmp/x', 'wb')\n    while True: f.write(b'x' * (1 << 20))",
    "prints a gigabyte": "while True: os.write(1, b'x' * 65536)",
    "eats memory": "x = []\n    while True: x.append(bytearray(1 << 20))",
    "opens every file": "x = [open('/dev/null') for _ in range(100_000)]",
    "starts threads for ever": (
        "import threading\n    while True: threading.Thread(target=threading.Event().wait).start()"
    ),
}


@pytest.mark.parametrize("deed", HOSTILE)
def test_a_hostile_function_hurts_itself_alone(lambda_client, make_function, server, deed):
    if deed != "prints a gigabyte" and "pids" not in server.health()["isolation"]["layers"]:
        pytest.skip("this machine cannot limit processes and memory of an instance as a whole")
    hostile = make_function(f"import os\ndef handler(e, c):\n    {HOSTILE[deed]}", Timeout=2)
    neighbour = make_function("n = 0\ndef handler(e, c):\n    global n\n    n += 1\n    return n")
    assert lambda_client.invoke(FunctionName=neighbour)["Payload"].read() == b"1"
    answer = lambda_client.invoke(FunctionName=hostile)
    assert answer["FunctionError"] == "Unhandled"
    assert lambda_client.invoke(FunctionName=neighbour)["Payload"].read() == b"2"
    logs = [file for file in (server.data_dir / "logs").rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in logs) < 100 << 20


def test_the_data_directory_is_closed_to_other_users(server):
    assert Path(server.data_dir).stat().st_mode & 0o077 == 0
