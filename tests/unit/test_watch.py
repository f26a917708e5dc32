"""What a worker does when its instances use more than there is, on a fake sandbox."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.instance import InstanceId
from samovar.ports import InitFailedError
from samovar.sandbox.fake import NOTHING, Behaviour, Reaction
from samovar.worker.capacity import Capacity
from samovar.worker.watch import PATIENCE_LOOKS
from tests.unit.fake_machine import Machine, machine
from tests.unit.scripted_worker import until

SCARCE = Capacity(usable_memory_mib=400, memory_oversubscription=2.56)
BUSY = Behaviour(on_invoke=NOTHING, peak_memory_bytes=10 << 20)


async def three(its: Machine) -> list[InstanceId]:
    """Instances that declare 768 MB in all."""
    ids = [InstanceId(f"i-{number}") for number in range(3)]
    for id_ in ids:
        await its.idle(id_, memory_mib=256)
    return ids


def use(its: Machine, *each_mib: int) -> None:
    """Have the instances use so much from now on, and be looked at."""
    for instance, mib in zip(its.sandbox.instances.values(), each_mib, strict=True):
        instance.memory_bytes = mib << 20
    its.worker._watch.look()


async def test_the_status_tells_what_is_really_used(tmp_path: Path) -> None:
    async with machine(tmp_path, BUSY, capacity=SCARCE) as its:
        await three(its)
        use(its, 20, 30, 40)
        pressure = its.worker.status().pressure
        assert (pressure.memory_used_mib, pressure.memory_usable_mib) == (90, 400)
        assert pressure.admits


async def test_where_it_is_tight_a_start_is_refused_and_told_why(tmp_path: Path) -> None:
    async with machine(tmp_path, BUSY, capacity=SCARCE) as its:
        await three(its)
        use(its, 200, 100, 50)
        with pytest.raises(PlatformError, match="350 MiB of the 400 MiB") as refused:
            await its.idle(InstanceId("i-late"))
        assert refused.value.code is ErrorCode.TOO_MANY_REQUESTS
        use(its, 100, 100, 50)
        await its.idle(InstanceId("i-late"))


async def test_pressure_is_told_when_it_comes_and_when_it_goes(tmp_path: Path) -> None:
    async with machine(tmp_path, BUSY, capacity=SCARCE) as its:
        told = []
        its.worker.on_pressure(lambda _: told.append(its.worker.status().pressure.reclaim_mib))
        await three(its)
        use(its, 200, 100, 50)
        use(its, 10, 10, 10)
        use(its, 11, 11, 11)
        assert told == [30, 0]


async def test_where_nothing_is_left_there_is_no_pressure_either(tmp_path: Path) -> None:
    async with machine(tmp_path, BUSY, capacity=SCARCE) as its:
        ids = await three(its)
        use(its, 200, 100, 50)
        for id_ in ids:
            await its.worker.stop(id_)
        await until(lambda: its.worker.status().pressure.admits)
        assert its.worker.status().pressure.memory_used_mib == 0


async def test_the_busy_instance_furthest_over_its_share_ends_and_its_client_is_told(
    tmp_path: Path,
) -> None:
    async with machine(tmp_path, BUSY, capacity=SCARCE) as its:
        ids = await three(its)
        async with asyncio.TaskGroup() as calls:
            answers = [calls.create_task(its.invoke(instance=id_)) for id_ in ids]
            for instance in its.sandbox.instances.values():
                await instance.invoked()
            use(its, 250, 80, 60)
            outcome = await answers[0]
            use(its, 0, 80, 60)
            assert not answers[1].done()
            assert not answers[2].done()
            for answer in answers[1:]:
                answer.cancel()
        document = json.loads(outcome.payload)
        assert document["errorType"] == "Runtime.MemoryPressure"
        assert "250 MiB of its 256 MB" in document["errorMessage"]
        assert not outcome.instance_survives
        assert b"Runtime.MemoryPressure" in its.logs.text


async def test_idle_instances_are_asked_for_before_one_is_ended(tmp_path: Path) -> None:
    async with machine(tmp_path, BUSY, capacity=SCARCE) as its:
        ids = await three(its)
        async with asyncio.TaskGroup() as calls:
            answer = calls.create_task(its.invoke(instance=ids[0]))
            await its.sandbox.instances[ids[0]].invoked()
            use(its, 250, 80, 60)
            assert its.worker.status().pressure.reclaim_mib == 70
            await its.worker.stop(ids[1])
            use(its, 250, 0, 60)
            assert not answer.done()
            answer.cancel()


async def test_idle_instances_that_nobody_gives_back_end_too(tmp_path: Path) -> None:
    async with machine(tmp_path, BUSY, capacity=SCARCE) as its:
        ids = await three(its)
        for _ in range(PATIENCE_LOOKS + 1):
            use(its, 90, 250, 50)
        await its.sandbox.instances[ids[1]].exited
        assert its.sandbox.stops == [ids[1]]


async def test_an_init_that_takes_too_much_fails_with_the_reason(tmp_path: Path) -> None:
    async with machine(tmp_path, BUSY, capacity=SCARCE) as its:
        await three(its)

        def grow(_: object) -> Reaction:
            for _ in range(PATIENCE_LOOKS + 1):
                use(its, 50, 50, 50, 240)
            return NOTHING

        its.sandbox.behaviour = Behaviour(on_init=grow, peak_memory_bytes=1)
        with pytest.raises(InitFailedError, match=r"Runtime\.MemoryPressure"):
            await its.idle(InstanceId("i-new"), memory_mib=256)
