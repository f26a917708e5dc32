"""Durable writes of events, in a process of its own: the store's, and a plain loop's beside it.

`python -m benchmarks.event_store DIRECTORY EVENTS` prints one JSON document: events per second of
each. Both have 100 bytes of payload and sync the disk before they call an event
kept. The plain loop inserts one row a transaction, into a table with nothing but a key; the store
has many callers, as a server has.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sqlite3
import sys
import time
from pathlib import Path

from samovar.model.event import Event
from samovar.model.invocation import new_request_id
from samovar.store.database import Database
from samovar.store.events import SqlEventStore

CALLERS = 256
PAYLOAD = b"x" * 100


def plain_loop(directory: Path, events: int) -> float:
    """Rows per second, one a transaction."""
    with contextlib.closing(sqlite3.connect(directory / "plain.db", isolation_level=None)) as plain:
        plain.execute("PRAGMA journal_mode=WAL")
        plain.execute("PRAGMA synchronous=FULL")
        plain.execute("CREATE TABLE IF NOT EXISTS rows (id TEXT PRIMARY KEY, payload BLOB)")
        began = time.perf_counter()
        for _ in range(events):
            plain.execute("INSERT INTO rows VALUES (?, ?)", (new_request_id(), PAYLOAD))
        return events / (time.perf_counter() - began)


async def accepting(directory: Path, events: int) -> float:
    """Events per second that the store accepts, of so many callers at once."""
    database = await Database.open(directory / "samovar.db")
    numbers = itertools.count()

    async def call(store: SqlEventStore) -> None:
        while next(numbers) < events:
            now = time.time()
            await store.accept(
                Event(
                    id=new_request_id(),
                    queue="arn:aws:lambda:us-east-1:000000000000:function:f",
                    target="arn:aws:lambda:us-east-1:000000000000:function:f",
                    payload=PAYLOAD,
                    accepted_at=now,
                    due_at=now,
                )
            )

    async with SqlEventStore(database) as store:
        began = time.perf_counter()
        async with asyncio.TaskGroup() as callers:
            for _ in range(CALLERS):
                callers.create_task(call(store))
        took_s = time.perf_counter() - began
    await database.close()
    return events / took_s


def main() -> None:
    directory, events = Path(sys.argv[1]), int(sys.argv[2])
    plain_per_s = plain_loop(directory, events // 4)
    store_per_s = asyncio.run(accepting(directory, events))
    print(json.dumps({"plain": plain_per_s, "store": store_per_s}))


if __name__ == "__main__":
    main()
