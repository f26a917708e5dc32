"""What fires schedules: with real stores, and a clock that a test sets."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
from msgspec import structs

from samovar.clock import Clock
from samovar.events.schedules.occurrence import event_of, for_attempt
from samovar.events.schedules.ticker import Ticker
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.event import DeliveryPolicy, EventSource
from samovar.model.schedule import GroupState
from samovar.model.schedule_plan import plan
from samovar.ports import Verdict
from samovar.store.database import Database
from samovar.store.event_writes import EventBounds
from samovar.store.events import SqlEventStore
from samovar.store.schedule_groups import SqlScheduleGroupStore
from samovar.store.schedules import SqlScheduleStore
from tests.unit.schedule_samples import (
    FUNCTION,
    HOUR_S,
    MINUTE_S,
    NOON,
    a_group,
    a_schedule,
)


class Platform:
    """Stores on a database, and lives of a ticker before them."""

    def __init__(self, database, events):
        self.wall = NOON
        self.clock = Clock(lambda: self.wall)
        self.events = events
        self.groups = SqlScheduleGroupStore(database)
        self.schedules = SqlScheduleStore(database, events.accept_if)
        self.draw = lambda: 0.0

    def ticker(self, schedules=None):
        return Ticker(schedules or self.schedules, self.groups, self.clock, lambda: self.draw())

    async def add(self, *schedules):
        for schedule in schedules:
            after = self.clock.now() - 1e-3
            await self.schedules.create(plan(schedule, "r", after, lambda: self.draw()))

    async def state(self, name="s"):
        return await self.schedules.get(a_schedule(name=name).id)

    async def fired(self, *names):
        """The events that wait, by schedule and in order."""
        await self.events.hold(holder := str(id(object())), 60)
        found = []
        for name in names or ("s",):
            queue = a_schedule(name=name).id.arn
            found += (await self.events.take(holder, queue, 10_000, self.clock.now())).events
        return found

    async def until_next_is(self, moment, ticker, name="s"):
        """Return when the schedule has come to wait for a moment. (Reading the store lets the
        ticker go on; the test's time-out is the bound.)"""
        ticker.changed()
        while (await self.state(name)).next_at != moment:
            pass


@pytest.fixture
async def platform(tmp_path):
    database = await Database.open(tmp_path / "state.db")
    async with SqlEventStore(database) as events:
        built = Platform(database, events)
        await built.groups.create(a_group())
        yield built
    await database.close()


def scheduled_times(events):
    return [json.loads(event.payload)["time"] for event in events]


async def test_a_schedule_fires_when_its_time_comes(platform):
    await platform.add(a_schedule("at(2026-11-23T13:00:00)"))
    async with platform.ticker() as ticker:
        platform.clock.advance(HOUR_S)
        await platform.until_next_is(None, ticker)
    (event,) = await platform.fired()
    assert (event.target, event.queue) == (FUNCTION, a_schedule().id.arn)
    assert event.source is EventSource.SCHEDULE
    assert event.policy == DeliveryPolicy(max_attempts=186, max_age_s=86400)
    assert event.accepted_at == event.due_at == NOON + HOUR_S


async def test_hours_that_pass_at_once_fire_every_tick(platform):
    await platform.add(a_schedule())
    async with platform.ticker() as ticker:
        await platform.until_next_is(NOON + 300, ticker)
        platform.clock.advance(3 * HOUR_S)
        await platform.until_next_is(NOON + 3 * HOUR_S + 300, ticker)
    events = await platform.fired()
    assert len(set(scheduled_times(events))) == len(events) == 3 * 12 + 1
    assert (await platform.state()).missed == 0


async def test_after_a_downtime_it_fires_once_and_tells_what_it_missed(platform):
    await platform.add(a_schedule())
    platform.wall += 8 * HOUR_S + 17
    async with platform.ticker() as ticker:
        await platform.until_next_is(NOON + 8 * HOUR_S + 300, ticker)
    assert scheduled_times(await platform.fired()) == ["2026-11-23T20:00:00Z"]
    assert (await platform.state()).missed == 96


async def test_a_life_that_ends_at_any_write_neither_loses_nor_doubles_a_tick(platform):
    """Each life is ended at its first or second firing: before it is written, or after."""

    class Dying:
        def __init__(self, dies_at, after):
            self.left, self.after = dies_at, after
            self.dead = asyncio.Event()

        def __getattr__(self, name):
            return getattr(platform.schedules, name)

        async def fire(self, firing):
            self.left -= 1
            if self.left == 0 and self.after:
                await platform.schedules.fire(firing)
            if self.left <= 0:
                self.dead.set()
                raise PlatformError(ErrorCode.UNAVAILABLE, "killed")
            return await platform.schedules.fire(firing)

    names = [f"s{number}" for number in range(4)]
    await platform.add(*(a_schedule("at(2026-11-23T12:00:00)", name=name) for name in names))
    for dies_at, after in ((1, False), (2, True), (1, True)):
        dying = Dying(dies_at, after)
        async with platform.ticker(dying):
            await dying.dead.wait()
    async with platform.ticker() as ticker:
        for name in names:
            await platform.until_next_is(None, ticker, name)
    assert sorted(event.queue.rpartition("/")[2] for event in await platform.fired(*names)) == names


async def test_two_tickers_on_one_database_fire_each_tick_once(platform):
    names = [f"s{number}" for number in range(30)]
    await platform.add(*(a_schedule(name=name) for name in names))
    async with platform.ticker() as one, platform.ticker() as other:
        for name in names:
            await platform.until_next_is(NOON + 300, one, name)
            other.changed()
    assert len(await platform.fired(*names)) == len(names)


async def test_a_thousand_in_the_same_second_all_fire(platform):
    names = [f"s{number}" for number in range(1000)]
    await platform.add(*(a_schedule(name=name) for name in names))
    async with platform.ticker() as ticker:
        ticker.changed()
        while (await platform.schedules.next_at()) != NOON + 300:
            pass
    assert len(await platform.events.due()) == 1000


async def test_a_flexible_window_is_drawn_anew_for_each_tick(platform):
    draws = iter([0.5, 0.25])
    platform.draw = lambda: next(draws)
    await platform.add(a_schedule("rate(1 hour)", window_minutes=40))
    assert (await platform.state()).next_at == NOON + 20 * MINUTE_S
    async with platform.ticker() as ticker:
        platform.clock.advance(20 * MINUTE_S)
        await platform.until_next_is(NOON + 70 * MINUTE_S, ticker)
    assert scheduled_times(await platform.fired()) == ["2026-11-23T12:00:00Z"]


@pytest.fixture
async def crowded(tmp_path):
    """A platform whose queues hold one event."""
    database = await Database.open(tmp_path / "crowded.db")
    async with SqlEventStore(database, EventBounds(queue_events=1)) as events:
        built = Platform(database, events)
        await built.groups.create(a_group())
        yield built
    await database.close()


async def test_where_its_queue_is_full_a_tick_stays_due(crowded):
    once = a_schedule("at(2026-11-23T12:00:00)", delete_when_done=True)
    await crowded.add(once)
    await crowded.events.accept(event_of(once, NOON, NOON, "in-the-way"))
    async with crowded.ticker() as ticker:
        await crowded.until_next_is(NOON + MINUTE_S, ticker)
        await crowded.events.hold("h", 60)
        (other,) = (await crowded.events.take("h", once.id.arn, 1, NOON)).events
        await crowded.events.settle("h", other, Verdict())
        crowded.clock.advance(MINUTE_S)
        while await crowded.schedules.next_at() is not None:
            pass
    assert scheduled_times(await crowded.fired()) == ["2026-11-23T12:00:00Z"]
    with pytest.raises(PlatformError, match="does not exist"):
        await crowded.state()


async def test_where_its_queue_stays_full_a_tick_is_missed_when_it_is_too_old(crowded):
    once = a_schedule("at(2026-11-23T12:00:00)", target={"max_age_s": 90})
    await crowded.add(once)
    await crowded.events.accept(event_of(once, NOON, NOON, "in-the-way"))
    async with crowded.ticker() as ticker:
        for next_at in (NOON + MINUTE_S, NOON + 2 * MINUTE_S, None):
            await crowded.until_next_is(next_at, ticker)
            crowded.clock.advance(MINUTE_S)
    assert (await crowded.state()).missed == 1


async def test_a_schedule_whose_zone_is_lost_fires_when_it_is_back_and_holds_nobody_up(platform):
    def in_zone(zone):
        return lambda known: structs.replace(
            known, schedule=structs.replace(known.schedule, timezone=zone)
        )

    lost = a_schedule(name="lost").id
    await platform.add(a_schedule(name="ok"), a_schedule(name="lost"))
    await platform.schedules.replace(lost, in_zone("Europe/Atlantis"))
    async with platform.ticker() as ticker:
        await platform.until_next_is(NOON + MINUTE_S, ticker, "lost")
        await platform.until_next_is(NOON + 300, ticker, "ok")
        await platform.schedules.replace(lost, in_zone("UTC"))
        platform.clock.advance(MINUTE_S)
        await platform.until_next_is(NOON + 300, ticker, "lost")
    assert len(await platform.fired("ok", "lost")) == 2


async def test_a_defect_of_the_store_does_not_end_the_role(platform):
    class Broken:
        def __init__(self):
            self.failed = asyncio.Event()

        def __getattr__(self, name):
            return getattr(platform.schedules, name)

        async def due(self, now, limit):
            if not self.failed.is_set():
                self.failed.set()
                raise ValueError("a row that cannot be read")
            return await platform.schedules.due(now, limit)

    await platform.add(a_schedule())
    async with platform.ticker(broken := Broken()) as ticker:
        await broken.failed.wait()
        await platform.until_next_is(NOON + 300, ticker)


async def test_a_group_that_is_deleted_goes_with_all_its_schedules(platform):
    await platform.groups.create(a_group("g"))
    await platform.add(*(a_schedule(name=f"s{n}", group="g") for n in range(5)))
    async with platform.ticker() as ticker:
        await platform.groups.replace(
            a_group("g").id, lambda group: structs.replace(group, state=GroupState.DELETING)
        )
        ticker.changed()
        with contextlib.suppress(PlatformError):
            while await platform.groups.get(a_group("g").id):
                pass


# ---------------------------------------------------------------- keywords


async def test_keywords_are_replaced_and_the_attempt_is_counted_when_it_is_made(platform):
    given = (
        '{"arn": "<aws.scheduler.schedule-arn>", "at": "<aws.scheduler.scheduled-time>",'
        ' "id": "<aws.scheduler.execution-id>", "try": "<aws.scheduler.attempt-number>",'
        ' "other": "<aws.scheduler.nothing>"}'
    )
    queue = "arn:aws:sqs:us-east-1:000000000000:q"
    await platform.add(a_schedule(target={"arn": queue, "input": given}))
    async with platform.ticker() as ticker:
        await platform.until_next_is(NOON + 300, ticker)
    (event,) = await platform.fired()
    third = json.loads(for_attempt(structs.replace(event, failures=1, throttles=1)).payload)
    assert third == {
        "arn": a_schedule().id.arn,
        "at": "2026-11-23T12:00:00Z",
        "id": event.id.replace("-", "")[:16],
        "try": "3",
        "other": "<aws.scheduler.nothing>",
    }
    assert for_attempt(structs.replace(event, source=EventSource.INVOKE)).payload == event.payload


async def test_a_function_gets_the_same_event_however_often_it_is_tried(platform):
    await platform.add(a_schedule(target={"input": '"<aws.scheduler.attempt-number>"'}))
    async with platform.ticker() as ticker:
        await platform.until_next_is(NOON + 300, ticker)
    (event,) = await platform.fired()
    assert for_attempt(structs.replace(event, failures=2)).payload == b'"1"'
