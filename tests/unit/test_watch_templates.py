"""Templates are part of what fills a worker's memory, and of what goes when it is full."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path

import pytest

from samovar.model.errors import PlatformError
from samovar.model.function import FunctionVersion
from samovar.model.instance import InstanceId
from samovar.ports import InitFailedError
from samovar.sandbox.fake import NOTHING, Behaviour
from samovar.worker.capacity import Capacity
from samovar.worker.watch import PATIENCE_LOOKS
from tests.unit.fake_machine import Machine, machine
from tests.unit.scripted_worker import until

SCARCE = Capacity(usable_memory_mib=400, memory_oversubscription=2.56)
AMPLE = Capacity(usable_memory_mib=1024)
QUIET = Behaviour(on_invoke=NOTHING, peak_memory_bytes=1 << 20)


def version(its: Machine, number: int) -> FunctionVersion:
    return dataclasses.replace(its.version, version=str(number), snap_start=True, memory_mib=128)


async def prepared(its: Machine, *numbers: int) -> list[FunctionVersion]:
    """Versions that have templates."""
    versions = [version(its, number) for number in numbers]
    for each in versions:
        await its.worker.prepare(each)
    return versions


async def begun(its: Machine, number: int) -> tuple[InstanceId, asyncio.Task[None]]:
    """A template whose init does not end, and who waits for it."""
    its.sandbox.behaviour = dataclasses.replace(QUIET, on_init=NOTHING)
    before = set(its.worker._templates.begun)
    publisher = asyncio.create_task(its.worker.prepare(version(its, number)))
    await until(lambda: set(its.worker._templates.begun) - before)
    its.sandbox.behaviour = QUIET
    (id_,) = set(its.worker._templates.begun) - before
    return id_, publisher


def use(its: Machine, **each_mib: int) -> None:
    """Have these use so much from now on (underscores for hyphens), and be looked at."""
    for name, mib in each_mib.items():
        instance = its.sandbox.instances[InstanceId(name.replace("_", "-"))]
        instance.memory_bytes = mib << 20
    its.worker._watch.look()


def astray(its: Machine, mib: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """So much is used that nobody tells of."""
    told = its.sandbox.memory_bytes
    room = dataclasses.replace(its.worker._watch._room, used_bytes=lambda: told() + (mib << 20))
    monkeypatch.setattr(its.worker._watch, "_room", room)


def kept(its: Machine) -> frozenset[str]:
    return its.worker.status().templates


async def test_where_it_is_tight_those_go_that_nobody_runs_from(tmp_path: Path) -> None:
    async with machine(tmp_path, QUIET, capacity=SCARCE) as its:
        used, _, newer = await prepared(its, 1, 2, 3)
        await its.worker.start(InstanceId("i-1"), used)
        await its.idle(InstanceId("i-2"), memory_mib=256)
        use(its, template_2=100, i_2=250)
        assert kept(its) == {used.arn, newer.arn}
        use(its, i_2=250)
        assert kept(its) == {used.arn, newer.arn}, "what is just being ended counts no more"
        for _ in range(3):
            use(its, i_2=390)
        assert kept(its) == {used.arn}


async def test_what_is_promised_within_what_there_is_keeps_its_templates(tmp_path: Path) -> None:
    async with machine(tmp_path, QUIET, capacity=AMPLE) as its:
        versions = await prepared(its, 1, 2)
        await its.idle(InstanceId("i-1"), memory_mib=768)
        use(its, template_1=128, template_2=128, i_1=760)
        assert kept(its) == {each.arn for each in versions}


async def test_a_template_that_is_being_made_may_be_chosen_and_its_publisher_is_told(
    tmp_path: Path,
) -> None:
    async with machine(tmp_path, QUIET, capacity=SCARCE) as its:
        await its.idle(InstanceId("i-1"), memory_mib=512)
        calling = asyncio.create_task(its.invoke(instance=InstanceId("i-1")))
        await its.sandbox.instances[InstanceId("i-1")].invoked()
        growing, publisher = await begun(its, 1)
        use(its, i_1=260, **{growing.replace("-", "_"): 125})
        with pytest.raises(InitFailedError) as failed:
            await publisher
        told = json.loads(failed.value.payload)
        assert told["errorType"] == "Runtime.MemoryPressure"
        assert "125 MiB of its 128 MB" in told["errorMessage"]
        await until(lambda: not its.worker._templates.begun)
        assert not calling.done()
        calling.cancel()


async def test_a_template_over_what_it_declares_may_be_chosen_though_it_is_in_use(
    tmp_path: Path,
) -> None:
    async with machine(tmp_path, QUIET, capacity=AMPLE) as its:
        (greedy,) = await prepared(its, 1)
        await its.worker.start(InstanceId("i-1"), greedy)
        await its.idle(InstanceId("i-2"), memory_mib=512)
        for _ in range(PATIENCE_LOOKS + 1):
            use(its, template_1=500, i_2=500)
        await its.sandbox.instances[InstanceId("template-1")].exited
        assert kept(its) == frozenset()
        assert len(its.sandbox.running()) == 2


async def test_what_nobody_tells_of_ends_templates_and_no_instance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with machine(tmp_path, QUIET, capacity=AMPLE) as its:
        (shared,) = await prepared(its, 1)
        await its.worker.start(InstanceId("i-1"), shared)
        await its.idle(InstanceId("i-2"), memory_mib=256)
        calling = asyncio.create_task(its.invoke(instance=InstanceId("i-2")))
        await its.sandbox.instances[InstanceId("i-2")].invoked()
        astray(its, 800, monkeypatch)
        use(its, i_2=200)
        with pytest.raises(PlatformError, match="short of memory"):
            await its.idle(InstanceId("i-3"), memory_mib=128)
        for _ in range(PATIENCE_LOOKS + 1):
            use(its, i_2=200)
        await its.sandbox.instances[InstanceId("template-1")].exited
        assert [instance.id for instance in its.sandbox.running()] == ["i-1", "i-2"]
        assert not calling.done()
        calling.cancel()
