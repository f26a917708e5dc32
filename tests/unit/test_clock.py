"""The clock that tests can advance."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from samovar.clock import Clock
from tests.unit.scripted_worker import settled

NEVER = asyncio.Event
HOUR_S = 3600.0


class Wall:
    """A wall clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wall():
    return Wall()


@pytest.fixture
def clock(wall):
    return Clock(wall)


def test_it_runs_with_the_wall_clock_and_as_far_ahead_as_it_was_advanced(clock, wall):
    clock.advance(HOUR_S)
    wall.now += 1
    clock.advance(2)
    assert clock.now() == 1_000_000 + 1 + HOUR_S + 2
    assert clock.ahead_s == HOUR_S + 2


def test_it_does_not_go_back(clock):
    with pytest.raises(ValueError, match="back"):
        clock.advance(-1)
    assert clock.ahead_s == 0


async def test_a_moment_that_has_come_is_not_waited_for(clock):
    await clock.until(clock.now(), or_when=NEVER())
    await clock.until(clock.now() - HOUR_S, or_when=NEVER())


async def test_what_has_happened_is_not_waited_for(clock):
    happened = asyncio.Event()
    happened.set()
    await clock.until(None, or_when=happened)
    await clock.until(clock.now() + HOUR_S, or_when=happened)


async def test_who_waits_for_a_moment_goes_on_when_it_has_come_and_not_before(clock):
    async with asyncio.TaskGroup() as tasks:
        waiter = tasks.create_task(clock.until(clock.now() + HOUR_S, or_when=NEVER()))
        await settled()
        clock.advance(HOUR_S - 1)
        await clock.settled()
        await settled()
        assert not waiter.done()
        clock.advance(1)
        await clock.settled()
        await waiter


@pytest.mark.parametrize("ahead_s", [None, HOUR_S])
async def test_who_waits_goes_on_at_once_when_what_it_listens_to_happens(clock, ahead_s):
    happened = asyncio.Event()
    moment = None if ahead_s is None else clock.now() + ahead_s
    async with asyncio.TaskGroup() as tasks:
        waiter = tasks.create_task(clock.until(moment, or_when=happened))
        await settled()
        assert not waiter.done()
        happened.set()
        await waiter


async def test_the_wall_clock_alone_brings_a_moment_too():
    clock = Clock()
    moment = clock.now() + 0.01
    await clock.until(moment, or_when=NEVER())
    assert clock.now() >= moment


async def test_of_many_who_wait_those_go_on_whose_time_has_come(clock):
    begun = clock.now()
    gone_on: list[int] = []

    async def wait(hours: int) -> None:
        await clock.until(begun + hours * HOUR_S, or_when=NEVER())
        gone_on.append(hours)

    async with asyncio.TaskGroup() as tasks:
        for hours in range(1, 1001):
            tasks.create_task(wait(hours))
        await settled()
        clock.advance(600 * HOUR_S)
        await clock.settled()
        await settled()
        assert sorted(gone_on) == list(range(1, 601))
        clock.advance(400 * HOUR_S)


async def test_it_may_be_advanced_again_before_those_who_wait_have_gone_on(clock):
    async with asyncio.TaskGroup() as tasks:
        for hours in (1, 2):
            tasks.create_task(clock.until(clock.now() + hours * HOUR_S, or_when=NEVER()))
        await settled()
        clock.advance(HOUR_S)
        clock.advance(HOUR_S)


async def test_a_wait_may_be_cancelled_and_leaves_nothing(clock):
    happened = asyncio.Event()
    waiter = asyncio.ensure_future(clock.until(clock.now() + HOUR_S, or_when=happened))
    await settled()
    waiter.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiter
    clock.advance(2 * HOUR_S)
    await clock.settled()
    assert waiter.cancelled()
    assert clock._waits == set()


async def test_who_waits_notices_that_the_wall_clock_was_set(wall):
    clock = Clock(wall, look_again_s=0.01)
    async with asyncio.TaskGroup() as tasks:
        waiter = tasks.create_task(clock.until(clock.now() + HOUR_S, or_when=NEVER()))
        await settled()
        wall.now += HOUR_S
        await waiter


async def test_nobody_waits_for_those_whose_time_has_not_come(clock):
    async with asyncio.TaskGroup() as tasks:
        waiter = tasks.create_task(clock.until(clock.now() + HOUR_S, or_when=NEVER()))
        await settled()
        await clock.settled()
        waiter.cancel()
