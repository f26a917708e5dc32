"""Looking after events: counts, listings, replays and purges, on every database."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import structs

from samovar.event_admin import EventFilter
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.event import DeadEvent, Event, EventState
from samovar.store.database import Database
from samovar.store.event_admin import SqlEventAdmin
from samovar.store.event_writes import EventBounds
from samovar.store.events import SqlEventStore
from samovar.stores import Verdict
from tests.contract.samples import ACCOUNT, REGION, function_id
from tests.contract.test_event_store import NOW, counted, event

F, G = function_id("f").arn, function_id("g").arn
SCHEDULE = f"arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule/default/daily"
ALL = EventFilter(ACCOUNT, REGION)
BOUNDS = EventBounds(queue_events=5, queue_bytes=1000)
QUEUED, RUNNING, RETRYING, DEAD = (
    EventState.QUEUED,
    EventState.RUNNING,
    EventState.RETRYING,
    EventState.DEAD,
)


class Events:
    """A store, who looks after it, and who was woken."""

    def __init__(self, database: Database, store: SqlEventStore) -> None:
        self.database = database
        self.store = store
        self.woken: list[tuple[str, float]] = []
        self.admin = SqlEventAdmin(
            database, BOUNDS, lambda queue, due_at: self.woken.append((queue, due_at))
        )

    async def taken(self, id_: str, queue: str = F, **fields: Any) -> Event:
        """An event that runs."""
        await self.store.accept(event(id_, queue, due_at=0.0, **fields))
        (taken,) = (await self.store.take("h", queue, 1, 0.0)).events
        return taken

    async def retried(self, id_: str, queue: str = F, **attempts: int) -> None:
        taken = await self.taken(id_, queue)
        again = structs.replace(taken, due_at=NOW + 60, last_error="Unhandled", **attempts)
        assert await self.store.settle("h", taken, Verdict(again=again))

    async def died(self, id_: str, queue: str = F, **fields: Any) -> None:
        taken = await self.taken(id_, queue, **fields)
        dead = DeadEvent(
            event=structs.replace(taken, failures=3, last_error="Unhandled"),
            reason="RetriesExhausted",
            died_at=NOW + 7,
        )
        assert await self.store.settle("h", taken, Verdict(dead=dead))

    async def one_of_each(self) -> None:
        await self.store.accept(event("queued", F, accepted_at=NOW - 5))
        await self.taken("running")
        await self.retried("retrying", failures=1)
        await self.died("dead", payload=b"123")

    async def listed(self, among: EventFilter = ALL) -> dict[str, EventState]:
        page = await self.admin.list(among, marker=None, limit=100)
        assert page.marker is None
        return {kept.event.id: kept.state for kept in page.items}


@pytest.fixture
async def events(database: Database) -> AsyncIterator[Events]:
    async with SqlEventStore(database, BOUNDS) as store:
        await store.hold("h", 60.0)
        yield Events(database, store)


def of(**fields: Any) -> EventFilter:
    return dataclasses.replace(ALL, **fields)


async def test_each_event_is_in_the_state_that_its_life_has_brought_it_to(events: Events) -> None:
    await events.one_of_each()
    await events.retried("throttled", throttles=1)
    assert await events.listed() == {
        "queued": QUEUED,
        "running": RUNNING,
        "retrying": RETRYING,
        "throttled": RETRYING,
        "dead": DEAD,
    }


async def test_a_queue_tells_how_many_are_in_each_state_and_what_comes_next(events: Events) -> None:
    await events.one_of_each()
    await events.died("other", G)
    f, g = (await events.admin.queues(ALL, marker=None, limit=10)).items
    assert f.queue == F
    assert f.counts == {QUEUED: 1, RUNNING: 1, RETRYING: 1, DEAD: 1}
    assert (f.oldest_at, f.next_at) == (NOW - 5, NOW)
    assert (g.queue, g.counts[DEAD], g.oldest_at, g.next_at) == (G, 1, None, None)


@pytest.mark.parametrize("state", [QUEUED, RUNNING, RETRYING, DEAD])
async def test_those_of_one_state_can_be_asked_for(events: Events, state: EventState) -> None:
    await events.one_of_each()
    assert await events.listed(of(state=state)) == {state.value: state}
    (queue,) = (await events.admin.queues(of(state=state), marker=None, limit=10)).items
    assert sum(queue.counts.values()) == queue.counts[state] == 1


async def test_attributes_that_look_like_attempts_are_none(events: Events) -> None:
    await events.store.accept(event("1", F, attributes={"failures": '{"failures":1'}))
    assert await events.listed() == {"1": QUEUED}


async def test_other_accounts_and_regions_and_functions_are_not_told_of(events: Events) -> None:
    for id_, queue in {
        "f": F,
        "g": G,
        "schedule": SCHEDULE,
        "account": function_id("f", account="111111111111").arn,
        "region": function_id("f", region="eu-west-1").arn,
    }.items():
        await events.store.accept(event(id_, queue))
    assert set(await events.listed()) == {"f", "g", "schedule"}
    assert set(await events.listed(of(queue=F))) == {"f"}
    assert set(await events.listed(of(region="eu-west-1"))) == {"region"}
    assert await events.listed(of(region="%")) == {}
    assert await events.listed(of(account="%")) == {}
    with pytest.raises(PlatformError):
        await events.admin.get(ALL, "account")
    assert await events.admin.purge(of(region="%"), 10) == 0


async def test_an_event_is_shown_with_its_payload_and_why_it_is_dead(events: Events) -> None:
    await events.died("1", payload=b"\x00secret")
    kept = await events.admin.get(ALL, "1")
    assert (kept.state, kept.reason, kept.died_at) == (DEAD, "RetriesExhausted", NOW + 7)
    assert (kept.event.payload, kept.size_bytes) == (b"\x00secret", 7)
    assert (kept.event.failures, kept.event.last_error) == (3, "Unhandled")


async def test_what_is_not_there_is_not_found(events: Events) -> None:
    with pytest.raises(PlatformError) as missing:
        await events.admin.get(ALL, "1")
    assert missing.value.code is ErrorCode.NOT_FOUND


async def test_a_listing_goes_on_where_it_ended_with_the_oldest_first(events: Events) -> None:
    ages = {"b": 1, "c": 2, "a": 2, "d": 3}
    for id_, accepted_at in ages.items():
        await events.store.accept(event(id_, F, accepted_at=NOW + accepted_at + 0.1))
    listed, marker = [], None
    while True:
        page = await events.admin.list(ALL, marker=marker, limit=1)
        listed += [(kept.event.id, kept.event.payload) for kept in page.items]
        marker = page.marker
        if marker is None:
            break
        await events.admin.purge(of(ids=[listed[-1][0]]), 10)
    assert listed == [(id_, b"") for id_ in "bacd"]


async def test_queues_are_listed_in_pages(events: Events) -> None:
    for queue in (G, SCHEDULE, F):
        await events.store.accept(event(queue, queue))
    first = await events.admin.queues(ALL, marker=None, limit=2)
    second = await events.admin.queues(ALL, marker=first.marker, limit=2)
    assert [status.queue for page in (first, second) for status in page.items] == [F, G, SCHEDULE]
    assert second.marker is None


@pytest.mark.parametrize(
    "marker", ["x", "WyJldmVudHMiLCAieCIsICJ5Il0=", "WyJldmVudHMiLCAibmFuIiwgIiJd"]
)
async def test_a_marker_that_was_made_up_is_refused(events: Events, marker: str) -> None:
    for listing in (events.admin.list, events.admin.queues):
        with pytest.raises(PlatformError) as refused:
            await listing(ALL, marker=marker, limit=1)
        assert refused.value.code is ErrorCode.INVALID_PARAMETER


# ---------------------------------------------------------------- replay


async def test_a_dead_event_is_replayed_as_if_it_were_new(events: Events) -> None:
    await events.died("1", payload=b"tea", trace_id="Root=1")
    assert await events.admin.replay(ALL, NOW + 99, 10) == 1
    assert events.woken == [(F, NOW + 99)]
    (taken,) = (await events.store.take("h", F, 5, NOW + 99)).events
    assert taken == event(
        "1", F, payload=b"tea", trace_id="Root=1", accepted_at=NOW + 99, due_at=NOW + 99
    )
    assert await counted(events.database) == {F: (1, 3, 0, 0)}


async def test_only_the_dead_are_replayed_and_as_many_as_were_asked_for(events: Events) -> None:
    await events.one_of_each()
    await events.died("dead too")
    assert await events.admin.replay(ALL, NOW, 1) == 1
    assert await events.admin.replay(of(state=QUEUED), NOW, 10) == 1
    assert await events.admin.replay(ALL, NOW, 10) == 0


async def test_those_that_are_named_are_replayed(events: Events) -> None:
    for id_ in "123":
        await events.died(id_)
    await events.died("4", G)
    assert await events.admin.replay(of(ids=["1", "3", "none"]), NOW, 10) == 2
    assert await events.admin.replay(of(queue=G), NOW, 10) == 1
    assert await events.listed(of(state=DEAD)) == {"2": DEAD}


async def test_a_full_queue_takes_back_as_many_dead_as_there_is_room_for(events: Events) -> None:
    for id_ in "123":
        await events.died(id_)
    for id_ in "abc":
        await events.store.accept(event(id_, F))
    assert await events.admin.replay(ALL, NOW, 10) == 2
    with pytest.raises(PlatformError) as refused:
        await events.admin.replay(ALL, NOW, 10)
    assert refused.value.code is ErrorCode.TOO_MANY_REQUESTS
    assert await counted(events.database) == {F: (5, 10, 1, 2)}


async def test_a_full_queue_keeps_no_other_from_its_dead(events: Events) -> None:
    for id_ in "123":
        await events.died(id_, G)
    await events.died("behind them")
    for id_ in "abcde":
        await events.store.accept(event(id_, G))
    assert await events.admin.replay(ALL, NOW, 2) == 1
    assert await events.listed(of(queue=F)) == {"behind them": QUEUED}
    with pytest.raises(PlatformError):
        await events.admin.replay(ALL, NOW, 2)


async def test_no_writer_is_waited_for_where_nothing_is_found(events: Events) -> None:
    async with asyncio.timeout(5), events.database.write():
        assert await events.admin.purge(ALL, 10) == 0
        assert await events.admin.replay(ALL, NOW, 10) == 0


async def test_what_dies_later_than_asked_for_is_left_alone(events: Events) -> None:
    await events.died("1")
    assert await events.admin.replay(of(until=NOW + 6), NOW + 8, 10) == 0
    assert await events.admin.purge(of(until=NOW + 6), 10) == 0
    assert await events.admin.replay(of(until=NOW + 7), NOW + 8, 10) == 1
    assert await events.admin.purge(of(until=NOW + 7), 10) == 0


# ---------------------------------------------------------------- purge


@pytest.mark.parametrize("state", [QUEUED, RUNNING, RETRYING, DEAD])
async def test_those_of_one_state_are_purged(events: Events, state: EventState) -> None:
    await events.one_of_each()
    assert await events.admin.purge(of(state=state), 10) == 1
    assert state.value not in await events.listed()
    await counted(events.database)


async def test_purging_is_done_in_bounded_steps(events: Events) -> None:
    for id_ in "123":
        await events.died(id_)
    assert [await events.admin.purge(ALL, 2) for _ in range(3)] == [2, 1, 0]
    assert await counted(events.database) == {}


async def test_nothing_becomes_of_an_event_that_is_purged_while_it_runs(events: Events) -> None:
    taken = await events.taken("1")
    assert await events.admin.purge(of(ids=["1"]), 10) == 1
    record = event("record", F)
    assert not await events.store.settle("h", taken, Verdict(follow_ups=[record]))
    assert await counted(events.database) == {}
