"""How instances end, and the manager with them: exits, updates, idleness, draining."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import LATEST
from samovar.model.invocation import ColdCause, Outcome
from tests.contract.samples import a_version, function_id
from tests.unit.scripted_worker import Clock, ScriptedWorker, leftovers, managing, settled, until

OLD = a_version(revision_id="old")
NEW = a_version(revision_id="new")
ANSWER = Outcome(b"1")
TICK_S = 0.02
"""The manager looks for idle instances twice in this time, whatever its clock says."""


# ---------------------------------------------------------------- exits


async def test_an_idle_instance_that_ends_by_itself_is_not_handed_out_again():
    worker = ScriptedWorker()
    async with managing(worker) as manager:
        lease = await manager.acquire(OLD)
        manager.release(lease, ANSWER)
        worker.ends_by_itself(lease.instance)
        again = await manager.acquire(OLD)
        assert again.instance != lease.instance
        assert again.start.cause is ColdCause.REPLACED


async def test_a_busy_instance_that_ends_by_itself_is_released_without_effect():
    worker = ScriptedWorker()
    async with managing(worker) as manager:
        lease = await manager.acquire(OLD)
        worker.ends_by_itself(lease.instance)
        manager.release(lease, ANSWER)
        assert (await manager.acquire(OLD)).instance != lease.instance
        assert worker.stopped == []


async def test_an_instance_that_ends_while_it_is_being_stopped_is_gone_once():
    worker = ScriptedWorker()
    async with managing(worker) as manager:
        lease = await manager.acquire(OLD)
        manager.release(lease, Outcome(b"", "Unhandled", instance_survives=False))
        worker.ends_by_itself(lease.instance)
        manager.supersede(OLD.id, LATEST, None)
        await until(lambda: not leftovers(manager))
        assert worker.stopped == []


async def test_an_exit_of_an_instance_that_nobody_knows_is_ignored():
    worker = ScriptedWorker()
    async with managing(worker) as manager:
        worker.alive["i-unknown"] = OLD
        worker.ends_by_itself("i-unknown")
        assert leftovers(manager) == {}


# ---------------------------------------------------------------- updates


async def test_an_update_stops_idle_instances_at_once_and_busy_ones_when_they_are_released():
    worker = ScriptedWorker()
    async with managing(worker) as manager:
        busy, idle = await manager.acquire(OLD), await manager.acquire(OLD)
        manager.release(idle, ANSWER)
        manager.supersede(OLD.id, LATEST, NEW.key)
        await until(lambda: worker.stopped == [idle.instance])
        await settled()
        assert busy.instance in worker.alive
        manager.release(busy, ANSWER)
        await until(lambda: not worker.alive)
        await until(lambda: not leftovers(manager))


async def test_an_update_leaves_the_new_code_and_other_versions_alone():
    worker = ScriptedWorker()
    other, published = a_version(function_id("g")), a_version(version="1")
    async with managing(worker) as manager:
        for version in (OLD, NEW, other, published):
            manager.release(await manager.acquire(version), ANSWER)
        manager.supersede(OLD.id, LATEST, NEW.key)
        await until(lambda: len(worker.alive) == 3)
        await settled()
        assert list(worker.alive.values()) == [NEW, other, published]


async def test_a_request_from_before_an_update_is_still_served():
    worker = ScriptedWorker(held=True)
    async with managing(worker) as manager:
        request = asyncio.create_task(manager.acquire(OLD))
        await until(lambda: worker.starting)
        manager.supersede(OLD.id, LATEST, NEW.key)
        worker.come_up()
        lease = await request
        assert lease.version is OLD
        manager.release(lease, ANSWER)
        await until(lambda: not leftovers(manager))


async def test_old_and_new_code_never_share_an_instance():
    worker = ScriptedWorker()
    async with managing(worker) as manager:
        manager.release(await manager.acquire(OLD), ANSWER)
        lease = await manager.acquire(NEW)
        assert worker.alive[lease.instance] is NEW


async def test_a_failed_start_of_superseded_code_leaves_nothing_behind():
    worker = ScriptedWorker(held=True)
    async with managing(worker) as manager:
        request = asyncio.create_task(manager.acquire(OLD))
        await until(lambda: worker.starting)
        manager.supersede(OLD.id, LATEST, NEW.key)
        worker.fail(PlatformError(ErrorCode.SERVICE, "no"))
        await asyncio.wait([request])
        assert isinstance(request.exception(), PlatformError)
        assert leftovers(manager) == {}


async def test_a_request_that_leaves_a_superseded_pool_leaves_nothing_behind():
    worker = ScriptedWorker(memory_mib=128)
    async with managing(worker) as manager:
        busy = await manager.acquire(a_version(function_id("g")))
        request = asyncio.create_task(manager.acquire(OLD))
        await settled()
        manager.supersede(OLD.id, LATEST, None)
        request.cancel()
        await asyncio.wait([request])
        manager.release(busy, ANSWER)
        manager.supersede(busy.version.id, LATEST, None)
        await until(lambda: not leftovers(manager))


# ---------------------------------------------------------------- idleness


async def test_an_instance_that_is_idle_for_too_long_is_stopped():
    clock, worker = Clock(), ScriptedWorker()
    async with managing(worker, idle_timeout_s=TICK_S, clock=clock) as manager:
        lease = await manager.acquire(OLD)
        manager.release(lease, ANSWER)
        await settled()
        assert worker.stopped == []
        clock.now += 2 * TICK_S
        await until(lambda: worker.stopped == [lease.instance])
        assert (await manager.acquire(OLD)).start.cause is ColdCause.EXPIRED


async def test_a_busy_instance_never_expires():
    clock, worker = Clock(), ScriptedWorker()
    idle = a_version(function_id("idle"))
    async with managing(worker, idle_timeout_s=TICK_S, clock=clock) as manager:
        busy = await manager.acquire(OLD)
        manager.release(await manager.acquire(idle), ANSWER)
        clock.now += 10 * TICK_S
        await until(lambda: worker.stopped)
        assert busy.instance in worker.alive


async def test_a_function_that_nobody_calls_for_long_is_forgotten():
    clock, worker = Clock(), ScriptedWorker()
    limits = {"idle_timeout_s": TICK_S, "forget_after_s": TICK_S}
    async with managing(worker, clock=clock, **limits) as manager:
        manager.release(await manager.acquire(OLD), ANSWER)
        clock.now += 2 * TICK_S
        await until(lambda: not leftovers(manager))
        assert (await manager.acquire(OLD)).start.cause is ColdCause.FIRST


# ---------------------------------------------------------------- draining


async def test_draining_lets_running_requests_finish_and_refuses_new_ones():
    async with managing(ScriptedWorker()) as manager:
        lease = await manager.acquire(OLD)
        drain = asyncio.create_task(manager.drain(60.0))
        await settled()
        with pytest.raises(PlatformError, match="shutting down") as refused:
            await manager.acquire(OLD)
        assert refused.value.status == 503
        assert not drain.done()
        manager.release(lease, ANSWER)
        await drain


async def test_draining_an_idle_manager_does_not_wait():
    async with managing(ScriptedWorker()) as manager:
        manager.release(await manager.acquire(OLD), ANSWER)
        await manager.drain(60.0)


async def test_draining_does_not_wait_for_ever_and_then_refuses_who_still_waits():
    worker = ScriptedWorker(held=True)
    async with managing(worker) as manager:
        requests = [asyncio.create_task(manager.acquire(OLD)) for _ in range(3)]
        await until(lambda: len(worker.starting) == 3)
        await manager.drain(0.01)
        await asyncio.wait(requests)
        assert {request.exception().code for request in requests} == {ErrorCode.UNAVAILABLE}
        while worker.starting:
            worker.come_up()
        manager.supersede(OLD.id, LATEST, None)
        await until(lambda: not leftovers(manager))


async def test_a_request_that_waited_when_draining_began_is_still_served():
    worker = ScriptedWorker(held=True)
    async with managing(worker) as manager:
        request = asyncio.create_task(manager.acquire(OLD))
        await until(lambda: worker.starting)
        drain = asyncio.create_task(manager.drain(60.0))
        await settled()
        worker.come_up()
        manager.release(await request, ANSWER)
        await drain


# ---------------------------------------------------------------- all of it


async def test_nothing_is_left_after_a_storm_of_everything():
    worker = ScriptedWorker(memory_mib=1024)
    versions = [a_version(function_id(name)) for name in "abcd"]
    outcomes = itertools.cycle([ANSWER, ANSWER, None, Outcome(b"", instance_survives=False)])

    async def one(manager, number):
        lease = await manager.acquire(versions[number % 4])
        try:
            await asyncio.sleep(0)
            if number % 7 == 0 and lease.instance in worker.alive:
                worker.ends_by_itself(lease.instance)
        finally:
            manager.release(lease, next(outcomes))

    async with managing(worker) as manager:
        worker.failures += [PlatformError(ErrorCode.SERVICE, "no")] * 5
        tasks = [asyncio.create_task(one(manager, number)) for number in range(300)]
        await settled()
        for task in tasks[::5]:
            task.cancel()
        await asyncio.wait(tasks)
        for version in versions:
            manager.supersede(version.id, version.version, None)
        await until(lambda: not leftovers(manager))
        assert worker.alive == {}


async def test_preparing_asks_every_worker_that_has_the_runtime_and_tells_of_failure():
    worker = ScriptedWorker()
    worker.failures.append(PlatformError(ErrorCode.SERVICE, "no code"))
    async with managing(worker) as manager:
        await manager.prepare(a_version(runtime="python3.1"))  # nobody has it: nothing to do
        with pytest.raises(PlatformError, match="no code"):
            await manager.prepare(OLD)
