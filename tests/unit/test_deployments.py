"""From Pending to Active or Failed, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import State, UpdateStatus
from samovar.ports import InitFailedError
from tests.contract.samples import a_version
from tests.unit.known_functions import front_door
from tests.unit.scripted_worker import settled

CREATED = a_version(state=State.PENDING, state_reason="Creating", state_reason_code="Creating")
UPDATED = a_version(
    state=State.ACTIVE,
    last_update_status=UpdateStatus.IN_PROGRESS,
    last_update_reason="Updating",
    last_update_reason_code="Creating",
)
RETRIED = dataclasses.replace(UPDATED, state=State.PENDING)
NO_CODE = PlatformError(ErrorCode.SERVICE, "The code is damaged.")


async def deployed(door, version):
    """What the store says once a version's deployment is over."""
    door.store.put(version)
    door.deployments.begin(version)
    assert await door.deployments.settled(version)
    return await door.store.get(version.id, version.version)


@pytest.mark.parametrize("version", [CREATED, UPDATED, RETRIED])
async def test_what_could_be_prepared_is_active_and_tells_no_reasons(version):
    async with front_door() as door:
        ready = await deployed(door, version)
        assert (ready.state, ready.last_update_status) == (State.ACTIVE, UpdateStatus.SUCCESSFUL)
        assert ready.state_reason_code is None
        assert ready.last_update_reason is None
        assert ready.key == version.key


@pytest.mark.parametrize(
    ("version", "state", "status"),
    [
        (CREATED, State.FAILED, UpdateStatus.SUCCESSFUL),
        (UPDATED, State.ACTIVE, UpdateStatus.FAILED),
        (RETRIED, State.FAILED, UpdateStatus.FAILED),
    ],
    ids=["creation", "update", "update of what had failed"],
)
@pytest.mark.parametrize(
    ("error", "reason"), [(NO_CODE, "The code is damaged."), (OSError("disk"), "disk")]
)
async def test_what_could_not_be_prepared_has_failed_and_says_why(
    version, state, status, error, reason
):
    async with front_door() as door:
        door.worker.failures.append(error)
        failed = await deployed(door, version)
        assert (failed.state, failed.last_update_status) == (state, status)
        if state is State.FAILED:
            assert reason in failed.state_reason
        if status is UpdateStatus.FAILED:
            assert reason in failed.last_update_reason
        door.worker.failures.append(error)
        with pytest.raises(PlatformError, match="currently in the following state: Failed") as no:
            await door.deployments.ready(failed)
        assert no.value.code is ErrorCode.CONFLICT
        assert await door.deployments.ready(failed)  # what was in the way is gone
        mended = await door.store.get(failed.id, failed.version)
        assert (mended.state, mended.last_update_status) == (
            State.ACTIVE,
            UpdateStatus.SUCCESSFUL,
        )


async def test_what_fails_because_the_server_ends_is_left_to_its_next_life():
    async with front_door() as door:
        door.worker.failures.append(NO_CODE)
        door.deployments.suspend()
        assert await deployed(door, CREATED) == CREATED


PUBLISHED = a_version(version="1", snap_start=True, state=State.PENDING)


@pytest.mark.parametrize(
    ("document", "reason", "code"),
    [
        (b'{"errorType": "KeyError", "errorMessage": "\'x\'"}', "KeyError: 'x'", "FunctionError"),
        (
            b'{"errorType": "Runtime.ImportModuleError", "errorMessage": "no app"}',
            "Runtime.ImportModuleError: no app",
            "FunctionError.RuntimeInitError",
        ),
        (b'{"errorType": "Sandbox.Timedout"}', "Sandbox.Timedout: ", "FunctionError.InitTimeout"),
        (
            b'{"errorType": "Extension.Crash", "errorMessage": "exit"}',
            "Extension.Crash: exit",
            "FunctionError.ExtensionInitError",
        ),
        (b"<html>", "The init phase failed.", "FunctionError"),
        (
            b'{"errorType": "an \\"evil\\" one", "errorMessage": "%s"}' % (b"x" * 100_000),
            "Runtime.Unknown: " + "x" * 1000,
            "FunctionError.RuntimeInitError",
        ),
    ],
    ids=["its own", "runtime", "too slow", "extension", "no document", "hostile"],
)
async def test_a_version_whose_init_failed_says_so_in_awss_words(document, reason, code):
    async with front_door() as door:
        door.worker.failures.append(InitFailedError(document))
        failed = await deployed(door, PUBLISHED)
        assert (failed.state, failed.state_reason) == (State.FAILED, reason)
        assert failed.state_reason_code == code


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (ErrorCode.INVALID_PARAMETER, "InvalidConfiguration"),
        (ErrorCode.TOO_MANY_REQUESTS, "InsufficientCapacity"),
        (ErrorCode.SERVICE, "InternalError"),
    ],
)
async def test_a_version_that_a_worker_refuses_says_so_in_awss_words(refusal, code):
    async with front_door() as door:
        door.worker.failures.append(PlatformError(refusal, "no"))
        failed = await deployed(door, PUBLISHED)
        assert (failed.state_reason, failed.state_reason_code) == ("no", code)


