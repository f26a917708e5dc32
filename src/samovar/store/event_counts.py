"""How many events each queue has, and their bytes: kept with every write, never counted anew.

Bytes are those of payloads: what else an event has is small, and bounded where it comes from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass

import sqlalchemy as sa


@dataclass(slots=True)
class Count:
    """Of one queue, or of all; or by how much it changes."""

    events: int = 0
    """Those that are to be delivered."""
    bytes: int = 0
    dead: int = 0
    dead_bytes: int = 0

    def plus(self, other: Count) -> Count:
        """Both together."""
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Count(*(mine + its for mine, its in pairs))


_ADD = sa.text(
    "INSERT INTO event_queues (queue, events, bytes, dead, dead_bytes) "
    "VALUES (:queue, :events, :bytes, :dead, :dead_bytes) ON CONFLICT (queue) DO UPDATE SET "
    "events = event_queues.events + excluded.events, "
    "bytes = event_queues.bytes + excluded.bytes, "
    "dead = event_queues.dead + excluded.dead, "
    "dead_bytes = event_queues.dead_bytes + excluded.dead_bytes"
)
_FORGET_EMPTY = sa.text("DELETE FROM event_queues WHERE queue = :queue AND events = 0 AND dead = 0")
_OF_QUEUE = "SELECT events, bytes, dead, dead_bytes FROM event_queues WHERE queue = :queue"
_OF_QUEUE_ALONE = sa.text(_OF_QUEUE)
_OF_QUEUE_SHARED = sa.text(_OF_QUEUE + " FOR UPDATE")
_OF_ALL = sa.text(
    "SELECT COALESCE(SUM(events), 0), COALESCE(SUM(bytes), 0), COALESCE(SUM(dead), 0), "
    "COALESCE(SUM(dead_bytes), 0) FROM event_queues"
)
_MOST_DEAD = (
    "SELECT queue, {column} FROM event_queues WHERE dead > 0 ORDER BY {column} DESC LIMIT :n"
)


class Counts:
    """What a transaction changes of them, until it is written at its end."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._changes: dict[str, Count] = {}

    def live(self, queue: str, number: int, size_bytes: int) -> None:
        """So many events come (or, negative, leave), with all their bytes."""
        change = self._changes.setdefault(queue, Count())
        change.events += number
        change.bytes += size_bytes

    def dead(self, queue: str, number: int, size_bytes: int) -> None:
        """So many dead events come or leave."""
        change = self._changes.setdefault(queue, Count())
        change.dead += number
        change.dead_bytes += size_bytes

    def read(self, queues: Sequence[str]) -> Mapping[str, Count]:
        """Of these queues, with what this transaction changes. Locks them for it, and those that it
        changes: all in one order, or two transactions might wait for each other."""
        alone = self._connection.dialect.name == "sqlite"
        statement = _OF_QUEUE_ALONE if alone else _OF_QUEUE_SHARED
        counts = {}
        for queue in sorted({*queues} if alone else {*queues, *self._changes}):
            row = self._connection.execute(statement, {"queue": queue}).one_or_none()
            stored = Count(*row) if row is not None else Count()
            counts[queue] = stored.plus(self._changes.get(queue, Count()))
        return counts

    def read_all(self) -> Count:
        """Of all queues together, with what this transaction changes."""
        row = self._connection.execute(_OF_ALL).one()
        total = Count(*(int(number) for number in row))
        for change in self._changes.values():
            total = total.plus(change)
        return total

    def most_dead(self, *, by_bytes: bool = False) -> str:
        """The queue with most dead events (or most bytes of them), with what this transaction
        changes. There must be one that has any."""
        column = "dead_bytes" if by_bytes else "dead"
        # Beside the queues that it changes, only the first of the others can have most.
        rows = self._connection.execute(
            sa.text(_MOST_DEAD.format(column=column)), {"n": len(self._changes) + 1}
        ).all()
        totals: dict[str, int] = {row.queue: int(row[1]) for row in rows}
        for queue, stored in self.read([*self._changes]).items():
            totals[queue] = getattr(stored, column)
        return max(totals, key=lambda queue: (totals[queue], queue))

    def write(self) -> None:
        """At the end of the transaction. Queues that are empty then have no row: their functions
        may be gone for ever, and `read_all` is to cost no more than what there is."""
        rows = [
            {
                "queue": queue,
                "events": change.events,
                "bytes": change.bytes,
                "dead": change.dead,
                "dead_bytes": change.dead_bytes,
            }
            for queue, change in sorted(self._changes.items())
            if change != Count()
        ]
        if rows:
            self._connection.execute(_ADD, rows)
        left = [
            {"queue": queue}
            for queue, change in sorted(self._changes.items())
            if change.events < 0 or change.dead < 0
        ]
        if left:
            self._connection.execute(_FORGET_EMPTY, left)
        self._changes.clear()
