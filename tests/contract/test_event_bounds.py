"""How much the store of events keeps, on every database: bounds, and what is dead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.event import DeadEvent
from samovar.ports import Verdict
from samovar.store.database import Database
from samovar.store.event_writes import EventBounds
from samovar.store.events import SqlEventStore
from tests.contract.kept_events import GONE, LEASE_S, NOW, Keeper, counted, event, ids_taken


@pytest.fixture
async def store(database: Database) -> AsyncIterator[SqlEventStore]:
    """An empty store with small bounds, and a holder, `h`."""
    bounds = EventBounds(queue_events=5, queue_bytes=1000, all_bytes=1500, dead_events=3)
    async with SqlEventStore(database, bounds) as opened:
        await opened.hold("h", LEASE_S)
        yield opened


@pytest.fixture
def keeper(store: SqlEventStore) -> Keeper:
    keeper = Keeper()
    store.attach(keeper)
    return keeper


async def refusal_of(write):
    with pytest.raises(PlatformError) as raised:
        await write
    assert raised.value.code is ErrorCode.TOO_MANY_REQUESTS
    assert raised.value.reason == "CallerRateLimitExceeded"
    return raised.value.message


async def test_a_full_queue_takes_no_more_and_others_do(store, keeper, database):
    await store.accept(*(event(str(n)) for n in range(5)))
    keeper.claims = {"6": "h"}
    message = await refusal_of(store.accept(event("6")))
    assert message == "Rate Exceeded: the event queue of green is full: 5 events wait."
    assert keeper.unclaimed == ["6"]
    await store.accept(event("7", "black"))
    assert await counted(database) == {"green": (5, 10, 0, 0), "black": (1, 2, 0, 0)}


async def test_all_of_a_call_is_refused_or_none(store, database):
    await refusal_of(store.accept(event("b", "black"), *(event(str(n)) for n in range(6))))
    assert await counted(database) == {}


async def test_of_calls_at_once_as_many_are_accepted_as_there_is_room_for(store, database):
    calls = (store.accept(event(str(n))) for n in range(8))
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [result is None for result in results] == [True] * 5 + [False] * 3
    assert await counted(database) == {"green": (5, 10, 0, 0)}


async def test_payloads_are_bounded_in_a_queue_and_in_all(store):
    await store.accept(event("1", payload=bytes(900)))
    assert "green is full" in await refusal_of(store.accept(event("2", payload=bytes(101))))
    message = await refusal_of(store.accept(event("3", "black", payload=bytes(601))))
    assert "the event queues are full" in message
    await store.accept(event("3", "black", payload=bytes(600)))


async def test_an_end_makes_room_and_what_follows_from_it_is_never_refused(store, database):
    await store.accept(*(event(str(n)) for n in range(5)))
    first, second = (await store.take("h", "green", 2, NOW)).events
    assert await store.settle("h", first, Verdict(follow_ups=[event("f1"), event("f2")]))
    assert await counted(database) == {"green": (6, 12, 0, 0)}
    await store.settle("h", second, GONE)
    await refusal_of(store.accept(event("6")))


# ---------------------------------------------------------------- the dead


async def die(store, *ids, queue="green", at=NOW):
    for id_ in ids:
        await store.accept(event(id_, queue))
        (taken,) = (await store.take("h", queue, 1, NOW)).events
        dead = DeadEvent(event=taken, reason="RetriesExhausted", died_at=at)
        assert await store.settle("h", taken, Verdict(dead=dead))


async def test_the_dead_are_kept_and_count_for_themselves(store, database):
    await die(store, "1", "2")
    assert await counted(database) == {"green": (0, 0, 2, 4)}
    assert await store.due() == {}
    assert await ids_taken(store, now=NOW * 2) == []


async def test_the_oldest_of_the_dead_make_room(store, database):
    for n in range(5):
        await die(store, str(n), at=NOW + n)
    assert await counted(database) == {"green": (0, 0, 3, 6)}
    assert await store.forget_dead(NOW + 3) == 1
    assert await counted(database) == {"green": (0, 0, 2, 4)}


async def test_a_queue_whose_events_always_fail_pushes_out_its_own_dead(store, database):
    await die(store, "oldest", queue="black", at=NOW - 9)
    await die(store, *(str(n) for n in range(5)))
    assert await counted(database) == {"black": (0, 0, 1, 2), "green": (0, 0, 2, 4)}


async def test_an_event_that_cannot_be_read_is_kept_as_dead(store, database):
    await store.accept(event("1"), event("2"))
    async with database.write() as connection:
        await connection.execute(sa.text("UPDATE events SET details = '[' WHERE id = '1'"))
    assert await ids_taken(store) == ["2"]
    assert await counted(database) == {"green": (1, 2, 1, 2)}
    assert await store.forget_dead(NOW + 1) == 1
