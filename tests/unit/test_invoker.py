"""Lease, invoke, release: what happens when each of them does not go as it should."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from samovar.frontend.invoker import ATTEMPTS, start_headers
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import State, UpdateStatus
from samovar.model.invocation import Outcome
from samovar.ports import InitFailedError
from tests.contract.samples import a_version
from tests.unit.fake_machine import an_invocation
from tests.unit.known_functions import ACTIVE, front_door
from tests.unit.scripted_worker import until

CREATED = a_version(state=State.PENDING)


async def test_an_invocation_runs_on_a_leased_instance_and_gives_it_back():
    async with front_door() as door:
        for _ in range(2):
            done = await door.invoker.invoke(ACTIVE, an_invocation())
            assert (done.outcome.payload, done.version) == (b"1", ACTIVE)
        assert len(door.worker.asked) == 1
        assert door.manager.ledger.total_in_use == 0


async def test_an_instance_that_vanishes_between_lease_and_use_is_replaced_by_another():
    async with front_door() as door:
        await door.invoker.invoke(ACTIVE, an_invocation())
        door.worker.alive.clear()  # and nobody has told the manager yet
        done = await door.invoker.invoke(ACTIVE, an_invocation())
        assert done.outcome.payload == b"1"
        assert len(door.worker.asked) == 2


async def test_it_does_not_try_for_ever():
    async with front_door() as door:

        def vanish(instance):
            raise PlatformError(ErrorCode.SERVICE, "gone")

        door.worker.on_invoke = vanish
        with pytest.raises(PlatformError, match="gone"):
            await door.invoker.invoke(ACTIVE, an_invocation())
        assert len(door.worker.invoked) == ATTEMPTS
        assert door.manager.ledger.total_in_use == 0


async def test_an_invocation_that_has_begun_is_never_tried_again():
    async with front_door() as door:
        door.returns(b"{}", function_error="Unhandled", instance_survives=False)
        await door.invoker.invoke(ACTIVE, an_invocation())
        assert len(door.worker.invoked) == 1


async def test_a_defect_of_the_worker_gives_the_lease_back():
    async with front_door() as door:

        def break_down(instance):
            raise ZeroDivisionError

        door.worker.on_invoke = break_down
        with pytest.raises(ZeroDivisionError):
            await door.invoker.invoke(ACTIVE, an_invocation())
        assert door.manager.ledger.total_in_use == 0
        await until(lambda: not door.worker.alive)


async def test_an_init_that_failed_is_an_outcome_of_the_function():
    async with front_door() as door:
        door.worker.failures.append(InitFailedError(b'{"errorType":"X"}', b"log"))
        done = await door.invoker.invoke(ACTIVE, an_invocation())
        assert done.outcome == Outcome(b'{"errorType":"X"}', "Unhandled", b"log")
        assert ("X-Samovar-Start", "cold; init=failed") in start_headers(done)


async def test_the_headers_tell_cold_from_warm_and_where_the_time_went():
    async with front_door() as door:
        door.returns(b"1", run_ms=7.0)
        cold = dict(start_headers(await door.invoker.invoke(ACTIVE, an_invocation())))
        warm = dict(start_headers(await door.invoker.invoke(ACTIVE, an_invocation())))
        assert cold["X-Samovar-Start"] == "cold; cause=first; from=fork"
        assert "start;dur=2.000, init;dur=3.000, run;dur=7.000" in cold["Server-Timing"]
        assert warm["X-Samovar-Start"] == "warm"
        assert warm["Server-Timing"].startswith("queue;dur=0.000, place;dur=0.000")


# ---------------------------------------------------------------- which version runs


def held_up(worker):
    """Make deployments wait for the event that is returned."""
    worker.prepare_gate = asyncio.Event()
    return worker.prepare_gate


async def test_a_new_function_can_be_invoked_at_once_and_waits_to_be_ready():
    async with front_door() as door:
        door.store.put(CREATED)
        door.deployments.begin(CREATED)
        version = await door.invoker.resolve(CREATED.id, None)
        assert version.state is State.ACTIVE


async def test_who_waited_for_an_update_gets_the_newest_code_not_that_of_the_update():
    updated = dataclasses.replace(
        ACTIVE, revision_id="r2", last_update_status=UpdateStatus.IN_PROGRESS
    )
    newer = dataclasses.replace(updated, revision_id="r3")
    async with front_door() as door:
        going_on = held_up(door.worker)
        door.store.put(updated)
        door.deployments.begin(updated)
        waiting = asyncio.create_task(door.invoker.resolve(updated.id, None))
        await until(lambda: door.store.reads)
        door.store.put(newer)
        door.catalog.forget(newer.id)
        door.deployments.begin(newer)
        going_on.set()
        version = await waiting
        assert version.revision_id == "r3"
        assert version.last_update_status is UpdateStatus.SUCCESSFUL


async def test_a_failed_function_is_refused():
    failed = dataclasses.replace(ACTIVE, state=State.FAILED)
    async with front_door(failed) as door:
        door.worker.failures.append(OSError("disk"))  # it is tried once more
        with pytest.raises(PlatformError) as refused:
            await door.invoker.resolve(failed.id, None)
        assert refused.value.code is ErrorCode.CONFLICT


async def test_a_function_that_is_deleted_while_it_is_waited_for_is_not_found():
    async with front_door() as door:
        going_on = held_up(door.worker)
        door.store.put(CREATED)
        door.deployments.begin(CREATED)
        waiting = asyncio.create_task(door.invoker.resolve(CREATED.id, None))
        await until(lambda: door.store.reads)
        door.store.versions.clear()
        door.catalog.forget(CREATED.id)
        going_on.set()
        with pytest.raises(PlatformError) as refused:
            await waiting
        assert refused.value.code is ErrorCode.NOT_FOUND


async def test_what_nobody_is_deploying_is_not_waited_for():
    async with front_door() as door:
        door.store.put(CREATED)
        assert await door.invoker.resolve(CREATED.id, None) is CREATED
