"""Asynchronous invocation: how many events a second are made durable, and delivered; and how soon
one begins when nothing else is to be done.

Everything is measured on SQLite, beside a plain loop that inserts one durable row a transaction,
in turns with it. An event is *accepted* when its 202 has come, and *delivered* when its function
has run and that is written down; how many are not is read from the server's database.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import time
from pathlib import Path

from benchmarks import load
from benchmarks.connection import Connection, UnexpectedAnswerError, drive, request
from benchmarks.figures import Figure, Findings, median
from benchmarks.load import Measured, Target
from benchmarks.samovar import API, Samovar, samovar
from benchmarks.setting import ROOT, Setting

TITLE = "Asynchronous invocation: durable, delivered, and how soon"

CONNECTIONS = 64
EVENT = {"X-Amz-Invocation-Type": "Event"}
PLAIN = "one durable row a transaction"
AIM_RATE = 3.0
AIM_START_MS = 5.0
_LIMIT_S = 120.0


def measure(setting: Setting) -> Findings:
    findings = Findings("events")
    load.wrk()
    plain: list[float] = []
    stored: list[float] = []
    accepted = Measured()
    delivered: list[float] = []
    events = setting.pick(full=20_000, quick=4_000)
    with contextlib.ExitStack() as stack:
        accepting = Accepting(setting, stack)
        delivering = Delivering(setting, stack)
        for _ in range(setting.pick(full=7, quick=2)):
            _at_the_store(setting, events, plain, stored)
            accepting.sample(setting.pick(full=5, quick=2), accepted)
            delivered.append(delivering.sample(setting.pick(full=4_000, quick=1_000)))
    start_ms = _starts(setting, setting.pick(full=200, quick=30))
    over_http = f"accepted over HTTP, {CONNECTIONS} connections"
    findings.figures += [
        _rate("accepted by the store, 256 callers", stored, median(plain), AIM_RATE),
        _rate(over_http, accepted.per_s, median(plain)),
        _rate("accepted over HTTP and delivered", delivered, median(plain)),
        Figure(
            "202 to the function's start, idle, p50",
            median(start_ms),
            "ms",
            aim=AIM_START_MS,
            note="below 0: it began before its client had the 202",
        ),
    ]
    findings.samples = {
        PLAIN: plain,
        "store /s": stored,
        "HTTP /s": accepted.per_s,
        "delivered /s": delivered,
        "202 to start ms": start_ms,
    }
    return findings


def _rate(what: str, per_s: list[float], plain_per_s: float, aim: float | None = None) -> Figure:
    return Figure(what, median(per_s), "/s", PLAIN, plain_per_s, aim, more_is_better=True)


def _at_the_store(setting: Setting, events: int, plain: list[float], stored: list[float]) -> None:
    python = setting.samovar.with_name("python")
    directory = setting.directory / f"event-store-{len(plain)}"
    directory.mkdir()
    command = [python, "-m", "benchmarks.event_store", directory, str(events)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnexpectedAnswerError(f"the store: {done.stderr[-500:]}")
    measured = json.loads(done.stdout)
    plain.append(measured["plain"])
    stored.append(measured["store"])


class Accepting:
    """A server that accepts and delivers nothing meanwhile: the only event that may run sleeps."""

    def __init__(self, setting: Setting, stack: contextlib.ExitStack) -> None:
        path = f"{API}/accepting/invocations"
        self._server = stack.enter_context(samovar(setting, "accepting", events_at_once=1))
        self._server.create("accepting", source="begins.py")
        self._sleeping = request("POST", path, b'{"sleep_s": 29}', **EVENT)
        self._target = Target("samovar", self._server.address, path, EVENT)

    def sample(self, seconds: int, into: Measured) -> None:
        """One stretch of load."""
        self._server.connection.exchange(self._sleeping).expect(202)
        load.run(self._target, CONNECTIONS, seconds, into)


class Delivering:
    """A server that delivers what it accepts."""

    def __init__(self, setting: Setting, stack: contextlib.ExitStack) -> None:
        server = stack.enter_context(samovar(setting, "delivering"))
        server.create("delivering", memory_mib=512)
        self._database = setting.directory / "samovar-delivering" / "samovar.db"
        self._connections = [
            stack.enter_context(Connection(server.address)) for _ in range(CONNECTIONS)
        ]
        path = f"{API}/delivering/invocations"
        self._request = request("POST", path, b'{"key": "value"}', **EVENT)
        self.sample(CONNECTIONS * 2)  # brings instances up

    def sample(self, events: int) -> float:
        """Events per second, till the last one has been delivered."""
        began = time.perf_counter()
        for exchange in drive(self._connections, [self._request] * events):
            exchange.answer.expect(202)
        _await_none_left(self._database)
        return events / (time.perf_counter() - began)


def _await_none_left(database: Path) -> None:
    deadline = time.monotonic() + _LIMIT_S
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        left = "SELECT SUM(events) FROM event_queues"
        while connection.execute(left).fetchone()[0]:
            if time.monotonic() > deadline:
                raise UnexpectedAnswerError("the events are not delivered in time")
            time.sleep(0.005)


def _starts(setting: Setting, events: int) -> list[float]:
    """Milliseconds from the answer to the start of the function, one event after the other."""
    answered: dict[str, float] = {}
    with samovar(setting, "starting") as server:
        server.create("starting", source="begins.py", memory_mib=1769)
        raw = request("POST", f"{API}/starting/invocations", b"{}", **EVENT)
        database = setting.directory / "samovar-starting" / "samovar.db"
        for _ in range(events + 1):
            answer = server.connection.exchange(raw).expect(202)
            answered[answer.header("x-amzn-RequestId")] = time.time()
            _await_none_left(database)
        began = _began(server, events + 1)
    ids = list(answered)[1:]  # the first one started cold
    return [(began[event_id] - answered[event_id]) * 1e3 for event_id in ids]


def _began(server: Samovar, events: int) -> dict[str, float]:
    """Event → when its function began, from the function's log."""
    raw = request("GET", "/_samovar/logs/starting?tail_bytes=4000000")
    deadline = time.monotonic() + _LIMIT_S
    began: dict[str, float] = {}
    while len(began) < events:
        if time.monotonic() > deadline:
            raise UnexpectedAnswerError("the log does not say when the events began")
        for line in server.connection.exchange(raw).expect().body.decode().splitlines():
            if line.startswith("began "):
                _, event_id, moment = line.split()
                began[event_id] = float(moment)
        time.sleep(0.05)
    return began
