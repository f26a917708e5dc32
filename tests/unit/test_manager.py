"""The manager with workers that do as told: leases, the queue, limits and ends."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from samovar.manager.limits import ConcurrencyLedger
from samovar.manager.rates import RateLimits
from samovar.model.errors import ErrorCode, PlatformError, ThrottleReason
from samovar.model.invocation import ColdCause, Outcome
from samovar.ports import InitFailedError
from tests.contract.samples import a_version
from tests.unit.scripted_worker import Clock, ScriptedWorker, leftovers, managing, settled, until

VERSION = a_version()
ANSWER = Outcome(b"1")
CRASH = Outcome(b"1", "Unhandled", instance_survives=False)


async def retired(manager, *versions):
    """End everything of these versions, so that nothing may be left over."""
    for version in versions or (VERSION,):
        manager.supersede(version.id, version.version, None)
    await until(lambda: not leftovers(manager))


def acquiring(manager, version=VERSION, times=1):
    return [asyncio.create_task(manager.acquire(version)) for _ in range(times)]


async def test_the_first_request_starts_an_instance_and_the_next_one_reuses_it():
    worker = ScriptedWorker()
    async with managing(worker) as manager:
        cold = await manager.acquire(VERSION)
        manager.release(cold, ANSWER)
        warm = await manager.acquire(VERSION)
        manager.release(warm, ANSWER)
        assert cold.instance == warm.instance
        assert (cold.start.cause, warm.start.cause) == (ColdCause.FIRST, None)
        assert len(worker.asked) == 1
        await retired(manager)


async def test_a_cold_start_says_where_it_came_from_and_how_long_each_step_took():
    clock = Clock()
    worker = ScriptedWorker(held=True)
    async with managing(worker, clock=clock) as manager:
        (request,) = acquiring(manager)
        await until(lambda: worker.starting)
        clock.now += 0.010  # 2 ms of it for the start and 3 for init, says the worker
        worker.come_up()
        start = (await request).start
        assert (start.origin, start.timing.start_ms, start.timing.init_ms) == ("fork", 2.0, 3.0)
        assert start.timing.queue_ms == pytest.approx(5.0)


async def test_a_request_that_waits_for_a_start_takes_the_instance_that_is_free_first():
    worker = ScriptedWorker(held=True)
    async with managing(worker) as manager:
        (first,) = acquiring(manager)
        await until(lambda: worker.starting)
        worker.come_up()
        lease = await first
        (second,) = acquiring(manager)
        await until(lambda: worker.starting)
        manager.release(lease, ANSWER)
        assert (await second).instance == lease.instance
        worker.come_up()  # the start that it no longer needed serves the next one
        third = await manager.acquire(VERSION)
        assert third.instance == worker.asked[1]
        assert len(worker.asked) == 2


async def test_a_hundred_waiting_requests_start_a_hundred_instances_at_most():
    worker = ScriptedWorker(held=True)
    async with managing(worker) as manager:
        requests = acquiring(manager, times=100)
        served = 0
        while served < 100:
            await until(lambda: worker.starting or all(r.done() for r in requests))
            if worker.starting:
                worker.come_up()
            await settled()
            for request in [r for r in requests if r.done()]:
                requests.remove(request)
                manager.release(request.result(), ANSWER)
                served += 1
        assert len(worker.asked) <= 100
        while worker.starting:
            worker.come_up()
        await retired(manager)


async def test_an_instance_that_failed_is_stopped_and_replaced():
    worker = ScriptedWorker()
    async with managing(worker) as manager:
        lease = await manager.acquire(VERSION)
        manager.release(lease, CRASH)
        again = await manager.acquire(VERSION)
        assert again.instance != lease.instance
        assert again.start.cause is ColdCause.REPLACED
        await until(lambda: worker.stopped == [lease.instance])


async def test_an_instance_of_which_nothing_is_known_is_not_used_again():
    worker = ScriptedWorker()
    async with managing(worker) as manager:
        lease = await manager.acquire(VERSION)
        manager.release(lease, None)
        assert (await manager.acquire(VERSION)).instance != lease.instance


async def test_a_failed_init_is_told_to_one_request_and_the_others_go_on():
    worker = ScriptedWorker(held=True)
    async with managing(worker) as manager:
        first, second = acquiring(manager, times=2)
        await until(lambda: len(worker.starting) == 2)
        worker.fail(InitFailedError(b'{"errorType":"ImportError"}'))
        with pytest.raises(InitFailedError):
            await first
        worker.come_up()
        manager.release(await second, ANSWER)
        await retired(manager)


async def test_a_worker_that_breaks_is_a_service_error_and_no_end_of_the_manager():
    worker = ScriptedWorker()
    worker.failures.append(ZeroDivisionError("a defect"))
    async with managing(worker) as manager:
        with pytest.raises(PlatformError, match="could not start") as failed:
            await manager.acquire(VERSION)
        assert failed.value.code is ErrorCode.SERVICE
        manager.release(await manager.acquire(VERSION), ANSWER)
        await retired(manager)


async def test_an_instance_that_cannot_be_stopped_is_no_end_of_the_manager():
    worker = ScriptedWorker()
    worker.stop_error = OSError("stuck")
    async with managing(worker) as manager:
        manager.release(await manager.acquire(VERSION), CRASH)
        manager.release(await manager.acquire(VERSION), ANSWER)
        await retired(manager)


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize(
    ("ledger", "reason"),
    [
        (ConcurrencyLedger(1000, {VERSION.id: 1}), ThrottleReason.RESERVED_CONCURRENCY),
        (ConcurrencyLedger(1, {}), ThrottleReason.ACCOUNT_CONCURRENCY),
    ],
    ids=["reserved", "account"],
)
async def test_over_a_limit_a_request_is_refused_at_once_with_the_reason(ledger, reason):
    async with managing(ScriptedWorker(), ledger=ledger) as manager:
        lease = await manager.acquire(VERSION)
        with pytest.raises(PlatformError) as refused:
            await manager.acquire(VERSION)
        assert (refused.value.status, refused.value.reason) == (429, reason)
        manager.release(lease, ANSWER)
        manager.release(await manager.acquire(VERSION), ANSWER)


async def test_a_request_that_waits_counts_against_the_limits():
    worker = ScriptedWorker(held=True)
    async with managing(worker, ledger=ConcurrencyLedger(1, {})) as manager:
        acquiring(manager)
        await until(lambda: worker.starting)
        with pytest.raises(PlatformError) as refused:
            await manager.acquire(VERSION)
        assert refused.value.code is ErrorCode.TOO_MANY_REQUESTS
        worker.come_up()


async def test_a_new_reservation_is_in_force_at_once():
    async with managing(ScriptedWorker()) as manager:
        manager.set_reserved_concurrency(VERSION.id, 0)
        with pytest.raises(PlatformError) as refused:
            await manager.acquire(VERSION)
        assert refused.value.reason == ThrottleReason.RESERVED_CONCURRENCY
        manager.set_reserved_concurrency(VERSION.id, None)
        await manager.acquire(VERSION)


async def test_a_reservation_that_leaves_too_little_is_refused_and_changes_nothing():
    async with managing(ScriptedWorker()) as manager:
        with pytest.raises(PlatformError):
            manager.set_reserved_concurrency(VERSION.id, 901)
        assert manager.ledger.unreserved_limit == 1000


async def test_reservations_are_in_force_from_the_start():
    ledger = ConcurrencyLedger(1000, {VERSION.id: 0})
    async with managing(ScriptedWorker(), ledger=ledger) as manager:
        with pytest.raises(PlatformError):
            await manager.acquire(VERSION)


async def test_who_waits_too_long_is_refused_and_leaves_nothing_behind():
    worker = ScriptedWorker(held=True)
    async with managing(worker, queue_timeout_s=0.01, init_limit_s=0.01) as manager:
        with pytest.raises(PlatformError, match="no instance came free in time for f") as refused:
            await manager.acquire(dataclasses.replace(VERSION, timeout_s=0))
        assert refused.value.code is ErrorCode.TOO_MANY_REQUESTS
        worker.come_up()
        await retired(manager)


async def test_a_long_init_phase_is_not_cut_short_by_the_queue():
    worker = ScriptedWorker(held=True)
    async with managing(worker, queue_timeout_s=0.01) as manager:
        (request,) = acquiring(manager)
        done, _ = await asyncio.wait((request,), timeout=0.1)
        assert not done
        worker.come_up()
        assert (await request).instance == worker.asked[0]


# ---------------------------------------------------------------- requests that go away


async def test_a_request_that_goes_away_leaves_the_queue_and_its_start_serves_the_next():
    worker = ScriptedWorker(held=True)
    async with managing(worker) as manager:
        (request,) = acquiring(manager)
        await until(lambda: worker.starting)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert manager.ledger.total_in_use == 0
        (second,) = acquiring(manager)
        await settled()
        worker.come_up()
        assert (await second).instance == worker.asked[0]
        assert len(worker.asked) == 1


async def test_a_request_that_goes_away_in_the_moment_of_its_grant_gives_the_instance_back():
    worker = ScriptedWorker()
    async with managing(worker) as manager:
        lease = await manager.acquire(VERSION)
        leaving, staying = acquiring(manager, times=2)
        worker.held = True  # the two starts that they cause never end
        await until(lambda: len(worker.starting) == 2)
        manager.release(lease, ANSWER)  # granted to the first …
        leaving.cancel()  # … which is gone before it can know
        assert (await staying).instance == lease.instance
        manager.release(staying.result(), ANSWER)
        for _ in range(2):
            worker.come_up()
        await retired(manager)


async def test_a_thousand_requests_that_go_away_at_once_do_not_hold_the_instance():
    worker = ScriptedWorker()
    ledger = ConcurrencyLedger(10_000, {})
    rates = RateLimits(scaling_rate=0)
    async with managing(worker, ledger=ledger, rates=rates) as manager:
        lease = await manager.acquire(VERSION)
        worker.held = True
        requests = acquiring(manager, times=2000)
        await until(lambda: len(worker.starting) == 2000)
        for request in requests:
            request.cancel()
        manager.release(lease, ANSWER)
        await asyncio.wait(requests)
        assert (await manager.acquire(VERSION)).instance == lease.instance
        while worker.starting:
            worker.come_up()


async def test_an_instance_that_ends_in_the_moment_of_its_grant_makes_a_lease_that_is_refused():
    worker = ScriptedWorker(held=True)
    async with managing(worker) as manager:
        (request,) = acquiring(manager)
        await until(lambda: worker.starting)
        worker.come_up()
        await until(
            lambda: len(manager._performer.instances)
        )  # granted; the request does not know it yet
        worker.ends_by_itself(worker.asked[0])
        lease = await request
        with pytest.raises(PlatformError, match="is not idle here"):
            await lease.worker.invoke(lease.instance, None)
        manager.release(lease, None)
        await retired(manager)


async def test_an_instance_serves_one_tenant_only():
    async with managing(ScriptedWorker()) as manager:
        leases = []
        for tenant in ("blue", "green", None, "blue"):
            leases.append(await manager.acquire(VERSION, tenant))
            manager.release(leases[-1], ANSWER)
        assert leases[3].instance == leases[0].instance
        assert len({lease.instance for lease in leases}) == 3
        await retired(manager)


async def test_an_update_ends_the_instances_of_every_tenant():
    async with managing(ScriptedWorker()) as manager:
        for tenant in ("blue", "green"):
            manager.release(await manager.acquire(VERSION, tenant), ANSWER)
        await retired(manager)
