"""The dispatcher: what is run when, what is left when it ends, and whose turn it is."""

from __future__ import annotations

import asyncio

from samovar.events.verdict import Rules
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.invocation import Outcome
from tests.unit.dispatching import THROTTLE, Refuses, event, fail, gone, never, until_true, world
from tests.unit.scripted_worker import settled, until

FIRST_WINDOW = 8


async def test_an_event_is_run_and_gone(tmp_path):
    async with world(tmp_path) as it, it.dispatching():
        await it.store.accept(event("1"))
        await until_true(lambda: gone(it))
        assert it.functions.begun == [("f", "1")]
        assert await it.dead() == []


async def test_what_an_earlier_life_has_accepted_is_run(tmp_path):
    async with world(tmp_path) as it:
        await it.store.accept(event("1"), event("2", due_at=event("1").due_at + 5))
        async with it.dispatching():
            await until(lambda: it.functions.begun == [("f", "1")])
            it.clock.advance(5)
            await until_true(lambda: gone(it))


async def test_what_a_killed_life_was_doing_is_done_again(tmp_path):
    async with world(tmp_path) as it:
        await it.store.hold("killed", 1000.0)
        await it.store.accept(event("1"))
        await it.store.take("killed", event("1").queue, 1, it.clock.now())
        async with it.dispatching():
            await until_true(lambda: gone(it))


async def test_a_failing_function_is_tried_after_one_minute_and_then_after_two(tmp_path):
    async with world(tmp_path, fail) as it, it.dispatching():
        await it.store.accept(event("1"))
        for attempt, wait_s in ((1, 59.0), (2, 119.0)):
            await until_true(lambda: it.store.due())
            assert it.functions.times("f") == attempt
            it.clock.advance(wait_s)
            await settled()
            assert it.functions.times("f") == attempt
            it.clock.advance(1.0)
            await until(lambda attempt=attempt: it.functions.times("f") == attempt + 1)
        await until_true(it.dead)
        (dead,) = await it.dead()
        assert (dead.event.id, dead.reason, dead.event.failures) == ("1", "RetriesExhausted", 3)
        assert it.functions.times("f") == 3


async def test_one_that_has_waited_for_too_long_is_not_run(tmp_path):
    async with world(tmp_path) as it:
        it.rules = Rules(max_age_s=60)
        await it.store.accept(event("1", accepted_at=it.clock.now() - 61))
        async with it.dispatching():
            await until_true(it.dead)
        assert [dead.reason for dead in await it.dead()] == ["EventAgeExceeded"]
        assert it.functions.begun == []


async def test_while_its_rules_cannot_be_read_an_event_waits_however_old_it_is(tmp_path):
    async with world(tmp_path) as it, it.dispatching():
        it.no_rules = PlatformError(ErrorCode.UNAVAILABLE, "the database is busy")
        await it.store.accept(event("1"))
        await until_true(lambda: it.store.due())
        it.clock.advance(7 * 3600)
        await settled()
        assert await it.left() == ["1"]
        it.no_rules, it.rules = None, Rules(max_age_s=9e9)
        it.clock.advance(300)
        await until_true(lambda: gone(it))
        assert it.functions.begun == [("f", "1")]


async def test_a_function_that_has_been_deleted_takes_no_events(tmp_path):
    async with world(tmp_path) as it, it.dispatching():
        it.functions.gone.add("f")
        await it.store.accept(event("1"))
        await until_true(it.dead)
        assert await it.left() == []


async def test_without_any_concurrency_events_end_at_once(tmp_path):
    async with world(tmp_path) as it, it.dispatching():
        it.reserved["f"] = 0
        await it.store.accept(event("1"))
        await until_true(it.dead)
        assert [dead.reason for dead in await it.dead()] == ["ZeroReservedConcurrency"]
        assert it.functions.begun == []


async def test_the_dead_are_kept_for_as_long_as_was_said(tmp_path):
    async with world(tmp_path) as it, it.dispatching(dead_for_s=3600):
        it.functions.gone.add("f")
        await it.store.accept(event("1"))
        await until_true(it.dead)
        it.clock.advance(3600)
        await settled()
        assert len(await it.dead()) == 1
        it.clock.advance(60)
        await until_true(lambda: none_dead(it))


async def none_dead(it):
    return not await it.dead()


async def test_what_nobody_can_send_is_kept(tmp_path):
    async with world(tmp_path) as it, it.dispatching():
        await it.store.accept(event("1", target="arn:aws:sqs:us-east-1:000000000000:q"))
        await until_true(it.dead)


# ---------------------------------------------------------------- turns


async def test_a_queue_with_very_many_does_not_starve_one_with_ten(tmp_path):
    async with world(tmp_path) as it:
        it.at_once = 4
        await it.store.accept(*(event(f"m{n}", "many") for n in range(400)))
        await it.store.accept(*(event(f"t{n}", "ten") for n in range(10)))
        async with it.dispatching():
            await until(lambda: it.functions.times("ten") == 10)
            assert it.functions.times("many") < 100
            await until_true(lambda: gone(it))


