"""The manager when memory is scarce: waiting, evicting, refusing."""

from __future__ import annotations

import asyncio

import pytest

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.invocation import ColdCause, Outcome
from tests.contract.samples import a_version, function_id
from tests.unit.scripted_worker import Clock, ScriptedWorker, leftovers, managing, settled, until

ANSWER = Outcome(b"1")
SMALL = a_version(function_id("small"), memory_mib=128)
OTHER = a_version(function_id("other"), memory_mib=128)
LARGE = a_version(function_id("large"), memory_mib=256)


async def warmed(manager, *versions, clock=None):
    """An idle instance of each version, the first one idle for longest; their ids."""
    leases = [await manager.acquire(version) for version in versions]
    for lease in leases:
        manager.release(lease, ANSWER)
        if clock is not None:
            clock.now += 1
    return [lease.instance for lease in leases]


async def test_the_longest_idle_instance_of_another_function_makes_room():
    clock, worker = Clock(), ScriptedWorker(memory_mib=256)
    async with managing(worker, clock=clock) as manager:
        oldest, _ = await warmed(manager, OTHER, SMALL, clock=clock)
        third = a_version(function_id("third"))
        assert (await manager.acquire(third)).start.cause is ColdCause.FIRST
        assert worker.stopped == [oldest]
        assert len(worker.alive) == 2


async def test_a_function_whose_instance_was_evicted_is_told_so():
    worker = ScriptedWorker(memory_mib=128)
    async with managing(worker) as manager:
        await warmed(manager, OTHER)
        manager.release(await manager.acquire(SMALL), ANSWER)
        assert (await manager.acquire(OTHER)).start.cause is ColdCause.EVICTED


async def test_as_many_are_evicted_as_a_large_one_needs():
    worker = ScriptedWorker(memory_mib=256)
    async with managing(worker) as manager:
        both = await warmed(manager, OTHER, SMALL)
        await manager.acquire(LARGE)
        assert worker.stopped == both


async def test_those_that_make_room_are_told_together_and_in_a_hurry():
    worker = ScriptedWorker(memory_mib=256)
    async with managing(worker) as manager:
        both = await warmed(manager, OTHER, SMALL)
        worker.stop_gate = asyncio.Event()
        waiting = asyncio.create_task(manager.acquire(LARGE))
        await until(lambda: worker.hurried == both)
        assert not waiting.done()
        worker.stop_gate.set()
        await waiting


async def test_no_more_are_evicted_than_are_needed_and_all_on_one_worker():
    clock, first, second = Clock(), ScriptedWorker(512, name="a"), ScriptedWorker(512, name="b")
    async with managing(first, second, clock=clock) as manager:
        filling = [a_version(function_id(f"f{number}"), memory_mib=128) for number in range(8)]
        idle = await warmed(manager, *filling, clock=clock)
        where = first if idle[0] in first.alive else second
        expected = [instance for instance in idle if instance in where.alive][:2]
        await manager.acquire(LARGE)
        assert where.stopped == expected
        assert len(first.stopped + second.stopped) == 2


async def test_what_is_made_free_for_a_request_is_not_taken_by_one_that_came_later():
    worker = ScriptedWorker(memory_mib=256)
    async with managing(worker) as manager:
        await warmed(manager, OTHER, SMALL)
        worker.stop_gate = asyncio.Event()
        large = asyncio.create_task(manager.acquire(LARGE))
        await until(lambda: worker.hurried)
        other = asyncio.create_task(manager.acquire(OTHER))  # its instance is being stopped
        await settled()
        worker.stop_gate.set()
        lease = await large
        assert not other.done()
        manager.release(lease, ANSWER)
        assert (await other).start.cause is ColdCause.EVICTED


async def test_nothing_is_evicted_where_that_would_not_make_enough_room():
    worker = ScriptedWorker(memory_mib=256)
    async with managing(worker) as manager:
        busy = await manager.acquire(SMALL)
        await warmed(manager, OTHER)
        waiting = asyncio.create_task(manager.acquire(LARGE))
        await settled()
        assert worker.stopped == []
        manager.release(busy, ANSWER)
        await waiting
        assert len(worker.stopped) == 2


async def test_instances_are_evicted_where_the_new_one_will_fit():
    full, roomy = ScriptedWorker(memory_mib=128, name="a"), ScriptedWorker(256, name="b")
    clock = Clock()
    async with managing(full, roomy, clock=clock) as manager:
        # Bin-packing puts the first on the smaller worker; it is idle for longest.
        await warmed(manager, OTHER, SMALL, clock=clock)
        assert list(full.alive.values()) == [OTHER]
        assert list(roomy.alive.values()) == [SMALL]
        await manager.acquire(LARGE)
        assert full.stopped == []
        assert list(roomy.alive.values()) == [LARGE]


async def test_without_room_a_request_waits_for_an_instance_that_becomes_idle_anywhere():
    worker = ScriptedWorker(memory_mib=128)
    async with managing(worker) as manager:
        busy = await manager.acquire(OTHER)
        waiting = asyncio.create_task(manager.acquire(SMALL))
        await settled()
        assert not waiting.done()
        manager.release(busy, ANSWER)
        assert (await waiting).version is SMALL
        assert worker.stopped == [busy.instance]


