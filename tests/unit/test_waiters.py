"""Who waits for room, and workers that refuse although placement said yes."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from samovar.manager.limits import ConcurrencyLedger
from samovar.manager.rates import RateLimits
from samovar.model.errors import ErrorCode, PlatformError, ThrottleReason
from samovar.model.invocation import Outcome
from samovar.model.scale import Scale
from tests.contract.samples import a_version, function_id
from tests.unit.scripted_worker import Clock, ScriptedWorker, managing, settled, until

ANSWER = Outcome(b"1")
SPENT = Outcome(b"", instance_survives=False)
FUNCTION = a_version(function_id("f"), memory_mib=128)
OTHER = a_version(function_id("other"), memory_mib=128)


class Stubborn(ScriptedWorker):
    """Takes no more than so many instances, whatever its status says."""

    most = 0
    tries = 0

    async def start(self, instance, version, *initialization):
        self.tries += 1
        await asyncio.sleep(0)
        if len(self.alive) >= self.most:
            raise PlatformError(
                ErrorCode.TOO_MANY_REQUESTS, "full", ThrottleReason.ACCOUNT_CONCURRENCY
            )
        return await super().start(instance, version, *initialization)


def small(number):
    return a_version(function_id(f"f{number}"), memory_mib=128)


def asking(manager, version, times=1):
    return [asyncio.create_task(manager.acquire(version)) for _ in range(times)]


async def gone(requests):
    for request in requests:
        request.cancel()
    await asyncio.gather(*requests, return_exceptions=True)


async def test_hundreds_that_wait_with_idle_instances_are_looked_at_without_end_of_the_stack():
    worker, count = ScriptedWorker(memory_mib=128 * 800), 400
    async with managing(worker, ledger=ConcurrencyLedger(10_000, {})) as manager:
        busy = [await manager.acquire(small(number)) for number in range(count)]
        waiting = [a_version(function_id(f"w{number}"), memory_mib=128) for number in range(count)]
        for version in waiting:
            manager.set_scale(version, Scale(1))
        await until(lambda: len(worker.alive) == 2 * count)
        for version in waiting:
            manager.set_scale(version, Scale(2))
        await settled()
        assert len(manager._performer.waiters) == count
        manager.release(busy[0], SPENT)
        await until(lambda: len(worker.asked) == 2 * count + 1)
        for version in waiting:
            manager.set_scale(version, Scale())


async def test_room_for_one_begins_one_start():
    worker = ScriptedWorker(memory_mib=128)
    async with managing(worker) as manager:
        busy = await manager.acquire(OTHER)
        waiting = [request for n in range(20) for request in asking(manager, small(n), times=5)]
        await settled()
        reserve, tries = manager._performer.room.reserve, []

        def counted(pool, *arguments, **options):
            tries.append(pool)
            return reserve(pool, *arguments, **options)

        manager._performer.room.reserve = counted
        manager.release(busy, SPENT)
        await until(lambda: any(request.done() for request in waiting))
        await settled()
        assert len(worker.asked) == 2
        assert len(tries) <= 4
        assert waiting[0].done(), "the oldest one"
        await gone(waiting)


async def test_a_release_beside_somebody_who_waits_looks_for_no_room_at_once():
    worker = ScriptedWorker(memory_mib=256)
    async with managing(worker) as manager:
        await manager.acquire(OTHER)
        large = asking(manager, a_version(function_id("large"), memory_mib=256))
        lease = await manager.acquire(FUNCTION)
        await settled()
        manager._performer.room.reserve = None  # nobody calls it
        for _ in range(100):
            manager.release(lease, ANSWER)
            lease = await manager.acquire(FUNCTION)
        del manager._performer.room.reserve
        await gone(large)


async def test_a_worker_that_refuses_what_was_placed_is_not_asked_again_until_something_changes():
    worker = Stubborn()
    worker.most = 1
    async with managing(worker) as manager:
        manager.set_scale(FUNCTION, Scale(2))
        await until(lambda: worker.tries == 2)
        for _ in range(3):
            await settled()
            manager._performer.waiters._not_before = 0.0
            manager._performer.waiters.wake()
        await settled()
        assert worker.tries == 2
        worker.most = 2
        manager._performer._go_round()
        await until(lambda: manager.provisioned(FUNCTION).available == 2)


async def test_what_one_worker_refuses_another_takes():
    refusing, roomy = Stubborn(memory_mib=256, name="a"), ScriptedWorker(512, name="b")
    async with managing(refusing, roomy) as manager:
        assert (await manager.acquire(FUNCTION)).worker is roomy
        assert refusing.tries == 1


async def test_what_one_worker_refuses_another_makes_room_for():
    refusing, full = Stubborn(memory_mib=256, name="a"), ScriptedWorker(128, name="b")
    async with managing(full, refusing) as manager:
        manager.release(await manager.acquire(OTHER), ANSWER)
        assert (await manager.acquire(FUNCTION)).worker is full
        assert full.stopped


async def test_a_refusal_is_forgotten_when_more_is_free_there():
    worker = Stubborn(memory_mib=512)
    worker.most = 1
    async with managing(worker) as manager:
        busy = await manager.acquire(OTHER)
        waiting = asking(manager, FUNCTION)
        await until(lambda: worker.tries == 2)
        manager.release(busy, SPENT)
        await asyncio.gather(*waiting)


async def test_starts_that_find_no_room_cost_nothing_of_the_scaling_rate():
    clock, worker = Clock(), ScriptedWorker(memory_mib=128 * 4)
    async with managing(worker, clock=clock, rates=RateLimits(scaling_rate=10)) as manager:
        busy = [await manager.acquire(small(number)) for number in range(4)]
        waiting = asking(manager, FUNCTION, times=8)
        await settled()
        for lease in busy[:2]:
            manager.release(lease, SPENT)
        await until(lambda: sum(request.done() for request in waiting) == 2)
        await settled()
        rates = manager._functions.of(FUNCTION).rates
        assert rates._bucket(clock()).tokens(clock()) == 10 - 2
        await gone(waiting)


async def test_who_waits_for_room_starts_no_faster_than_the_scaling_rate_allows():
    clock, worker = Clock(), ScriptedWorker(memory_mib=128 * 4)
    async with managing(worker, clock=clock, rates=RateLimits(scaling_rate=1)) as manager:
        busy = [await manager.acquire(small(number)) for number in range(4)]
        waiting = asking(manager, FUNCTION, times=1)
        await settled()
        held = manager._functions.of(FUNCTION).rates
        held.start(clock())  # the one that there is for now
        for lease in busy:
            manager.release(lease, SPENT)
        await settled()
        assert not waiting[0].done()
        clock.now += 10
        manager._performer.waiters._not_before = 0.0
        manager._performer.waiters.wake()
        await asyncio.gather(*waiting)


@pytest.mark.parametrize("pinned", [Scale(1), Scale(min_instances=1)], ids=["provisioned", "least"])
async def test_nothing_is_held_for_what_does_not_fit_beside_those_that_stay(pinned):
    worker = ScriptedWorker(memory_mib=512)
    async with managing(worker) as manager:
        manager.set_scale(OTHER, pinned)
        await until(lambda: len(worker.alive) == 1)
        large = asking(manager, a_version(function_id("large"), memory_mib=512))
        await settled()
        for _ in range(3):
            manager._performer._go_round()
        await manager.acquire(FUNCTION)
        await gone(large)
        manager.set_scale(OTHER, Scale())


async def test_what_is_held_for_one_that_waits_is_everybodys_again_after_some_rounds():
    worker = ScriptedWorker(memory_mib=512)
    async with managing(worker) as manager:
        await manager.acquire(OTHER)  # runs for long
        large = asking(manager, a_version(function_id("large"), memory_mib=512))
        await settled()
        for _ in range(2):
            manager._performer._go_round()
        request = asking(manager, FUNCTION)[0]
        await settled()
        assert not request.done()
        for _ in range(4):
            manager._performer._go_round()
        await request
        assert not large[0].done()
        await gone(large)


def test_who_waits_is_served_on_the_event_loop_that_servers_have():
    async def one_after_the_other():
        async with managing(ScriptedWorker(memory_mib=128)) as manager:
            lease = await manager.acquire(a_version(function_id("first"), memory_mib=128))
            other = a_version(function_id("second"), memory_mib=128)
            waiting = asyncio.create_task(manager.acquire(other))
            waiters = manager._performer.waiters
            await until(lambda: len(waiters))
            waiters.wake()
            waiters.wake()
            manager.release(lease, Outcome(b"1"))
            return (await waiting).version

    assert uvloop.run(one_after_the_other()).id.name == "second"
