"""What a pool decides, case by case."""

from __future__ import annotations

import pytest

from samovar.manager.actions import Grant, Reject, Start, Stop
from samovar.manager.policies.fixed import FixedTimeout
from samovar.manager.pool import Pool
from samovar.model.instance import IllegalMoveError
from samovar.model.invocation import ColdCause
from tests.contract.samples import a_version

ERROR = RuntimeError("init failed")
ASKED = ColdCause.FIRST
"""Any cause of a start that a request waits for."""


@pytest.fixture
def pool():
    return Pool(a_version(), FixedTimeout(10.0))


def with_idle(pool, *instances):
    """Bring instances up and make them idle, in this order."""
    tickets = [-1 - number for number in range(len(instances))]
    for ticket in tickets:
        pool.request(ticket)
    for ticket in tickets:
        pool.cancel(ticket)
    for number, instance in enumerate(instances):
        assert [*pool.started(instance, ASKED, float(number))] == []
    return pool


def with_busy(pool, *instances):
    with_idle(pool, *instances)
    for _ in instances:
        pool.take()
    return pool


def test_the_first_request_starts_an_instance(pool):
    assert [*pool.request(1)] == [Start(ColdCause.FIRST)]


def test_the_started_instance_goes_to_the_oldest_request(pool):
    pool.request(1)
    pool.request(2)
    assert [*pool.started("i-1", ASKED, 0.0)] == [Grant(1, "i-1")]


def test_a_request_is_not_tied_to_the_start_that_it_caused(pool):
    with_busy(pool, "i-1")
    assert [*pool.request(1)] == [Start(ColdCause.SCALE_OUT)]
    assert [*pool.released("i-1", 0.0, survives=True)] == [Grant(1, "i-1")]
    assert [*pool.started("i-2", ASKED, 0.0)] == []
    assert pool.take() == "i-2"


def test_a_start_whose_request_went_away_serves_the_next_one(pool):
    pool.request(1)
    pool.cancel(1)
    assert [*pool.request(2)] == []
    assert [*pool.started("i-1", ASKED, 0.0)] == [Grant(2, "i-1")]


def test_the_most_recently_used_instance_is_taken_first_so_that_the_others_can_expire(pool):
    with_idle(pool, "i-1", "i-2")
    assert pool.take() == "i-2"


def test_a_failed_start_is_told_to_one_request_only(pool):
    pool.request(1)
    pool.request(2)
    assert [*pool.start_failed(ASKED, ERROR, 0.0)] == [Reject(1, ERROR)]
    assert pool.starts.total == 1


def test_a_failed_start_is_told_to_nobody_when_nobody_waits_any_more(pool):
    pool.request(1)
    pool.cancel(1)
    assert [*pool.start_failed(ASKED, ERROR, 0.0)] == []


def test_without_room_requests_wait_and_nothing_is_started_until_room_may_have_come_free(pool):
    pool.request(1)
    pool.start_blocked(ASKED)
    assert [*pool.request(2)] == []
    assert pool.blocked
    assert not pool.unblock()
    assert pool.start_one() is ColdCause.FIRST
    assert pool.start_one() is ColdCause.SCALE_OUT
    assert pool.start_one() is None
    assert pool.unblock()
    assert not pool.blocked


def test_a_pool_without_room_still_hands_out_what_it_has(pool):
    with_busy(pool, "i-1")
    pool.request(1)
    pool.start_blocked(ASKED)
    assert [*pool.released("i-1", 0.0, survives=True)] == [Grant(1, "i-1")]


def test_an_instance_that_must_not_be_used_again_is_stopped_and_replaced_for_who_waits(pool):
    with_busy(pool, "i-1")
    pool.request(1)
    pool.start_blocked(ASKED)
    pool.start_one()
    pool.unblock()
    assert [*pool.released("i-1", 0.0, survives=False)] == [Stop("i-1")]
    assert pool.starts.total == 1


@pytest.mark.parametrize(
    ("end", "cause"),
    [
        (lambda pool: pool.on_time(99.0), ColdCause.EXPIRED),
        (lambda pool: pool.evict("i-1"), ColdCause.EVICTED),
        (lambda pool: pool.lost("i-1", 1.0), ColdCause.REPLACED),
        (lambda pool: pool.released(pool.take(), 1.0, survives=False), ColdCause.REPLACED),
    ],
    ids=["idle for too long", "evicted", "ended by itself", "must not be used again"],
)
def test_the_next_start_says_why_the_last_instance_ended(pool, end, cause):
    with_idle(pool, "i-1")
    end(pool)
    pool.lost("i-1", 1.0)
    assert [*pool.request(1)] == [Start(cause)]


def test_a_start_beside_busy_instances_says_scale_out(pool):
    with_busy(pool, "i-1")
    assert [*pool.request(1)] == [Start(ColdCause.SCALE_OUT)]


def test_what_has_been_idle_for_the_whole_time_is_stopped_and_nothing_else(pool):
    with_idle(pool, "i-0", "i-1", "i-2")
    assert [*pool.on_time(11.0)] == [Stop("i-0"), Stop("i-1")]
    assert pool.members.idle == 1


def test_an_instance_that_is_stopping_is_never_granted(pool):
    with_idle(pool, "i-1")
    pool.evict("i-1")
    assert pool.take() is None
    assert [*pool.request(1)] == [Start(ColdCause.EVICTED)]


def test_a_lost_busy_instance_makes_its_release_do_nothing(pool):
    with_busy(pool, "i-1")
    pool.lost("i-1", 1.0)
    assert [*pool.released("i-1", 0.0, survives=True)] == []
    assert pool.empty


def test_only_an_idle_or_busy_instance_can_be_stopped(pool):
    with_idle(pool, "i-1")
    pool.evict("i-1")
    with pytest.raises(IllegalMoveError):
        pool.evict("i-1")


def test_retiring_stops_what_is_idle_at_once_and_what_is_busy_when_it_is_released(pool):
    with_idle(pool, "i-1", "i-2")
    pool.take()
    assert [*pool.retire()] == [Stop("i-1")]
    assert [*pool.released("i-2", 0.0, survives=True)] == [Stop("i-2")]


def test_a_retired_pool_still_serves_who_waited_before(pool):
    pool.request(1)
    pool.request(2)
    assert [*pool.retire()] == []
    assert [*pool.started("i-1", ASKED, 0.0)] == [Grant(1, "i-1")]
    assert [*pool.released("i-1", 0.0, survives=True)] == [Grant(2, "i-1")]
    assert [*pool.released("i-1", 0.0, survives=True)] == [Stop("i-1")]


def test_a_retired_pool_stops_a_start_that_nobody_needs_any_more(pool):
    pool.request(1)
    pool.retire()
    pool.cancel(1)
    assert [*pool.started("i-1", ASKED, 0.0)] == [Stop("i-1")]


def test_a_pool_is_empty_when_nothing_runs_starts_or_waits(pool):
    assert pool.empty
    pool.request(1)
    pool.cancel(1)
    assert not pool.empty
    pool.start_failed(ASKED, ERROR, 0.0)
    assert pool.empty
