"""Several servers on one database of events, each with connections of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from samovar.ports import Verdict
from samovar.store.database import Database
from samovar.store.events import SqlEventStore
from tests.contract.kept_events import LEASE_S, NOW, counted, event, ids_taken

DEADLINE_S = 100
SERVERS = ("one", "two")


@contextlib.asynccontextmanager
async def server(database_url: str, holder: str) -> AsyncIterator[SqlEventStore]:
    """The store of events as another server has it."""
    database = await Database.open(database_url)
    try:
        async with SqlEventStore(database) as store:
            await store.hold(holder, LEASE_S)
            yield store
    finally:
        await database.close()


async def test_no_two_servers_take_the_same_event(database_url: str) -> None:
    accepted = [f"{number:03}" for number in range(400)]
    taken: dict[str, list[str]] = {name: [] for name in SERVERS}

    async def take_all(name: str) -> None:
        async with server(database_url, name) as store:
            while sum(map(len, taken.values())) < len(accepted):
                taken[name] += await ids_taken(store, limit=7, holder=name)

    async with server(database_url, "other") as store:
        await asyncio.gather(*(store.accept(event(id_)) for id_ in accepted))
    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as servers:
        for name in SERVERS:
            servers.create_task(take_all(name))
    assert sorted(id_ for ids in taken.values() for id_ in ids) == accepted


async def test_counts_stay_right_whoever_writes_at_the_same_time(
    database_url: str, database: Database
) -> None:
    rounds = 30

    async def work(name: str) -> None:
        async with server(database_url, name) as store:
            for number in range(rounds):
                # In turns, so that two who lock both queues would wait for each other.
                queues = ("green", "black") if number % 2 else ("black", "green")
                news = [event(f"{name}-{number}-{queue}", queue) for queue in queues]
                await store.accept(*news)
                for queue in queues:
                    await end_some(store, name, queue)

    async def end_some(store: SqlEventStore, name: str, queue: str) -> None:
        taken = (await store.take(name, queue, 3, NOW)).events
        verdicts = [
            Verdict(follow_ups=[event(f"of-{each.id}", "green", due_at=NOW + 1)]) for each in taken
        ]
        ends = zip(taken, verdicts, strict=True)
        settled = await asyncio.gather(*(store.settle(name, each, end) for each, end in ends))
        assert all(settled)

    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as servers:
        for name in SERVERS:
            servers.create_task(work(name))
    counts = await counted(database)
    assert sum(count[0] for count in counts.values()) == len(SERVERS) * rounds * 2


async def test_what_a_server_held_that_died_is_taken_by_another(database_url: str) -> None:
    async with server(database_url, "dead") as dead, server(database_url, "other") as other:
        await dead.accept(event("1"))
        assert await ids_taken(dead, holder="dead") == ["1"]
        assert await other.sweep() == 0
        assert await dead.renew("dead", -1.0)
        assert await other.sweep() == 1
        assert await ids_taken(other, holder="other") == ["1"]
        assert not await dead.settle("dead", event("1"), Verdict())
