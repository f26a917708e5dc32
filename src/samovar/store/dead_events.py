"""Dead events in a transaction: the oldest make room, and none is kept for ever.

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
_DELETE_OLDEST = sa.text(_DELETE.format(which="") + "ORDER BY died_at " + _RETURNING)
_DELETE_BEFORE = sa.text(_DELETE.format(which="AND died_at < :before") + _RETURNING)
_PARK = sa.text(
    "UPDATE events SET holder = NULL, due_at = NULL, died_at = :died_at, source = :source, "
    "details = :details WHERE id = :id"
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