async def test_a_throttled_queue_stops_nobody_and_is_not_tried_in_vain(tmp_path):
    async def act(function):
        if function == "throttled":
            raise THROTTLE
        return Outcome(b"{}")

    async with world(tmp_path, act) as it:
        await it.store.accept(*(event(f"t{n}", "throttled") for n in range(300)))
        await it.store.accept(*(event(f"o{n}", "other") for n in range(100)))
        async with it.dispatching():
            await until(lambda: it.functions.times("other") == 100)
            await settled()
            assert it.functions.times("throttled") == FIRST_WINDOW
            for probes, pause_s in ((1, 1), (2, 2), (3, 4), (4, 8)):
                it.clock.advance(pause_s)
                expected = FIRST_WINDOW + probes
                await until(lambda n=expected: it.functions.times("throttled") == n)
                await settled()
                assert it.functions.times("throttled") == expected
        assert len(await it.left()) == 300


async def test_a_queue_that_was_throttled_comes_back(tmp_path):
    refusals = [THROTTLE] * 3

    async def act(_function):
        if refusals:
            raise refusals.pop()
        return Outcome(b"{}")

    async with world(tmp_path, act) as it:
        await it.store.accept(*(event(str(n)) for n in range(50)))
        async with it.dispatching():
            while await it.left():
                it.clock.advance(1)
                await settled()


async def test_no_more_are_under_way_than_may_be(tmp_path):
    gate, under_way, most = asyncio.Event(), 0, 0

    async def act(_function):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await gate.wait()
        under_way -= 1
        return Outcome(b"{}")

    async with world(tmp_path, act) as it:
        it.at_once = 20
        async with it.dispatching():
            names = [f"{letter}{number}" for letter in "abcd" for number in range(5)]
            await it.store.accept(*(event(f"{f}-{n}", f) for f in names for n in range(4)))
            await until(lambda: under_way == 20)
            gate.set()
            await until_true(lambda: gone(it))
        assert most == 20


async def test_an_endpoint_that_hangs_keeps_no_function_waiting(tmp_path):
    hanging = []

    class Hangs:
        async def send(self, event):
            hanging.append(event.id)
            await never("")

    async with world(tmp_path) as it:
        it.at_once, it.sender = 4, Hangs()
        async with it.dispatching():
            queue = "arn:aws:sqs:us-east-1:000000000000:q"
            records = (event(f"{f}{n}", f, target=queue) for n in range(5) for f in "abc")
            await it.store.accept(*records)
            await until(lambda: len(hanging) >= 4)
            await it.store.accept(*(event(f"new{n}", "new") for n in range(9)))
            await until(lambda: it.functions.times("new") == 9)


# ---------------------------------------------------------------- the end


async def test_who_drains_waits_until_ends_are_written(tmp_path):
    gate, writing = asyncio.Event(), asyncio.Event()

    class Slow(Refuses):
        async def settle(self, *given):
            writing.set()
            await gate.wait()
            return await self._store.settle(*given)

    async with world(tmp_path) as it:
        slow = Slow(it.store, "none", None)
        async with it.dispatching(slow) as dispatcher, asyncio.TaskGroup() as tasks:
            await it.store.accept(event("1"))
            await writing.wait()
            draining = tasks.create_task(dispatcher.drain(30))
            await settled()
            assert not draining.done()
            gate.set()
            await draining
            assert await it.left() == []


async def test_what_runs_when_it_drains_may_end(tmp_path):
    gate = asyncio.Event()

    async def act(_function):
        await gate.wait()
        return Outcome(b"{}")

    async with world(tmp_path, act) as it:
        async with it.dispatching() as dispatcher:
            await it.store.accept(event("1"))
            await until(lambda: it.functions.begun)
            async with asyncio.TaskGroup() as tasks:
                draining = tasks.create_task(dispatcher.drain(30))
                await settled()
                await it.store.accept(event("2"))
                assert not draining.done()
                gate.set()
        assert await it.left() == ["2"]
        assert it.functions.begun == [("f", "1")]


async def test_what_has_not_ended_goes_back_as_it_was(tmp_path):
    async with world(tmp_path, never) as it:
        async with it.dispatching() as dispatcher:
            await it.store.accept(event("1"))
            await until(lambda: it.functions.begun)
            await dispatcher.drain(0)
        await it.store.hold("next", 30.0)
        taken = await it.store.take("next", event("1").queue, 5, it.clock.now())
        assert list(taken.events) == [event("1")]


async def test_what_is_refused_while_it_drains_goes_back_as_it_was(tmp_path):
    stop = asyncio.Event()

    async def act(_function):
        await stop.wait()
        raise PlatformError(ErrorCode.UNAVAILABLE, "The server is shutting down.")

    async with world(tmp_path, act) as it:
        async with it.dispatching() as dispatcher:
            await it.store.accept(event("1"))
            await until(lambda: it.functions.begun)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(dispatcher.drain(30))
                await settled()
                stop.set()
        await it.store.hold("next", 30.0)
        taken = await it.store.take("next", event("1").queue, 5, it.clock.now())
        assert list(taken.events) == [event("1")]
