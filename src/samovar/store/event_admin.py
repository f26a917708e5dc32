"""Looking after events in SQL: the `EventAdmin` of `samovar.event_admin`.

How this works. States are not stored: a dead event has a time of death, a running one a holder, and
one that is being retried has attempts in its details. What is to be changed is found first, by
reading; the transaction that changes it goes by ids, for every other writer waits for it. What
others are just writing is passed over (SKIP LOCKED), and is met by the next call. The counts of the
queues change with the events; rows are locked as `event_writes.py` does it: events, then counts.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from msgspec import structs

from samovar.event_admin import EventFilter, KeptEvent, QueueStatus
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.event import EventState
from samovar.store.database import Database
from samovar.store.event_counts import Counts
from samovar.store.event_news import tell_servers
from samovar.store.event_rows import TRIED, dead_event_from, details_of, event_from
from samovar.store.event_writes import EventBounds
from samovar.store.markers import read_marker, write_marker
from samovar.store.schema import event_queues, events
from samovar.stores import Page

_SIZE = sa.func.length(events.c.payload)
_state = sa.case(
    (events.c.died_at.is_not(None), EventState.DEAD.value),
    (events.c.holder.is_not(None), EventState.RUNNING.value),
    (sa.or_(*(events.c.details.startswith(start) for start in TRIED)), EventState.RETRYING.value),
    else_=EventState.QUEUED.value,
)
_LISTED = [column for column in events.c if column is not events.c.payload]
_NO_PAYLOAD = sa.literal(b"", sa.LargeBinary).label("payload")
_SHOWN_STATES = (EventState.QUEUED, EventState.RUNNING, EventState.RETRYING, EventState.DEAD)


class SqlEventAdmin:
    """See the module's text."""

    def __init__(
        self, database: Database, bounds: EventBounds, wake: Callable[[str, float], None]
    ) -> None:
        """`wake` is told of queues that have an event to be tried, and from when on."""
        self._database = database
        self._bounds = bounds
        self._wake = wake

    async def queues(
        self, among: EventFilter, *, marker: str | None, limit: int
    ) -> Page[QueueStatus]:
        """See the port."""
        name, some = event_queues.c.queue, event_queues.c.events + event_queues.c.dead > 0
        query = sa.select(name).where(some, _in_scope(name, among)).order_by(name).limit(limit + 1)
        if marker is not None:
            query = query.where(name > read_marker(marker, "queues", str)[0])
        async with self._database.read() as connection:
            names = (await connection.execute(query)).scalars().all()
            shown = names[:limit]
            rows = (await connection.execute(_counted(among, shown))).all() if shown else ()
        more = write_marker("queues", shown[-1]) if names[limit:] else None
        return Page(_statuses(rows), more)

    async def list(self, among: EventFilter, *, marker: str | None, limit: int) -> Page[KeptEvent]:
        """See the port."""
        key = sa.tuple_(events.c.accepted_at, events.c.id)
        query = (
            sa.select(*_LISTED, _NO_PAYLOAD, _SIZE.label("size"), _state.label("state"))
            .where(_chosen(among))
            .order_by(events.c.accepted_at, events.c.id)
            .limit(limit + 1)
        )
        if marker is not None:
            accepted_at, id_ = read_marker(marker, "events", str, str)
            query = query.where(key > sa.tuple_(_time(accepted_at), sa.literal(id_)))
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        shown = rows[:limit]
        last = shown[-1] if rows[limit:] else None
        more = write_marker("events", repr(last.accepted_at), last.id) if last else None
        return Page([_kept(row) for row in shown], more)

    async def get(self, among: EventFilter, id_: str) -> KeptEvent:
        """See the port."""
        query = sa.select(events, _SIZE.label("size"), _state.label("state")).where(
            _chosen(among), events.c.id == id_
        )
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            raise PlatformError(ErrorCode.NOT_FOUND, f"There is no event {id_[:100]}.")
        return _kept(row)

    async def busy(self, now: float) -> bool:
        """See the port."""
        due_at = sa.select(sa.func.min(events.c.due_at)).where(
            events.c.holder.is_(None), events.c.queue == event_queues.c.queue
        )
        waits = sa.exists().where(event_queues.c.events > 0, due_at.scalar_subquery() <= now)
        query = sa.select(waits, sa.exists().where(events.c.holder.is_not(None)))
        async with self._database.read() as connection:
            return any((await connection.execute(query)).one())

    async def replay(self, among: EventFilter, now: float, limit: int) -> int:
        """See the port."""
        dead = replace(among, state=EventState.DEAD)
        full: set[str] = set()
        while ids := await self._find(dead, limit, full):
            revived, refused = await self._database.transact(self._revival(dead, ids, now))
            for queue in revived:
                self._wake(queue, now)
            if revived or not refused:
                return sum(revived.values())
            full |= refused  # behind them there may be some whose queues have room
        if full:
            raise PlatformError(
                ErrorCode.TOO_MANY_REQUESTS, f"The event queue of {min(full)} is full."
            )
        return 0

    async def purge(self, among: EventFilter, limit: int) -> int:
        """See the port."""
        ids = await self._find(among, limit)

        def work(connection: sa.Connection) -> int:
            rows, counts = connection.execute(_locked(among, ids)).all(), Counts(connection)
            for row in rows:
                leave = counts.live if row.died_at is None else counts.dead
                leave(row.queue, -1, -row.size)
            if rows:
                connection.execute(_DELETE, [{"gone": row.id} for row in rows])
            counts.write()
            return len(rows)

        return await self._database.transact(work) if ids else 0

    async def _find(
        self, among: EventFilter, limit: int, without: Collection[str] = ()
    ) -> Sequence[str]:
        """The ids of the oldest of them, but for those of some queues. No writer waits meanwhile,
        though it may have to look at all events."""
        when = events.c.died_at if among.state is EventState.DEAD else events.c.accepted_at
        query = sa.select(events.c.id).where(_chosen(among)).order_by(when, events.c.id)
        if without:
            query = query.where(events.c.queue.not_in(without))
        async with self._database.read() as connection:
            return (await connection.execute(query.limit(limit))).scalars().all()

    def _revival(
        self, dead: EventFilter, ids: Sequence[str], now: float
    ) -> Callable[[sa.Connection], tuple[Counter[str], set[str]]]:
        """Revives those of them that are still dead: results in how many of each queue, and in
        which queues had no room for one."""

        def work(connection: sa.Connection) -> tuple[Counter[str], set[str]]:
            rows, counts = connection.execute(_locked(dead, ids)).all(), Counts(connection)
            revived, refused = self._with_room(rows, counts)
            for row in revived:
                counts.dead(row.queue, -1, -row.size)
                counts.live(row.queue, +1, +row.size)
            if revived:
                connection.execute(_REVIVE, [_revived(row, now) for row in revived])
            queues = Counter(row.queue for row in revived)
            for queue in queues:
                tell_servers(connection, queue, now)
            counts.write()
            return queues, refused

        return work

    def _with_room(self, rows: Sequence[Any], counts: Counts) -> tuple[Sequence[Any], set[str]]:
        """Those that their queues have room for, and the queues that have none for another."""
        there = counts.read(list({row.queue for row in rows}))
        admitted: list[Any] = []
        refused: set[str] = set()
        for row in rows:
            count = there[row.queue]
            full = count.events >= self._bounds.queue_events
            if full or count.bytes + row.size > self._bounds.queue_bytes:
                refused.add(row.queue)
                continue
            count.events += 1
            count.bytes += row.size
            admitted.append(row)
        return admitted, refused


