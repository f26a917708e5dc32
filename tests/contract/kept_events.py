"""Events for the tests of their store, and who listens to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from samovar.model.event import Event
from samovar.ports import Verdict
from samovar.store.database import Database

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
    looks: int = 0

    def claim(self, event: Event) -> str | None:
        return self.claims.get(event.id)

    def begin(self, event: Event, holder: str) -> None:
        self.begun.append((event.id, holder))

    def unclaim(self, event: Event) -> None:
        self.unclaimed.append(event.id)

    def waiting(self, queue: str, due_at: float) -> None:
        self.heard.append((queue, due_at))

    def look_again(self) -> None:
        self.looks += 1


async def ids_taken(store, queue="green", limit=10, now=NOW, holder="h"):
    return [event.id for event in (await store.take(holder, queue, limit, now)).events]


async def counted(database: Database) -> Mapping[str, tuple[int, ...]]:
    """Queue → events, bytes, dead events and their bytes; what is kept must be what is there,
    and nothing of queues that are empty."""
    kept = "SELECT queue, events, bytes, dead, dead_bytes FROM event_queues"
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
