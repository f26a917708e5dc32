"""Servers that share a database hear of each other's events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest
import sqlalchemy as sa

from samovar.ports import Verdict
from samovar.store.database import Database
from samovar.store.events import SqlEventStore
from tests.contract.kept_events import LEASE_S, NOW, Keeper, event


@pytest.fixture
async def store(database: Database) -> AsyncIterator[SqlEventStore]:
    """This server's, with a holder, `h`."""
    if not database.is_shared:
        pytest.skip("one server alone has this database")
    async with SqlEventStore(database) as opened:
        await opened.hold("h", LEASE_S)
        yield opened


@pytest.fixture
async def listener(store: SqlEventStore, database_url: str) -> AsyncIterator[Keeper]:
    """Another server's, which has begun to listen."""
    theirs = await Database.open(database_url)
    keeper = Keeper()
    async with SqlEventStore(theirs) as opened:
        opened.attach(keeper)
        await until(lambda: keeper.looks)
        yield keeper
    await theirs.close()


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it was not heard"
        await asyncio.sleep(0.01)


async def test_a_new_event_is_heard_of_by_all(store, listener):
    await store.accept(event("1", due_at=NOW + 0.125))
    await until(lambda: listener.heard == [("green", NOW + 0.125)])


async def test_one_that_is_begun_at_once_is_not(store, listener):
    store.attach(Keeper(claims={"1": "h"}))
    await store.accept(event("1"))
    await store.accept(event("2", "black"))
    await until(lambda: listener.heard == [("black", NOW)])


async def test_the_next_attempt_and_what_is_given_back_are_heard_of(store, listener):
    await store.accept(event("1"), event("2", "black"))
    (first,) = (await store.take("h", "green", 1, NOW)).events
    (second,) = (await store.take("h", "black", 1, NOW)).events
    await until(lambda: len(listener.heard) == 2)
    listener.heard.clear()
    await store.settle("h", first, Verdict(again=event("1", due_at=NOW + 60)))
    await store.give_back("h", second)
    await until(lambda: sorted(listener.heard) == [("black", NOW), ("green", NOW + 60)])


async def test_who_leaves_has_the_others_look(store, listener):
    await store.accept(event("1"))
    await store.take("h", "green", 1, NOW)
    looks = listener.looks
    await store.leave("h")
    await until(lambda: listener.looks > looks)


async def test_a_lost_connection_is_made_again(store, listener, database):
    looks = listener.looks
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
    async with database.write() as connection:
        await connection.exec_driver_sql(kill.replace("%", "%%"))
    await until(lambda: listener.looks > looks)
    await store.accept(event("1"))
    await until(lambda: listener.heard)


async def test_a_message_that_is_none_of_ours_ends_nothing(store, listener, database):
    looks = listener.looks
    async with database.write() as connection:
        await connection.execute(sa.text("SELECT pg_notify('samovar_events', 'soon green')"))
    await until(lambda: listener.looks > looks)
    await store.accept(event("1"))
    await until(lambda: listener.heard == [("green", NOW)])
