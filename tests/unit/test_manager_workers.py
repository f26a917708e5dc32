"""The manager and placement together, over several workers: load goes where it belongs."""

from __future__ import annotations

import pytest

from samovar.model.errors import PlatformError
from samovar.model.invocation import Outcome
from samovar.ports import Pressure
from tests.contract.samples import a_version, function_id
from tests.unit.scripted_worker import ScriptedWorker, managing, settled, until

ANSWER = Outcome(b"1")
F = a_version(function_id("f"), memory_mib=128)
OTHERS = [a_version(function_id(f"f{number}"), memory_mib=128) for number in range(3)]
FULL = Pressure(admits=False, reclaim_mib=1 << 20, reason="970 of 1000 MiB are in use")


def two(memory_mib=1024):
    return ScriptedWorker(memory_mib, name="a"), ScriptedWorker(memory_mib, name="b")


async def test_instances_of_a_function_are_spread_over_workers():
    first, second = two()
    async with managing(first, second) as manager:
        for _ in range(6):
            await manager.acquire(F)
        assert (len(first.alive), len(second.alive)) == (3, 3)


async def test_and_over_zones_before_workers():
    workers = [ScriptedWorker(1024, name=name) for name in ("a1", "a2", "a3", "b1")]
    for one in workers:
        one.zone = one.name[0]
    async with managing(*workers) as manager:
        for _ in range(6):
            await manager.acquire(F)
        assert [len(one.alive) for one in workers] == [1, 1, 1, 3]


async def test_different_functions_are_packed_so_that_large_holes_stay_whole():
    first, second = two()
    async with managing(first, second) as manager:
        for version in OTHERS:
            await manager.acquire(version)
        assert sorted((len(first.alive), len(second.alive))) == [0, 3]


async def test_a_worker_under_pressure_gets_nothing_new_and_its_idle_instances_move():
    first, second = two()
    async with managing(first, second) as manager:
        for version in OTHERS:
            manager.release(await manager.acquire(version), ANSWER)
        pressed, other = (first, second) if first.alive else (second, first)
        pressed.tell(FULL)
        await until(lambda: not pressed.alive)
        for version in OTHERS:
            await manager.acquire(version)
        assert (len(pressed.alive), len(other.alive)) == (0, 3)


async def test_of_a_worker_that_drains_idle_instances_leave_and_busy_ones_finish():
    first, second = two()
    async with managing(first, second) as manager:
        busy = await manager.acquire(OTHERS[0])
        manager.release(await manager.acquire(OTHERS[1]), ANSWER)
        drained, other = (first, second) if first.alive else (second, first)
        drained.tell(draining=True)
        await until(lambda: list(drained.alive) == [busy.instance])
        await manager.acquire(OTHERS[2])
        assert len(other.alive) == 1
        manager.release(busy, ANSWER)
        await until(lambda: not drained.alive)


async def test_what_was_drained_and_is_not_any_more_takes_new_instances_again():
    worker = ScriptedWorker()
    async with managing(worker, queue_timeout_s=5.0) as manager:
        worker.tell(draining=True)
        await settled()
        worker.tell()
        await manager.acquire(F)
        assert len(worker.alive) == 1


async def test_with_every_worker_under_pressure_a_refusal_says_so():
    first, second = two()
    first.pressure = second.pressure = FULL
    async with managing(first, second, queue_timeout_s=0.01) as manager:
        with pytest.raises(PlatformError, match="2 workers: under pressure: 970 of 1000 MiB"):
            await manager.acquire(F)
