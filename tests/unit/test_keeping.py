"""Keep-alive policies in force: how long instances stay, when they are there again, who goes."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace

import pytest

from samovar.manager.keep_alive import Ages
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import CapacityProvider
from samovar.model.invocation import Outcome
from samovar.model.tuning import Tuning
from samovar.ports import Pressure
from tests.contract.samples import a_version, function_id
from tests.unit.scripted_worker import Clock, ScriptedWorker, leftovers, managing, settled, until

VERSION = a_version()
OTHER = a_version(function_id("other"))
MANAGED = a_version(function_id("managed"), capacity_provider=CapacityProvider("arn", 10))
ANSWER = Outcome(b"1")
PENDING = Outcome(b"1", pending=True)


class Scripted:
    """A policy that does as a test says."""

    def __init__(self, *plan, worth=0.0):
        self.ages = plan
        self.value = worth
        self.came = []
        self.gone = []

    def arrived(self, now, *, cold):
        self.came.append(cold)

    def plan(self, now):
        return self.ages

    def worth(self, now, idle_since):
        return self.value

    def evicted(self, worth):
        self.gone.append(worth)


def kept_by(manager, version, policy):
    """Have a function's instances kept as this policy says."""
    manager._functions.of(version).keep = policy
    return policy


async def used(manager, version):
    """One request; the instance that had it."""
    lease = await manager.acquire(version)
    manager.release(lease, ANSWER)
    return lease.instance


async def later(manager, clock, seconds):
    clock.now += seconds
    manager._performer.on_time()
    await settled()


async def test_an_instance_that_will_be_needed_again_is_there_again_a_little_before():
    clock, worker = Clock(), ScriptedWorker()
    async with managing(worker, clock=clock) as manager:
        kept_by(manager, VERSION, Scripted(Ages(0.0, 5.0), Ages(100.0, 110.0)))
        await used(manager, VERSION)
        await later(manager, clock, 5.0)
        assert not worker.alive
        await later(manager, clock, 94.0)
        assert not worker.alive
        await later(manager, clock, 1.0)
        assert len(worker.alive) == 1
        lease = await manager.acquire(VERSION)
        assert lease.start.cause is None
        assert len(worker.asked) == 2


async def test_one_that_was_expected_in_vain_goes_when_its_time_is_over():
    clock, worker = Clock(), ScriptedWorker()
    async with managing(worker, clock=clock) as manager:
        kept_by(manager, VERSION, Scripted(Ages(100.0, 110.0)))
        await used(manager, VERSION)
        await until(lambda: not worker.alive)  # at once
        await later(manager, clock, 100.0)
        assert len(worker.alive) == 1
        await later(manager, clock, 10.0)
        await until(lambda: not worker.alive)
        assert len(worker.asked) == 2


async def test_a_request_ends_the_plan():
    clock, worker = Clock(), ScriptedWorker()
    async with managing(worker, clock=clock) as manager:
        policy = kept_by(manager, VERSION, Scripted(Ages(100.0, 110.0)))
        await used(manager, VERSION)
        await until(lambda: not worker.alive)
        policy.ages = ()
        await used(manager, VERSION)
        await until(lambda: not worker.alive)
        await later(manager, clock, 105.0)
        assert len(worker.asked) == 2


async def test_the_newest_plan_is_the_one_that_is_followed():
    """Of two instances the second, too, ends a plan: nothing is started by the first one's."""
    clock, worker = Clock(), ScriptedWorker()
    async with managing(worker, clock=clock) as manager:
        policy = kept_by(manager, VERSION, Scripted(Ages(100.0, 110.0)))
        first, second = [await manager.acquire(VERSION) for _ in range(2)]
        manager.release(first, ANSWER)
        policy.ages = ()
        manager.release(second, ANSWER)
        await until(lambda: not worker.alive)
        await later(manager, clock, 105.0)
        assert len(worker.asked) == 2