async def test_without_room_a_request_waits_for_an_instance_that_ends():
    worker = ScriptedWorker(memory_mib=128)
    async with managing(worker) as manager:
        busy = await manager.acquire(OTHER)
        waiting = asyncio.create_task(manager.acquire(SMALL))
        await settled()
        worker.ends_by_itself(busy.instance)
        manager.release(busy, None)
        assert (await waiting).version is SMALL


async def test_a_start_that_fails_makes_room_for_who_waits_for_it():
    worker = ScriptedWorker(memory_mib=128, held=True)
    async with managing(worker) as manager:
        first = asyncio.create_task(manager.acquire(OTHER))
        await until(lambda: worker.starting)
        second = asyncio.create_task(manager.acquire(SMALL))
        await settled()
        worker.fail(ZeroDivisionError("a defect of the worker"))
        with pytest.raises(PlatformError):
            await first
        await until(lambda: worker.starting)
        worker.come_up()
        assert (await second).version is SMALL


async def test_a_start_that_nobody_needs_any_more_makes_room_for_who_waits_for_it():
    worker = ScriptedWorker(memory_mib=128, held=True)
    async with managing(worker) as manager:
        first = asyncio.create_task(manager.acquire(OTHER))
        await until(lambda: worker.starting)
        second = asyncio.create_task(manager.acquire(SMALL))
        await settled()
        first.cancel()
        await asyncio.wait([first])
        worker.come_up()  # idle at once: nobody wants it
        await until(lambda: len(worker.asked) == 2)
        worker.come_up(worker.asked[1])
        assert (await second).version is SMALL


async def test_who_waits_for_room_in_vain_is_told_that_there_is_none():
    worker = ScriptedWorker(memory_mib=128)
    async with managing(worker, queue_timeout_s=0.01) as manager:
        busy = await manager.acquire(OTHER)
        with pytest.raises(PlatformError, match=r"no worker has room for small \(128 MB\)") as no:
            await manager.acquire(SMALL)
        assert no.value.status == 429
        manager.release(busy, ANSWER)
        for version in (OTHER, SMALL):
            manager.supersede(version.id, version.version, None)
        await until(lambda: not leftovers(manager))


async def test_a_blocked_pool_tries_no_more_often_than_something_changes():
    worker = ScriptedWorker(memory_mib=128)
    async with managing(worker) as manager:
        busy = await manager.acquire(OTHER)
        waiting = [asyncio.create_task(manager.acquire(SMALL)) for _ in range(10)]
        await settled()
        assert len(worker.asked) == 1
        manager.release(busy, ANSWER)
        for _ in range(10):
            await until(lambda: any(task.done() for task in waiting))
            done = next(task for task in waiting if task.done())
            waiting.remove(done)
            manager.release(done.result(), ANSWER)
        assert len(worker.asked) == 2  # one instance of `small` has served all ten


async def test_a_blocked_pool_costs_others_nothing_while_there_is_no_room_for_it():
    worker = ScriptedWorker(memory_mib=256 + 128)
    async with managing(worker) as manager:
        busy = await manager.acquire(LARGE)
        waiting = [asyncio.create_task(manager.acquire(LARGE)) for _ in range(10)]
        small = await manager.acquire(SMALL)
        await settled()
        before = asyncio.all_tasks()
        manager.release(small, ANSWER)
        assert asyncio.all_tasks() == before  # nobody tries
        while waiting:
            manager.release(busy, ANSWER)
            await until(lambda: any(task.done() for task in waiting))
            done = next(task for task in waiting if task.done())
            waiting.remove(done)
            busy = done.result()


async def test_a_function_larger_than_every_worker_is_refused_and_costs_nobody_an_instance():
    worker = ScriptedWorker(memory_mib=128)
    async with managing(worker) as manager:
        await warmed(manager, OTHER)
        with pytest.raises(PlatformError, match="the largest worker has 128 MB") as refused:
            await manager.acquire(LARGE)
        assert refused.value.code is ErrorCode.SERVICE
        assert worker.stopped == []


async def test_a_runtime_that_no_worker_has_is_refused():
    async with managing(ScriptedWorker()) as manager:
        with pytest.raises(PlatformError, match=r"No worker can run python3\.1 ") as refused:
            await manager.acquire(a_version(runtime="python3.1"))
        assert refused.value.code is ErrorCode.INVALID_RUNTIME


async def test_a_large_one_that_waits_is_not_overtaken_by_small_ones_for_ever():
    worker = ScriptedWorker(memory_mib=256)
    async with managing(worker) as manager:
        busy = [await manager.acquire(SMALL), await manager.acquire(SMALL)]
        large = asyncio.create_task(manager.acquire(LARGE))
        await settled()
        for _ in range(2):  # it waits for longest on two rounds
            manager._performer._go_round()
        small = asyncio.create_task(manager.acquire(OTHER))
        await settled()
        manager.release(busy[0], None)  # room for a small one, which came later
        await settled()
        assert not small.done()
        manager.release(busy[1], None)
        lease = await large
        assert not small.done()
        manager.release(lease, ANSWER)
        await small


async def test_what_is_held_for_a_request_that_goes_away_is_free_again():
    worker = ScriptedWorker(memory_mib=256)
    async with managing(worker) as manager:
        busy = [await manager.acquire(SMALL), await manager.acquire(SMALL)]
        large = asyncio.create_task(manager.acquire(LARGE))
        await settled()
        for _ in range(2):
            manager._performer._go_round()
        large.cancel()
        await settled()
        manager._performer._go_round()
        manager.release(busy[0], None)
        await settled()
        assert (await manager.acquire(OTHER)).version is OTHER
