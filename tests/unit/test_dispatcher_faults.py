"""The dispatcher when something goes wrong: what the store refuses, what nobody expected."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from samovar.clock import Clock
from samovar.events.verdict import Rules
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.invocation import Outcome
from samovar.store.events import SqlEventStore
from tests.unit.dispatching import NOW, Refuses, event, gone, never, until_true, world
from tests.unit.scripted_worker import settled, until


async def test_an_attempt_that_outlives_its_lease_changes_nothing(tmp_path):
    gate = asyncio.Event()

    async def act(_function):
        await gate.wait()
        return Outcome(b"{}")

    async with world(tmp_path, act) as it, it.dispatching():
        await it.store.accept(event("1"))
        await until(lambda: it.functions.begun)
        assert await it.store.sweep(everybody=True) == 1
        await it.store.hold("other", 1000.0)
        taken = await it.store.take("other", event("1").queue, 1, it.clock.now())
        assert len(taken.events) == 1
        gate.set()
        await settled()
        await it.store.accept(event("2", "g"))  # a write after those of the attempt
        assert "1" in await it.left()


async def test_an_end_that_cannot_be_written_is_written_later(tmp_path):
    full = PlatformError(ErrorCode.SERVICE, "the disk is full")
    async with world(tmp_path) as it, it.dispatching(Refuses(it.store, "settle", full)):
        await it.store.accept(event("1"))
        await until_true(lambda: gone(it))
        assert it.functions.begun == [("f", "1")]


async def test_an_error_that_nobody_expected_is_one_of_the_system(tmp_path):
    errors = [ZeroDivisionError()]

    async def act(_function):
        if errors:
            raise errors.pop()
        return Outcome(b"{}")

    async with world(tmp_path, act) as it, it.dispatching():
        await it.store.accept(event("1"))
        await until_true(it.store.due)
        it.clock.advance(1)
        await until_true(lambda: gone(it))
        assert it.functions.times("f") == 2


async def test_an_end_that_can_never_be_written_leaves_the_event_dead(tmp_path):
    async with world(tmp_path) as it, it.dispatching():
        it.rules = Rules(on_success_arn="arn:aws:sqs:us-east-1:000000000000:\ud800")
        await it.store.accept(event("1"))
        await until_true(it.dead)
        assert [dead.reason for dead in await it.dead()] == ["InternalError"]
        await it.store.accept(event("2"))
        await until(lambda: ("f", "2") in it.functions.begun)


async def test_what_a_target_answers_need_not_be_unicode(tmp_path):
    answers = [PlatformError(ErrorCode.SERVICE, "bad \ud800")]

    async def act(_function):
        if answers:
            raise answers.pop()
        return Outcome(b"{}")

    async with world(tmp_path, act) as it, it.dispatching():
        await it.store.accept(event("1"))
        await until_true(it.store.due)
        it.clock.advance(1)
        await until_true(lambda: gone(it))
        assert await it.dead() == []


async def test_an_event_that_cannot_be_read_stops_no_other(tmp_path):
    async with world(tmp_path) as it:
        await it.store.accept(event("1"), event("2"), event("3"))
        async with it.database.write() as connection:
            for broken in ("source = 'newer' WHERE id = '1'", "details = '[' WHERE id = '3'"):
                await connection.execute(sa.text(f"UPDATE events SET {broken}"))
        async with it.dispatching():
            await until_true(lambda: gone(it))
        assert it.functions.begun == [("f", "2")]
        dead = await it.dead()
        assert [kept.event.id for kept in dead] == ["1", "3"]
        assert {kept.reason for kept in dead} == {"InternalError"}
        assert "newer" in dead[0].event.last_error


BUSY = PlatformError(ErrorCode.UNAVAILABLE, "the database is busy")


@pytest.mark.parametrize("method", ["due", "forget_dead", "take"])
@pytest.mark.parametrize("error", [BUSY, ZeroDivisionError()], ids=["busy", "unexpected"])
async def test_what_the_store_refuses_once_is_asked_again_soon(tmp_path, method, error):
    async with world(tmp_path) as it:
        await it.store.accept(event("1"))
        store = Refuses(it.store, method, error)
        async with it.dispatching(store, dead_for_s=60):
            await until(lambda: store._error is None)
            it.clock.advance(1)
            await until_true(lambda: gone(it))


async def test_an_error_of_ours_between_attempts_ends_no_dispatcher(tmp_path):
    errors = [ZeroDivisionError()]

    def bound_of(_queue):
        if errors:
            raise errors.pop()
        return 64

    async with world(tmp_path) as it:
        it.bound_of = bound_of
        await it.store.accept(event("1"))
        async with it.dispatching():
            while await it.left():
                it.clock.advance(30)
                await settled()
        assert not errors


async def test_what_is_due_is_done_though_the_dead_cannot_be_forgotten(tmp_path):
    async with world(tmp_path) as it:
        await it.store.accept(event("1"))
        async with it.dispatching(Refuses(it.store, "forget_dead", BUSY), dead_for_s=60):
            await until_true(lambda: gone(it))


async def test_what_is_written_though_it_seemed_to_fail_is_run(tmp_path):
    async with world(tmp_path) as it, it.dispatching() as dispatcher:
        transact, failures = it.database.transact, [PlatformError(ErrorCode.SERVICE, "no answer")]

        async def answer_is_lost(work):
            result = await transact(work)
            if failures:
                raise failures.pop()
            return result

        it.database.transact = answer_is_lost
        await asyncio.gather(it.store.accept(event("1")), it.store.accept(event("2")))
        it.clock.advance(60)
        await until(lambda: dispatcher._unknown[1] == {"1", "2"})
        assert it.functions.begun == []
        it.clock.advance(60)
        await until_true(lambda: gone(it))
        assert sorted(it.functions.begun) == [("f", "1"), ("f", "2")]


async def test_what_runs_for_long_is_not_given_back(tmp_path):
    async with world(tmp_path, never) as it, it.dispatching() as dispatcher:
        await it.store.accept(event("1"))
        await until(lambda: it.functions.begun)
        for _ in range(3):
            before = dispatcher._look_at
            it.clock.advance(60)
            await until(lambda before=before: dispatcher._look_at > before)
            await until_true(it.left)
        assert it.functions.begun == [("f", "1")]


async def test_a_clock_that_is_set_back_keeps_nothing_waiting(tmp_path):
    wall = [NOW]
    async with world(tmp_path) as it:
        it.clock = Clock(wall=lambda: wall[0])
        async with it.dispatching() as dispatcher:
            await it.store.accept(event("1"))
            await until_true(lambda: gone(it))
            wall[0] -= 3600
            async with SqlEventStore(it.database) as unheard:
                await unheard.accept(event("2", due_at=wall[0]))
            dispatcher.waiting(event("3").queue, NOW)
            await until_true(lambda: gone(it))