async def test_nothing_makes_room_for_what_is_only_expected():
    clock, worker = Clock(), ScriptedWorker(memory_mib=128)
    async with managing(worker, clock=clock) as manager:
        kept_by(manager, VERSION, Scripted(Ages(100.0, 110.0)))
        await used(manager, VERSION)
        await until(lambda: not worker.alive)
        other = await used(manager, OTHER)
        await later(manager, clock, 100.0)
        assert list(worker.alive) == [other]


async def test_a_policy_is_told_of_requests_and_survives_new_versions():
    async with managing(ScriptedWorker()) as manager:
        policy = kept_by(manager, VERSION, Scripted(Ages(0.0, 5.0)))
        await used(manager, VERSION)
        await used(manager, VERSION)
        await used(manager, replace(VERSION, revision_id="r2"))
        assert policy.came == [True, False, True]


async def test_the_instance_that_is_worth_least_makes_room_and_its_policy_is_told():
    worker = ScriptedWorker(memory_mib=256)
    async with managing(worker) as manager:
        dear = kept_by(manager, VERSION, Scripted(Ages(0.0, math.inf), worth=5.0))
        cheap = kept_by(manager, OTHER, Scripted(Ages(0.0, math.inf), worth=1.0))
        await used(manager, VERSION)
        gone = await used(manager, OTHER)
        await used(manager, a_version(function_id("third")))
        assert worker.stopped == [gone]
        assert (dear.gone, cheap.gone) == ([], [1.0])


async def test_worth_that_has_grown_since_counts():
    clock, worker = Clock(), ScriptedWorker(memory_mib=256)
    async with managing(worker, clock=clock) as manager:
        first = await used(manager, VERSION)
        clock.now += 1
        second = await used(manager, OTHER)
        clock.now += 1
        assert await used(manager, VERSION) == first
        await used(manager, a_version(function_id("third")))
        assert worker.stopped == [second]


async def test_a_functions_owner_chooses_its_policy():
    async with managing(ScriptedWorker()) as manager:
        manager.tune(VERSION.id, Tuning(keep_alive="histogram"))
        with pytest.raises(PlatformError) as refused:
            manager.tune(VERSION.id, Tuning(keep_alive="nonsense"))
        assert refused.value.code is ErrorCode.INVALID_PARAMETER
        assert manager._functions.of(VERSION).tuning.keep_alive == "histogram"


# ---------------------------------------------------------------- many requests in one instance


async def test_an_instance_is_filled_to_its_soft_limit_before_another_one_starts():
    worker = ScriptedWorker()
    async with managing(worker) as manager:
        leases = [await manager.acquire(MANAGED) for _ in range(8)]
        assert len(worker.asked) == 1
        leases.append(await manager.acquire(MANAGED))  # over it: at once, and another one starts
        assert {lease.instance for lease in leases} == {worker.asked[0]}
        await until(lambda: len(worker.asked) == 2)
        await settled()
        assert (await manager.acquire(MANAGED)).instance == worker.asked[1]


async def test_the_soft_limit_is_the_owners_to_choose():
    worker = ScriptedWorker()
    async with managing(worker) as manager:
        manager.tune(MANAGED.id, Tuning(soft_concurrency=2))
        leases = [await manager.acquire(MANAGED) for _ in range(2)]
        await settled()
        assert len(worker.asked) == 1
        leases.append(await manager.acquire(MANAGED))
        await until(lambda: len(worker.asked) == 2)


async def test_waiting_requests_start_no_more_instances_than_they_fill():
    worker = ScriptedWorker(held=True)
    async with managing(worker) as manager:
        requests = [asyncio.create_task(manager.acquire(MANAGED)) for _ in range(20)]
        await settled()
        assert len(worker.starting) == 3
        for _ in range(3):
            worker.come_up()
        await asyncio.wait(requests)
        assert len(worker.asked) == 3


async def test_one_that_fails_one_request_takes_no_more_and_lets_the_others_end():
    worker = ScriptedWorker()
    async with managing(worker) as manager:
        first, second = [await manager.acquire(MANAGED) for _ in range(2)]
        manager.release(first, None)
        await settled()
        assert worker.stopped == []
        third = await manager.acquire(MANAGED)
        assert third.instance != second.instance
        manager.release(second, ANSWER)
        await until(lambda: worker.stopped == [second.instance])


