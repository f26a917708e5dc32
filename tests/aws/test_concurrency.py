"""Many requests at once in one instance, as clients see it: in each kind of runtime."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.aws.functions import clients_of
from tests.aws.runtimes import custom, installed, invoke, needed, python_bootstrap
from tests.aws.test_capacity_providers import provider
from tests.aws.web_servers import LWA

AT_ONCE = 32
MOST = 64
"""More than run: up to a share of it, one instance is filled before another is started."""


@pytest.fixture
def client(server):
    with clients_of(server.endpoint) as make:
        yield make(max_pool_connections=AT_ONCE)


@pytest.fixture
def make_many(make_function):
    """Creates functions whose instances take many requests at once."""

    def make(source: Any, most: int = MOST, **config: Any) -> str:
        asked = provider(PerExecutionEnvironmentMaxConcurrency=most)
        settings = {"Timeout": 30, "MemorySize": 512} | config
        return make_function(source, CapacityProviderConfig=asked, **settings)

    return make


def at_once(call: Callable[[Any], Any], events: list[Any]) -> list[Any]:
    """Make all calls at the same time; return what they do, in order."""
    with ThreadPoolExecutor(len(events)) as threads:
        return list(threads.map(call, events))


def all_meet(client: Any, name: str) -> list[Any]:
    """Warm one instance up, then have all of them wait for each other in it."""
    invoke(client, name, "alone")
    answers = at_once(lambda number: invoke(client, name, number), list(range(AT_ONCE)))
    assert [error for _, error, _ in answers] == [None] * AT_ONCE, answers[0]
    return [value for value, _, _ in answers]


THREADS = f"""
import os, threading
barrier = threading.Barrier({AT_ONCE})
def handler(event, context):
    if event != "alone":
        barrier.wait(20)
    return [event, os.getpid(), os.environ["AWS_LAMBDA_MAX_CONCURRENCY"]]
"""

TASKS = f"""
import asyncio, os
here = []
async def handler(event, context):
    if event != "alone":
        here.append(event)
        while len(here) < {AT_ONCE}:
            await asyncio.sleep(0.005)
    return [event, os.getpid(), os.environ["AWS_LAMBDA_MAX_CONCURRENCY"]]
"""


@pytest.mark.parametrize("source", [THREADS, TASKS], ids=["threads", "tasks"])
def test_32_requests_at_once_meet_in_one_python_process(client, make_many, source):
    values = all_meet(client, make_many(source))
    assert [event for event, _, _ in values] == list(range(AT_ONCE))
    assert len({pid for _, pid, _ in values}) == 1
    assert {most for _, _, most in values} == {str(MOST)}


NODE = f"""
const here = [];
let go;
const all = new Promise((resolve) => (go = resolve));
exports.handler = async (event, context) => {{
  if (event !== "alone") {{
    if (here.push(event) === {AT_ONCE}) go();
    await all;
  }}
  console.log(`hello from ${{event}}`);
  return [event, context.awsRequestId, context.callbackWaitsForEmptyEventLoop];
}};
"""


def test_32_requests_at_once_meet_in_one_node_process(server, client, make_many):
    names = [name for name in server.health()["runtimes"] if name.startswith("nodejs")]
    if not names:
        pytest.skip("this machine has no Node.js")
    name = make_many({"app.js": NODE}, Runtime=names[-1])
    invoke(client, name, "alone")
    answers = at_once(lambda number: invoke(client, name, number), list(range(AT_ONCE)))
    assert [(value[0], error) for value, error, _ in answers] == [(n, None) for n in range(AT_ONCE)]
    for event in "abcd":
        (waits_for_nobody, id, _), _, log = invoke(client, name, event)
        assert waits_for_nobody == event
        assert f"\t{id}\tINFO\thello from {event}\n" in log


POOL = f"""
import threading
barrier = threading.Barrier({AT_ONCE})
def serve():
    while True:
        id, event, headers = next_event()
        if event != "alone":
            barrier.wait(20)
        respond(id, event)
for _ in range(int(os.environ["AWS_LAMBDA_MAX_CONCURRENCY"])):
    threading.Thread(target=serve).start()
