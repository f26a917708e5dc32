"""Neighbours: a small well-behaved function beside others that take what they can get.

*Processors.* A function of 128 MB with 2 ms of work, 20 times a second: its times while it is
alone, beside one function that spins in as many processes as the machine has processors, four
times over, and beside four of those.

*Memory.* A server with little of it that promises ten times as much. First functions use a tenth
of what they declare; then the same ones want much more, all at once. It is counted what was
served, refused and ended, and by whom: by the platform, which says why, or by the kernel.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from benchmarks.connection import Connection
from benchmarks.figures import Figure, Findings, median, percentile
from benchmarks.pace import steady
from benchmarks.samovar import Samovar, invocation, samovar
from benchmarks.setting import Setting

TITLE = "Contention: a small function beside greedy ones"

AIM_P99 = 2.0
_HOG_MIB = 3538
_PER_S = 20
_MEMORY_MIB = 1024


def measure(setting: Setting) -> Findings:
    findings = Findings("contention")
    _measure_processors(setting, findings)
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