async def test_one_that_is_lost_with_many_requests_ends_each_lease_once():
    worker = ScriptedWorker()
    async with managing(worker) as manager:
        leases = [await manager.acquire(MANAGED) for _ in range(5)]
        worker.ends_by_itself(worker.asked[0])
        for lease in leases:
            manager.release(lease, None)
            manager.release(lease, None)
        assert manager.ledger.total_in_use == 0
        manager.supersede(MANAGED.id, MANAGED.version, None)
        await until(lambda: not leftovers(manager))


async def test_a_lease_ends_once():
    worker = ScriptedWorker()
    async with managing(worker) as manager:
        old = await manager.acquire(VERSION)
        manager.release(old, ANSWER)
        new = await manager.acquire(VERSION)
        assert new.instance == old.instance
        manager.release(old, None)
        assert manager.ledger.total_in_use == 1
        assert worker.stopped == []


# ---------------------------------------------------------------- answers that are pending


async def test_who_comes_while_an_instance_is_about_to_be_idle_waits_for_it():
    worker, idle = ScriptedWorker(), asyncio.Event()

    async def await_idle():
        return await idle.wait()

    worker.on_await_idle = await_idle
    async with managing(worker) as manager:
        lease = await manager.acquire(VERSION)
        manager.release(lease, PENDING)
        await settled()
        waiting = asyncio.create_task(manager.acquire(VERSION))
        await settled()
        idle.set()
        assert (await waiting).instance == lease.instance
        assert len(worker.asked) == 1


async def test_but_not_for_longer_than_a_start_takes():
    worker, idle = ScriptedWorker(), asyncio.Event()

    async def await_idle():
        return await idle.wait()

    worker.on_await_idle = await_idle
    async with managing(worker) as manager:
        lease = await manager.acquire(VERSION)
        manager.release(lease, PENDING)
        await settled()
        assert (await manager.acquire(VERSION)).instance == worker.asked[1]
        idle.set()


# ---------------------------------------------------------------- pressure


async def test_a_worker_under_pressure_gets_back_what_it_wants_the_cheapest_first():
    clock, worker = Clock(), ScriptedWorker()
    async with managing(worker, clock=clock) as manager:
        idle = []
        for name in "abcd":
            idle.append(await used(manager, a_version(function_id(name))))
            clock.now += 1
        busy = await manager.acquire(VERSION)
        # 640 MiB are promised, half of them used: an instance is worth 64.
        worker.tell(Pressure(memory_used_mib=320, reclaim_mib=100))
        await until(lambda: len(worker.stopped) == 2)
        await settled()
        assert worker.stopped == idle[:2]
        assert busy.instance in worker.alive


async def test_nothing_starts_on_a_worker_that_takes_nothing_and_its_reason_is_told():
    worker = ScriptedWorker()
    async with managing(worker, queue_timeout_s=0.05) as manager:
        worker.tell(Pressure(admits=False, reason="memory is short"))
        with pytest.raises(PlatformError, match="memory is short") as refused:
            await manager.acquire(VERSION)
        assert refused.value.status == 429
        waiting = asyncio.create_task(manager.acquire(VERSION))
        await settled()
        worker.tell(Pressure())
        await waiting


async def test_a_worker_that_drains_gives_up_what_is_idle():
    worker = ScriptedWorker()
    async with managing(worker) as manager:
        busy = await manager.acquire(VERSION)
        await used(manager, OTHER)
        worker.tell(draining=True)
        await until(lambda: list(worker.alive) == [busy.instance])


# ---------------------------------------------------------------- what is not kept


async def test_what_is_gone_is_not_remembered():
    worker = ScriptedWorker()
    async with managing(worker) as manager:
        for number in range(500):
            lease = await manager.acquire(VERSION, f"tenant-{number}")
            manager.release(lease, None)
            await until(lambda: not worker.alive)
        assert len(manager._performer.room.eviction) < 100
        assert len(manager._pools.timers) < 100
        assert not leftovers(manager)
