"""The keep-alive policies, by examples computed by hand from what their papers define."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samovar.manager.keep_alive import Ages, KeepAlive, KeepAlivePolicy, Profile
from samovar.manager.policies import policy_named
from samovar.manager.policies.fixed import FixedTimeout
from samovar.manager.policies.greedy_dual import GreedyDual
from samovar.manager.policies.histogram import HybridHistogram
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
