"""A burst: 64 functions that have no instance, each invoked once, all at the same moment.

The connections are open beforehand. Times count from the start of the burst, so the last answer
tells when all were served. Beside it: as many plain interpreters started at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack

from benchmarks import reference
from benchmarks.connection import Connection, Exchange, drive
from benchmarks.figures import Figure, Findings, median, percentile
from benchmarks.reference import PASS
from benchmarks.samovar import Samovar, invocation, samovar
from benchmarks.setting import Setting

TITLE = "Burst: 64 functions without an instance, invoked at once"

BURST = 64
BESIDE = f"{BURST} × {' '.join(PASS)}"
_BLANKS = (64, 8, 0)
_MARKS = {"p50": 0.5, "p99": 0.99, "last": 1.0}


def measure(setting: Setting) -> Findings:
    findings = Findings("burst")
    rounds = setting.pick(full=15, quick=2)
    with ExitStack() as stack:
        bursts = []
        for blanks in _BLANKS:
            server = stack.enter_context(samovar(setting, f"burst-{blanks}", blanks=blanks))
            bursts.append(Burst(server, stack))
        plain: dict[str, list[float]] = defaultdict(list)
        for _ in range(rounds):
            for burst in bursts:
                burst.sample()
            _mark(plain, reference.run_many(PASS, BURST, BURST))
    for burst in bursts:
        findings.figures += burst.figures(plain)
        findings.samples |= {f"{burst.name}, {m}": xs for m, xs in burst.marks_ms.items()}
    findings.samples |= {f"{BESIDE}, {mark}": xs for mark, xs in plain.items()}
    return findings


def _mark(marks_ms: dict[str, list[float]], done_s: Sequence[float]) -> None:
    for mark, share in _MARKS.items():
        marks_ms[mark].append(percentile(done_s, share) * 1e3)


class Burst:
    """Bursts on one server."""

    def __init__(self, server: Samovar, stack: ExitStack) -> None:
        self.name = f"{server.blanks} blanks"
        self.marks_ms: dict[str, list[float]] = defaultdict(list)
        self._server = server
        self._from_blanks: list[int] = []
        self._functions = [f"burst-{number}" for number in range(BURST)]
        for name in self._functions:
            server.create(name)
        self._requests = [invocation(name) for name in self._functions]
        self._connections = [stack.enter_context(Connection(server.address)) for _ in range(BURST)]

    def sample(self) -> None:
        """One burst."""
        self._server.renew(self._functions)
        exchanges = drive(self._connections, self._requests)
        self._from_blanks.append(sum(_origin(exchange) == "blank" for exchange in exchanges))
        _mark(self.marks_ms, [exchange.done_s for exchange in exchanges])

    def figures(self, plain_ms: dict[str, list[float]]) -> list[Figure]:
        """Medians, over the bursts, of each burst's p50, p99 and last answer."""
        note = f"{median(self._from_blanks):.0f} of {BURST} from blanks"
        return [
            Figure(
                f"{self.name}, {mark} of the burst",
                median(self.marks_ms[mark]),
                "ms",
                f"{BESIDE}, {mark}",
                median(plain_ms[mark]),
                note=note if mark == "p50" else "",
            )
            for mark in _MARKS
        ]


def _origin(exchange: Exchange) -> str:
    answer = exchange.answer.expect().expect_header("X-Samovar-Start", "cold")
    return answer.header("X-Samovar-Start").rpartition("from=")[2]