_REVIVE = (
    sa.update(events)
    .where(events.c.id == sa.bindparam("dead_id"))
    .values({name: sa.bindparam(name) for name in ("accepted_at", "due_at", "details")})
    .values(died_at=None)
)
_DELETE = sa.delete(events).where(events.c.id == sa.bindparam("gone"))


def _locked(among: EventFilter, ids: Sequence[str]) -> sa.Select[Any]:
    """These, if they are still among those; not those that somebody else is just writing."""
    return (
        sa.select(*_LISTED, _NO_PAYLOAD, _SIZE.label("size"))
        .where(events.c.id.in_(ids), _chosen(among))
        .order_by(events.c.accepted_at, events.c.id)
        .with_for_update(skip_locked=True)
    )


def _in_scope(queue: sa.Column[str], among: EventFilter) -> sa.ColumnElement[bool]:
    """An ARN names its region and account after its service."""
    named = [] if among.queue is None else [queue == among.queue]
    return sa.and_(queue.contains(f":{among.region}:{among.account}:", autoescape=True), *named)


def _chosen(among: EventFilter) -> sa.ColumnElement[bool]:
    conditions = [_in_scope(events.c.queue, among)]
    if among.ids is not None:
        conditions.append(events.c.id.in_(among.ids))
    if among.until is not None:
        since = sa.func.coalesce(events.c.died_at, events.c.accepted_at)
        conditions.append(since <= among.until)
    if among.state is EventState.DEAD:  # said so that the index of the dead serves
        conditions.append(events.c.died_at.is_not(None))
    elif among.state is not None:
        conditions.append(_state == among.state.value)
    return sa.and_(*conditions)


def _time(text: str) -> float:
    """A time in a marker. Raises INVALID_PARAMETER."""
    try:
        time = float(text)
    except ValueError:
        time = math.nan
    if not math.isfinite(time):
        raise PlatformError(ErrorCode.INVALID_PARAMETER, "Invalid pagination token")
    return time


def _revived(row: Any, now: float) -> dict[str, Any]:
    event = structs.replace(event_from(row), failures=0, throttles=0, last_error=None)
    return {"dead_id": row.id, "accepted_at": now, "due_at": now, "details": details_of(event)}


def _kept(row: Any) -> KeptEvent:
    dead = dead_event_from(row) if row.died_at is not None else None
    return KeptEvent(
        event=event_from(row),
        state=EventState(row.state),
        size_bytes=row.size,
        reason=dead.reason if dead else None,
        died_at=row.died_at,
    )


def _counted(among: EventFilter, queues: Sequence[str]) -> sa.Select[Any]:
    """How many events each of these has in each state, when the first was accepted and is due."""
    each = (
        sa.select(
            events.c.queue,
            _state.label("state"),
            events.c.accepted_at,
            sa.case((events.c.holder.is_(None), events.c.due_at)).label("due_at"),
        )
        .where(_chosen(among), events.c.queue >= queues[0], events.c.queue <= queues[-1])
        .subquery()
    )
    figures = (sa.func.count(), sa.func.min(each.c.accepted_at), sa.func.min(each.c.due_at))
    by = each.c.queue, each.c.state
    return sa.select(*by, *figures).group_by(*by).order_by(each.c.queue)


def _statuses(rows: Sequence[Any]) -> Sequence[QueueStatus]:
    statuses = []
    for queue, states in itertools.groupby(rows, key=lambda row: row[0]):
        of_queue = {EventState(state): figures for _, state, *figures in states}
        counts = {state: of_queue[state][0] if state in of_queue else 0 for state in _SHOWN_STATES}
        oldest = [figures[1] for state, figures in of_queue.items() if state is not EventState.DEAD]
        due = [figures[2] for figures in of_queue.values() if figures[2] is not None]
        statuses.append(
            QueueStatus(queue, counts, min(oldest, default=None), min(due, default=None))
        )
    return statuses
