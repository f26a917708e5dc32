"""Requests that wait because a limit is reached: what comes free is theirs, and in time."""

from __future__ import annotations

import asyncio

import pytest

from samovar.manager.limits import ConcurrencyLedger
from samovar.manager.line import Line
from samovar.manager.pool import PoolKey
from samovar.manager.rates import RateLimits
from samovar.model.errors import PlatformError, ThrottleReason
from samovar.model.function import CapacityProvider
from samovar.model.invocation import Outcome
from samovar.model.scale import Scale
from tests.contract.samples import a_version, function_id
from tests.unit.scripted_worker import ScriptedWorker, managing, settled, until

VERSION = a_version(version="1")
OTHER = a_version(function_id("other"))
MANAGED = a_version(version="1", timeout_s=900, capacity_provider=CapacityProvider("arn", 1))
ANSWER = Outcome(b"1")
NEVER_S = 3600.0
SOON_S = 0.05


@pytest.fixture
async def busy():
    """A manager of one provisioned instance, which is busy, of a function that may have no more;
    and its lease."""
    worker, ledger = ScriptedWorker(), ConcurrencyLedger(1000, {VERSION.id: 1})
    async with managing(worker, ledger=ledger, queue_requests=5) as manager:
        manager.set_scale(VERSION, Scale(provisioned=1))
        await until(lambda: manager.provisioned(VERSION).available == 1)
        yield manager, await manager.acquire(VERSION), worker


async def waits(manager, version=VERSION):
    """A request that waits in the line."""
    before = len(manager._line)
    task = asyncio.create_task(manager.acquire(version))
    await until(lambda: len(manager._line) > before)
    return task


async def test_a_provisioned_instance_that_comes_free_is_given_to_who_has_waited_for_longest(busy):
    manager, lease, _ = busy
    first, second = await waits(manager), await waits(manager)
    manager.release(lease, ANSWER)
    newcomer = await waits(manager)
    lease = await first
    assert not second.done()
    manager.release(lease, ANSWER)
    lease = await second
    assert not newcomer.done()
    manager.release(lease, ANSWER)
    manager.release(await newcomer, ANSWER)
    assert manager.ledger.in_use(VERSION.id) == 0
    assert not manager._leases.in_flight


async def test_so_is_one_that_comes_up(busy):
    manager, lease, worker = busy
    waiting = await waits(manager)
    worker.ends_by_itself(lease.instance)
    manager.release(lease, None)
    replacement = await waiting
    assert replacement.instance != lease.instance


async def test_one_that_is_given_to_a_request_that_goes_away_goes_to_the_next(busy):
    manager, lease, _ = busy
    first, second = await waits(manager), await waits(manager)
    manager.release(lease, ANSWER)
    first.cancel()
    manager.release(await second, ANSWER)
    assert first.cancelled()
    assert manager.provisioned(VERSION).available == 1
    assert not manager._leases.in_flight


async def test_another_version_does_not_get_it(busy):
    manager, lease, _ = busy
    latest = await waits(manager, a_version())
    manager.release(lease, ANSWER)
    await settled()
    assert not latest.done()
    assert manager.provisioned(VERSION).available == 1
    latest.cancel()


# ---------------------------------------------------------------- deadlines


async def refused(manager, version):
    with pytest.raises(PlatformError) as error:
        await asyncio.wait_for(manager.acquire(version), 10.0)
    return error.value.reason


async def test_who_waits_behind_the_most_instances_is_refused_in_time_and_told_so():
    async with managing(
        ScriptedWorker(), queue_requests=1, queue_timeout_s=SOON_S, init_limit_s=NEVER_S
    ) as manager:
        manager.set_scale(MANAGED, Scale(max_instances=1))
        await manager.acquire(MANAGED)
        assert await refused(manager, MANAGED) == ThrottleReason.RESERVED_CONCURRENCY


async def test_who_is_not_the_one_that_an_instance_starts_for_does_not_wait_for_it():
    worker = ScriptedWorker(held=True)
    async with managing(
        worker, queue_requests=1, queue_timeout_s=SOON_S, init_limit_s=NEVER_S
    ) as manager:
        manager.set_scale(MANAGED, Scale(max_instances=1))
        first = asyncio.create_task(manager.acquire(MANAGED))
        await until(lambda: worker.starting)
        await refused(manager, MANAGED)
        assert not first.done()  # its init phase is under way
        worker.come_up()
        await first


