"""Neighbours: a small well-behaved function beside others that take what they can get.

*Processors.* A function of 128 MB with 2 ms of work, 20 times a second: its times while it is
alone, beside one function that spins in four processes for each processor, and beside four of
those.

*Memory.* A server with little of it that promises ten times as much, all of it to instances that
use less than a tenth of what they declare; then the same ones want 60 %, all at once. It is counted
what was served, refused and ended, and by whom: by the platform, which says why, or by the kernel.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from benchmarks.connection import Answer, Connection, drive
from benchmarks.figures import Figure, Findings, median, percentile
from benchmarks.pace import steady
from benchmarks.samovar import Samovar, invocation, samovar
from benchmarks.setting import Setting

TITLE = "Contention: a small function beside greedy ones"

AIM_P99 = 2.0
_HOG_MIB = 3538
_PER_S = 20
_MEMORY_MIB = 1024
_RATIO = 10
_DECLARED_MIB = 512
_HOLDERS = 20
"""So many that all that may be promised is."""
_RUNTIME_MIB = 8
"""What an instance uses before it holds anything."""


def measure(setting: Setting) -> Findings:
    findings = Findings("contention")
    _measure_processors(setting, findings)
    _measure_memory(setting, findings)
    return findings


def _measure_processors(setting: Setting, findings: Findings) -> None:
    seconds = setting.pick(full=60.0, quick=6.0)
    with ExitStack() as stack:
        server = stack.enter_context(
            samovar(setting, "processors", memory_mib=_MEMORY_MIB, memory_oversubscription=20)
        )
        stack.enter_context(_as_if_elsewhere())
        server.create("small", source="work.py")
        connections = [stack.enter_context(Connection(server.address)) for _ in range(16)]
        hogs = Hogs(server, stack, seconds + 30)
        alone = _times(connections, seconds)
        findings.samples["alone"] = alone
        findings.figures += [
            Figure("small, alone, p50", median(alone), "ms"),
            Figure("small, alone, p99", percentile(alone, 0.99), "ms"),
        ]
        for count in (1, 4):
            hogs.begin(count)
            beside = _times(connections, seconds)
            findings.samples[f"beside {count}"] = beside
            findings.figures += [
                Figure(f"beside {count}, p50", median(beside), "ms", "alone", median(alone)),
                Figure(
                    f"beside {count}, p99",
                    percentile(beside, 0.99),
                    "ms",
                    "alone",
                    percentile(alone, 0.99),
                    aim=AIM_P99,
                ),
            ]


def _times(connections: Sequence[Connection], seconds: float) -> list[float]:
    steady(connections, invocation("small"), per_s=_PER_S, seconds=1.0)  # its instances begin
    answers = steady(connections, invocation("small"), per_s=_PER_S, seconds=seconds)
    for _, answer in answers:
        answer.expect()
    return [took_ms for took_ms, _ in answers]


class Hogs:
    """Functions that spin until the server ends."""

    def __init__(self, server: Samovar, stack: ExitStack, seconds: float) -> None:
        self._server = server
        self._stack = stack
        self._seconds = seconds
        self._running = 0

    def begin(self, count: int) -> None:
        """Have so many run in all."""
        processes = 4 * (os.cpu_count() or 1)
        event = json.dumps({"spin_s": 25, "processes": processes}).encode()
        for number in range(self._running, count):
            name = f"hog-{number}"
            self._server.create(name, source="hog.py", memory_mib=_HOG_MIB)
            connection = self._stack.enter_context(Connection(self._server.address))
            connection.send(invocation(name, event))
        self._running = count


# ---------------------------------------------------------------- memory


def _measure_memory(setting: Setting, findings: Findings) -> None:
    seconds = setting.pick(full=30.0, quick=8.0)
    settings = {"memory_mib": _MEMORY_MIB, "memory_oversubscription": _RATIO, "queue_timeout_s": 5}
    with ExitStack() as stack:
        server = stack.enter_context(samovar(setting, "memory-contention", **settings))
        stack.enter_context(_as_if_elsewhere())
        server.create("small", source="work.py")
        server.create("holder", source="hog.py", memory_mib=_DECLARED_MIB)
        many = [stack.enter_context(Connection(server.address)) for _ in range(_HOLDERS)]
        few = [stack.enter_context(Connection(server.address)) for _ in range(8)]
        client = stack.enter_context(ThreadPoolExecutor(1))
        for part in (0.08, 0.6):
            small = client.submit(_times, few, seconds)
            event = {"hold_mib": int(part * _DECLARED_MIB) - _RUNTIME_MIB, "sleep_s": 2}
            answers = _until_over(many, invocation("holder", json.dumps(event).encode()), seconds)
            findings.samples[f"small while {part:.0%} is used"] = small.result()
            findings.figures += _counted(f"{_HOLDERS} use {part:.0%} of what they declare", answers)
        findings.figures.append(
            Figure("kernel's OOM kills among instances", _kernel_kills(server), "", aim=0)
        )


def _until_over(
    connections: Sequence[Connection], raw_request: bytes, seconds: float
) -> list[Answer]:
    """Rounds of all at once, for about so long."""
    answers: list[Answer] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        exchanges = drive(connections, [raw_request] * len(connections))
        answers += [exchange.answer for exchange in exchanges]
    return answers


def _counted(what: str, answers: Sequence[Answer]) -> list[Figure]:
    """What became of invocations, by how they were told."""
    ended = Counter(
        str(answer.json().get("errorType"))
        for answer in answers
        if answer.header("X-Amz-Function-Error")
    )
    served = sum(answer.status == 200 for answer in answers) - ended.total()
    refused = sum(answer.status == 429 for answer in answers)
    explained = ended.pop("Runtime.MemoryPressure", 0)
    unexplained = len(answers) - served - refused - explained
    return [
        Figure(f"{what}: served", served, "", note=f"of {len(answers)}"),
        Figure("  refused, with figures", refused, ""),
        Figure("  ended by choice, with figures", explained, ""),
        Figure("  anything else", unexplained, "", aim=0, note=", ".join(ended)),
    ]


def _kernel_kills(server: Samovar) -> int:
    """Counted by the cgroups of what is there now: those of the dead are gone."""
    pid = server.instances()[0][0]
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    counts = 0
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in ("memory", ""):
            below = Path("/sys/fs/cgroup", controllers, path.lstrip("/")).parent
            for name in ("memory.oom_control", "memory.events"):
                for file in below.rglob(name):
                    words = dict(entry.split() for entry in file.read_text().splitlines())
                    counts += int(words.get("oom_kill", 0))
    return counts


@contextlib.contextmanager
def _as_if_elsewhere() -> Iterator[None]:
    """Let nothing on this machine keep the client waiting, for it stands for one on another."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -15)
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, before)
