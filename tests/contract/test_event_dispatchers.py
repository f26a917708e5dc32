"""Several servers that share a database deliver its events, each once."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from samovar.clock import Clock
from samovar.store.database import Database
from samovar.store.events import SqlEventStore
from tests.unit.dispatching import NOW, Functions, World, event, never, succeed, until_true
from tests.unit.scripted_worker import until

EVENTS = 100


@contextlib.asynccontextmanager
async def server(url: str, act=succeed) -> AsyncIterator[World]:
    """A server's part of the world: its own connections to the same database."""
    database = await Database.open(url)
    async with SqlEventStore(database) as store:
        yield World(database, store, Functions(act), Clock(wall=lambda: NOW))
    await database.close()


@pytest.fixture
def shared_url(database_url: str) -> str:
    if database_url.startswith("sqlite"):
        pytest.skip("one server alone has this database")
    return database_url


async def test_each_event_is_run_by_one_of_them(shared_url):
    async with (
        server(shared_url) as front,
        server(shared_url) as one,
        server(shared_url) as other,
        one.dispatching(shared=True),
        other.dispatching(shared=True),
    ):
        for number in range(EVENTS):
            await front.store.accept(event(str(number), f"f{number % 7}"))
        await until_true(lambda: none_left(front))
        run = [id_ for world in (one, other) for _, id_ in world.functions.begun]
    assert sorted(run, key=int) == [str(number) for number in range(EVENTS)]


async def none_left(world):
    return not await world.left()


async def test_what_one_could_not_end_the_other_does(shared_url):
    async with server(shared_url, never) as one, server(shared_url) as other:
        async with other.dispatching(shared=True):
            async with one.dispatching(shared=True) as stopping:
                await one.store.accept(event("1"))
                await until(lambda: one.functions.begun)
                await stopping.drain(0)
            await until_true(lambda: none_left(other))
        assert other.functions.begun == [("f", "1")]
