"""Generated workloads have the published shape: Shahrad et al., USENIX ATC 2020."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter

import pytest

from samovar.simulator.workload import DAY_S, SHAPES, Workload

MINUTE_S = 60.0


@pytest.fixture(scope="module")
def azure() -> Workload:
    return Workload(SHAPES["azure"], 2000, 3 * MINUTE_S, seed=3)


def test_most_functions_are_called_at_most_once_a_minute(azure: Workload) -> None:
    rare = sum(rate <= DAY_S / MINUTE_S for rate in azure.rates_per_day)
    assert rare / len(azure.rates_per_day) == pytest.approx(0.81, abs=0.03)


def test_nearly_half_are_called_at_most_once_an_hour(azure: Workload) -> None:
    rare = sum(rate <= 24 for rate in azure.rates_per_day)
    assert rare / len(azure.rates_per_day) == pytest.approx(0.45, abs=0.04)


def test_the_busiest_make_nearly_all_calls(azure: Workload) -> None:
    """18.6 % of them make 99.6 %, by the calls that they really make."""
    calls = Counter(call.function for call in azure.calls())
    busiest = round(0.186 * len(azure.functions))
    share = sum(count for _, count in calls.most_common(busiest)) / calls.total()
    assert share == pytest.approx(0.996, abs=0.003)


def test_memory_is_burr_distributed(azure: Workload) -> None:
    memory_mib = sorted(function.memory_mib for function in azure.functions)
    assert statistics.median(memory_mib) == pytest.approx(148, abs=10)
    assert memory_mib[int(0.9 * len(memory_mib))] < 400


def test_half_of_the_functions_take_less_than_a_second() -> None:
    workload = Workload(SHAPES["azure"], 400, 2 * DAY_S, seed=3, max_per_minute=0.01)
    taken: dict[int, list[float]] = {}
    for call in workload.calls():
        taken.setdefault(call.function, []).append(call.duration_s)
    averages = sorted(statistics.fmean(those) for those in taken.values())
    assert statistics.median(averages) == pytest.approx(0.74, rel=0.35)
    assert averages[int(0.99 * len(averages))] > 60.0  # a heavy tail


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_calls_come_in_order_and_alike_each_time(shape: str) -> None:
    workload = Workload(SHAPES[shape], 50, DAY_S / 8, seed=4, max_per_minute=2.0)
    calls = list(workload.calls())
    assert calls == list(Workload(SHAPES[shape], 50, DAY_S / 8, 4, 2.0).calls())
    assert all(a.at_s <= b.at_s for a, b in itertools.pairwise(calls))
    assert calls and calls[0].at_s >= 0 and calls[-1].at_s < DAY_S / 8


def test_another_seed_makes_another_trace() -> None:
    first, second = (Workload(SHAPES["azure"], 20, DAY_S, seed, 1.0) for seed in (1, 2))
    assert list(first.calls()) != list(second.calls())


def test_timers_are_periodic() -> None:
    workload = Workload(SHAPES["periodic"], 60, 2 * DAY_S, seed=1, max_per_minute=0.1)
    times: dict[int, list[float]] = {}
    for call in workload.calls():
        times.setdefault(call.function, []).append(call.at_s)
    gaps = ([b - a for a, b in itertools.pairwise(those)] for those in times.values())
    spreads = [max(those) - min(those) for those in gaps if len(those) > 5]
    assert sum(spread < 5.0 for spread in spreads) / len(spreads) > 0.6
