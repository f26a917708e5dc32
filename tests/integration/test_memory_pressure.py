"""A server that promises more memory than it has, when functions want what they were promised."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from samovar.sandbox.process.resources import server_name
from tests.aws.functions import FunctionFactory, clients_of
from tests.server import Server, running
from tests.traces import traces_of

MEMORY_MIB = 384
RATIO = 8

GROW = """
import time

held = []

def handler(event, context):
    while len(held) < event["hold_mib"]:
        held.append(b"x" * (1 << 20))
    del held[event["hold_mib"]:]
    time.sleep(event.get("sleep_s", 0))
    return len(held)
"""
SMALL = "def handler(event, context): return 'tea'"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    settings = {
        "SAMOVAR_MEMORY_MIB": str(MEMORY_MIB),
        "SAMOVAR_MEMORY_OVERSUBSCRIPTION": str(RATIO),
        "SAMOVAR_BLANKS": "2",
        "SAMOVAR_QUEUE_TIMEOUT_S": "2",
    }
    with running(tmp_path / "data", "--no-examples", **settings) as server:
        if "memory" not in server.health()["isolation"]["layers"]:
            pytest.skip("what instances use cannot be limited here")
        traces = traces_of(server.pid)
        yield server
    assert traces.left() == {}


@pytest.fixture
def clients(server: Server) -> Iterator[Callable[..., Any]]:
    with clients_of(server.endpoint) as make:
        yield make


@pytest.fixture
def function(server: Server, clients: Callable[..., Any]) -> FunctionFactory:
    return FunctionFactory(clients(), "pressed", server.newest_runtime())


def call(client: Any, name: str, **event: Any) -> Any:
    """What an invocation comes to: its payload, or the reason of a refusal."""
    try:
        answer = client.invoke(FunctionName=name, Payload=json.dumps(event))
    except client.exceptions.TooManyRequestsException as refused:
        return refused.response
    return json.loads(answer["Payload"].read())


def kernel_kills(server: Server) -> int:
    """How many processes of its instances the kernel has killed for lack of memory."""
    trees = Path("/sys/fs/cgroup").rglob(f"samovar-{server_name(server.data_dir)}")
    files = [
        path
        for tree in trees
        for name in ("memory.oom_control", "memory.events")
        for path in tree.rglob(name)
    ]
    assert files, "nothing counts them"
    lines = [line.split() for path in files for line in path.read_text().splitlines()]
    return sum(int(count) for key, count in lines if key == "oom_kill")


def test_who_is_furthest_over_its_share_ends_and_is_told_why(server, clients, function):
    small = function(SMALL)
    modest, greedy = (function(GROW, MemorySize=1024, Timeout=60) for _ in range(2))
    with ThreadPoolExecutor() as pool:
        held = pool.submit(call, clients(), modest, hold_mib=100, sleep_s=3)
        ended = pool.submit(call, clients(), greedy, hold_mib=900, sleep_s=3)
        small_client = clients()
        while not ended.done():
            assert call(small_client, small) == "tea"
        assert ended.result()["errorType"] == "Runtime.MemoryPressure"
        assert "of its 1024 MB; its fair share was" in ended.result()["errorMessage"]
        assert held.result() == 100
    assert call(small_client, small) == "tea"
    assert kernel_kills(server) == 0
    server.await_log(greedy, "Runtime.MemoryPressure")


def test_what_is_idle_is_given_back_before_anything_is_ended(server, clients, function):
    idle = [function(GROW, MemorySize=768) for _ in range(2)]
    for name in idle:
        assert call(clients(), name, hold_mib=100) == 100
    busy = function(GROW, MemorySize=768, Timeout=60)
    assert call(clients(), busy, hold_mib=220, sleep_s=1) == 220
    assert call(clients(), idle[0], hold_mib=10) == 10
    assert kernel_kills(server) == 0


def test_many_that_want_what_they_were_promised_are_bounded_and_others_live_on(
    server, clients, function
):
    small = function(SMALL)
    greedy = function(GROW, MemorySize=384, Timeout=60)
    with ThreadPoolExecutor(8) as pool:
        small_client = clients()
        assert call(small_client, small) == "tea"
        calls = [pool.submit(call, clients(), greedy, hold_mib=200, sleep_s=1) for _ in range(7)]
        while not all(call_.done() for call_ in calls):
            assert call(small_client, small) == "tea"
        answers = [call_.result() for call_ in calls]
    served = [answer for answer in answers if answer == 200]
    explained = [answer for answer in answers if answer != 200]
    assert served
    for answer in explained:
        refused = answer.get("Error", {}).get("Code") == "TooManyRequestsException"
        assert refused or answer["errorType"] == "Runtime.MemoryPressure", answer
    assert kernel_kills(server) == 0


def test_an_instance_over_what_it_declares_is_killed_alone_as_ever(server, clients, function):
    modest = function(GROW, MemorySize=128)
    assert call(clients(), modest, hold_mib=20) == 20
    greedy = function(GROW, MemorySize=128, Timeout=30)
    assert call(clients(), greedy, hold_mib=200)["errorType"] == "Runtime.OutOfMemory"
    assert call(clients(), modest, hold_mib=20) == 20
