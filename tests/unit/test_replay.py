"""The simulator, against traces whose outcome can be computed by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from samovar.manager.keep_alive import KeepAlivePolicy
from samovar.manager.manager import PoolManager
from samovar.manager.policies import policy_named
from samovar.manager.policies.fixed import FixedTimeout
from samovar.manager.policies.greedy_dual import GreedyDual
from samovar.manager.policies.histogram import HybridHistogram
from samovar.model.tuning import KEEP_ALIVE_POLICIES
from samovar.placement.planner import Planner
from samovar.simulator import replay as simulator
from samovar.simulator.replay import Machines, Tally, replay
from samovar.simulator.study import as_they_come, study
from samovar.simulator.trace import Call, Trace
from samovar.simulator.workload import SHAPES, Workload
from tests.unit.simulated import GIB, WrittenTrace, a_function, every

HOUR_S = 3600.0
ONE = Machines(workers=1, memory_mib=8 * GIB)


def simulated(trace: Trace, policy: KeepAlivePolicy, machines: Machines = ONE) -> Tally:
    return replay(trace, policy, machines, seed=1)


def test_it_is_the_real_manager_and_the_real_planner() -> None:
    assert simulator.PoolManager is PoolManager
    assert simulator.Planner is Planner


def test_a_call_every_five_minutes_under_ten_minutes_is_cold_once() -> None:
    tally = simulated(every(300.0, HOUR_S), FixedTimeout(600.0))
    assert list(tally.calls) == [12]
    assert list(tally.cold) == [1]
    assert tally.busy_gib_s == pytest.approx(24.0)
    assert tally.idle_gib_s == pytest.approx(HOUR_S - 24.0, abs=0.1)


def test_under_one_minute_every_call_is_cold_and_idles_for_a_minute() -> None:
    tally = simulated(every(300.0, HOUR_S), FixedTimeout(60.0))
    assert list(tally.cold) == [12]
    assert tally.idle_gib_s == pytest.approx(12 * 60.0, abs=0.1)


def test_the_histogram_unloads_between_hourly_calls_and_is_back_in_time() -> None:
    """Idle times are 3,598 s: bin 59, so it is back at 59 min - 10 % = 3,186 s, 412 s early. The
    first idle time it does not know yet, and waits all of it."""
    tally = simulated(every(HOUR_S, 10 * HOUR_S), HybridHistogram())
    assert list(tally.cold) == [1]
    assert tally.starts == 10
    assert tally.idle_gib_s == pytest.approx(3598.0 + 9 * 412.0, abs=0.5)


def test_a_start_is_waited_for_and_is_no_waste() -> None:
    trace = replace(every(300.0, HOUR_S), functions=[a_function(start_s=8.0)])
    tally = simulated(trace, FixedTimeout(600.0))
    assert tally.starting_gib_s == pytest.approx(8.0, rel=0.9)
    held_gib_s = tally.starting_gib_s + tally.busy_gib_s + tally.idle_gib_s
    assert held_gib_s == pytest.approx(HOUR_S, abs=0.1)
    assert len(tally.waits) == 1


def test_where_memory_is_scarce_functions_push_each_other_out() -> None:
    calls = [Call(60.0 * place, place % 2, 1.0) for place in range(10)]
    trace = WrittenTrace(calls, 600.0, [a_function("a"), a_function("b")])
    tight = Machines(workers=1, memory_mib=GIB)
    assert list(simulated(trace, GreedyDual(), tight).cold) == [5, 5]
    assert list(simulated(trace, GreedyDual(), ONE).cold) == [1, 1]


def test_what_has_no_room_waits_and_is_refused_in_the_end() -> None:
    calls = [Call(0.0, 0, 500.0), Call(1.0, 0, 500.0)]
    tight = Machines(workers=1, memory_mib=GIB, queue_timeout_s=60.0)
    tally = simulated(WrittenTrace(calls, 1000.0), FixedTimeout(600.0), tight)
    assert tally.refused == 1
    waits = simulated(
        WrittenTrace(calls, 2000.0), FixedTimeout(600.0), replace(tight, queue_timeout_s=900.0)
    )
    assert (waits.refused, waits.queued) == (0, 1)


def test_more_is_promised_where_it_is_oversubscribed_until_memory_is_really_full() -> None:
    calls = [Call(float(second), 0, 900.0) for second in range(4)]
    machines = Machines(workers=1, memory_mib=GIB, oversubscription=4.0)
    tally = simulated(WrittenTrace(calls, 900.0), FixedTimeout(600.0), machines)
    assert tally.starts == 2  # of 1 GiB each, of which they use half
    assert tally.refused == 2


@pytest.mark.parametrize("name", KEEP_ALIVE_POLICIES)
def test_the_same_seed_makes_the_same_numbers(name: str) -> None:
    def run() -> Tally:
        trace = Workload(SHAPES["azure"], 20, 2 * HOUR_S, 5, 6.0)
        return replace(simulated(trace, policy_named(name, idle_timeout_s=600.0)), took_s=0.0)

    assert run() == run()


def test_a_study_has_a_row_for_each_policy_and_ratio() -> None:
    rows = list(study(every(300.0, HOUR_S), as_they_come(["fixed", "thrift"]), ONE, [1, 2], 1))
    assert [(row.policy, row.oversubscription) for row in rows] == [
        ("fixed", 1),
        ("thrift", 1),
        ("fixed", 2),
        ("thrift", 2),
    ]
    assert rows[0].cold_percent_p75 == pytest.approx(100 / 12)
    assert rows[0].utilisation_percent == pytest.approx(100 / 8, rel=0.01)
