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
    rounds = setting.pick(full=7, quick=2)
    stored = _at_the_store(setting, setting.pick(full=20_000, quick=4_000), rounds)
    plain_per_s = median(stored["plain"])
    accepted = _accepted(setting, setting.pick(full=5, quick=2), rounds)
    delivered = _delivered(setting, setting.pick(full=4_000, quick=1_000), rounds)
    start_ms = _starts(setting, setting.pick(full=200, quick=30))
    for what, per_s in (("accepted by the store, 256 callers", stored["store"]),):
        findings.figures.append(_rate(what, per_s, plain_per_s, AIM_RATE))
    what = f"accepted over HTTP, {CONNECTIONS} connections"
    findings.figures += [
        _rate(what, accepted.per_s, plain_per_s),
        _rate("accepted over HTTP and delivered", delivered, plain_per_s),
        Figure("202 to the function's start, idle, p50", median(start_ms), "ms", aim=AIM_START_MS),
    ]
    findings.samples = {
        PLAIN: stored["plain"],
        "store /s": stored["store"],
        "HTTP /s": accepted.per_s,
        "delivered /s": delivered,
        "202 to start ms": start_ms,
    }
    return findings


def _rate(what: str, per_s: list[float], plain_per_s: float, aim: float | None = None) -> Figure:
    return Figure(what, median(per_s), "/s", PLAIN, plain_per_s, aim, more_is_better=True)


def _at_the_store(setting: Setting, events: int, rounds: int) -> dict[str, list[float]]:
    python = setting.samovar.with_name("python")
    directory = setting.directory / "event-store"
    directory.mkdir()
    command = [python, "-m", "benchmarks.event_store", directory, str(events), str(rounds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnexpectedAnswerError(f"the store: {done.stderr[-500:]}")
    measured: dict[str, list[float]] = json.loads(done.stdout)
    return measured


def _accepted(setting: Setting, seconds: int, rounds: int) -> Measured:
    """None is delivered meanwhile: the only one that may run sleeps."""
    measured = Measured()
    with samovar(setting, "accepting", events_at_once=1) as server:
        server.create("accepting", source="begins.py")
        path = f"{API}/accepting/invocations"
        sleeping = request("POST", path, b'{"sleep_s": 29}', **EVENT)
        for _ in range(rounds):
            server.connection.exchange(sleeping).expect(202)
            target = Target("samovar", server.address, path, EVENT)
            load.run(target, CONNECTIONS, seconds, measured)
    return measured


def _delivered(setting: Setting, events: int, rounds: int) -> list[float]:
    per_s = []
    with samovar(setting, "delivering") as server, contextlib.ExitStack() as stack:
        server.create("delivering", memory_mib=512)
        connections = [stack.enter_context(Connection(server.address)) for _ in range(CONNECTIONS)]
        raw = request("POST", f"{API}/delivering/invocations", b'{"key": "value"}', **EVENT)
        for number in range(rounds + 1):
            began = time.perf_counter()
            for exchange in drive(connections, [raw] * events):
                exchange.answer.expect(202)
            _await_none_left(setting.directory / "samovar-delivering" / "samovar.db")
            if number:  # the first round brings instances up
                per_s.append(events / (time.perf_counter() - began))
    return per_s


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
