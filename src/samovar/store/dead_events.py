"""Dead events in a transaction: the oldest make room, others are replayed or purged.

Everything here is told of in `Counts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from msgspec import structs

from samovar.model.event import Event
from samovar.ports import DeadOnes
from samovar.store.event_counts import Counts
from samovar.store.event_rows import details_of, event_from

AT_ONCE = 500
"""Dead events that one statement deletes, or one transaction replays."""

_DELETE = "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE died_at IS NOT NULL {which} "
_RETURNING = "LIMIT :limit) RETURNING queue, LENGTH(payload) AS size_bytes"
_DELETE_OLDEST = sa.text(_DELETE.format(which="") + "ORDER BY died_at " + _RETURNING)
_DELETE_BEFORE = sa.text(_DELETE.format(which="AND died_at < :before") + _RETURNING)
_DELETE_ONE = sa.text(_DELETE.format(which="AND id = :id") + _RETURNING)
_DELETE_QUEUE = sa.text(_DELETE.format(which="AND queue = :queue") + _RETURNING)
# Not those that die again while they are replayed.
_FIND = "SELECT * FROM events WHERE died_at <= :now {which}ORDER BY died_at LIMIT :limit"
_FIND_ANY = sa.text(_FIND.format(which=""))
_FIND_ONE = sa.text(_FIND.format(which="AND id = :id "))
_FIND_QUEUE = sa.text(_FIND.format(which="AND queue = :queue "))
_REVIVE = sa.text(
    "UPDATE events SET died_at = NULL, due_at = :now, accepted_at = :now, details = :details "
    "WHERE id = :id AND died_at IS NOT NULL"
)


def make_room(connection: sa.Connection, counts: Counts, max_dead: int, max_bytes: int) -> None:
    """Delete the oldest while there are more than may be kept."""
    while True:
        total = counts.read_all()
        excess = min(max(total.dead - max_dead, 0), AT_ONCE)
        if not excess and total.dead and total.dead_bytes > max_bytes:
            excess = 1
        if not excess or not _delete(connection, counts, _DELETE_OLDEST, {"limit": excess}):
            return


def forget_before(connection: sa.Connection, counts: Counts, before: float) -> int:
    """Delete some of those that died before then; return how many."""
    return _delete(connection, counts, _DELETE_BEFORE, {"before": before, "limit": AT_ONCE})


def purge(connection: sa.Connection, counts: Counts, which: DeadOnes) -> int:
    """Delete some of them; return how many."""
    statement, parameters = _statement(which, _DELETE_ONE, _DELETE_QUEUE, _DELETE_OLDEST)
    return _delete(connection, counts, statement, parameters)


def replay(
    connection: sa.Connection, counts: Counts, which: DeadOnes, now: float
) -> Sequence[Event]:
    """Have some of them delivered as if they had just been accepted; return them."""
    statement, parameters = _statement(which, _FIND_ONE, _FIND_QUEUE, _FIND_ANY)
    parameters["now"] = now
    revived = []
    for row in connection.execute(statement, parameters).all():
        event = structs.replace(
            event_from(row), accepted_at=now, due_at=now, failures=0, throttles=0, last_error=None
        )
        changes = {"id": event.id, "now": now, "details": details_of(event)}
        if connection.execute(_REVIVE, changes).rowcount:
            counts.dead(event.queue, -1, -len(event.payload))
            counts.live(event.queue, +1, +len(event.payload))
            revived.append(event)
    return revived


def _statement(
    which: DeadOnes, one: sa.TextClause, queue: sa.TextClause, every: sa.TextClause
) -> tuple[sa.TextClause, dict[str, Any]]:
    """Which of these statements finds them, and its parameters."""
    if which.id is not None:
        return one, {"id": which.id, "limit": AT_ONCE}
    if which.queue is not None:
        return queue, {"queue": which.queue, "limit": AT_ONCE}
    return every, {"limit": AT_ONCE}


def _delete(
    connection: sa.Connection, counts: Counts, statement: sa.TextClause, parameters: dict[str, Any]
) -> int:
    rows = connection.execute(statement, parameters).all()
    for row in rows:
        counts.dead(row.queue, -1, -row.size_bytes)
    return len(rows)
