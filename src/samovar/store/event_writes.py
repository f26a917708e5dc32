"""Writes of events, several in one transaction: what `SqlEventStore` submits, and its performance.

How this works. A group is performed by kind: first what ends or changes events (each only where its
holder still has it), then new events (those of callers where their queue has room; those that
follow from an end always, or they would be lost), then the counts of the queues. Whatever else is
to be written (taking, holders) is a function of its own, called in between.

Everything here runs in a transaction, in a thread where the database is SQLite: it touches nothing
of the loop's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from samovar.model.errors import ErrorCode, PlatformError, ThrottleReason
from samovar.model.event import Event
from samovar.ports import Verdict
from samovar.store.event_rows import COLUMNS, details_of, event_row

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class EventBounds:
    """How much is kept before accepting more is refused."""

    queue_events: int = 1_000_000
    queue_bytes: int = 1024 * MIB
    """Of payloads, as below."""
    all_bytes: int = 10240 * MIB


@dataclass(frozen=True, slots=True)
class New:
    """An event to be kept, and who is to hold it from the start."""

    event: Event
    holder: str | None


@dataclass(frozen=True, slots=True)
class Accept:
    """Keep new events, all or none. Results in a `Written`."""

    news: Sequence[New]
    change: Callable[[sa.Connection], bool] | None = None
    """Made along with them; they are kept only if it returns true."""


@dataclass(frozen=True, slots=True)
class Settle:
    """Write what becomes of an event, if `holder` has it. Results in a `Written`."""

    holder: str
    event: Event
    verdict: Verdict
    follow_ups: Sequence[New]


@dataclass(frozen=True, slots=True)
class Other:
    """Anything else. Results in what it returns."""

    work: Callable[[sa.Connection], Any]


EventWrite = Accept | Settle | Other


@dataclass(frozen=True, slots=True)
class Written:
    """What came of a write: whether it was made, and whether each of its new events was new."""

    made: bool
    fresh: Sequence[bool] = ()


_INSERT = sa.text(
    f"INSERT INTO events ({COLUMNS}) VALUES (:id, :queue, :target, :source, :accepted_at, :due_at, "  # noqa: S608
    ":died_at, :holder, :payload, :details) ON CONFLICT (id) DO NOTHING"
)
_END = sa.text("DELETE FROM events WHERE id = :id AND holder = :holder")
_CHANGE = sa.text(
    "UPDATE events SET holder = NULL, due_at = :due_at, died_at = :died_at, details = :details "
    "WHERE id = :id AND holder = :holder"
)
_COUNT = sa.text(
    "INSERT INTO event_queues (queue, events, bytes) VALUES (:queue, :events, :bytes) "
    "ON CONFLICT (queue) DO UPDATE SET events = event_queues.events + excluded.events, "
    "bytes = event_queues.bytes + excluded.bytes"
)
_READ_COUNT = "SELECT events, bytes FROM event_queues WHERE queue = :queue"
_READ_COUNT_ALONE = sa.text(_READ_COUNT)
_READ_COUNT_SHARED = sa.text(_READ_COUNT + " FOR UPDATE")
_READ_ALL = sa.text("SELECT COALESCE(SUM(bytes), 0) FROM event_queues")


def perform(
    connection: sa.Connection, writes: Sequence[EventWrite], bounds: EventBounds
) -> list[Any]:
    """Make a group of writes; see the module's text. Returns what came of each."""
    return _Group(connection, bounds).perform(writes)


