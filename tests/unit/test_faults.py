"""Faults that tests ask for; and the manager's part in a forced cold start."""

from __future__ import annotations

import asyncio

import pytest

from samovar.frontend.faults import MAX_PENDING, Fault, Faults, Pending
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.invocation import ColdCause, Outcome
from tests.contract.samples import a_version, function_id
from tests.unit.scripted_worker import ScriptedWorker, leftovers, managing, settled, until

F, G = function_id("f"), function_id("g")
VERSION = a_version()


def pending(qualifier: str | None = None, times: int = 1, fault: Fault = Fault.CRASH) -> Pending:
    return Pending(F, qualifier, fault, times)


def test_each_invocation_takes_one_until_none_is_left():
    faults = Faults()
    faults.ask(pending(times=2))
    assert [faults.take(F, None) for _ in range(3)] == [Fault.CRASH, Fault.CRASH, None]


def test_other_functions_take_none():
    faults = Faults()
    faults.ask(pending())
    assert faults.take(G, None) is None


@pytest.mark.parametrize(
    ("asked", "named", "meets"),
    [
        (None, None, True),
        (None, "live", True),
        ("live", "live", True),
        ("live", None, False),
        ("live", "1", False),
        ("$LATEST", None, True),
        ("$LATEST", "$LATEST", True),
    ],
)
def test_those_who_name_its_qualifier_meet_a_fault(asked: str, named: str, meets: bool):
    faults = Faults()
    faults.ask(pending(asked))
    assert (faults.take(F, named) is not None) == meets


def test_what_is_pending_is_bounded():
    faults = Faults()
    for _ in range(MAX_PENDING):
        faults.ask(pending())
    with pytest.raises(PlatformError) as refused:
        faults.ask(pending())
    assert refused.value.code is ErrorCode.TOO_MANY_REQUESTS


async def test_what_is_idle_is_stopped_when_renewed_and_the_next_start_says_why():
    worker = ScriptedWorker()
    async with managing(worker) as manager:
        first = await manager.acquire(VERSION)
        manager.release(first, Outcome(b""))
        manager.renew(VERSION)
        second = await manager.acquire(VERSION)
        assert second.start.cause is ColdCause.FORCED
        assert second.instance != first.instance
        manager.release(second, Outcome(b""))
        third = await manager.acquire(VERSION)
        assert (third.instance, third.start.cause) == (second.instance, None)
        manager.release(third, Outcome(b""))
        assert worker.stopped == [first.instance]


async def test_what_is_busy_when_renewed_takes_nothing_that_comes_later():
    worker = ScriptedWorker()
    async with managing(worker) as manager:
        busy = await manager.acquire(VERSION)
        manager.renew(VERSION)
        worker.held = True
        async with asyncio.TaskGroup() as tasks:
            later = tasks.create_task(manager.acquire(VERSION))
            await until(lambda: worker.starting)
            manager.release(busy, Outcome(b""))
            await until(lambda: worker.stopped == [busy.instance])
            assert not later.done()
            worker.come_up()
        manager.release(later.result(), Outcome(b""))


async def test_who_waits_when_renewed_is_still_served_and_nothing_is_left():
    worker = ScriptedWorker(held=True)
    async with managing(worker, idle_timeout_s=0.01) as manager:
        async with asyncio.TaskGroup() as tasks:
            before = tasks.create_task(manager.acquire(VERSION))
            await until(lambda: worker.starting)
            manager.renew(VERSION)
            worker.come_up()
        manager.release(before.result(), Outcome(b""))
        await until(lambda: worker.stopped == [before.result().instance])
        await settled()
        kept = leftovers(manager)
        assert {what: kept[what] for what in kept if what not in ("pools", "functions")} == {}


async def test_renewing_what_never_ran_does_nothing():
    worker = ScriptedWorker()
    async with managing(worker) as manager:
        manager.renew(VERSION)
        assert leftovers(manager) == {}
        lease = await manager.acquire(VERSION)
        assert lease.start.cause is ColdCause.FIRST
        manager.release(lease, Outcome(b""))
