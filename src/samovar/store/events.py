"""Events in SQL: the `EventStore` of `stores.py`. All writes go through one group commit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

import sqlalchemy as sa

from samovar.model.event import Event
from samovar.ports import EventKeeper, Taken, Verdict
from samovar.store import dead_events
from samovar.store.database import Database
from samovar.store.dead_events import AT_ONCE
from samovar.store.event_counts import Counts
from samovar.store.event_news import hear_servers, tell_servers, tell_servers_to_look
from samovar.store.event_rows import event_from
from samovar.store.event_writes import (
    Accept,
    EventBounds,
    EventWrite,
    New,
    Other,
    Settle,
    Written,
    perform,
)
from samovar.store.group_commit import GroupCommit

_RENEW = sa.text("UPDATE event_holders SET deadline = :deadline WHERE holder = :holder")
_BE_HOLDER = sa.text("INSERT INTO event_holders (holder, deadline) VALUES (:holder, :deadline)")
_FORGET_HOLDER = sa.text("DELETE FROM event_holders WHERE holder = :holder")
_FORGET_LATE = sa.text("DELETE FROM event_holders WHERE deadline <= :now")
_FORGET_ALL = sa.text("DELETE FROM event_holders")
_LET_GO_ALL = sa.text("UPDATE events SET holder = NULL WHERE holder = :holder")
_LET_GO = sa.text("UPDATE events SET holder = NULL WHERE id = :id AND holder = :holder")
_HELD = sa.text("SELECT id FROM events WHERE holder = :holder")
_LET_GO_LOST = sa.text(
    "UPDATE events SET holder = NULL WHERE holder IS NOT NULL "
    "AND holder NOT IN (SELECT holder FROM event_holders)"
)
_DUE = sa.text(
    "SELECT queue, (SELECT MIN(due_at) FROM events WHERE holder IS NULL "
    "AND events.queue = event_queues.queue AND due_at IS NOT NULL) AS due_at "
    "FROM event_queues WHERE events > 0"
)
# The choice stands apart, or PostgreSQL might make it several times, and lock other rows each time.
_TAKE = (
    "WITH due AS MATERIALIZED (SELECT id FROM events WHERE holder IS NULL "
    "AND queue = :queue AND due_at <= :now ORDER BY due_at LIMIT :limit{lock}) "
    "UPDATE events SET holder = :holder WHERE id IN (SELECT id FROM due) "
    "AND EXISTS (SELECT 1 FROM event_holders WHERE holder = :holder) "
    "RETURNING *"
)
_TAKE_ALONE = sa.text(_TAKE.format(lock=""))
_TAKE_SHARED = sa.text(_TAKE.format(lock=" FOR UPDATE SKIP LOCKED"))
_NEXT_DUE = sa.text(
    "SELECT MIN(due_at) FROM events WHERE holder IS NULL AND queue = :queue AND due_at IS NOT NULL"
)
_CLOCK = sa.text("SELECT EXTRACT(EPOCH FROM clock_timestamp())")

Result = TypeVar("Result")


class SqlEventStore:
    """The `EventStore` over a `Database`. Use as an async context manager."""

    def __init__(self, database: Database, bounds: EventBounds | None = None) -> None:
        self._database = database
        self._keeper: EventKeeper | None = None
        in_bounds = partial(perform, bounds=bounds or EventBounds())
        self._writes = GroupCommit[EventWrite](database, in_bounds, self._written)
        self._listener = asyncio.TaskGroup()
        self._closing = asyncio.Event()

    async def __aenter__(self) -> SqlEventStore:
        await self._writes.__aenter__()
        await self._listener.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing.set()
        await self._listener.__aexit__(None, None, None)
        await self._writes.__aexit__(kind, error, traceback)

    def attach(self, keeper: EventKeeper) -> None:
        """See the port."""
        self._keeper = keeper
        if self._database.is_shared:
            hearing = hear_servers(self._database, keeper, self._closing)
            self._listener.create_task(hearing, name="event-news")

    # ------------------------------------------------------------ events

    async def accept(self, *events: Event) -> None:
        """See the port."""
        await self._accept(None, events)

    async def accept_if(self, change: Callable[[sa.Connection], bool], *events: Event) -> bool:
        """Accept events in one transaction with a change of something else, if that returns true;
        where their queue is full it is not made. `change` runs in another thread, and must not
        have written anything when it returns false."""
        return await self._accept(change, events)

    async def settle(self, holder: str, event: Event, verdict: Verdict) -> bool:
        """See the port."""
        follow_ups = [self._new(follow_up) for follow_up in verdict.follow_ups]
        size_bytes = sum(len(new.event.payload) for new in follow_ups)
        write = Settle(holder, event, verdict, follow_ups)
        written: Written = await self._writes.submit(write, size_bytes)
        return written.made

    async def take(self, holder: str, queue: str, limit: int, now: float) -> Taken:
        """See the port."""
        parameters = {"holder": holder, "queue": queue, "limit": limit, "now": now}

        def work(connection: sa.Connection, counts: Counts) -> Taken:
            alone = connection.dialect.name == "sqlite"
            rows = connection.execute(_TAKE_ALONE if alone else _TAKE_SHARED, parameters).all()
            next_due = connection.execute(_NEXT_DUE, {"queue": queue}).scalar_one()
            events = []
            for row in rows:
                try:
                    events.append(event_from(row))
                except Exception as error:  # it must not keep others from being taken
                    dead_events.park(connection, counts, row, error, now)
            return Taken(sorted(events, key=lambda event: event.due_at), next_due)

        return await self._write(work)

    async def give_back(self, holder: str, event: Event) -> None:
        """See the port."""
        parameters = {"holder": holder, "id": event.id}

        def work(connection: sa.Connection, _: Counts) -> bool:
            let_go = connection.execute(_LET_GO, parameters).rowcount == 1
            if let_go:
                tell_servers(connection, event.queue, event.due_at)
            return let_go

        if await self._write(work):
            self._tell(event.queue, event.due_at)

    async def held(self, holder: str) -> Sequence[str]:
        """See the port."""
        async with self._database.read() as connection:
            return (await connection.execute(_HELD, {"holder": holder})).scalars().all()

    async def let_go(self, holder: str, ids: Sequence[str]) -> None:
        """See the port."""
        parameters = [{"holder": holder, "id": id_} for id_ in ids]

        def work(connection: sa.Connection, _: Counts) -> None:
            connection.execute(_LET_GO, parameters)
            tell_servers_to_look(connection)

        await self._write(work)
        if self._keeper is not None:
            self._keeper.look_again()

    async def due(self) -> Mapping[str, float]:
        """See the port."""
        async with self._database.read() as connection:
            rows = (await connection.execute(_DUE)).all()
        return {row.queue: row.due_at for row in rows if row.due_at is not None}

    # ------------------------------------------------------------ the dead

    async def forget_dead(self, before: float) -> int:
        """See the port."""
        return await self._until_done(lambda c, n: dead_events.forget_before(c, n, before))

    async def _until_done(self, work: Callable[[sa.Connection, Counts], int]) -> int:
        done = 0
        while True:
            some = await self._write(work)
            done += some
            if some < AT_ONCE:
                return done

    # ------------------------------------------------------------ holders

    async def hold(self, holder: str, lease_s: float) -> None:
        """See the port."""

        def work(connection: sa.Connection, _: Counts) -> None:
            deadline = _real_now(connection) + lease_s
            connection.execute(_BE_HOLDER, {"holder": holder, "deadline": deadline})

        await self._write(work)

    async def renew(self, holder: str, lease_s: float) -> bool:
        """See the port."""

        def work(connection: sa.Connection, _: Counts) -> bool:
            deadline = _real_now(connection) + lease_s
            renewed = connection.execute(_RENEW, {"holder": holder, "deadline": deadline})
            return renewed.rowcount == 1

        return await self._write(work)

    async def sweep(self, *, everybody: bool = False) -> int:
        """See the port."""

        def work(connection: sa.Connection, _: Counts) -> int:
            if everybody:
                connection.execute(_FORGET_ALL)
            else:
                connection.execute(_FORGET_LATE, {"now": _real_now(connection)})
            let_go = connection.execute(_LET_GO_LOST).rowcount
            if let_go:
                tell_servers_to_look(connection)
            return let_go

        let_go = await self._write(work)
        if let_go and self._keeper is not None:
            self._keeper.look_again()
        return let_go

    async def leave(self, holder: str) -> None:
        """See the port."""

        def work(connection: sa.Connection, _: Counts) -> None:
            connection.execute(_FORGET_HOLDER, {"holder": holder})
            if connection.execute(_LET_GO_ALL, {"holder": holder}).rowcount:
                tell_servers_to_look(connection)

        await self._write(work)

    # ------------------------------------------------------------ inside

    async def _accept(
        self, change: Callable[[sa.Connection], bool] | None, events: Sequence[Event]
    ) -> bool:
        write = Accept([self._new(event) for event in events], change)
        size_bytes = sum(len(event.payload) for event in events)
        written: Written = await self._writes.submit(write, size_bytes)
        return written.made

    async def _write(self, work: Callable[[sa.Connection, Counts], Result]) -> Result:
        result: Result = await self._writes.submit(Other(work))
        return result

    def _new(self, event: Event) -> New:
        return New(event, self._keeper.claim(event) if self._keeper is not None else None)

    def _written(self, write: EventWrite, result: Any) -> None:
        """Tell the keeper what a write has come to."""
        if isinstance(write, Other):
            return
        news = write.news if isinstance(write, Accept) else write.follow_ups
        written = result if isinstance(result, Written) else Written(False)
        if isinstance(write, Settle) and written.made and write.verdict.again is not None:
            self._tell(write.event.queue, write.verdict.again.due_at)
        self._kept(news, written.fresh if written.made else [False] * len(news))

    def _kept(self, news: Sequence[New], fresh: Sequence[bool]) -> None:
        for new, is_new in zip(news, fresh, strict=True):
            if new.holder is None:
                if is_new:
                    self._tell(new.event.queue, new.event.due_at)
            elif self._keeper is not None:
                if is_new:
                    self._keeper.begin(new.event, new.holder)
                else:
                    self._keeper.unclaim(new.event)

    def _tell(self, queue: str, due_at: float) -> None:
        if self._keeper is not None:
            self._keeper.waiting(queue, due_at)


def _real_now(connection: sa.Connection) -> float:
    """What deadlines of holders go by: one clock for all who share the database."""
    if connection.dialect.name == "sqlite":
        return time.time()
    return float(connection.execute(_CLOCK).scalar_one())
