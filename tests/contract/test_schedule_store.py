"""The contract of the stores of schedules and of their groups: on every database."""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest
from msgspec import structs

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.event import Event
from samovar.model.schedule import GroupState, ScheduleState
from samovar.model.schedule_plan import plan
from samovar.ports import Firing, ScheduleFilter
from samovar.store.event_writes import EventBounds
from samovar.store.events import SqlEventStore
from samovar.store.schedule_groups import SqlScheduleGroupStore
from samovar.store.schedules import SqlScheduleStore
from tests.unit.schedule_samples import (
    ACCOUNT,
    FUNCTION,
    HOUR_S,
    NOON,
    REGION,
    a_group,
    a_schedule,
    planned,
)

EVERYTHING = ScheduleFilter()


@pytest.fixture
async def events(database):
    async with SqlEventStore(database, EventBounds(queue_events=2)) as store:
        yield store


@pytest.fixture
async def groups(database):
    store = SqlScheduleGroupStore(database)
    await store.create(a_group())
    return store


@pytest.fixture
def schedules(database, events, groups):
    return SqlScheduleStore(database, events.accept_if, max_schedules=6)


def refused(code, words=""):
    return pytest.raises(PlatformError, match=f"{code.value}: .*{words}")


def an_event(schedule, number=0):
    return Event(
        id=f"{schedule.id.name}-{number}",
        queue=schedule.id.arn,
        target=FUNCTION,
        payload=b"{}",
        accepted_at=NOON,
        due_at=NOON,
    )


async def names(schedules, wanted=EVERYTHING, limit=100):
    page = await schedules.list_schedules(ACCOUNT, REGION, wanted, marker=None, limit=limit)
    return [planned.schedule.id.name for planned in page.items]


# ---------------------------------------------------------------- schedules


async def test_a_schedule_comes_back_as_it_went_in(schedules):
    whole = a_schedule(
        "cron(0 9 * * ? *)",
        timezone="Europe/Berlin",
        start=dt.datetime(2026, 12, 1, 8, 30, 0, 123000, tzinfo=dt.UTC),
        end=dt.datetime(2027, 12, 1, tzinfo=dt.UTC),
        window_minutes=15,
        description="tea, Чай",
        delete_when_done=True,
        client_token="t",
        target={"input": '"in"', "attributes": {"MessageGroupId": "g"}, "dead_letter_arn": "d"},
    )
    await schedules.create(planned(whole))
    kept = await schedules.get(whole.id)
    assert kept == planned(whole)


async def test_a_listing_leaves_out_inputs_and_goes_on_by_its_marker(schedules, groups):
    await groups.create(a_group("a"))
    for group, name in (("default", "y"), ("a", "z"), ("default", "x_y"), ("default", "xay")):
        schedule = a_schedule(name=name, group=group, target={"input": "large"})
        await schedules.create(planned(schedule))
    marker, listed = None, []
    while True:
        page = await schedules.list_schedules(ACCOUNT, REGION, EVERYTHING, marker=marker, limit=1)
        listed += page.items
        if (marker := page.marker) is None:
            break
    assert [p.schedule.id.name for p in listed] == ["z", "x_y", "xay", "y"]
    assert all(p.schedule.target.input is None for p in listed)
    assert await names(schedules, ScheduleFilter(group="a")) == ["z"]
    assert await names(schedules, ScheduleFilter(prefix="x_")) == ["x_y"]
    assert await names(schedules, ScheduleFilter(state=ScheduleState.DISABLED)) == []


async def test_there_is_one_of_a_name_in_a_group(schedules):
    one = a_schedule(client_token="t")
    await schedules.create(planned(one))
    await schedules.create(planned(structs.replace(one, created=dt.datetime.now(dt.UTC))))
    with refused(ErrorCode.CONFLICT, "Schedule s already exists"):
        await schedules.create(planned(a_schedule()))
    assert await names(schedules) == ["s"]


async def test_what_is_not_there_is_not_found(schedules):
    nothing = a_schedule().id
    for act in (
        schedules.get(nothing),
        schedules.delete(nothing),
        schedules.replace(nothing, lambda known: known),
    ):
        with refused(ErrorCode.NOT_FOUND, "Schedule s does not exist."):
            await act
    with refused(ErrorCode.NOT_FOUND, "Schedule group g does not exist."):
        await schedules.create(planned(a_schedule(group="g")))


async def test_no_more_than_the_quota_at_any_time(schedules):
    for number in range(6):
        await schedules.create(planned(a_schedule(name=f"s{number}")))
    with refused(ErrorCode.QUOTA_EXCEEDED):
        await schedules.create(planned(a_schedule(name="s6")))
    await schedules.delete(a_schedule(name="s0").id)
    with refused(ErrorCode.NOT_FOUND):
        await schedules.delete(a_schedule(name="s0").id)
    await schedules.create(planned(a_schedule(name="s6")))
    with refused(ErrorCode.QUOTA_EXCEEDED):
        await schedules.create(planned(a_schedule(name="s7")))


# ---------------------------------------------------------------- firing


async def test_those_whose_time_has_come_are_due_the_longest_due_first(schedules):
    assert await schedules.next_at() is None
    for name, after in (("late", NOON + HOUR_S), ("b", NOON + 400), ("a", NOON)):
        await schedules.create(planned(a_schedule(name=name), after))
    assert await schedules.next_at() == NOON + 300
    found = await schedules.due(NOON + HOUR_S, 5)
    assert [p.schedule.id.name for p in found] == ["a", "b"]
    assert [p.schedule.id.name for p in await schedules.due(NOON + HOUR_S, 1)] == ["a"]