class _Group:
    def __init__(self, connection: sa.Connection, bounds: EventBounds) -> None:
        self._connection = connection
        self._bounds = bounds
        self._changed: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
        """Events and bytes that come to each queue, or (negative) leave it."""

    def perform(self, writes: Sequence[EventWrite]) -> list[Any]:
        results: list[Any] = [None] * len(writes)
        settles = [(i, write) for i, write in enumerate(writes) if isinstance(write, Settle)]
        ours = self._end([write for _, write in settles])
        for (i, write), was_ours in zip(settles, ours, strict=True):
            fresh = self._insert(write.follow_ups) if was_ours else ()
            results[i] = Written(was_ours, fresh)
        for i, other in enumerate(writes):
            if isinstance(other, Other):
                results[i] = other.work(self._connection)
        accepts = [(i, write) for i, write in enumerate(writes) if isinstance(write, Accept)]
        for i, written_or_error in self._accept(accepts):
            results[i] = written_or_error
        self._count()
        return results

    # ------------------------------------------------------------ ends

    def _end(self, settles: Sequence[Settle]) -> list[bool]:
        ours = [False] * len(settles)
        ends = [(i, s) for i, s in enumerate(settles) if not (s.verdict.again or s.verdict.dead)]
        keeps = [(i, s) for i, s in enumerate(settles) if s.verdict.again or s.verdict.dead]
        for statement, kind in ((_END, ends), (_CHANGE, keeps)):
            rows = [_settled_row(settle) for _, settle in kind]
            for (i, _), hit in zip(kind, self._each(statement, rows), strict=True):
                ours[i] = hit
        for settle, was_ours in zip(settles, ours, strict=True):
            if was_ours and settle.verdict.again is None:
                self._change(settle.event, -1)
        return ours

    # ------------------------------------------------------------ news

    def _accept(
        self, accepts: Sequence[tuple[int, Accept]]
    ) -> Iterable[tuple[int, Written | PlatformError]]:
        if not accepts:
            return
        queues = sorted({new.event.queue for _, write in accepts for new in write.news})
        room = _Room(self._bounds, self._read_counts(queues), self._read_all(), self._changed)
        admitted: list[tuple[int, Accept]] = []
        for i, write in accepts:
            refusal = room.admit([new.event for new in write.news])
            if refusal is not None:
                yield i, refusal
            elif write.change is not None and not write.change(self._connection):
                yield i, Written(False)
            else:
                admitted.append((i, write))
        fresh = iter(self._insert([new for _, write in admitted for new in write.news]))
        for i, write in admitted:
            yield i, Written(True, [next(fresh) for _ in write.news])

    def _insert(self, news: Sequence[New]) -> list[bool]:
        rows = [event_row(new.event, new.holder) for new in news]
        fresh = self._each(_INSERT, rows)
        for new, is_new in zip(news, fresh, strict=True):
            if is_new:
                self._change(new.event, +1)
        return fresh

    # ------------------------------------------------------------ inside

    def _each(self, statement: sa.TextClause, rows: Sequence[Mapping[str, Any]]) -> list[bool]:
        """Execute a statement for each row; return which of them it hit. All at once where it hits
        every one, which is as good as always."""
        if not rows:
            return []
        if len(rows) > 1:
            savepoint = self._connection.begin_nested()
            if self._connection.execute(statement, list(rows)).rowcount == len(rows):
                savepoint.commit()
                return [True] * len(rows)
            savepoint.rollback()
        return [self._connection.execute(statement, dict(row)).rowcount == 1 for row in rows]

    def _change(self, event: Event, direction: int) -> None:
        events, size_bytes = self._changed[event.queue]
        size = len(event.payload)
        self._changed[event.queue] = (events + direction, size_bytes + direction * size)

    def _count(self) -> None:
        # In one order everywhere: two servers that lock these rows must not wait for each other.
        rows = [
            {"queue": queue, "events": events, "bytes": size_bytes}
            for queue, (events, size_bytes) in sorted(self._changed.items())
            if events or size_bytes
        ]
        if rows:
            self._connection.execute(_COUNT, rows)

    def _read_counts(self, queues: Sequence[str]) -> dict[str, tuple[int, int]]:
        alone = self._connection.dialect.name == "sqlite"
        statement = _READ_COUNT_ALONE if alone else _READ_COUNT_SHARED
        counts = {}
        for queue in queues:
            row = self._connection.execute(statement, {"queue": queue}).one_or_none()
            counts[queue] = (row.events, row.bytes) if row is not None else (0, 0)
        return counts

    def _read_all(self) -> int:
        return int(self._connection.execute(_READ_ALL).scalar_one())


class _Room:
    """Who may still come in. Events that turn out to be there already, or not to be wanted, count
    as if they were new: this is a bound, and the counts that are kept are exact."""

    def __init__(
        self,
        bounds: EventBounds,
        counts: Mapping[str, tuple[int, int]],
        all_bytes: int,
        changed: Mapping[str, tuple[int, int]],
    ) -> None:
        self._bounds = bounds
        self._counts = {
            queue: [events + changed[queue][0], size_bytes + changed[queue][1]]
            if queue in changed
            else [events, size_bytes]
            for queue, (events, size_bytes) in counts.items()
        }
        self._all_bytes = all_bytes + sum(size_bytes for _, size_bytes in changed.values())

    def admit(self, events: Sequence[Event]) -> PlatformError | None:
        """Count them in, or say why not."""
        bounds = self._bounds
        more: dict[str, list[int]] = {}
        for event in events:
            counted = more.setdefault(event.queue, [0, 0])
            counted[0] += 1
            counted[1] += len(event.payload)
        for queue, (number, size_bytes) in more.items():
            count = self._counts[queue]
            if count[0] + number > bounds.queue_events:
                return _full(f"the event queue of {queue} is full: {count[0]} events wait in it")
            if count[1] + size_bytes > bounds.queue_bytes:
                return _full(
                    f"the event queue of {queue} is full: {count[1] // MIB} MiB wait in it"
                )
        all_bytes = self._all_bytes + sum(size_bytes for _, size_bytes in more.values())
        if all_bytes > bounds.all_bytes:
            return _full(f"the event queues are full: {self._all_bytes // MIB} MiB wait in them")
        self._all_bytes = all_bytes
        for queue, (number, size_bytes) in more.items():
            self._counts[queue][0] += number
            self._counts[queue][1] += size_bytes
        return None


def _full(what: str) -> PlatformError:
    return PlatformError(
        ErrorCode.TOO_MANY_REQUESTS, f"Rate Exceeded: {what}.", ThrottleReason.CALLER_RATE
    )


def _settled_row(settle: Settle) -> dict[str, Any]:
    key = {"id": settle.event.id, "holder": settle.holder}
    again, dead = settle.verdict.again, settle.verdict.dead
    if again is not None:
        return key | {"due_at": again.due_at, "died_at": None, "details": details_of(again)}
    if dead is not None:
        details = details_of(dead.event, dead.reason)
        return key | {"due_at": None, "died_at": dead.died_at, "details": details}
    return key
