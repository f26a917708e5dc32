"""SnapStart through an unmodified boto3: instances of a version begin where its init has ended."""

from __future__ import annotations

import base64
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.aws.functions import FunctionFactory, clients_of, package
from tests.server import running
from tests.traces import traces_of

SNAP_START = {"ApplyOn": "PublishedVersions"}
COUNTING = """
    import os, time, uuid
    made_at, made_by = time.time_ns(), uuid.uuid4().hex
    calls = 0

    def handler(event, context):
        global calls
        calls += 1
        time.sleep(event.get("for_s", 0))
        return {"made_by": made_by, "calls": calls, "pid": os.getpid(),
                "type": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"],
                "stream": os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME")}
"""


@pytest.fixture
def published(lambda_client, make_function):
    """Makes a function with SnapStart and publishes it; returns its name once 1 is active."""

    def publish(source, **config: Any) -> str:
        name = make_function(source, SnapStart=SNAP_START, **config)
        lambda_client.publish_version(FunctionName=name)
        until_made(lambda_client, name)
        return name

    return publish


def until_made(client, name: str) -> None:
    client.get_waiter("published_version_active").wait(
        FunctionName=name, Qualifier="1", WaiterConfig={"Delay": 0.05, "MaxAttempts": 600}
    )


def failed(client, name: str) -> dict[str, Any]:
    """Version 1 of a function, once it has failed."""
    while (state := client.get_function_configuration(FunctionName=name, Qualifier="1"))[
        "State"
    ] == "Pending":
        pass
    assert state["State"] == "Failed"
    return state


def invoked(client, name: str, event: object = None, **more: Any) -> Any:
    answer = client.invoke(
        FunctionName=name, Qualifier="1", Payload=json.dumps(event or {}), **more
    )
    payload = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, payload
    return payload


def at_once(client, name: str, count: int, **event: object) -> list[Any]:
    """As many instances, each of which has answered once."""
    with ThreadPoolExecutor(count) as threads:
        calls = [
            threads.submit(invoked, client, name, {"for_s": 0.5, **event}) for _ in range(count)
        ]
        return [call.result() for call in calls]


def test_instances_begin_where_the_init_of_their_version_has_ended(lambda_client, published):
    name = published(COUNTING)
    answers = at_once(lambda_client, name, 3)
    assert {answer["calls"] for answer in answers} == {1}
    assert len({answer["made_by"] for answer in answers}) == 1
    assert {(answer["type"], answer["stream"]) for answer in answers} == {("snap-start", None)}


def test_the_latest_version_begins_anew(lambda_client, published):
    name = published(COUNTING)
    answer = lambda_client.invoke(FunctionName=name, Payload=b"{}")
    assert json.loads(answer["Payload"].read())["type"] == "on-demand"