async def test_a_schedule_moves_on_in_the_transaction_that_accepts_its_event(schedules, events):
    was = planned(a_schedule())
    await schedules.create(was)
    then = plan(was.schedule, was.revision, NOON, lambda: 0, missed=3)
    assert await schedules.fire(Firing(was, then, [an_event(was.schedule)]))
    assert await schedules.get(was.schedule.id) == then
    assert await events.due() == {was.schedule.id.arn: NOON}


async def test_of_many_who_fire_the_same_tick_one_does(database, groups):
    was = planned(a_schedule())
    then = plan(was.schedule, was.revision, NOON, lambda: 0)

    async def fire(number, events):
        store = SqlScheduleStore(database, events.accept_if)
        return await store.fire(Firing(was, then, [an_event(was.schedule, number)]))

    async with SqlEventStore(database) as one, SqlEventStore(database) as other:
        await SqlScheduleStore(database, one.accept_if).create(was)
        fired = await asyncio.gather(*(fire(n, (one, other)[n % 2]) for n in range(20)))
        assert sum(fired) == 1
        await one.hold("h", 60)
        assert len((await one.take("h", was.schedule.id.arn, 50, NOON)).events) == 1


@pytest.mark.parametrize("change", ["updated", "deleted"])
async def test_what_has_changed_since_does_not_fire(schedules, events, change):
    was = planned(a_schedule())
    await schedules.create(was)
    if change == "deleted":
        await schedules.delete(was.schedule.id)
    else:
        await schedules.replace(
            was.schedule.id, lambda known: structs.replace(known, revision="other")
        )
    then = plan(was.schedule, was.revision, NOON, lambda: 0)
    assert not await schedules.fire(Firing(was, then, [an_event(was.schedule)]))
    assert await events.due() == {}


async def test_one_that_is_done_may_go_with_its_last_event(schedules, events):
    was = planned(a_schedule("at(2026-11-23T12:00:00)"))
    await schedules.create(was)
    assert await schedules.fire(Firing(was, None, [an_event(was.schedule)]))
    assert await names(schedules) == []
    assert list(await events.due()) == [was.schedule.id.arn]
    for number in range(6):  # it no longer counts
        await schedules.create(planned(a_schedule(name=f"s{number}")))


async def test_a_full_queue_leaves_the_schedule_as_it_was(schedules, events):
    was = planned(a_schedule())
    await schedules.create(was)
    await events.accept(*(an_event(was.schedule, number) for number in range(2)))
    then = plan(was.schedule, was.revision, NOON, lambda: 0)
    with refused(ErrorCode.TOO_MANY_REQUESTS):
        await schedules.fire(Firing(was, then, [an_event(was.schedule, 3)]))
    assert await schedules.get(was.schedule.id) == was
    assert await schedules.fire(Firing(was, then, []))
    assert await schedules.get(was.schedule.id) == then


# ---------------------------------------------------------------- groups


async def test_a_group_comes_back_as_it_went_in(groups):
    group = a_group("g", tags={"tea": "green"}, client_token="t")
    await groups.create(group)
    await groups.create(group)
    assert await groups.get(group.id) == group
    with refused(ErrorCode.CONFLICT, "Schedule group g already exists."):
        await groups.create(a_group("g"))
    await groups.ensure(a_group("g"))
    assert await groups.get(group.id) == group


async def test_groups_are_listed_by_name(groups):
    for name in ("b", "a_1", "a2"):
        await groups.ensure(a_group(name))
    first = await groups.list_groups(ACCOUNT, REGION, "", marker=None, limit=2)
    rest = await groups.list_groups(ACCOUNT, REGION, "", marker=first.marker, limit=2)
    listed = [group.id.name for page in (first, rest) for group in page.items]
    assert (listed, rest.marker) == (["a2", "a_1", "b", "default"], None)
    some = await groups.list_groups(ACCOUNT, REGION, "a_", marker=None, limit=9)
    assert [group.id.name for group in some.items] == ["a_1"]


async def test_a_group_is_deleted_schedule_by_schedule(groups, schedules):
    await groups.create(a_group("g"))
    for number in range(5):
        await schedules.create(planned(a_schedule(name=f"s{number}", group="g")))
    await schedules.create(planned(a_schedule(name="other")))
    assert not await groups.sweep(2)
    await groups.replace(
        a_group("g").id, lambda group: structs.replace(group, state=GroupState.DELETING)
    )
    with refused(ErrorCode.CONFLICT, "being deleted"):
        await schedules.create(planned(a_schedule(name="new", group="g")))
    left = []
    while await groups.sweep(2):
        left.append(len(await names(schedules)))
    assert left == [4, 2, 1]
    with refused(ErrorCode.NOT_FOUND):
        await groups.get(a_group("g").id)
    assert await names(schedules) == ["other"]


async def test_ensuring_a_group_from_everywhere_at_once_makes_one(database):
    store = SqlScheduleGroupStore(database)
    await asyncio.gather(*(store.ensure(a_group()) for _ in range(10)))
    assert (await store.get(a_group().id)) == a_group()
