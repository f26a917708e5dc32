"""Dead events in a transaction: some make room for others, and none is kept for ever.

Room is made by the queue that has most of them, its oldest first: a function that fails all the
time pushes out its own, not those of others.

Everything here is told of in `Counts`.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from samovar.store.event_counts import Counts
from samovar.store.event_rows import parked_columns
from samovar.telemetry.log import get_logger

log = get_logger("store")

AT_ONCE = 500
"""Dead events that one statement deletes."""

_DELETE = "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE died_at IS NOT NULL {which} "
_RETURNING = "LIMIT :limit) RETURNING queue, LENGTH(payload) AS size_bytes"
_DELETE_OLDEST = sa.text(
    _DELETE.format(which="AND queue = :queue") + "ORDER BY died_at " + _RETURNING
)
_DELETE_BEFORE = sa.text(_DELETE.format(which="AND died_at < :before") + _RETURNING)
_PARK = sa.text(
    "UPDATE events SET holder = NULL, due_at = NULL, died_at = :died_at, source = :source, "
    "details = :details WHERE id = :id"
)


def make_room(connection: sa.Connection, counts: Counts, max_dead: int, max_bytes: int) -> None:
    """Delete some while there are more than may be kept."""
    while True:
        total = counts.read_all()
        if total.dead > max_dead:
            queue, limit = counts.most_dead(), min(total.dead - max_dead, AT_ONCE)
        elif total.dead and total.dead_bytes > max_bytes:
            queue, limit = counts.most_dead(by_bytes=True), 1
        else:
            return
        deleted = _delete(connection, counts, _DELETE_OLDEST, {"queue": queue, "limit": limit})
        log.warning("dead events made room for others", queue=queue, events=deleted)
        if not deleted:
            return


def forget_before(connection: sa.Connection, counts: Counts, before: float) -> int:
    """Delete some of those that died before then; return how many."""
    return _delete(connection, counts, _DELETE_BEFORE, {"before": before, "limit": AT_ONCE})


def park(connection: sa.Connection, counts: Counts, row: Any, error: Exception, now: float) -> None:
    """Keep an event as dead whose row cannot be read: in a form that can be."""
    log.warning("an event cannot be read; it is kept as dead", event_id=row.id, error=str(error))
    columns = parked_columns(row, error)
    connection.execute(_PARK, {"id": row.id, "died_at": now, **columns})
    counts.live(row.queue, -1, -len(row.payload))
    counts.dead(row.queue, +1, +len(row.payload))


def _delete(
    connection: sa.Connection, counts: Counts, statement: sa.TextClause, parameters: dict[str, Any]
) -> int:
    rows = connection.execute(statement, parameters).all()
    for row in rows:
        counts.dead(row.queue, -1, -row.size_bytes)
    return len(rows)
