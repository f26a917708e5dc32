"""What a manager tells of its functions, and that its counts are those of what has happened."""

from __future__ import annotations

import asyncio

import pytest

from samovar.manager.limits import ConcurrencyLedger
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import LATEST, CapacityProvider
from samovar.model.instance import InstanceState
from samovar.model.invocation import ColdCause, Outcome
from tests.contract.samples import a_version, function_id
from tests.unit.scripted_worker import ScriptedWorker, managing, settled, until

ANSWER = Outcome(b"1")
F = a_version(function_id("f"), memory_mib=128)
G = a_version(function_id("g"), memory_mib=128)


def told(manager, version=F):
    return next(one for one in manager.census().functions if one.function == version.id)


async def test_instances_are_told_by_state_and_requests_beside_them():
    worker = ScriptedWorker(held=True)
    async with managing(worker) as manager:
        first = asyncio.create_task(manager.acquire(F))
        await until(lambda: worker.starting)
        assert told(manager).instances[InstanceState.STARTING] == 1
        assert (told(manager).waiting, told(manager).running) == (1, 0)
        worker.come_up()
        lease = await first
        assert told(manager).instances[InstanceState.BUSY] == told(manager).running == 1
        assert told(manager).declared_mib == 128
        manager.release(lease, ANSWER)
        assert told(manager).instances[InstanceState.IDLE] == 1


async def test_many_requests_in_one_instance_are_many():
    provider = CapacityProvider("arn", max_concurrency=10)
    version = a_version(function_id("f"), capacity_provider=provider)
    async with managing(ScriptedWorker()) as manager:
        leases = [await manager.acquire(version) for _ in range(5)]
        assert told(manager).running == 5
        assert told(manager).instances[InstanceState.BUSY] == 1
        for lease in leases:
            manager.release(lease, ANSWER)


async def test_versions_and_tenants_of_a_function_are_told_together():
    async with managing(ScriptedWorker()) as manager:
        await manager.acquire(F, "a")
        await manager.acquire(F, "b")
        await manager.acquire(a_version(F.id, version="1"))
        assert len(manager.census().functions) == 1
        assert told(manager).running == 3


async def test_what_serves_its_last_request_after_an_update_is_still_told():
    async with managing(ScriptedWorker()) as manager:
        lease = await manager.acquire(F)
        manager.renew(F)
        assert told(manager).running == 1
        manager.release(lease, ANSWER)
        await until(lambda: not manager.census().functions)


async def test_cold_starts_are_counted_by_cause_and_warm_ones_are_not():
    async with managing(ScriptedWorker()) as manager:
        first = await manager.acquire(F)
        await manager.acquire(F)
        manager.release(first, ANSWER)
        await manager.acquire(F)
        starts = manager.census().counts[F.id].cold_starts
        assert starts == {ColdCause.FIRST: 1, ColdCause.SCALE_OUT: 1}


async def test_starts_that_fail_are_counted_and_those_without_room_are_not():
    worker = ScriptedWorker(memory_mib=128)
    async with managing(worker, queue_timeout_s=0.01) as manager:
        worker.failures.append(PlatformError(ErrorCode.SERVICE, "no"))
        with pytest.raises(PlatformError):
            await manager.acquire(F)
        await manager.acquire(F)
        with pytest.raises(PlatformError, match="less than 128 MB free"):
            await manager.acquire(F)
        assert manager.census().counts[F.id].failed_starts == 1


async def test_refusals_are_counted_by_reason():
    async with managing(ScriptedWorker(), ledger=ConcurrencyLedger(200, {F.id: 0})) as manager:
        for _ in range(2):
            with pytest.raises(PlatformError):
                await manager.acquire(F)
        counts = manager.census().counts[F.id]
        assert counts.throttles == {"ReservedFunctionConcurrentInvocationLimitExceeded": 2}


async def test_evictions_are_counted_for_whoever_had_to_go():
    async with managing(ScriptedWorker(memory_mib=128)) as manager:
        manager.release(await manager.acquire(F), ANSWER)
        await manager.acquire(G)
        counts = manager.census().counts
        assert (counts[F.id].evictions, counts[G.id].evictions) == (1, 0)


async def test_of_a_deleted_function_nothing_is_kept():
    async with managing(ScriptedWorker()) as manager:
        manager.release(await manager.acquire(F), ANSWER)
        manager.supersede(F.id, LATEST, None)
        await settled()
        census = manager.census()
        assert (census.functions, dict(census.counts), census.in_use) == ([], {}, 0)