"""


def test_a_runtime_that_asks_many_times_at_once_gets_as_many(client, make_many):
    assert all_meet(client, make_many("", **python_bootstrap(POOL))) == list(range(AT_ONCE))


def test_awss_own_client_for_python_takes_many_at_once(client, make_many):
    """Unmodified: it has a process for each request."""
    files = installed("awslambdaric", "snapshot-restore-py", "simplejson")
    version = f"python3.{sys.version_info.minor}"
    bootstrap = f"#!/bin/sh\nexec {needed(version)} -m awslambdaric $_HANDLER\n"
    app = (
        "import os, pathlib, time\n"
        "def handler(event, context):\n"
        "    pathlib.Path(f'/tmp/{event}').touch()\n"
        "    while len(list(pathlib.Path('/tmp').glob('[0-9]'))) < 4 and event != 'alone':\n"
        "        time.sleep(0.01)\n"
        "    return [event, os.getpid()]\n"
    )
    name = make_many("", 8, **custom(files | {"bootstrap": bootstrap, "app.py": app}))
    invoke(client, name, "alone")
    answers = at_once(lambda number: invoke(client, name, number), list(range(4)))
    assert [value[0] for value, _, _ in answers] == list(range(4)), answers
    assert len({value[1] for value, _, _ in answers}) == 4


WEB = f"""\
#!/usr/bin/python3
import http.server, json, os, threading
barrier = threading.Barrier({AT_ONCE})
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if event != "alone":
            barrier.wait(20)
        body = json.dumps([event, os.getpid()]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 64
Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


def test_a_web_server_is_asked_many_times_at_once(client, make_many):
    name = make_many("", **custom({"bootstrap": WEB}), Environment={"Variables": LWA})
    values = all_meet(client, name)
    assert [event for event, _ in values] == list(range(AT_ONCE))
    assert len({pid for _, pid in values}) == 1


FAILING = """
import os, sys, threading
going, here = threading.Event(), []
def handler(event, context):
    if event == "wait":
        here.append(event)
        return going.wait(25)
    if event == "go":
        return going.set()
    if isinstance(event, float):
        return going.wait(event)
    while event != "pass" and not here:  # until there are others
        going.wait(0.01)
    exec(event)
"""


def test_a_timeout_of_one_leaves_the_others(client, make_many):
    name = make_many(FAILING, Timeout=5)
    invoke(client, name, "pass")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(invoke, client, name, "wait")
        invoke(client, name, 3.0)
        assert invoke(client, name, 4.0)[:2] == (False, None)  # the first one has run for 7 s then
        value, error, _ = waiting.result()
    assert error == "Unhandled"
    assert value["errorMessage"].endswith("Task timed out after 5.00 seconds")
    assert invoke(client, name, "go")[1] is None  # by another instance


def test_sys_exit_of_one_leaves_the_others(client, make_many):
    name = make_many(FAILING)
    invoke(client, name, "pass")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(invoke, client, name, "wait")
        value, error, _ = invoke(client, name, "sys.exit(3)")
        assert (error, value["errorType"]) == ("Unhandled", "Runtime.ExitError")
        assert value["errorMessage"].endswith("Runtime exited with error: exit status 3")
        assert not waiting.done()
        invoke(client, name, "pass")  # by another instance
        assert waiting.result()[:2] == (False, None)


def test_a_crash_is_told_to_all(client, make_many):
    name = make_many(FAILING)
    invoke(client, name, "pass")
    for value, error, _ in at_once(lambda e: invoke(client, name, e), ["wait", "os._exit(4)"]):
        assert (error, value["errorType"]) == ("Unhandled", "Runtime.ExitError")
        assert value["errorMessage"].endswith("Runtime exited with error: exit status 4")


LOGGING = """
import logging, threading
barrier = threading.Barrier(4)
def handler(event, context):
    if event != "alone":
        barrier.wait(20)
        logging.getLogger().warning("it is %s", event)
    return context.aws_request_id
"""


def test_each_request_is_named_in_its_lines_of_the_log(client, make_many):
    name = make_many(LOGGING)
    invoke(client, name, "alone")
    answers = at_once(lambda event: invoke(client, name, event), list("abcd"))
    for event, (id, error, log) in zip("abcd", answers, strict=True):
        assert error is None
        assert f"START RequestId: {id} " in log
        assert f"\t{id}\tit is {event}\n" in log
        assert f"REPORT RequestId: {id}\t" in log


HOSTILE = """
import array, os, socket, sys, threading
going = threading.Event()

def sockets():
    for fd in range(3, 64):
        try:
            yield socket.socket(fileno=os.dup(fd))
        except OSError:
            pass

def handler(event, context):
    if event == "wait":
        going.wait(3)
        return "unharmed"
    if event == "close":
        os.closerange(3, 1024)
    if event == "noise":
        for one in sockets():
            one.send(b"noise" * 100)
    if event == "answers":
        for one in sockets():
            one.send(bytes([5]) + bytes(7) + bytes([1]) + b"1")
    if event == "floods":
        part = bytes([8, 0, 0, 0, 0, 0, 0, 0, 1]) + b"."
        for one in sockets():
            threading.Thread(target=one.sendall, args=(part * 2_000_000,), daemon=True).start()
        going.wait(3)
    if event == "descriptors":
        sent = 0
        for one in sockets():
            try:
                one.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [1]))])
                sent += 1
            except OSError:
                pass
        return sent
    if event == "threads":
        while True:
            threading.Thread(target=going.wait, daemon=True).start()
    return "done"
"""


@pytest.mark.parametrize("attack", ["close", "noise", "answers", "floods", "threads"])
def test_who_attacks_its_lanes_harms_itself_alone(client, make_many, make_function, attack):
    name, other = make_many(HOSTILE, 8), make_function("def handler(event, context): return event")
    invoke(client, name, "pass")
    attacks = ["wait", attack, "wait", attack]
    with ThreadPoolExecutor(len(attacks)) as threads:
        answers = [threads.submit(invoke, client, name, event) for event in attacks]
        for number in range(20):
            assert invoke(client, other, number)[:2] == (number, None)
        for answer in answers:
            value, error, _ = answer.result()
            assert error is not None or value in ("unharmed", "done", 1)
    assert invoke(client, name, "pass")[:2] == ("done", None)


def test_no_descriptors_reach_the_worker(client, make_many):
    name = make_many(HOSTILE, 8)
    invoke(client, name, "pass")
    value, error, _ = invoke(client, name, "descriptors")
    assert error is not None or value == 0
