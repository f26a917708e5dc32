"""Cold start, end to end: from sending an Invoke to having its answer, when no instance exists.

Before each sample the function gets a new revision, so that no instance may serve it any more, and
the server comes to rest. What each start was is checked by its `X-Samovar-Start` header. Samples
of all variants and references take turns.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack

from benchmarks import reference
from benchmarks.connection import UnexpectedAnswerError
from benchmarks.figures import Figure, Findings, median, percentile
from benchmarks.reference import PASS
from benchmarks.samovar import FULL_VCPU_MIB, Samovar, invocation, samovar
from benchmarks.setting import Setting

TITLE = "Cold start through the API (one request at a time)"

PYTHON_PASS = " ".join(PASS)
AIM_BLANK = 0.5
AIM_FORK = 1.0

_TIMING = re.compile(r"(\w+);dur=([\d.]+)")
_MEMORIES_MIB = (FULL_VCPU_MIB, 128)
_MAX_FOREIGN_SHARE = 0.2


def measure(setting: Setting) -> Findings:
    findings = Findings("cold")
    rounds = setting.pick(full=150, quick=12)
    with ExitStack() as stack:
        pooled = stack.enter_context(samovar(setting, "pool", blanks=8))
        on_demand = stack.enter_context(samovar(setting, "demand", blanks=0))
        containers, findings.skipped = stack.enter_context(reference.containers(setting))
        variants = []
        for server, origin in ((pooled, "blank"), (on_demand, "fork")):
            for memory_mib in _MEMORIES_MIB:
                server.create(f"cold-{memory_mib}", memory_mib=memory_mib)
                variants.append(Variant(server, origin, memory_mib))
        references = {"python": lambda: reference.run_once(PASS), **containers}
        times_s = _take_turns(variants, references, rounds)
    findings.samples = {name: [s * 1e3 for s in xs] for name, xs in times_s.items()}
    for variant in variants:
        findings.figures += variant.figures(findings)
        if variant.foreign:
            findings.skipped[f"{variant.foreign} samples of {variant.name}"] = "another origin"
    for name in containers:
        findings.figures.append(
            Figure(
                f"{name} of python3 -c pass, p50",
                median(findings.samples[name]),
                "ms",
                PYTHON_PASS,
                median(findings.samples["python"]),
            )
        )
    return findings


def _take_turns(
    variants: list[Variant], references: dict[str, Callable[[], float]], rounds: int
) -> dict[str, list[float]]:
    times_s: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for variant in variants:
            elapsed_s = variant.sample()
            if elapsed_s is not None:
                times_s[variant.name].append(elapsed_s)
        for name, timed in references.items():
            times_s[name].append(timed())
    for variant in variants:
        if variant.foreign > rounds * _MAX_FOREIGN_SHARE:
            raise UnexpectedAnswerError(f"{variant.name}: {variant.foreign} others of {rounds}")
    return times_s


class Variant:
    """One way to start cold."""

    def __init__(self, server: Samovar, origin: str, memory_mib: int) -> None:
        self.name = f"{_ORIGINS[origin]}, {memory_mib} MiB"
        self.foreign = 0
        """Samples that were started another way than meant, and thus not counted."""
        self._server = server
        self._origin = origin
        self._function = f"cold-{memory_mib}"
        self._memory_mib = memory_mib
        self._invoke = invocation(self._function)
        self._timings: dict[str, list[float]] = defaultdict(list)

    def sample(self) -> float | None:
        """One cold start, in seconds."""
        self._server.renew([self._function])
        start = time.perf_counter()
        answer = self._server.connection.exchange(self._invoke)
        elapsed_s = time.perf_counter() - start
        how = answer.expect().header("X-Samovar-Start")
        if not (how.startswith("cold") and how.endswith(f"from={self._origin}")):
            self.foreign += 1
            return None
        for name, milliseconds in _TIMING.findall(answer.header("Server-Timing")):
            self._timings[name].append(float(milliseconds))
        return elapsed_s

    def figures(self, findings: Findings) -> list[Figure]:
        """p50 and p99 beside the plain interpreter's, p50 beside other means."""
        ours = findings.samples[self.name]
        plain = findings.samples["python"]
        aim = AIM_BLANK if self._origin == "blank" else AIM_FORK
        parts = ", ".join(f"{k} {median(v):.2f}" for k, v in self._timings.items())
        p50, p99 = (median(ours), median(plain)), (percentile(ours, 0.99), percentile(plain, 0.99))
        figures = [
            Figure(f"{self.name}, p50", p50[0], "ms", PYTHON_PASS, p50[1], aim, note=parts),
            Figure(f"{self.name}, p99", p99[0], "ms", PYTHON_PASS, p99[1]),
        ]
        if self._memory_mib == FULL_VCPU_MIB:
            figures += [
                Figure(f"{self.name}, p50", median(ours), "ms", f"{name} of that", median(samples))
                for name in ("crun", "bwrap")
                if (samples := findings.samples.get(name))
            ]
        return figures


_ORIGINS = {"blank": "from a blank", "fork": "forked on demand"}
