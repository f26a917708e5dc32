"""What is simulated: a trace under several policies, their knobs, and oversubscription ratios.

Each run is one `Row` of figures; what a study returns is nothing but rows, and how it came about.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from samovar.manager.keep_alive import KeepAlivePolicy
from samovar.manager.policies import policy_named
from samovar.manager.policies.fixed import FixedTimeout
from samovar.manager.policies.histogram import HybridHistogram
from samovar.manager.policies.thrift import Thrift
from samovar.simulator.replay import WAIT_BINS, Machines, Tally, replay
from samovar.simulator.trace import Trace

FIXED_MINUTES = (1, 5, 10, 20, 30, 60, 120, 240)
TAILS = (0.9, 0.95, 0.99)
RANGES_H = (1, 2, 4)
WORKER_SHARES = (1.0, 0.7, 0.5, 0.3, 0.2, 0.1)
"""Of the workers: the knob of greedy-dual is how much memory there is."""
PRICES = (1e-5, 1e-4, 3e-4, 1e-3, 2e-3, 4e-3, 1e-2, 3e-2)
IDLE_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class Variant:
    """A policy with its knob at one position."""

    policy: str
    knob: str
    """As a person reads it; empty: as it comes."""
    make: Callable[[], KeepAlivePolicy]
    worker_share: float = 1.0


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one run. Percentages of functions weigh each of them alike, however often it
    is called, as the paper on the hybrid histogram does."""

    policy: str
    knob: str
    oversubscription: float
    memory_gib: float
    calls: int
    cold: int
    cold_percent: float
    """Of all calls."""
    cold_percent_p50: float
    """Of functions: half of them have at most this."""
    cold_percent_p75: float
    cold_percent_p99: float
    cold_percent_mean: float
    idle_gib_s: float
    """What instances held that did nothing: the waste."""
    busy_gib_s: float
    starting_gib_s: float
    utilisation_percent: float
    """Promised to instances, idle or not ÷ the machines' real memory, over time."""
    wait_p50_ms: float
    """Of calls that waited for an instance."""
    wait_p99_ms: float
    queued: int
    refused: int
    starts: int
    took_s: float
    calls_per_s: float
    """Simulated, in a second of real time."""


def as_they_come(names: Sequence[str]) -> list[Variant]:
    """Each policy with its defaults."""
    return [Variant(name, "", _default(name)) for name in names]


def swept(names: Sequence[str]) -> list[Variant]:
    """Each policy at every position of its knob."""
    return [variant for name in names for variant in _SWEEPS[name]()]


def study(
    trace: Trace,
    variants: Sequence[Variant],
    machines: Machines,
    ratios: Sequence[float],
    seed: int,
    progress: Callable[[str, float], None] = lambda what, share: None,
) -> Iterator[Row]:
    """Run everything, one after the other; each row as soon as it is known."""
    for ratio in ratios:
        for variant in variants:
            workers = max(1, round(machines.workers * variant.worker_share))
            those = replace(machines, oversubscription=ratio, workers=workers)
            what = f"{variant.policy} {variant.knob} × {ratio:g}".replace("  ", " ")
            tally = replay(trace, variant.make(), those, seed, partial(progress, what))
            yield row_of(variant, ratio, tally)


def row_of(variant: Variant, ratio: float, tally: Tally) -> Row:
    """The figures of a run."""
    pairs = zip(tally.cold, tally.calls, strict=True)
    percents = sorted(100.0 * cold / calls for cold, calls in pairs if calls)
    calls, cold = sum(tally.calls), sum(tally.cold)
    held_gib_s = tally.idle_gib_s + tally.busy_gib_s + tally.starting_gib_s
    return Row(
        policy=variant.policy,
        knob=variant.knob,
        oversubscription=ratio,
        memory_gib=tally.memory_gib,
        calls=calls,
        cold=cold,
        cold_percent=100.0 * cold / max(1, calls),
        cold_percent_p50=_ranked(percents, 0.5),
        cold_percent_p75=_ranked(percents, 0.75),
        cold_percent_p99=_ranked(percents, 0.99),
        cold_percent_mean=sum(percents) / max(1, len(percents)),
        idle_gib_s=tally.idle_gib_s,
        busy_gib_s=tally.busy_gib_s,
        starting_gib_s=tally.starting_gib_s,
        utilisation_percent=100.0 * held_gib_s / (tally.memory_gib * tally.length_s or 1.0),
        wait_p50_ms=_wait(tally, 0.5),
        wait_p99_ms=_wait(tally, 0.99),
        queued=tally.queued,
        refused=tally.refused,
        starts=tally.starts,
        took_s=tally.took_s,
        calls_per_s=calls / (tally.took_s or 1.0),
    )


def _ranked(ordered: Sequence[float], share: float) -> float:
    """The smallest value that so large a share is not above."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def _wait(tally: Tally, share: float) -> float:
    rank, passed = share * sum(tally.waits.values()), 0
    for bin_ in sorted(tally.waits):
        passed += tally.waits[bin_]
        if passed >= rank:
            return float(2.0 ** ((bin_ + 0.5) / WAIT_BINS))
    return 0.0


def _default(name: str) -> Callable[[], KeepAlivePolicy]:
    return partial(policy_named, name, idle_timeout_s=IDLE_TIMEOUT_S)


def _fixed() -> list[Variant]:
    return [
        Variant("fixed", f"{minutes} min", partial(FixedTimeout, minutes * 60.0))
        for minutes in FIXED_MINUTES
    ]


def _histogram() -> list[Variant]:
    knobs = [(0.99, hours) for hours in RANGES_H] + [(tail, 4) for tail in TAILS if tail < 0.99]
    return [
        Variant(
            "histogram",
            f"{tail:.0%}, {hours} h",
            partial(HybridHistogram, tail=tail, range_s=hours * 3600.0),
        )
        for tail, hours in knobs
    ]


def _greedy_dual() -> list[Variant]:
    return [
        Variant("greedy-dual", f"workers × {share:g}", _default("greedy-dual"), share)
        for share in WORKER_SHARES
    ]


def _thrift() -> list[Variant]:
    return [Variant("thrift", f"price {price:g}", partial(Thrift, price)) for price in PRICES]


_SWEEPS: dict[str, Callable[[], list[Variant]]] = {
    "fixed": _fixed,
    "histogram": _histogram,
    "greedy-dual": _greedy_dual,
    "thrift": _thrift,
}
