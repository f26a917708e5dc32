"""The contract of the store of events: every database passes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa
from msgspec import structs

from samovar.model.event import DeliveryPolicy, EventSource
from samovar.ports import Verdict
from samovar.store.database import Database
from samovar.store.events import SqlEventStore
from tests.contract.kept_events import GONE, LEASE_S, NOW, Keeper, counted, event, ids_taken


@pytest.fixture
async def store(database: Database) -> AsyncIterator[SqlEventStore]:
    """An empty store with a holder, `h`."""
    async with SqlEventStore(database) as opened:
        await opened.hold("h", LEASE_S)
        yield opened


@pytest.fixture
def keeper(store: SqlEventStore) -> Keeper:
    keeper = Keeper()
    store.attach(keeper)
    return keeper


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
    assert set(keeper.heard) == {("green", NOW + 1)}
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


async def test_a_holder_may_let_go_of_some_that_it_holds(store, keeper):
    await store.accept(*(event(str(n), due_at=NOW - 9 + n) for n in (1, 2, 3)))
    await store.hold("other", LEASE_S)
    assert await ids_taken(store, limit=2) == ["1", "2"]
    assert await ids_taken(store, limit=1, holder="other") == ["3"]
    assert sorted(await store.held("h")) == ["1", "2"]
    looks = keeper.looks
    await store.let_go("h", ["2", "3"])
    assert keeper.looks > looks
    assert (await store.held("h"), await store.held("other")) == (["1"], ["3"])
    assert await ids_taken(store) == ["2"]


async def test_who_sweeps_tells_of_what_is_free_then(store, keeper):
    await taken_one(store)
    looks = keeper.looks
    assert await store.sweep(everybody=True) == 1
    assert keeper.looks > looks


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
