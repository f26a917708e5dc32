"""A worker and its templates: made once, kept while there is room, made again."""

from __future__ import annotations

import asyncio
import dataclasses
import json

import pytest

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import FunctionVersion
from samovar.model.instance import InstanceId
from samovar.ports import Exit, InitFailedError, SandboxSpec
from samovar.sandbox.fake import READY, Behaviour, FakeInstance, Reaction, init_error
from tests.unit.fake_machine import MEMORY_MIB, Machine, machine
from tests.unit.scripted_worker import settled, until


def snapshotted(built: Machine, number: int = 1, **changes: object) -> FunctionVersion:
    """A published version of its own."""
    return dataclasses.replace(
        built.version, version=str(number), snap_start=True, memory_mib=256, **changes
    )


def templates(built: Machine) -> list[FakeInstance]:
    return [instance for instance in built.sandbox.running() if instance.spec.is_template]


async def test_preparing_a_version_makes_its_template(tmp_path):
    async with machine(tmp_path) as built:
        version = snapshotted(built)
        await built.worker.prepare(version)
        (template,) = templates(built)
        assert template.frozen
        assert template.inits[0]["snapshot"] is True
        status = built.worker.status()
        assert status.templates == {version.arn}
        assert built.worker._slots.free_memory_mib == MEMORY_MIB - 256


async def test_instances_are_forked_and_restored(tmp_path):
    async with machine(tmp_path) as built:
        version = snapshotted(built)
        await built.worker.prepare(version)
        started = await built.worker.start(InstanceId("i-1"), version)
        instance = built.sandbox.instances[InstanceId("i-1")]
        assert (started.origin, instance.spec.template) == ("template", templates(built)[0].id)
        assert (len(instance.inits), len(instance.restores)) == (0, 1)


async def test_without_a_template_all_who_want_one_wait_for_the_same(tmp_path):
    held = asyncio.Event()

    async def on_init(meta):
        await held.wait()
        return READY

    async with machine(tmp_path, Behaviour(on_init=on_init)) as built:
        version = snapshotted(built)
        async with asyncio.TaskGroup() as starts:
            for number in range(3):
                id_ = InstanceId(f"i-{number}")
                starts.create_task(built.worker.start(id_, version))
            await until(lambda: templates(built))
            await settled()
            held.set()
        assert len(templates(built)) == 1
        assert len(built.sandbox.running()) == 4


async def test_a_template_that_dies_is_made_again_when_it_is_wanted(tmp_path):
    async with machine(tmp_path) as built:
        version = snapshotted(built)
        await built.worker.prepare(version)
        templates(built)[0].end(Exit(signal=9))
        await until(lambda: not built.worker.status().templates)
        await built.worker.start(InstanceId("i-1"), version)
        assert built.worker.status().templates == {version.arn}


async def test_a_version_that_is_forgotten_leaves_nothing(tmp_path):
    async with machine(tmp_path) as built:
        version, other = snapshotted(built, 1), snapshotted(built, 2)
        await built.worker.prepare(version)
        await built.worker.prepare(other)
        built.worker.forget(version.id, "1", None)
        built.worker.forget(other.id, "2", other.key)
        await until(lambda: len(templates(built)) == 1)
        assert built.worker.status().templates == {other.arn}
        built.worker.forget(other.id, "2", None)
        await until(lambda: not built.leftovers())


async def never_ready(meta: object) -> Reaction:
    await asyncio.Event().wait()
    return READY


STUCK = Behaviour(on_init=never_ready)


def superseded(built: Machine, version: FunctionVersion) -> None:
    newer = dataclasses.replace(version, revision_id="another")
    built.worker.forget(version.id, version.version, newer.key)


def deleted(built: Machine, version: FunctionVersion) -> None:
    built.worker.forget(version.id, version.version, None)


@pytest.mark.parametrize("end", [deleted, superseded])
async def test_one_that_is_being_made_ends_at_once_with_its_version(tmp_path, end):
    async with machine(tmp_path, STUCK) as built:
        version = snapshotted(built)
        preparing = asyncio.create_task(built.worker.prepare(version))
        starting = asyncio.create_task(built.worker.start(InstanceId("i-1"), version))
        await until(lambda: templates(built) and templates(built)[0].inits)
        end(built, version)
        for waiting in (preparing, starting):
            with pytest.raises(PlatformError) as told:
                await waiting
            assert told.value.code is ErrorCode.UNAVAILABLE
        await until(lambda: not built.leftovers())


async def test_one_that_is_wanted_no_more_before_it_begins_is_not_begun(tmp_path):
    async with machine(tmp_path, STUCK) as built:
        version = snapshotted(built)
        preparing = asyncio.create_task(built.worker._templates.of(version))
        await asyncio.sleep(0)
        deleted(built, version)
        with pytest.raises(PlatformError):
            await preparing
        await settled()
        assert built.sandbox.starts == []