async def test_a_request_that_waits_twice_has_one_deadline():
    worker, ledger = ScriptedWorker(), ConcurrencyLedger(1, {})
    loop = asyncio.get_running_loop()
    async with managing(
        worker, ledger=ledger, queue_requests=1, queue_timeout_s=NEVER_S
    ) as manager:
        lease = await manager.acquire(OTHER)
        begun = loop.time()
        waiting = await waits(manager)
        manager._queue_timeout_s = 10 * NEVER_S
        deadlines = []
        wait = manager._wait

        def watched(pool, asked, deadline):
            deadlines.append(deadline)
            return wait(pool, asked, deadline)

        manager._wait = watched
        manager.release(lease, ANSWER)
        await waiting
        assert begun < deadlines[0] - NEVER_S < begun + 60.0


# ---------------------------------------------------------------- many functions


class Asked(ConcurrencyLedger):
    """A ledger that counts how often it is asked."""

    times = 0

    def refusal(self, function):
        self.times += 1
        return super().refusal(function)


async def test_an_answer_costs_the_same_however_many_functions_wait():
    functions = [function_id(f"f{number}") for number in range(200)]
    own = [function_id(f"own{number}") for number in range(200)]
    ledger = Asked(300, dict.fromkeys(own, 1))
    line = Line(ledger, 5, lambda _: None)
    for function in own:
        ledger.admit(function)
    for _ in range(100):
        ledger.admit(OTHER.id)
    keys = [PoolKey(a_version(function).key, None) for function in [*functions, *own]]
    forever = asyncio.get_running_loop().time() + NEVER_S
    tasks = [asyncio.create_task(line.admit(key, forever)) for key in keys]
    await settled()
    assert len(line) == 400
    line.advance()
    ledger.times = 0
    for _ in range(10):
        ledger.done(OTHER.id)
        line.advance(OTHER.id)
    assert ledger.times <= 40
    ledger.done(own[7])
    line.advance(own[7])
    await settled()
    assert [task.done() for task in tasks] == [
        *(number < 10 for number in range(200)),
        *(number == 7 for number in range(200)),
    ]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_new_reservation_is_taken_into_account_for_those_who_wait():
    ledger = ConcurrencyLedger(200, {})
    async with managing(ScriptedWorker(), ledger=ledger, queue_requests=5) as manager:
        leases = [await manager.acquire(OTHER) for _ in range(200)]
        waiting = await waits(manager)
        manager.set_reserved_concurrency(VERSION.id, 1)
        manager.release(leases.pop(), ANSWER)
        await waiting
        second = await waits(manager)
        manager.release(leases.pop(), ANSWER)
        await settled()
        assert not second.done()  # it has what it reserved
        manager.set_reserved_concurrency(VERSION.id, None)
        manager.release(leases.pop(), ANSWER)
        await second


# ---------------------------------------------------------------- what is not current any more


async def test_a_request_in_the_line_of_a_deleted_function_is_served_and_nothing_of_it_kept():
    worker, idle = ScriptedWorker(), asyncio.Event()

    async def await_idle():
        await idle.wait()
        return True

    worker.on_await_idle = await_idle
    async with managing(
        worker, ledger=ConcurrencyLedger(1, {}), queue_requests=1, keep_alive="greedy-dual"
    ) as manager:
        other = await manager.acquire(OTHER)
        latest = a_version()
        waiting = await waits(manager, latest)
        manager.supersede(latest.id, latest.version, None)
        manager.release(other, Outcome(b"1", instance_survives=False))
        lease = await waiting
        manager.release(lease, Outcome(b"1", pending=True))
        idle.set()
        await until(lambda: not worker.alive)
        await until(lambda: not manager._pools.of(latest.id))
        assert latest.id not in manager._functions._functions


async def test_what_comes_again_of_a_version_that_was_superseded_leaves_nothing_idle():
    worker = ScriptedWorker()
    old, new = a_version(), a_version(revision_id="r2")
    async with managing(worker) as manager:
        lease = await manager.acquire(old)
        manager.supersede(old.id, old.version, new.key)
        manager.release(lease, None)
        await until(lambda: not worker.alive)
        manager.release(await manager.acquire(old), ANSWER)  # its second attempt
        await until(lambda: not worker.alive)
        manager.release(await manager.acquire(new), ANSWER)
        await settled()
        assert len(worker.alive) == 1


# ---------------------------------------------------------------- what policies learn


async def test_a_policy_is_not_told_of_requests_that_are_refused():
    arrived = []
    async with managing(ScriptedWorker(), rates=RateLimits(scaling_rate=1)) as manager:
        keep = manager._functions.of(OTHER).keep
        keep.arrived = lambda now, *, cold: arrived.append(cold)
        lease = await manager.acquire(OTHER)
        with pytest.raises(PlatformError):
            await manager.acquire(OTHER)
        manager.release(lease, ANSWER)
        await manager.acquire(OTHER)
        assert arrived == [True, False]
