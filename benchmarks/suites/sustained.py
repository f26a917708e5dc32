"""Cold starts per second, without end: more functions than there is memory for their instances.

Functions are invoked one after the other, over four connections; when the first one's turn comes
again its instance has long been evicted. So each request costs a start, and, once memory has run
out, also the end of another instance. Beside it: plain interpreters, four at a time.
"""

from __future__ import annotations

import itertools
from contextlib import ExitStack

from benchmarks import reference
from benchmarks.connection import Connection, drive
from benchmarks.figures import Figure, Findings, median
from benchmarks.reference import PASS
from benchmarks.samovar import Samovar, invocation, samovar
from benchmarks.setting import Setting

TITLE = "Sustained cold starts, 4 connections, an older instance evicted for each new one"

PARALLEL = 4
_MEMORY_MIB = 128
_BLANKS = (8, 0)
PYTHON_PASS = f"{' '.join(PASS)}, {PARALLEL} at a time"


def measure(setting: Setting) -> Findings:
    findings = Findings("sustained")
    functions = setting.pick(full=256, quick=64)
    rounds = setting.pick(full=9, quick=2)
    starts = setting.pick(full=200, quick=64)
    room_mib = functions // 2 * _MEMORY_MIB
    with ExitStack() as stack:
        rows = []
        for blanks in _BLANKS:
            name = f"sustained-{blanks}"
            server = stack.enter_context(samovar(setting, name, blanks=blanks, memory_mib=room_mib))
            rows.append(Row(server, functions, stack))
        plain_per_s = []
        for _ in range(rounds):
            for row in rows:
                row.sample(starts)
            plain_per_s.append(starts / reference.run_many(PASS, starts, PARALLEL)[-1])
    for row in rows:
        findings.figures.append(row.figure(median(plain_per_s)))
        findings.samples[row.name] = row.starts_per_s
    findings.samples[PYTHON_PASS] = plain_per_s
    return findings


class Row:
    """Starts on one server."""

    def __init__(self, server: Samovar, functions: int, stack: ExitStack) -> None:
        self.name = f"{server.blanks} blanks" if server.blanks else "forked on demand"
        self.starts_per_s: list[float] = []
        self._server = server
        self._connections = [
            stack.enter_context(Connection(server.address)) for _ in range(PARALLEL)
        ]
        names = [f"sustained-{number}" for number in range(functions)]
        for name in names:
            server.create(name, memory_mib=_MEMORY_MIB)
        self._requests = itertools.cycle([invocation(name) for name in names])
        self._from_blanks = 0
        self._drive(functions // 2)  # until memory has run out

    def sample(self, starts: int) -> None:
        """One stretch."""
        self._server.settle()
        self._from_blanks = 0
        self.starts_per_s.append(starts / self._drive(starts))

    def figure(self, plain_per_s: float) -> Figure:
        """The median stretch."""
        return Figure(
            f"{self.name}",
            median(self.starts_per_s),
            "/s",
            PYTHON_PASS,
            plain_per_s,
            more_is_better=True,
            note=f"{self._from_blanks} from blanks in the last stretch",
        )

    def _drive(self, starts: int) -> float:
        """Seconds till the last answer."""
        exchanges = drive(self._connections, list(itertools.islice(self._requests, starts)))
        for exchange in exchanges:
            exchange.answer.expect().expect_header("X-Samovar-Start", "cold")
            how = exchange.answer.header("X-Samovar-Start")
            self._from_blanks += how.endswith("from=blank")
        return exchanges[-1].done_s
