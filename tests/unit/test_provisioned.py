"""Instances that are kept whether requests come or not: provisioned concurrency, least and most.

https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html
"""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from samovar.manager.limits import ConcurrencyLedger
from samovar.model.errors import ErrorCode, PlatformError, ThrottleReason
from samovar.model.function import CapacityProvider
from samovar.model.instance import Initialization
from samovar.model.invocation import ColdCause, Outcome
from samovar.model.scale import Provisioned, ProvisionedStatus, Scale
from samovar.ports import InitFailedError
from tests.contract.samples import a_version, function_id
from tests.unit.scripted_worker import Clock, ScriptedWorker, leftovers, managing, settled, until

VERSION = a_version(version="1")
OTHER = a_version(function_id("other"))
MANAGED = a_version(version="1", capacity_provider=CapacityProvider("arn", 4))
ANSWER = Outcome(b"1")
CRASH = Outcome(b"1", "Unhandled", instance_survives=False)
READY = ProvisionedStatus.READY


async def provisioned(manager, count, version=VERSION):
    manager.set_scale(version, Scale(provisioned=count))
    await until(lambda: manager.provisioned(version).status is READY)


async def test_instances_are_initialised_before_any_request_and_serve_the_first_ones_warm():
    worker = ScriptedWorker()
    async with managing(worker) as manager:
        await provisioned(manager, 2)
        assert manager.provisioned(VERSION) == Provisioned(2, 2, 2, READY)
        assert worker.initializations == [Initialization.PROVISIONED] * 2
        lease = await manager.acquire(VERSION)
        assert lease.start.cause is None
        assert manager.provisioned(VERSION) == Provisioned(2, 2, 1, READY)


async def test_it_is_in_progress_until_all_are_there():
    worker = ScriptedWorker(held=True)
    async with managing(worker) as manager:
        manager.set_scale(VERSION, Scale(provisioned=2))
        await until(lambda: len(worker.starting) == 2)
        worker.come_up()
        await until(lambda: manager.provisioned(VERSION).allocated == 1)
        assert manager.provisioned(VERSION).status is ProvisionedStatus.IN_PROGRESS
        worker.come_up()
        await until(lambda: manager.provisioned(VERSION).status is READY)


async def test_what_it_does_not_suffice_for_is_served_on_demand_and_counted_there():
    worker = ScriptedWorker()
    async with managing(worker) as manager:
        await provisioned(manager, 1)
        await manager.acquire(VERSION)
        assert manager.ledger.in_use(VERSION.id) == 0
        spilled = await manager.acquire(VERSION)
        assert spilled.start.cause is ColdCause.SCALE_OUT
        assert manager.ledger.in_use(VERSION.id) == 1
        assert worker.initializations[-1] is Initialization.ON_DEMAND


async def test_a_request_that_waited_and_got_a_provisioned_instance_is_not_counted_on_demand():
    worker = ScriptedWorker()
    async with managing(worker) as manager:
        await provisioned(manager, 1)
        lease = await manager.acquire(VERSION)
        worker.held = True
        waiting = asyncio.create_task(manager.acquire(VERSION))
        await until(lambda: worker.starting)
        assert manager.ledger.in_use(VERSION.id) == 1
        manager.release(lease, ANSWER)
        assert (await waiting).instance == lease.instance
        assert manager.ledger.in_use(VERSION.id) == 0
        worker.come_up()


async def test_it_is_taken_from_what_all_share_used_or_not():
    async with managing(ScriptedWorker(), ledger=ConcurrencyLedger(102, {})) as manager:
        await provisioned(manager, 2)
        leases = [await manager.acquire(OTHER) for _ in range(100)]
        with pytest.raises(PlatformError) as refused:
            await manager.acquire(OTHER)
        assert refused.value.reason == ThrottleReason.ACCOUNT_CONCURRENCY
        await manager.acquire(VERSION)
        assert len(leases) == 100


async def test_it_is_taken_from_the_functions_reserved_concurrency():
    ledger = ConcurrencyLedger(1000, {VERSION.id: 2})
    async with managing(ScriptedWorker(), ledger=ledger) as manager:
        await provisioned(manager, 1)
        latest = dataclasses.replace(VERSION, version="$LATEST")
        await manager.acquire(latest)
        with pytest.raises(PlatformError) as refused:
            await manager.acquire(latest)
        assert refused.value.reason == ThrottleReason.RESERVED_CONCURRENCY
        await manager.acquire(VERSION)


