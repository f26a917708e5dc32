"""A burst: 64 functions that have no instance, each invoked once, all at the same moment.

The connections are open beforehand. Times count from the start of the burst, so the last answer
tells when all were served. Beside it: as many plain interpreters started at once.
"""

from __future__ import annotations

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


def measure(setting: Setting) -> Findings:
    findings = Findings("burst")
    rounds = setting.pick(full=15, quick=2)
    with ExitStack() as stack:
        bursts = []
        for blanks in _BLANKS:
            server = stack.enter_context(samovar(setting, f"burst-{blanks}", blanks=blanks))
            bursts.append(Burst(server, stack))
        plain = Marks()
        for _ in range(rounds):
            for burst in bursts:
                burst.sample()
            plain.add(reference.run_many(PASS, BURST, BURST))
    for burst in bursts:
        findings.figures += burst.figures(plain)
        findings.samples[burst.name] = burst.marks.answers_ms
    findings.samples[BESIDE] = plain.answers_ms
    return findings


class Marks:
    """When the answers of several bursts came."""

    def __init__(self) -> None:
        self.answers_ms: list[float] = []
        self._last_ms: list[float] = []

    def add(self, done_s: Sequence[float]) -> None:
        """One more burst."""
        self.answers_ms += [s * 1e3 for s in done_s]
        self._last_ms.append(max(done_s) * 1e3)

    def values(self) -> dict[str, float]:
        """p50 and p99 over all answers of all bursts; the median burst's last answer."""
        return {
            "p50": median(self.answers_ms),
            "p99": percentile(self.answers_ms, 0.99),
            "last": median(self._last_ms),
        }


class Burst:
    """Bursts on one server."""

    def __init__(self, server: Samovar, stack: ExitStack) -> None:
        self.name = f"{server.blanks} blanks"
        self.marks = Marks()
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
        self.marks.add([exchange.done_s for exchange in exchanges])

    def figures(self, plain: Marks) -> list[Figure]:
        """Each mark beside the same one of plain interpreters."""
        note = f"{median(self._from_blanks):.0f} of {BURST} from blanks"
        beside = plain.values()
        return [
            Figure(
                f"{self.name}, {mark} of the burst",
                value,
                "ms",
                f"{BESIDE}, {mark}",
                beside[mark],
                note=note if mark == "p50" else "",
            )
            for mark, value in self.marks.values().items()
        ]


def _origin(exchange: Exchange) -> str:
    answer = exchange.answer.expect().expect_header("X-Samovar-Start", "cold")
    return answer.header("X-Samovar-Start").rpartition("from=")[2]
