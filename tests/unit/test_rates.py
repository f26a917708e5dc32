"""How fast a function may go, and who waits for its turn."""

from __future__ import annotations

import asyncio

import pytest

from samovar.manager.bucket import Bucket
from samovar.manager.limits import ConcurrencyLedger
from samovar.manager.rates import RateLimits
from samovar.model.errors import PlatformError, ThrottleReason
from samovar.model.function import CapacityProvider
from samovar.model.invocation import Outcome
from samovar.model.scale import Scale
from tests.contract.samples import a_version, function_id
from tests.unit.scripted_worker import Clock, ScriptedWorker, leftovers, managing, settled, until

A, B, C = (a_version(function_id(name)) for name in "abc")
ANSWER = Outcome(b"1")


async def reason_of(request):
    """Why a request is refused."""
    with pytest.raises(PlatformError) as refused:
        await request
    assert refused.value.status == 429
    return refused.value.reason


# ---------------------------------------------------------------- rates


def test_a_bucket_gives_what_it_holds_at_once_and_then_so_many_a_second():
    bucket = Bucket(2, 10.0, now=0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [0.0, 0.0, 0.1, 0.2]
    assert bucket.tokens(0.2) == pytest.approx(0.0)


def test_a_bucket_saves_nothing_up():
    bucket = Bucket(2, 10.0, now=0.0)
    assert bucket.tokens(1000.0) == 2


async def test_starts_over_the_scaling_rate_are_refused_until_some_may_be_again():
    clock, worker = Clock(), ScriptedWorker()
    async with managing(worker, clock=clock, rates=RateLimits(scaling_rate=2)) as manager:
        leases = [await manager.acquire(A) for _ in range(2)]
        assert await reason_of(manager.acquire(A)) == ThrottleReason.ACCOUNT_CONCURRENCY
        await manager.acquire(B)  # each function scales by itself
        manager.release(leases[0], ANSWER)
        await manager.acquire(A)  # no start
        clock.now += 5.0
        await manager.acquire(A)
        assert len(worker.asked) == 4


async def test_with_a_queue_a_start_over_the_scaling_rate_waits_for_its_time():
    clock, worker = Clock(), ScriptedWorker()
    rates = RateLimits(scaling_rate=200)  # one in 50 ms
    async with managing(worker, clock=clock, rates=rates, queue_requests=1) as manager:
        for _ in range(200):
            await manager.acquire(A)
        waiting = asyncio.create_task(manager.acquire(A))
        await settled()
        assert len(worker.asked) == 200
        assert await reason_of(manager.acquire(A)) == ThrottleReason.ACCOUNT_CONCURRENCY
        await waiting
        assert len(worker.asked) == 201


@pytest.mark.parametrize(
    ("reserved", "reason"),
    [
        ({}, ThrottleReason.INVOCATION_RATE),
        ({A.id: 1}, ThrottleReason.RESERVED_INVOCATION_RATE),
    ],
    ids=["account", "reserved"],
)
async def test_more_requests_a_second_than_the_concurrency_is_worth_are_refused(reserved, reason):
    clock, ledger = Clock(), ConcurrencyLedger(1 if not reserved else 1000, reserved)
    rates = RateLimits(invocation_rate_factor=10)
    async with managing(ScriptedWorker(), clock=clock, ledger=ledger, rates=rates) as manager:
        for _ in range(10):
            manager.release(await manager.acquire(A), ANSWER)
        assert await reason_of(manager.acquire(A)) == reason
        clock.now += 0.1
        manager.release(await manager.acquire(A), ANSWER)


# ---------------------------------------------------------------- the line


async def test_requests_over_a_limit_wait_in_line_where_there_is_one():
    async with managing(
        ScriptedWorker(), ledger=ConcurrencyLedger(1, {}), queue_requests=2
    ) as manager:
        lease = await manager.acquire(A)
        first, second = (asyncio.create_task(manager.acquire(A)) for _ in range(2))
        await settled()
        assert await reason_of(manager.acquire(A)) == ThrottleReason.ACCOUNT_CONCURRENCY
        manager.release(lease, ANSWER)
        manager.release(await first, ANSWER)
        assert (await second).instance == lease.instance


async def test_what_comes_free_goes_to_one_function_after_the_other():
    ledger = ConcurrencyLedger(1, {})
    served = []

    async def request(manager, version):
        lease = await manager.acquire(version)
        served.append(version.id.name)
        manager.release(lease, ANSWER)

    async with managing(ScriptedWorker(), ledger=ledger, queue_requests=10) as manager:
        lease = await manager.acquire(C)
        async with asyncio.TaskGroup() as requests:
            for version in (A, A, A, A, B, B):
                requests.create_task(request(manager, version))
                await settled()
            manager.release(lease, ANSWER)
    assert served == ["a", "b", "a", "b", "a", "a"]


async def test_who_leaves_the_line_is_not_counted():
    ledger = ConcurrencyLedger(1, {})
    async with managing(ScriptedWorker(), ledger=ledger, queue_requests=5) as manager:
        lease = await manager.acquire(A)
        leaving, staying = (asyncio.create_task(manager.acquire(A)) for _ in range(2))
        await settled()
        leaving.cancel()
        await settled()
        manager.release(lease, ANSWER)
        staying.cancel()  # in the moment in which it is let in
        await asyncio.wait([staying])
        assert ledger.total_in_use == 0
        manager.release(await manager.acquire(A), ANSWER)


async def test_nobody_waits_in_line_for_ever():
    async with managing(
        ScriptedWorker(), ledger=ConcurrencyLedger(1, {}), queue_requests=5, queue_timeout_s=0.01
    ) as manager:
        await manager.acquire(A)
        assert await reason_of(manager.acquire(A)) == ThrottleReason.ACCOUNT_CONCURRENCY
        assert len(manager._line) == 0


async def test_a_reservation_that_is_raised_lets_in_who_waits():
    async with managing(ScriptedWorker(), queue_requests=5) as manager:
        manager.set_reserved_concurrency(A.id, 1)
        await manager.acquire(A)
        waiting = asyncio.create_task(manager.acquire(A))
        await settled()
        manager.set_reserved_concurrency(A.id, 2)
        await waiting


async def test_nobody_waits_for_a_function_that_is_stopped():
    rates = RateLimits(invocation_rate_factor=10)
    async with managing(ScriptedWorker(), queue_requests=5, rates=rates) as manager:
        manager.set_reserved_concurrency(A.id, 0)
        assert await reason_of(manager.acquire(A)) == ThrottleReason.RESERVED_CONCURRENCY


async def test_who_waits_in_line_is_told_of_the_end():
    async with managing(
        ScriptedWorker(), ledger=ConcurrencyLedger(1, {}), queue_requests=5
    ) as manager:
        lease = await manager.acquire(A)
        waiting = asyncio.create_task(manager.acquire(A))
        await settled()
        drain = asyncio.create_task(manager.drain(60.0))
        await asyncio.wait([waiting])
        assert waiting.exception().status == 503
        manager.release(lease, ANSWER)
        await drain


# ---------------------------------------------------------------- the most instances


async def test_over_the_most_instances_requests_are_refused_or_wait_in_line():
    version = a_version(version="1", capacity_provider=CapacityProvider("arn", 2))
    worker = ScriptedWorker()
    async with managing(worker) as manager:
        manager.set_scale(version, Scale(max_instances=1))
        leases = [await manager.acquire(version) for _ in range(2)]
        assert await reason_of(manager.acquire(version)) == ThrottleReason.RESERVED_CONCURRENCY
        manager.release(leases[0], ANSWER)
        leases[0] = await manager.acquire(version)
        for lease in leases:
            manager.release(lease, ANSWER)
        manager.supersede(version.id, version.version, None)
        await until(lambda: not leftovers(manager))
        assert len(worker.asked) == 1
