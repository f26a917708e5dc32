"""The keep-alive policies, by examples computed by hand from what their papers define."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samovar.manager.keep_alive import Ages, KeepAlive, KeepAlivePolicy, Profile
from samovar.manager.policies import policy_named
from samovar.manager.policies.fixed import FixedTimeout
from samovar.manager.policies.greedy_dual import GreedyDual
from samovar.manager.policies.histogram import HybridHistogram
from samovar.manager.policies.thrift import BINS, MAX_IDLE, Thrift, _Thrifty
from samovar.model.tuning import KEEP_ALIVE_POLICIES
from tests.contract.samples import function_id

MINUTE_S = 60.0
HOUR_S = 3600.0
STANDARD = [Ages(0.0, 4 * HOUR_S)]


def a_profile(memory_mib: int = 128, start_ms: float = 0.0, name: str = "f") -> Profile:
    return Profile(function_id(name), memory_mib, start_ms)


def lived(policy: KeepAlive, gaps_s: Sequence[float], begin: float = 0.0) -> Sequence[Ages]:
    """The plan of a function after idle times of this length; its calls take no time."""
    now = begin
    policy.arrived(now, cold=True)
    plan = policy.plan(now)
    for gap_s in gaps_s:
        now += gap_s
        policy.arrived(now, cold=False)
        plan = policy.plan(now)
    return list(plan)


@pytest.fixture(params=KEEP_ALIVE_POLICIES)
def each(request: pytest.FixtureRequest) -> KeepAlivePolicy:
    return policy_named(request.param, idle_timeout_s=600.0)


# ------------------------------------------------------------ all of them


def test_a_policy_has_the_name_that_it_is_asked_for_by(each: KeepAlivePolicy) -> None:
    assert each.name in KEEP_ALIVE_POLICIES


def test_an_unknown_name_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="'lru'; there are fixed, histogram"):
        policy_named("lru", idle_timeout_s=600.0)


@pytest.mark.parametrize("name", KEEP_ALIVE_POLICIES)
@given(gaps=st.lists(st.floats(0, 1e7), max_size=60), memory_mib=st.sampled_from([128, 10240]))
def test_plans_are_ordered_disjoint_and_not_negative(
    name: str, gaps: list[float], memory_mib: int
) -> None:
    policy = policy_named(name, idle_timeout_s=600.0).of(a_profile(memory_mib))
    now = 5.0
    for gap_s in gaps:
        policy.arrived(now, cold=True)
        plan = policy.plan(now)
        assert all(0 <= ages.begin_s < ages.end_s for ages in plan)
        assert all(a.end_s < b.begin_s for a, b in itertools.pairwise(plan))
        assert not math.isnan(policy.worth(now + gap_s, now))
        now += gap_s


def test_a_policy_hears_of_requests_and_releases_in_any_order(each: KeepAlivePolicy) -> None:
    policy = each.of(a_profile())
    for now in (0.0, 0.0, 1.0):
        policy.plan(now)
    for now in (2.0, 2.0, 2.0, 2.0, 3.0):
        policy.arrived(now, cold=False)
    policy.evicted(1.0)
    assert policy.plan(4.0) is not None


# ------------------------------------------------------------ fixed


def test_fixed_keeps_every_instance_for_as_long() -> None:
    assert lived(FixedTimeout(600.0).of(a_profile()), [5.0, 9000.0]) == [Ages(0.0, 600.0)]


# ------------------------------------------------------------ histogram


def test_without_knowledge_the_histogram_keeps_for_as_long_as_it_reaches() -> None:
    assert lived(HybridHistogram().of(a_profile()), []) == STANDARD


@pytest.mark.parametrize(
    ("gaps_s", "plan"),
    [
        # All in the bin of [20, 21) minutes: gone until 20 min - 10 %, there until 21 min + 10 %.
        ([20.5 * MINUTE_S] * 10, Ages(18 * MINUTE_S, 23.1 * MINUTE_S)),
        # The head is in the first bin: it stays.
        ([30.0] * 10 + [300.0] * 10, Ages(0.0, 6.6 * MINUTE_S)),
        # Five in a hundred below the head, one above the tail: neither counts.
        (
            [60.0] * 4 + [600.0] * 95 + [3 * HOUR_S],
            Ages(9 * MINUTE_S, 12.1 * MINUTE_S),
        ),
    ],
)
def test_the_histogram_is_there_from_its_head_to_its_tail(gaps_s: list[float], plan: Ages) -> None:
    (found,) = lived(HybridHistogram().of(a_profile()), gaps_s)
    assert found == pytest.approx(plan)


def test_a_flat_histogram_says_nothing() -> None:
    """One idle time in each of 60 of its 240 bins: their variation is √3, below 2."""
    gaps_s = [(minute + 0.5) * MINUTE_S for minute in range(60)]
    assert lived(HybridHistogram().of(a_profile()), gaps_s) == STANDARD


def test_half_as_many_bins_are_enough_to_say_something() -> None:
    """One in each of 30 bins: √7."""
    gaps_s = [(minute + 0.5) * MINUTE_S for minute in range(30)]
    assert lived(HybridHistogram().of(a_profile()), gaps_s) != STANDARD


def test_most_idle_times_beyond_the_histogram_say_nothing() -> None:
    assert lived(HybridHistogram().of(a_profile()), [600.0, 5 * HOUR_S, 5 * HOUR_S]) == STANDARD


def test_the_histogram_counts_from_the_end_of_the_last_request() -> None:
    policy = HybridHistogram().of(a_profile())
    policy.arrived(0.0, cold=True)
    policy.plan(100.0)
    policy.arrived(100.0 + 630.0, cold=False)
    (ages,) = policy.plan(2000.0)
    assert ages == pytest.approx(Ages(9 * MINUTE_S, 12.1 * MINUTE_S))


# ------------------------------------------------------------ greedy-dual


def test_greedy_dual_keeps_until_memory_is_scarce() -> None:
    assert lived(GreedyDual().of(a_profile()), [5.0]) == [Ages(0.0, math.inf)]


@pytest.mark.parametrize(
    ("calls", "start_ms", "memory_mib", "priority"),
    [(1, 1000.0, 500, 2.0), (6, 1000.0, 500, 12.0), (1, 1000.0, 1000, 1.0), (1, 0.0, 100, 1.0)],
)
def test_priority_is_frequency_by_cost_by_size(
    calls: int, start_ms: float, memory_mib: int, priority: float
) -> None:
    policy = GreedyDual().of(a_profile(memory_mib, start_ms))
    lived(policy, [1.0] * (calls - 1))
    assert policy.worth(9.0, 0.0) == priority


def test_what_goes_moves_the_clock_so_that_what_is_used_outlives_what_was() -> None:
    policy = GreedyDual()
    once_busy, loser, newcomer = (policy.of(a_profile(100, 100.0)) for _ in range(3))
    lived(once_busy, [1.0] * 4)  # priority 5
    lived(loser, [])
    for clock in (1.0, 4.5, 2.0):  # it never goes back
        loser.evicted(clock)
    lived(newcomer, [])
    assert newcomer.worth(9.0, 0.0) == 4.5 + 1.0 > once_busy.worth(9.0, 0.0)


# ------------------------------------------------------------ thrift


def test_thrift_comes_back_shortly_before_a_periodic_request() -> None:
    plan = lived(Thrift().of(a_profile()), [HOUR_S] * 30)
    assert not covers(plan, 0.5 * HOUR_S)
    assert covers(plan, HOUR_S)
    assert sum(min(ages.end_s, HOUR_S) - ages.begin_s for ages in plan if ages.begin_s < HOUR_S) < (
        HOUR_S / 4
    )


@pytest.mark.parametrize("period_s", [600.0, 4 * HOUR_S])
def test_thrift_knows_when_a_timer_fires_from_its_third_call_on(period_s: float) -> None:
    """It is there some seconds and a hundredth of the period before."""
    (*_, ages) = lived(Thrift(price=0.1).of(a_profile()), [period_s] * 2)
    assert ages.begin_s < period_s < ages.end_s
    assert ages.begin_s > 0.99 * period_s - 4.0


def test_thrift_does_not_go_where_a_start_is_worth_more_than_what_that_saves() -> None:
    quick, slow = (Thrift().of(a_profile(start_ms=ms)) for ms in (10.0, 1000.0))
    assert not covers(lived(quick, [120.0] * 60), 0.0, 120.0)
    assert covers(lived(slow, [120.0] * 60), 0.0, 120.0)  # 1 s × 18 is more than 2 min × 1/8 GiB


def test_thrift_comes_back_early_enough_for_a_long_start() -> None:
    slow = lived(Thrift().of(a_profile(start_ms=60_000.0)), [4 * HOUR_S] * 30)
    fast = lived(Thrift().of(a_profile(start_ms=10.0)), [4 * HOUR_S] * 30)
    assert slow[-1].begin_s == pytest.approx(fast[-1].begin_s - 59.99)


def test_thrift_keeps_a_busy_function() -> None:
    plan = lived(Thrift().of(a_profile()), [5.0, 20.0, 40.0] * 30)
    assert covers(plan, 0.0, 40.0)


@pytest.mark.parametrize("dearer", [{"price": 1.0}, {"memory_mib": 10240}])
def test_thrift_keeps_less_of_what_takes_more(dearer: dict[str, float]) -> None:
    gaps_s = [60.0, 600.0, 1800.0, 5400.0] * 5
    usual = Thrift(1e-3).of(a_profile(128))
    dear = Thrift(dearer.get("price", 1e-3)).of(a_profile(int(dearer.get("memory_mib", 128))))
    assert held_s(lived(dear, gaps_s)) < held_s(lived(usual, gaps_s))


def test_thrift_does_not_leave_what_is_below_another_instance() -> None:
    """Two requests at once, every hour: the second instance is there all the time between."""
    policy = Thrift().of(a_profile())
    for hour in range(30):
        for _ in range(2):
            policy.arrived(hour * HOUR_S, cold=False)
        first, second = (policy.plan(hour * HOUR_S + 1.0) for _ in range(2))
    assert not covers(first, 0.5 * HOUR_S)
    assert covers(second, 0.0, HOUR_S - 1.0)


def test_what_all_functions_do_is_expected_of_a_new_one() -> None:
    policy = Thrift()
    before = held_s(lived(policy.of(a_profile()), []))
    for _ in range(200):
        lived(policy.of(a_profile()), [7200.0])
    assert covers(lived(policy.of(a_profile()), []), 7200.0)
    assert before > 0.0


def test_an_instance_is_worth_more_when_its_next_request_is_near() -> None:
    policy = Thrift().of(a_profile())
    lived(policy, [HOUR_S] * 30)
    assert policy.worth(29.9 * HOUR_S, 29.1 * HOUR_S) > policy.worth(33 * HOUR_S, 29 * HOUR_S)


def test_thrift_remembers_a_bounded_amount() -> None:
    policy, random = Thrift().of(a_profile()), Random(1)
    lived(policy, [2.0 ** random.uniform(-2.0, 25.0) for _ in range(2000)])
    for _ in range(1000):
        policy.plan(1e9)
    assert isinstance(policy, _Thrifty)
    assert len(policy._own) <= BINS and len(policy._idle_since) <= MAX_IDLE


def covers(plan: Sequence[Ages], *ages_s: float) -> bool:
    """Whether there is an instance at each of these ages, and all the time between them."""
    return any(ages.begin_s <= ages_s[0] and ages_s[-1] < ages.end_s for ages in plan)


def held_s(plan: Sequence[Ages]) -> float:
    return sum(ages.end_s - ages.begin_s for ages in plan)
