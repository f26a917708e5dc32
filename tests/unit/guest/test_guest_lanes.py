"""The Python loop takes many requests at once: in threads, or as tasks of one asyncio loop."""

from __future__ import annotations

import signal

import pytest

from samovar.guest import wire
from tests.unit.guest.zygote import Instance, StartInstance

MANY = 8

BARRIER = {
    "threads": """
        import threading
        barrier = threading.Barrier(8)
        def handler(event, context):
            barrier.wait(20)
            return context.aws_request_id
    """,
    "tasks": """
        import asyncio
        here = []
        async def handler(event, context):
            here.append(event)
            while len(here) < 8:
                await asyncio.sleep(0.001)
            return context.aws_request_id
    """,
}

LOGGING = {
    "threads": """
        import logging, os, threading
        barrier = threading.Barrier(8)
        def handler(event, context):
            barrier.wait(20)
            logging.getLogger().warning("number %s", event)
            return os.environ.get("_X_AMZN_TRACE_ID"), os.getenv("_X_AMZN_TRACE_ID")
    """,
    "tasks": """
        import asyncio, logging, os
        here = []
        async def handler(event, context):
            here.append(event)
            while len(here) < 8:
                await asyncio.sleep(0.001)
            logging.getLogger().warning("number %s", event)
            return os.environ.get("_X_AMZN_TRACE_ID"), os.getenv("_X_AMZN_TRACE_ID")
    """,
}

FAILING = {
    "threads": """
        import os, sys, threading
        meeting = threading.Event()
        def handler(event, context):
            if event == "wait":
                meeting.wait(20)
                return "as if nothing had been"
            if event == "go on":
                return meeting.set()
            exec(event)
    """,
    "tasks": """
        import asyncio, os, sys
        going = []
        async def handler(event, context):
            if event == "wait":
                while not going:
                    await asyncio.sleep(0.001)
                return "as if nothing had been"
            if event == "go on":
                return going.append(1)
            exec(event)
    """,
}

EITHER = pytest.mark.parametrize("way", ["threads", "tasks"])


def started(fork: StartInstance, source: str) -> Instance:
    instance = fork(source)
    assert instance.init(concurrency=MANY).kind == wire.READY
    return instance


@EITHER
def test_as_many_as_there_are_lanes_run_at_once(fork, way):
    instance = started(fork, BARRIER[way])
    lanes = [instance.lane() for _ in range(MANY)]
    for number, lane in enumerate(lanes):
        lane.begin(id=f"request-{number}")
    assert [lane.answer().json for lane in lanes] == [f"request-{n}" for n in range(MANY)]


@EITHER
def test_a_lane_takes_one_request_after_the_other(fork, way):
    header = "async def" if way == "tasks" else "def"
    instance = started(fork, f"{header} handler(event, context): return event")
    lane = instance.lane()
    assert [lane.invoke(number).json for number in range(20)] == list(range(20))
    assert lane.invoke("x" * 3_000_000).json == "x" * 3_000_000


@EITHER
def test_what_a_request_logs_and_its_trace_are_its_own(fork, way):
    instance = started(fork, LOGGING[way])
    lanes = [instance.lane() for _ in range(MANY)]
    for number, lane in enumerate(lanes):
        lane.begin(number, id=f"request-{number}", trace_id=f"Root={number}")
    answers = [lane.answer().json for lane in lanes]
    assert answers == [[f"Root={number}"] * 2 for number in range(MANY)]
    lines = instance.output().split("\n")
    logged = {tuple(line.split("\t")[2:]) for line in lines if line}
    assert logged == {(f"request-{number}", f"number {number}") for number in range(MANY)}


@EITHER
@pytest.mark.parametrize(
    ("event", "kind", "fault"),
    [
        ("raise ValueError('boom')", "ValueError", None),
        ("sys.exit(3)", "Runtime.ExitError", "Runtime exited with error: exit status 3"),
        ("sys.exit()", "Runtime.ExitError", "Runtime exited without providing a reason"),
        (
            "raise KeyboardInterrupt",
            "Runtime.ExitError",
            "Runtime exited with error: exit status 130",
        ),
        ("raise GeneratorExit", "Runtime.ExitError", "Runtime exited with error: exit status 1"),
    ],
    ids=["error", "exit 3", "exit", "interrupt", "other"],
)
def test_the_failure_of_one_request_does_not_touch_the_others(fork, way, event, kind, fault):
    instance = started(fork, FAILING[way])
    waiting, failing, third = (instance.lane() for _ in range(3))
    waiting.begin("wait")
    failed = failing.invoke(event)
    assert (failed.kind, failed.meta) == (
        wire.ERROR,
        {"type": kind} if fault is None else {"type": kind, "fault": fault},
    )
    third.invoke("go on")
    assert waiting.answer().json == "as if nothing had been"


@EITHER
def test_the_end_of_the_process_ends_all(fork, way):
    instance = started(fork, FAILING[way])
    waiting, ending = instance.lane(), instance.lane()
    waiting.begin("wait")
    ending.begin("os._exit(7)")
    assert instance.wait() == 7
    for lane in (waiting, ending):
        with pytest.raises(EOFError):
            lane.answer()


@EITHER
def test_a_child_that_a_handler_forks_answers_nothing(fork, way):
    instance = started(fork, FAILING[way])
    lane = instance.lane()
    lane.begin("os.fork() and os.wait()")
    assert (lane.answer().json, lane.invoke("go on").kind) == (None, wire.RESPONSE)


@EITHER
def test_it_ends_when_the_worker_closes_the_first_channel(fork, way):
    instance = started(fork, FAILING[way])
    instance.lane().begin("wait")
    instance.channel.shutdown(1)
    assert instance.wait() == 0


def test_signals_come_to_the_main_thread_while_requests_run(fork):
    instance = started(
        fork,
        """
        import os, signal, threading
        got = threading.Event()
        signal.signal(signal.SIGUSR1, lambda *_: got.set())
        def handler(event, context):
            if event:
                os.kill(os.getpid(), signal.SIGUSR1)
            return got.wait(20)
        """,
    )
    waiting, sending = instance.lane(), instance.lane()
    waiting.begin()
    assert sending.invoke(1).json is True
    assert waiting.answer().json is True


def test_decimals_of_many_threads_are_numbers(fork):
    instance = started(
        fork,
        """
        from decimal import Decimal
        import threading
        barrier = threading.Barrier(8)
        def handler(event, context):
            barrier.wait(20)
            return [Decimal(event) for _ in range(1000)]
        """,
    )
    lanes = [instance.lane() for _ in range(MANY)]
    for _ in range(3):
        for number, lane in enumerate(lanes):
            lane.begin(f"{number}.5")
        for number, lane in enumerate(lanes):
            assert lane.answer().json == [number + 0.5] * 1000


def test_a_terminal_debugs_one_request_at_a_time(fork, tmp_path):
    instance = fork(
        """
        running = []
        def handler(event, context):
            running.append(event)
            assert len(running) == 1
            return running.pop()
        """
    )
    terminal = str(tmp_path / "terminal")
    assert instance.init(concurrency=MANY, terminal=terminal).kind == wire.READY
    lanes = [instance.lane() for _ in range(MANY)]
    for number, lane in enumerate(lanes):
        lane.begin(number)
    assert [lane.answer().json for lane in lanes] == list(range(MANY))


def test_a_request_on_the_first_channel_is_a_breach(fork):
    instance = started(fork, "def handler(event, context): pass")
    instance.channel.sendall(wire.encode(wire.INVOKE, {"id": "1"}))
    assert instance.wait() not in (0, -signal.SIGSEGV)
