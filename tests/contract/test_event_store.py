"""The contract of the store of events: every database passes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec import structs

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.event import DeadEvent, DeliveryPolicy, Event, EventSource
from samovar.ports import DeadOnes, Verdict
from samovar.store.database import Database
from samovar.store.event_writes import EventBounds
from samovar.store.events import SqlEventStore

NOW = 1_000_000.0
LEASE_S = 30.0
GONE = Verdict()


def event(id_: str = "1", queue: str = "green", **fields: Any) -> Event:
    settings = {"target": "t", "payload": b"{}", "accepted_at": NOW, "due_at": NOW} | fields
    return Event(id=id_, queue=queue, **settings)


@dataclass
class Keeper:
    """An `EventKeeper` that claims what it is told to, and writes down what it hears."""

    claims: dict[str, str] = field(default_factory=dict)
    begun: list[tuple[str, str]] = field(default_factory=list)
    unclaimed: list[str] = field(default_factory=list)
    heard: list[tuple[str, float]] = field(default_factory=list)

    def claim(self, event: Event) -> str | None:
        return self.claims.get(event.id)

    def begin(self, event: Event, holder: str) -> None:
        self.begun.append((event.id, holder))

    def unclaim(self, event: Event) -> None:
        self.unclaimed.append(event.id)

    def waiting(self, queue: str, due_at: float) -> None:
        self.heard.append((queue, due_at))


@pytest.fixture
async def store(database: Database) -> AsyncIterator[SqlEventStore]:
    """An empty store with a holder, `h`. It has small bounds."""
    bounds = EventBounds(queue_events=5, queue_bytes=1000, all_bytes=1500, dead_events=3)
    async with SqlEventStore(database, bounds) as opened:
        await opened.hold("h", LEASE_S)
        yield opened


@pytest.fixture
def keeper(store: SqlEventStore) -> Keeper:
    keeper = Keeper()
    store.attach(keeper)
    return keeper


async def ids_taken(store, queue="green", limit=10, now=NOW, holder="h"):
    return [event.id for event in (await store.take(holder, queue, limit, now)).events]


async def counted(database: Database) -> Mapping[str, tuple[int, ...]]:
    """Queue → events, bytes, dead events and their bytes; what is kept must be what is there."""
    kept = "SELECT queue, events, bytes, dead, dead_bytes FROM event_queues WHERE events + dead > 0"
    there = (
        "SELECT queue, SUM(CASE WHEN died_at IS NULL THEN 1 ELSE 0 END), "
        "SUM(CASE WHEN died_at IS NULL THEN LENGTH(payload) ELSE 0 END), "
        "SUM(CASE WHEN died_at IS NULL THEN 0 ELSE 1 END), "
        "SUM(CASE WHEN died_at IS NULL THEN 0 ELSE LENGTH(payload) END) FROM events GROUP BY queue"
    )
    async with database.read() as connection:
        found = [(await connection.execute(sa.text(query))).all() for query in (kept, there)]
    as_kept, as_there = ({row[0]: tuple(map(int, row[1:])) for row in rows} for rows in found)
    assert as_kept == as_there
    return as_kept


# ---------------------------------------------------------------- accepting and taking


async def test_an_event_comes_back_as_it_went(store):
    accepted = event(
        payload=b"\x00\xff",
        source=EventSource.SCHEDULE,
        failures=1,
        throttles=2,
        trace_id="Root=1",
        tenant_id="blue",
        policy=DeliveryPolicy(max_attempts=3, max_age_s=60.0, dead_letter_arn="arn"),
        attributes={"Group": "g"},
        last_error="é",
    )
    await store.accept(accepted)
    taken = await store.take("h", "green", 1, NOW)
    assert list(taken.events) == [accepted]
    assert taken.next_due_at is None


async def test_the_longest_due_come_first_and_those_that_are_not_due_stay(store):
    await store.accept(*(event(str(n), due_at=NOW - n) for n in (-5, 1, 3, 2)))
    taken = await store.take("h", "green", 2, NOW)
    assert [event.id for event in taken.events] == ["3", "2"]
    assert taken.next_due_at == NOW - 1
    taken = await store.take("h", "green", 2, NOW)
    assert [event.id for event in taken.events] == ["1"]
    assert taken.next_due_at == NOW + 5
    assert await store.due() == {"green": NOW + 5}


async def test_a_queue_gives_its_own_events(store):
    await store.accept(event("1", "green"), event("2", "black", due_at=NOW + 1))
    assert await store.due() == {"green": NOW, "black": NOW + 1}
    assert await ids_taken(store, "black", now=NOW + 1) == ["2"]


async def test_an_event_is_taken_once(store):
    await store.accept(*(event(str(n)) for n in range(5)))
    await store.hold("other", LEASE_S)
    taken = await asyncio.gather(
        *(ids_taken(store, limit=2, holder=holder) for holder in ("h", "other", "h"))
    )
    assert sorted(id_ for some in taken for id_ in some) == list("01234")


async def test_an_id_that_is_there_already_is_the_same_event(store, keeper, database):
    keeper.claims = {"1": "h", "2": "h"}
    await store.accept(event("1"))
    await store.accept(event("1", payload=b"other"), event("2"))
    assert keeper.begun == [("1", "h"), ("2", "h")]
    assert keeper.unclaimed == ["1"]
    assert await counted(database) == {"green": (2, 4, 0, 0)}


async def test_one_call_may_name_an_id_twice(store, database):
    await store.accept(event("1"), event("1"))
    assert await counted(database) == {"green": (1, 2, 0, 0)}


async def test_what_is_claimed_is_held_from_the_start(store, keeper):
    keeper.claims = {"1": "h"}
    await store.accept(event("1"))
    await store.accept(event("2", due_at=NOW + 1))
    assert keeper.begun == [("1", "h")]
    assert keeper.heard == [("green", NOW + 1)]
    assert await ids_taken(store, now=NOW + 1) == ["2"]


async def test_many_writers_at_once_share_transactions_and_all_succeed(store, database):
    queues = [f"q{n}" for n in range(50)]
    await asyncio.gather(*(store.accept(event(queue, queue)) for queue in queues))
    assert set(await store.due()) == set(queues)


async def test_a_write_that_cannot_be_made_fails_alone(store, keeper):
    keeper.claims = {"bad": "h"}
    good = [store.accept(event(str(n))) for n in range(4)]
    bad = store.accept(event("bad", queue="\ud800"))
    results = await asyncio.gather(*good[:2], bad, *good[2:], return_exceptions=True)
    assert [type(result) for result in results if result is not None] == [UnicodeEncodeError]
    assert keeper.unclaimed == ["bad"]
    assert len(await ids_taken(store)) == 4


# ---------------------------------------------------------------- together with something else


async def test_an_event_is_accepted_along_with_a_change(store, database):
    count = sa.text("INSERT INTO event_holders (holder, deadline) VALUES ('changed', 0)")

    def change(connection):
        return connection.execute(count).rowcount == 1

    assert await store.accept_if(change, event("1"))
    assert await ids_taken(store) == ["1"]
    async with database.read() as connection:
        query = sa.text("SELECT COUNT(*) FROM event_holders WHERE holder = 'changed'")
        assert await connection.scalar(query) == 1


async def test_without_the_change_there_is_no_event(store, keeper, database):
    keeper.claims = {"1": "h"}
    assert not await store.accept_if(lambda connection: False, event("1"))
    assert keeper.unclaimed == ["1"]
    assert await counted(database) == {}


async def test_a_change_that_fails_takes_its_event_along_and_nobody_elses(store, keeper):
    def fail(connection):
        raise ZeroDivisionError

    results = await asyncio.gather(
        store.accept(event("1")), store.accept_if(fail, event("2")), return_exceptions=True
    )
    assert results[0] is None and isinstance(results[1], ZeroDivisionError)
    assert await ids_taken(store) == ["1"]


# ---------------------------------------------------------------- what becomes of an event


async def taken_one(store, **fields):
    await store.accept(event(**fields))
    (taken,) = (await store.take("h", "green", 1, NOW)).events
    return taken


async def test_an_event_that_has_ended_is_gone(store, database):
    taken = await taken_one(store)
    assert await store.settle("h", taken, GONE)
    assert await counted(database) == {}
    assert not await store.settle("h", taken, GONE)


async def test_an_event_is_kept_for_its_next_attempt(store, keeper, database):
    taken = await taken_one(store)
    again = structs.replace(taken, failures=1, last_error="Unhandled", due_at=NOW + 60)
    assert await store.settle("h", taken, Verdict(again=again))
    assert keeper.heard[-1] == ("green", NOW + 60)
    assert await ids_taken(store) == []
    assert list((await store.take("h", "green", 1, NOW + 60)).events) == [again]
    assert await counted(database) == {"green": (1, 2, 0, 0)}


async def test_what_follows_from_an_end_is_kept_with_it(store, keeper, database):
    taken = await taken_one(store)
    keeper.claims = {"record": "h"}
    follow_ups = (event("record", "black"), event("letter", "black", due_at=NOW + 1))
    assert await store.settle("h", taken, Verdict(follow_ups=follow_ups))
    assert keeper.begun == [("record", "h")]
    assert await counted(database) == {"black": (2, 4, 0, 0)}


async def test_an_event_that_was_lost_is_not_touched_and_nothing_follows(store, keeper, database):
    taken = await taken_one(store)
    await store.leave("h")
    await store.hold("other", LEASE_S)
    assert await ids_taken(store, holder="other") == ["1"]
    keeper.claims = {"record": "h"}
    assert not await store.settle("h", taken, Verdict(follow_ups=(event("record"),)))
    assert (keeper.begun, keeper.unclaimed) == ([], ["record"])
    assert await counted(database) == {"green": (1, 2, 0, 0)}


async def test_ends_in_one_transaction_are_told_apart(store):
    await store.accept(*(event(str(n)) for n in range(4)))
    taken = (await store.take("h", "green", 4, NOW)).events
    holders = ("h", "other", "h", "other")
    settled = await asyncio.gather(
        *(store.settle(holder, event, GONE) for holder, event in zip(holders, taken, strict=True))
    )
    assert settled == [True, False, True, False]


async def test_what_is_given_back_may_be_taken_at_once(store, keeper):
    taken = await taken_one(store)
    await store.give_back("other", taken)
    assert await ids_taken(store) == []
    await store.give_back("h", taken)
    assert keeper.heard[-1] == ("green", NOW)
    assert await ids_taken(store) == ["1"]


# ---------------------------------------------------------------- holders


async def test_a_holder_that_renews_is_not_swept(store):
    await taken_one(store)
    assert await store.renew("h", LEASE_S)
    assert await store.sweep() == 0
    assert await ids_taken(store) == []


async def test_what_a_late_holder_has_goes_back_and_it_can_take_no_more(store):
    await store.accept(event("1"), event("2", due_at=NOW + 1))
    assert await ids_taken(store) == ["1"]
    assert await store.renew("h", -1.0)
    assert await store.sweep() == 1
    assert not await store.renew("h", LEASE_S)
    assert await ids_taken(store, now=NOW + 1) == []
    await store.hold("other", LEASE_S)
    assert await ids_taken(store, now=NOW + 1, holder="other") == ["1", "2"]


async def test_where_nobody_else_can_be_alive_everything_goes_back(store):
    await taken_one(store)
    assert await store.sweep(everybody=True) == 1
    assert not await store.renew("h", LEASE_S)


async def test_who_leaves_gives_back_its_own(store):
    await store.accept(event("1"), event("2"))
    await store.hold("other", LEASE_S)
    await ids_taken(store, limit=1)
    await ids_taken(store, limit=1, holder="other")
    await store.leave("h")
    assert await ids_taken(store, holder="other") == ["1"]


async def test_a_claim_of_a_holder_that_is_none_any_more_is_swept(store, keeper):
    keeper.claims = {"1": "gone"}
    await store.accept(event("1"))
    assert await ids_taken(store) == []
    assert await store.sweep() == 1
    assert await ids_taken(store) == ["1"]


# ---------------------------------------------------------------- bounds


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


async def test_one_is_replayed_as_if_it_had_just_been_accepted(store, keeper, database):
    await die(store, "1", "2")
    assert await store.replay(DeadOnes(id="1"), NOW + 9) == 1
    assert keeper.heard[-1] == ("green", NOW + 9)
    (taken,) = (await store.take("h", "green", 5, NOW + 9)).events
    assert taken == event("1", accepted_at=NOW + 9, due_at=NOW + 9)
    assert await counted(database) == {"green": (1, 2, 1, 2)}


@pytest.mark.parametrize(
    ("which", "left"),
    [(DeadOnes(id="1"), {"green": 1, "black": 1}), (DeadOnes(queue="green"), {"black": 1})],
)
async def test_some_are_replayed_or_purged(store, database, which, left):
    await die(store, "1", "2")
    await die(store, "3", queue="black")
    assert await store.purge(which) == 3 - sum(left.values())
    assert {queue: dead for queue, (_, _, dead, _) in (await counted(database)).items()} == left
    assert await store.replay(DeadOnes(), NOW) == sum(left.values())
    assert await store.purge(DeadOnes()) == 0