@pytest.mark.parametrize(
    ("reserved", "asked", "words"),
    [
        ({VERSION.id: 3}, 4, "should not be greater than the reservedConcurrentExecution"),
        ({}, 901, r"UnreservedConcurrentExecution below its minimum value of \[100\]"),
        ({OTHER.id: 800}, 101, r"UnreservedConcurrentExecution below its minimum value of \[100\]"),
    ],
    ids=["over what is reserved", "over the account's", "over what others leave"],
)
async def test_what_the_limits_do_not_allow_for_is_refused_and_changes_nothing(
    reserved, asked, words
):
    worker = ScriptedWorker()
    async with managing(worker, ledger=ConcurrencyLedger(1000, reserved)) as manager:
        with pytest.raises(PlatformError, match=words) as refused:
            manager.set_scale(VERSION, Scale(provisioned=asked))
        assert refused.value.code is ErrorCode.INVALID_PARAMETER
        await settled()
        assert worker.asked == []
        assert manager.provisioned(VERSION) == Provisioned(0, 0, 0, READY)


async def test_a_reservation_below_what_is_provisioned_is_refused():
    async with managing(ScriptedWorker()) as manager:
        await provisioned(manager, 2)
        with pytest.raises(PlatformError, match="should not be lower than"):
            manager.set_reserved_concurrency(VERSION.id, 1)
        manager.set_reserved_concurrency(VERSION.id, 2)
        assert manager.ledger.unreserved_limit == 998


@pytest.mark.parametrize(
    ("version", "scale"),
    [
        (MANAGED, Scale(provisioned=1)),
        (a_version(tenant_isolation=True), Scale(provisioned=1)),
        (MANAGED, Scale(min_instances=2, max_instances=1)),
        (MANAGED, Scale(min_instances=-1)),
    ],
    ids=["many requests at once", "tenants", "least over most", "less than nothing"],
)
async def test_what_makes_no_sense_is_refused(version, scale):
    async with managing(ScriptedWorker()) as manager:
        with pytest.raises(PlatformError) as refused:
            manager.set_scale(version, scale)
        assert refused.value.code is ErrorCode.INVALID_PARAMETER


async def test_an_instance_that_crashes_is_replaced():
    clock, worker = Clock(), ScriptedWorker()
    async with managing(worker, clock=clock) as manager:
        await provisioned(manager, 2)
        clock.now += 60.0
        worker.ends_by_itself(worker.asked[0])
        assert manager.provisioned(VERSION).allocated == 1
        await until(lambda: manager.provisioned(VERSION).allocated == 2)
        manager.release(await manager.acquire(VERSION), CRASH)
        assert manager.provisioned(VERSION).allocated == 1
        await until(lambda: manager.provisioned(VERSION) == Provisioned(2, 2, 2, READY))
        assert len(worker.asked) == 4


async def test_an_init_that_fails_is_told_as_aws_does_and_tried_again_later_and_later():
    clock, worker = Clock(), ScriptedWorker()
    worker.failures += [InitFailedError(b"{}")] * 2
    async with managing(worker, clock=clock) as manager:
        manager.set_scale(VERSION, Scale(provisioned=1))
        await until(lambda: manager.provisioned(VERSION).status is ProvisionedStatus.FAILED)
        assert manager.provisioned(VERSION).reason == "FUNCTION_ERROR_INIT_FAILURE"
        pool = manager._pools.of(VERSION.id)[0]
        pauses_s = []
        for _ in range(2):
            pauses_s.append(pool.due - clock.now)
            failures = len(worker.failures)
            clock.now = pool.due
            manager._performer.on_time()
            await until(lambda before=failures: not before or len(worker.failures) < before)
            await settled()
        assert pauses_s == [1.0, 2.0]
        assert manager.provisioned(VERSION) == Provisioned(1, 1, 1, READY)


async def test_one_that_ends_as_soon_as_it_is_up_is_replaced_later_and_later():
    clock, worker = Clock(), ScriptedWorker()
    async with managing(worker, clock=clock) as manager:
        await provisioned(manager, 1)
        pool = manager._pools.of(VERSION.id)[0]
        pauses_s = []
        for _ in range(3):
            worker.ends_by_itself(worker.asked[-1])
            await settled()
            assert manager.provisioned(VERSION).status is ProvisionedStatus.FAILED
            pauses_s.append(pool.due - clock.now)
            clock.now = pool.due
            manager._performer.on_time()
            await until(lambda: manager.provisioned(VERSION).status is READY)
        assert pauses_s == [1.0, 2.0, 4.0]
        assert len(worker.asked) == 4
        clock.now += 3600.0  # it has lived
        worker.ends_by_itself(worker.asked[-1])
        await until(lambda: manager.provisioned(VERSION).status is READY)
        worker.ends_by_itself(worker.asked[-1])
        assert pool.due - clock.now == 1.0


