"""Traces of our own making, with the published shape of real workloads.

How this works. Each function has a mean rate, drawn from a published distribution, and a trigger
that says how its calls lie in time: timers are periodic, HTTP has sessions whose rate follows the
hour of the day, queues come in bursts. A heap holds the next call of each function.

The shape `azure` is that of M. Shahrad et al., "Serverless in the Wild", USENIX ATC 2020: rates in
figure 5 (45 % of apps at most once an hour, 81 % at most once a minute, the other 18.6 % make
99.6 % of the calls), log-normal durations (figure 7), Burr-distributed memory (figure 8). What the
paper has of an app is here that of a function: a function is what has instances. The others are
that with more of one trigger; `huawei` has the busier functions and the daily rhythm of A. Joosen
et al., "How Does It Function? Characterizing Long-term Trends in Production Serverless Workloads",
SoCC 2023.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from samovar.simulator.trace import Call, Function

DAY_S = 86400.0
DURATION_MEDIAN_S = math.exp(-0.38)
DURATION_SPREAD = 2.36
"""Between functions (the paper's fit of their averages)."""
CALL_SPREAD = 0.4
"""Between the calls of one function."""
MAX_DURATION_S = 900.0
"""Lambda's longest time-out."""
MEMORY_BURR = (11.652, 0.221, 107.083)
"""c, k and scale in MB."""
MIN_MEMORY_MIB, MAX_MEMORY_MIB = 128, 10240
USED_SHARE = (0.2, 0.8)
"""Of a function's memory, what its instances really use (an assumption)."""
START_MEDIAN_S, START_SPREAD = 0.5, 0.6
TIMER_PERIODS_S = tuple(
    60.0 * minutes for minutes in (1, 2, 5, 10, 15, 20, 30, 60, 120, 240, 360, 720, 1440, 10080)
)
TIMER_JITTER_S = 2.0
SESSION_CALLS, SESSION_GAP_S = 3.0, 10.0
BURST_CALLS, BURST_GAP_S = 12.0, 1.0


class RateAt(NamedTuple):
    """So large a share of functions is called at most so often, on average."""

    share: float
    per_day: float


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of workload."""

    rates: Sequence[RateAt]
    """Between two of them rates are spread evenly on a logarithmic scale."""
    triggers: Mapping[str, float]
    """`timer`, `http`, `queue` → their share of the functions."""
    daily_swing: float = 0.5
    """How far the rate of HTTP is above its mean at noon, and below it at midnight."""


AZURE_RATES = (
    RateAt(0.0, 0.1),
    RateAt(0.2, 1.0),
    RateAt(0.45, 24.0),
    RateAt(0.814, 1440.0),
    RateAt(1.0, 1440.0 * 800),
)
HUAWEI_RATES = (
    RateAt(0.0, 1.0),
    RateAt(0.15, 24.0),
    RateAt(0.6, 1440.0),
    RateAt(1.0, 1440.0 * 800),
)
SHAPES: Mapping[str, Shape] = {
    "azure": Shape(AZURE_RATES, {"timer": 0.29, "http": 0.5, "queue": 0.21}),
    "bursty": Shape(AZURE_RATES, {"timer": 0.1, "http": 0.1, "queue": 0.8}),
    "periodic": Shape(AZURE_RATES, {"timer": 0.8, "http": 0.1, "queue": 0.1}),
    "huawei": Shape(HUAWEI_RATES, {"timer": 0.4, "http": 0.5, "queue": 0.1}, daily_swing=0.9),
}


class _Source:
    """When one function is called next."""

    __slots__ = ("_duration_s", "_left", "_mean_gap_s", "_phase_s", "_swing", "_trigger")

    def __init__(self, trigger: str, per_day: float, swing: float, random: Random) -> None:
        self._trigger = trigger
        self._swing = swing
        self._left = 0
        """Calls of the session or burst that are still to come."""
        self._duration_s = draw_duration(random)
        gap_s = DAY_S / per_day
        if trigger == "timer":
            places = min(bisect_left(TIMER_PERIODS_S, gap_s), len(TIMER_PERIODS_S) - 1)
            self._mean_gap_s = TIMER_PERIODS_S[places] if gap_s >= 60.0 else gap_s
        else:
            calls = SESSION_CALLS if trigger == "http" else BURST_CALLS
            self._mean_gap_s = gap_s * calls
        self._phase_s = random.random() * self._mean_gap_s

    def first(self, random: Random) -> float:
        """When it is called first."""
        return self._phase_s if self._trigger == "timer" else self._begin(0.0, random)

    def after(self, now_s: float, random: Random) -> float:
        """When it is called next, having been called now."""
        if self._trigger == "timer":
            self._phase_s += self._mean_gap_s
            return max(now_s, self._phase_s + random.random() * TIMER_JITTER_S)
        if self._left:
            self._left -= 1
            mean_s = SESSION_GAP_S if self._trigger == "http" else BURST_GAP_S
            return now_s + random.expovariate(1.0) * min(mean_s, self._mean_gap_s / 4)
        return self._begin(now_s, random)

    def _begin(self, now_s: float, random: Random) -> float:
        """The next session or burst: a Poisson process, thinned by the hour of the day."""
        calls = SESSION_CALLS if self._trigger == "http" else BURST_CALLS
        self._left = int(random.expovariate(1.0) / -math.log1p(-1.0 / calls))
        swing = self._swing if self._trigger == "http" else 0.0
        while True:
            now_s += random.expovariate(1.0) * self._mean_gap_s / (1.0 + swing)
            rate = 1.0 - swing * math.cos(2 * math.pi * now_s / DAY_S)
            if not swing or random.random() * (1.0 + swing) <= rate:
                return now_s

    def duration_s(self, random: Random) -> float:
        """Of one call."""
        return duration_of(self._duration_s, random)


class Workload:
    """The `Trace` of a shape. The same seed makes the same trace."""

    def __init__(
        self,
        shape: Shape,
        count: int,
        length_s: float,
        seed: int,
        max_per_minute: float = math.inf,
    ) -> None:
        """`max_per_minute`: no function is called more often on average. (The busiest of a real
        workload are never cold, whatever the policy, and are nearly all of its calls.)"""
        self.length_s = length_s
        self._shape = shape
        self._seed = seed
        random = Random(seed)  # noqa: S311 (a simulation)
        limit = max_per_minute * 1440.0
        self.rates_per_day = [min(limit, _rate(shape, random)) for _ in range(count)]
        self.functions = [draw_function(f"f{number:07d}", random) for number in range(count)]

    def calls(self) -> Iterator[Call]:
        """See `Trace`."""
        random = Random(self._seed + 1)  # noqa: S311
        triggers, weights = zip(*self._shape.triggers.items(), strict=True)
        sources = [
            _Source(trigger, rate, self._shape.daily_swing, random)
            for rate, trigger in zip(
                self.rates_per_day,
                random.choices(triggers, weights, k=len(self.functions)),
                strict=True,
            )
        ]
        upcoming = [(source.first(random), number) for number, source in enumerate(sources)]
        upcoming = [call for call in upcoming if call[0] < self.length_s]
        heapq.heapify(upcoming)
        while upcoming:
            at_s, number = upcoming[0]
            source = sources[number]
            yield Call(at_s, number, source.duration_s(random))
            next_s = source.after(at_s, random)
            if next_s < self.length_s:
                heapq.heapreplace(upcoming, (next_s, number))
            else:
                heapq.heappop(upcoming)


def _rate(shape: Shape, random: Random) -> float:
    share = random.random()
    for low, high in zip(shape.rates, shape.rates[1:], strict=False):
        if share <= high.share:
            place = (share - low.share) / (high.share - low.share)
            return low.per_day * math.pow(high.per_day / low.per_day, place)
    return shape.rates[-1].per_day


def draw_function(name: str, random: Random, memory_mib: float | None = None) -> Function:
    """A function; what is not known of it is drawn."""
    if memory_mib is None:
        c, k, scale_mb = MEMORY_BURR
        memory_mib = scale_mb * math.pow(math.pow(1.0 - random.random(), -1.0 / k) - 1.0, 1.0 / c)
    declared_mib = round(min(MAX_MEMORY_MIB, max(MIN_MEMORY_MIB, memory_mib)))
    used_mib = round(declared_mib * random.uniform(*USED_SHARE))
    return Function(
        name, declared_mib, used_mib, START_MEDIAN_S * math.exp(random.gauss(0, START_SPREAD))
    )


def draw_duration(random: Random) -> float:
    """What calls of a function take, as a median, in seconds."""
    return DURATION_MEDIAN_S * math.exp(random.gauss(0, DURATION_SPREAD))


def duration_of(median_s: float, random: Random) -> float:
    """What one call of it takes, in seconds."""
    spread = math.exp(random.gauss(0, CALL_SPREAD))
    return min(MAX_DURATION_S, max(0.001, median_s * spread))