async def test_a_version_is_made_ready_once_at_a_time():
    async with front_door() as door:
        door.store.put(PUBLISHED)
        for _ in range(3):
            door.deployments.begin(PUBLISHED)
        door.worker.failures += [NO_CODE, NO_CODE]
        assert await door.deployments.settled(PUBLISHED)
        assert door.worker.failures == [NO_CODE]  # which another one would have met


async def test_a_version_that_was_changed_meanwhile_is_left_to_that_changes_deployment():
    async with front_door() as door:
        door.store.put(CREATED)
        door.deployments.begin(CREATED)
        newer = dataclasses.replace(CREATED, revision_id="r2")
        door.store.put(newer)
        await door.deployments.settled(CREATED)
        assert await door.store.get(CREATED.id, CREATED.version) is newer


async def test_a_version_that_was_deleted_meanwhile_does_not_come_back():
    async with front_door() as door:
        door.store.put(CREATED)
        door.deployments.begin(CREATED)
        door.store.versions.clear()
        await door.deployments.settled(CREATED)
        assert door.store.versions == {}


@pytest.mark.parametrize(
    "newer",
    [None, dataclasses.replace(CREATED, revision_id="r2")],
    ids=["deleted", "changed"],
)
async def test_what_was_made_of_a_version_that_is_not_current_any_more_is_forgotten(newer):
    async with front_door() as door:
        door.worker.prepare_gate = asyncio.Event()
        door.store.put(CREATED)
        door.deployments.begin(CREATED)
        await settled()
        door.store.versions.clear()
        if newer is not None:
            door.store.put(newer)
        current = newer and newer.key
        door.manager.supersede(CREATED.id, CREATED.version, current)  # as the API does it
        door.worker.forgotten.clear()
        door.worker.prepare_gate.set()  # only now its template is made
        await door.deployments.settled(CREATED)
        assert door.worker.forgotten == [(CREATED.id, CREATED.version, current)]


async def test_a_store_that_breaks_is_no_end_of_the_server():
    async with front_door() as door:
        door.store.broken = OSError("no space left on device")
        assert (await deployed(door, CREATED)).state is State.PENDING
        door.store.broken = None
        assert (await deployed(door, CREATED)).state is State.ACTIVE


async def test_what_an_earlier_life_began_is_gone_on_with():
    async with front_door(CREATED) as door:
        await door.deployments.settled(CREATED)
        assert (await door.store.get(CREATED.id, CREATED.version)).state is State.ACTIVE


async def test_the_catalog_forgets_what_it_knew_before_the_end_of_a_deployment():
    async with front_door() as door:
        door.store.put(CREATED)
        door.deployments.begin(CREATED)
        await door.catalog.resolve(CREATED.id, None)
        await door.deployments.settled(CREATED)
        assert (await door.catalog.resolve(CREATED.id, None)).state is State.ACTIVE


async def test_nothing_is_waited_for_where_nothing_is_going_on():
    async with front_door() as door:
        active = await door.store.get(CREATED.id, CREATED.version)
        assert await door.deployments.settled(active) is False
        assert await door.deployments.ready(active) is False


async def test_who_waits_may_leave_without_ending_the_deployment():
    async with front_door() as door:
        door.store.put(CREATED)
        door.deployments.begin(CREATED)
        waiting = asyncio.create_task(door.deployments.ready(CREATED))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        await settled()
        assert (await door.store.get(CREATED.id, CREATED.version)).state is State.ACTIVE


async def test_a_version_that_cannot_be_read_back_ends_no_server():
    async with front_door() as door:
        door.store.put(CREATED)
        door.store.unreadable = ValueError("a row that makes no sense")
        door.deployments.begin(CREATED)
        await door.deployments.settled(CREATED)
        door.store.unreadable = None
        assert (await door.store.get(CREATED.id, CREATED.version)).state is State.ACTIVE