async def test_a_request_does_not_pay_for_an_init_that_failed_beforehand():
    worker = ScriptedWorker(held=True)
    async with managing(worker) as manager:
        manager.set_scale(VERSION, Scale(provisioned=1))
        await until(lambda: worker.starting)
        waiting = asyncio.create_task(manager.acquire(VERSION))
        await until(lambda: len(worker.starting) == 2)
        worker.fail(InitFailedError(b"{}"))
        worker.come_up()
        assert (await waiting).instance == worker.asked[1]


async def test_it_neither_expires_nor_makes_room_for_others():
    clock, worker = Clock(), ScriptedWorker(memory_mib=128)
    async with managing(worker, clock=clock, queue_timeout_s=0.01, idle_timeout_s=1.0) as manager:
        await provisioned(manager, 1)
        clock.now += 100
        manager._performer.on_time()
        with pytest.raises(PlatformError, match="no worker has room"):
            await manager.acquire(OTHER)
        assert worker.stopped == []


async def test_without_room_it_says_so_and_goes_on_when_there_is_some():
    worker = ScriptedWorker(memory_mib=128)
    async with managing(worker) as manager:
        busy = await manager.acquire(OTHER)
        manager.set_scale(VERSION, Scale(provisioned=1))
        await until(lambda: manager.provisioned(VERSION).status is ProvisionedStatus.FAILED)
        assert "room" in manager.provisioned(VERSION).reason
        manager.release(busy, ANSWER)
        await until(lambda: manager.provisioned(VERSION).status is READY)


async def test_when_nothing_is_asked_for_any_more_idle_ones_go_at_once_and_busy_ones_when_done():
    worker = ScriptedWorker()
    async with managing(worker, forget_after_s=0.0) as manager:
        await provisioned(manager, 2)
        lease = await manager.acquire(VERSION)
        manager.set_scale(VERSION, Scale())
        await until(lambda: len(worker.alive) == 1)
        assert lease.instance in worker.alive
        manager.release(lease, ANSWER)
        await until(lambda: not leftovers(manager))
        assert not worker.alive
        assert manager.ledger.provisioned(VERSION.id) == 0


async def test_deleting_the_version_releases_it():
    worker = ScriptedWorker()
    async with managing(worker) as manager:
        await provisioned(manager, 2)
        manager.supersede(VERSION.id, VERSION.version, None)
        await until(lambda: not leftovers(manager))
        assert not worker.alive
        assert manager.ledger.provisioned(VERSION.id) == 0


async def test_it_starts_few_at_a_time_so_that_requests_come_first():
    worker = ScriptedWorker(held=True)
    async with managing(worker) as manager:
        manager.set_scale(VERSION, Scale(provisioned=20))
        await settled()
        assert len(worker.starting) == 8
        while manager.provisioned(VERSION).status is not READY:
            await until(lambda: worker.starting)
            worker.come_up()
            await settled()


# ---------------------------------------------------------------- least and most


async def test_the_least_number_of_instances_is_kept():
    clock, worker = Clock(), ScriptedWorker()
    async with managing(worker, clock=clock, idle_timeout_s=1.0) as manager:
        manager.set_scale(MANAGED, Scale(min_instances=2))
        await until(lambda: len(worker.alive) == 2)
        assert worker.initializations == [Initialization.MANAGED] * 2
        clock.now += 100
        manager._performer.on_time()
        await settled()
        assert len(worker.alive) == 2
        worker.ends_by_itself(worker.asked[0])
        await until(lambda: len(worker.alive) == 2)


async def test_never_more_than_the_most():
    worker = ScriptedWorker()
    async with managing(worker, queue_timeout_s=0.01) as manager:
        manager.set_scale(MANAGED, Scale(max_instances=2))
        leases = [await manager.acquire(MANAGED) for _ in range(8)]
        assert len({lease.instance for lease in leases}) == len(worker.asked) == 2