async def test_a_worker_that_stops_ends_those_that_are_being_made(tmp_path):
    async with machine(tmp_path, STUCK) as built:
        preparing = asyncio.create_task(built.worker.prepare(snapshotted(built)))
        await until(lambda: templates(built) and templates(built)[0].inits)
        await built.worker.stop_all()
        assert built.leftovers() == {}
        with pytest.raises(PlatformError):
            await preparing
        with pytest.raises(PlatformError, match="shutting down"):
            await built.worker.prepare(snapshotted(built))


async def test_a_template_stays_for_a_start_that_has_just_got_it(tmp_path):
    entered, held = asyncio.Event(), asyncio.Event()

    async def on_start(spec: SandboxSpec) -> None:
        if spec.template:
            entered.set()
            await held.wait()

    async with machine(tmp_path, Behaviour(on_start=on_start)) as built:
        version = snapshotted(built)
        await built.worker.prepare(version)
        starting = asyncio.create_task(built.worker.start(InstanceId("i-1"), version))
        await entered.wait()
        with pytest.raises(PlatformError):  # all that there is but for these two
            await built.idle(InstanceId("i-2"), memory_mib=MEMORY_MIB - 256)
        held.set()
        assert (await starting).origin == "template"


async def test_a_fork_of_a_template_that_has_just_died_is_made_from_another(tmp_path):
    """The template's end is told after the fork's."""
    deaths = 1

    async def on_start(spec: SandboxSpec) -> None:
        nonlocal deaths
        if spec.template and deaths:
            deaths -= 1
            built.sandbox.instances[spec.template].end(Exit(signal=9))
            raise PlatformError(ErrorCode.SERVICE, "its template has ended")

    async with machine(tmp_path, Behaviour(on_start=on_start)) as built:
        version = snapshotted(built)
        await built.worker.start(InstanceId("i-1"), version)
        await until(lambda: len(built.worker._templates.begun) == 1)
        assert built.worker._slots.free_memory_mib == MEMORY_MIB - 2 * 256
        deaths = 2
        with pytest.raises(PlatformError, match="its template has ended"):
            await built.worker.start(InstanceId("i-2"), version)


async def test_what_forks_share_is_promised_until_the_last_of_them_ends(tmp_path):
    async with machine(tmp_path) as built:
        version = snapshotted(built)
        for id_ in ("i-1", "i-2"):
            await built.worker.start(InstanceId(id_), version)
        deleted(built, version)
        await until(lambda: not templates(built))
        for id_, left_mib in (("i-1", MEMORY_MIB - 2 * 256), ("i-2", MEMORY_MIB)):
            await built.worker.stop(InstanceId(id_))
            assert built.worker._slots.free_memory_mib == left_mib
        assert built.leftovers() == {}


async def test_the_template_that_was_used_least_recently_makes_room(tmp_path):
    async with machine(tmp_path) as built:
        versions = [snapshotted(built, number) for number in range(1, 6)]
        for version in versions[:4]:  # all of the memory
            await built.worker.prepare(version)
        assert built.worker.status().free_memory_mib == MEMORY_MIB
        await built.worker.prepare(versions[4])
        kept = {version.arn for version in versions[1:]}
        assert built.worker.status().templates == kept


async def test_a_template_that_instances_run_from_does_not_make_room(tmp_path):
    async with machine(tmp_path) as built:
        used, idle = snapshotted(built, 1), snapshotted(built, 2)
        await built.worker.start(InstanceId("i-1"), used)
        await built.worker.prepare(idle)
        big = snapshotted(built, 3, last_modified=used.last_modified)
        await built.worker.start(InstanceId("i-2"), dataclasses.replace(big, snap_start=False))
        await built.worker.start(
            InstanceId("i-3"), dataclasses.replace(built.version, memory_mib=256)
        )
        assert built.worker.status().templates == {used.arn}


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (Behaviour(on_init=init_error("ValueError", "no tea")), "ValueError"),
        (Behaviour(unfit="1 threads were still running"), "Runtime.SnapshotError"),
    ],
    ids=["init", "unfit"],
)
async def test_what_cannot_be_a_template_fails_and_leaves_nothing(tmp_path, behaviour, kind):
    async with machine(tmp_path, behaviour) as built:
        with pytest.raises(InitFailedError) as failed:
            await built.worker.prepare(snapshotted(built))
        assert json.loads(failed.value.payload)["errorType"] == kind
        assert built.leftovers() == {}


async def test_a_template_for_which_there_is_no_room_is_refused(tmp_path):
    async with machine(tmp_path) as built:
        version = dataclasses.replace(snapshotted(built), memory_mib=MEMORY_MIB + 1)
        with pytest.raises(PlatformError) as refused:
            await built.worker.prepare(version)
        assert refused.value.code is ErrorCode.TOO_MANY_REQUESTS
        assert built.leftovers() == {}


async def test_hooks_that_fail_after_a_restore_fail_the_start(tmp_path):
    behaviour = Behaviour(on_restore=init_error("ZeroDivisionError", "by zero"))
    async with machine(tmp_path, behaviour) as built:
        version = snapshotted(built)
        with pytest.raises(InitFailedError) as failed:
            await built.worker.start(InstanceId("i-1"), version)
        assert json.loads(failed.value.payload)["errorType"] == "ZeroDivisionError"
        assert len(built.sandbox.running()) == 1