def test_a_version_tells_that_it_is_optimised(lambda_client, published):
    name = published(COUNTING)
    version = lambda_client.get_function_configuration(FunctionName=name, Qualifier="1")
    assert version["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "On"}
    latest = lambda_client.get_function_configuration(FunctionName=name)
    assert latest["SnapStart"]["OptimizationStatus"] == "Off"


def test_no_two_instances_share_their_randomness(lambda_client, published):
    name = published("""
        import os, random, secrets, ssl, tempfile, time, uuid
        drawn = [random.random(), ssl.RAND_bytes(8), uuid.uuid1(), tempfile.mktemp()]

        def handler(event, context):
            time.sleep(event["for_s"])
            return [random.random(), secrets.token_hex(), uuid.uuid4().hex, uuid.uuid1().hex,
                    ssl.RAND_bytes(8).hex(), os.urandom(8).hex(), tempfile.mktemp()]
    """)
    answers = at_once(lambda_client, name, 3)
    drawn = [value for answer in answers for value in answer]
    assert len(set(drawn)) == len(drawn)


def test_hooks_run_around_the_snapshot_in_their_orders(lambda_client, published):
    name = published("""
        from snapshot_restore_py import register_after_restore, register_before_snapshot
        ran = []

        @register_before_snapshot
        def first_before():
            ran.append("before 1")

        register_before_snapshot(ran.append, "before 2")
        register_after_restore(ran.append, "after 1")

        @register_after_restore
        def second_after():
            ran.append("after 2")

        def handler(event, context):
            return ran
    """)
    assert invoked(lambda_client, name) == ["before 2", "before 1", "after 1", "after 2"]


def test_what_init_left_in_tmp_is_in_every_instance_as_its_own(lambda_client, published):
    name = published("""
        import os, time
        os.makedirs("/tmp/cache/deep")
        open("/tmp/cache/deep/tea.txt", "w").write("green")
        os.chmod("/tmp/cache/deep/tea.txt", 0o640)
        os.symlink("deep/tea.txt", "/tmp/cache/link")
        os.chdir("/tmp/cache")
        kept = open("/tmp/cache/deep/tea.txt")
        kept.read(2)

        def handler(event, context):
            time.sleep(event["for_s"])
            with open("link", "a") as file:
                file.write("!")
            return [open("link").read(), oct(os.stat("link").st_mode), kept.read()]
    """)
    assert at_once(lambda_client, name, 2) == [["green!", "0o100640", "een!"]] * 2


def test_a_connection_of_the_init_is_found_closed(lambda_client, published):
    name = published("""
        import socket
        ours, theirs = socket.socketpair()

        def handler(event, context):
            return [ours.recv(10).decode(), ours.fileno() != theirs.fileno()]
    """)
    assert invoked(lambda_client, name) == ["", True]


def test_signal_handlers_and_settings_survive(lambda_client, published):
    name = published("""
        import os, signal
        got = []
        signal.signal(signal.SIGUSR1, lambda *_: got.append("usr1"))
        os.umask(0o077)

        def handler(event, context):
            os.kill(os.getpid(), signal.SIGUSR1)
            return [got, oct(os.umask(0o077)), signal.getsignal(signal.SIGTERM) == signal.SIG_DFL]
    """)
    assert invoked(lambda_client, name) == [["usr1"], "0o77", True]


@pytest.mark.parametrize(
    ("left", "told"),
    [
        (
            "import threading, time; threading.Thread(target=time.sleep, args=(99,)).start()",
            "thread",
        ),
        ("import subprocess; subprocess.Popen(['sleep', '99'])", "processes"),
        ("import os; pipe = os.pipe()", "open"),
        ("import mmap; shared = mmap.mmap(-1, 4096)", "shared"),
        ("raise ValueError('no tea')", "no tea"),
        ("import snapshot_restore_py as s; s.register_before_snapshot(lambda: 1 / 0)", "zero"),
    ],
    ids=["thread", "process", "pipe", "shared-memory", "init", "hook"],
)
def test_a_version_that_cannot_begin_from_a_snapshot_fails_and_says_why(
    lambda_client, make_function, left, told
):
    source = f"{left}\ndef handler(event, context): return 1\n"
    name = make_function({"app.py": "def handler(event, context): return 1"}, SnapStart=SNAP_START)
    lambda_client.update_function_code(FunctionName=name, ZipFile=package({"app.py": source}))
    lambda_client.publish_version(FunctionName=name)
    version = failed(lambda_client, name)
    assert told in version["StateReason"]
    assert version["StateReasonCode"].startswith("FunctionError")


def test_a_hook_that_fails_after_the_restore_fails_the_invocation(lambda_client, published):
    name = published("""
        from snapshot_restore_py import register_after_restore
        register_after_restore(lambda: 1 / 0)

        def handler(event, context):
            return 1
    """)
    answer = lambda_client.invoke(FunctionName=name, Qualifier="1", Payload=b"{}")
    assert answer["FunctionError"] == "Unhandled"
    assert json.loads(answer["Payload"].read())["errorType"] == "ZeroDivisionError"


def test_the_log_tells_what_the_restore_took(lambda_client, published):
    name = published(COUNTING)
    answer = lambda_client.invoke(FunctionName=name, Qualifier="1", Payload=b"{}", LogType="Tail")
    log = base64.b64decode(answer["LogResult"]).decode()
    assert re.search(r"Restore Duration: \d+\.\d\d ms\tBilled Restore Duration: \d+ ms\t", log)
    assert "Init Duration" not in log


def test_a_deleted_version_is_no_more(lambda_client, published):
    name = published(COUNTING)
    invoked(lambda_client, name)
    lambda_client.delete_function(FunctionName=name, Qualifier="1")
    with pytest.raises(lambda_client.exceptions.ResourceNotFoundException):
        invoked(lambda_client, name)


def test_a_function_that_runs_as_a_program_cannot_begin_from_a_snapshot(
    lambda_client, make_function
):
    wrapper = {"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/usr/bin/env"}}
    name = make_function(COUNTING, SnapStart=SNAP_START, Environment=wrapper)
    lambda_client.publish_version(FunctionName=name)
    assert "program" in failed(lambda_client, name)["StateReason"]


def test_a_server_that_was_killed_leaves_nothing_and_makes_templates_again(tmp_path):
    with running(tmp_path / "data") as server, clients_of(server.endpoint) as make:
        function = FunctionFactory(make(), "killed", server.newest_runtime())
        name = function(COUNTING, SnapStart=SNAP_START)
        make().publish_version(FunctionName=name)
        until_made(make(), name)
        before = invoked(make(), name)
        traces = traces_of(server.pid)
        server.kill()
        deadline = time.monotonic() + 20
        while traces.left().get("processes"):
            assert time.monotonic() < deadline, traces.left()
            time.sleep(0.01)
    with running(tmp_path / "data") as server, clients_of(server.endpoint) as make:
        after = invoked(make(), name)
    assert (after["type"], after["calls"]) == ("snap-start", 1)
    assert before["made_by"] != after["made_by"]
