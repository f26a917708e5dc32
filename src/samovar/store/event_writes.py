"""Writes of events, several in one transaction: what `SqlEventStore` submits, and its performance.

How this works. A group is performed by kind: first what ends or changes events (each only where its
holder still has it), then new events (those of callers where their queue has room; those that
follow from an end always, or they would be lost), then the counts of the queues. Whatever else is
to be written (taking, holders) is a function of its own, called in between.

Everything here runs in a transaction, in a thread where the database is SQLite: it touches nothing
of the loop's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from samovar.model.errors import ErrorCode, PlatformError, ThrottleReason
from samovar.model.event import Event
from samovar.ports import Verdict
from samovar.store.dead_events import make_room
from samovar.store.event_counts import Count, Counts
from samovar.store.event_news import tell_servers
from samovar.store.event_rows import COLUMNS, details_of, event_row
from samovar.store.per_row import PerRow

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class EventBounds:
    """How much is kept before accepting more is refused."""

    queue_events: int = 1_000_000
    queue_bytes: int = 1024 * MIB
    """Of payloads, as below."""
    all_bytes: int = 10240 * MIB
    dead_events: int = 100_000
    """The oldest make room, which they do also where all that is dead has over `all_bytes`."""


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

    work: Callable[[sa.Connection, Counts], Any]


EventWrite = Accept | Settle | Other


@dataclass(frozen=True, slots=True)
class Written:
    """What came of a write: whether it was made, and whether each of its new events was new."""

    made: bool
    fresh: Sequence[bool] = ()


_INSERT = PerRow(
    f"INSERT INTO events ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))}) "  # noqa: S608
    "ON CONFLICT (id) DO NOTHING"
)
_END = PerRow("DELETE FROM events WHERE id = ? AND holder = ?")
_CHANGE = PerRow(
    "UPDATE events SET holder = NULL, due_at = ?, died_at = ?, details = ? "
    "WHERE id = ? AND holder = ?"
)


def perform(
    connection: sa.Connection, writes: Sequence[EventWrite], bounds: EventBounds
) -> list[Any]:
    """Make a group of writes; see the module's text. Returns what came of each."""
    return _Group(connection, bounds).perform(writes)


class _Group:
    def __init__(self, connection: sa.Connection, bounds: EventBounds) -> None:
        self._connection = connection
        self._bounds = bounds
        self._counts = Counts(connection)
        self._due: dict[str, float] = {}
        """When the first is due of what this transaction puts into a queue to be taken."""

    def perform(self, writes: Sequence[EventWrite]) -> list[Any]:
        results: list[Any] = [None] * len(writes)
        settles = [(i, write) for i, write in enumerate(writes) if isinstance(write, Settle)]
        ours = self._end([write for _, write in settles])
        for (i, write), was_ours in zip(settles, ours, strict=True):
            fresh = self._insert(write.follow_ups) if was_ours else ()
            results[i] = Written(was_ours, fresh)
        for i, other in enumerate(writes):
            if isinstance(other, Other):
                results[i] = other.work(self._connection, self._counts)
        accepts = [(i, write) for i, write in enumerate(writes) if isinstance(write, Accept)]
        for i, written_or_error in self._accept(accepts):
            results[i] = written_or_error
        self._counts.write()
        for queue, due_at in self._due.items():
            tell_servers(self._connection, queue, due_at)
        return results

    # ------------------------------------------------------------ ends

    def _end(self, settles: Sequence[Settle]) -> list[bool]:
        ours = [False] * len(settles)
        ends = [(i, s) for i, s in enumerate(settles) if not (s.verdict.again or s.verdict.dead)]
        keeps = [(i, s) for i, s in enumerate(settles) if s.verdict.again or s.verdict.dead]
        for statement, kind in ((_END, ends), (_CHANGE, keeps)):
            rows = [_settled_row(settle) for _, settle in kind]
            for (i, _), hit in zip(kind, statement.hits(self._connection, rows), strict=True):
                ours[i] = hit
        ended = [settle for settle, was_ours in zip(settles, ours, strict=True) if was_ours]
        self._count_ends(ended)
        return ours

    def _count_ends(self, ended: Sequence[Settle]) -> None:
        has_died = False
        for settle in ended:
            event, size_bytes = settle.event, len(settle.event.payload)
            if settle.verdict.again is None:
                self._counts.live(event.queue, -1, -size_bytes)
            else:
                self._is_due(event.queue, settle.verdict.again.due_at)
            if settle.verdict.dead is not None:
                self._counts.dead(event.queue, +1, +size_bytes)
                has_died = True
        if has_died:
            bounds = self._bounds
            make_room(self._connection, self._counts, bounds.dead_events, bounds.all_bytes)

    # ------------------------------------------------------------ news

    def _accept(
        self, accepts: Sequence[tuple[int, Accept]]
    ) -> Iterable[tuple[int, Written | PlatformError]]:
        if not accepts:
            return
        queues = {new.event.queue for _, write in accepts for new in write.news}
        counts = self._counts.read(list(queues))
        room = _Room(self._bounds, counts, self._counts.read_all().bytes)
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
        fresh = _INSERT.hits(self._connection, rows)
        for new, is_new in zip(news, fresh, strict=True):
            if is_new:
                self._counts.live(new.event.queue, +1, len(new.event.payload))
                if new.holder is None:
                    self._is_due(new.event.queue, new.event.due_at)
        return fresh

    def _is_due(self, queue: str, due_at: float) -> None:
        self._due[queue] = min(due_at, self._due.get(queue, due_at))


class _Room:
    """Who may still come in. Events that turn out to be there already, or not to be wanted, count
    as if they were new: this is a bound, and the counts that are kept are exact."""

    def __init__(self, bounds: EventBounds, counts: Mapping[str, Count], all_bytes: int) -> None:
        self._bounds = bounds
        self._counts = counts
        self._all_bytes = all_bytes

    def admit(self, events: Sequence[Event]) -> PlatformError | None:
        """Count them in, or say why not."""
        bounds = self._bounds
        more: dict[str, Count] = {}
        for event in events:
            counted = more.setdefault(event.queue, Count())
            counted.events += 1
            counted.bytes += len(event.payload)
        for queue, its in more.items():
            there = self._counts[queue]
            if there.events + its.events > bounds.queue_events:
                return _full(f"the event queue of {queue} is full: {there.events} events wait")
            if there.bytes + its.bytes > bounds.queue_bytes:
                return _full(f"the event queue of {queue} is full: {there.bytes // MIB} MiB wait")
        all_bytes = self._all_bytes + sum(its.bytes for its in more.values())
        if all_bytes > bounds.all_bytes:
            return _full(f"the event queues are full: {self._all_bytes // MIB} MiB wait in them")
        self._all_bytes = all_bytes
        for queue, its in more.items():
            there = self._counts[queue]
            there.events += its.events
            there.bytes += its.bytes
        return None


def _full(what: str) -> PlatformError:
    return PlatformError(
        ErrorCode.TOO_MANY_REQUESTS, f"Rate Exceeded: {what}.", ThrottleReason.CALLER_RATE
    )


def _settled_row(settle: Settle) -> tuple[Any, ...]:
    key = (settle.event.id, settle.holder)
    again, dead = settle.verdict.again, settle.verdict.dead
    if again is not None:
        return (again.due_at, None, details_of(again), *key)
    if dead is not None:
        return (None, dead.died_at, details_of(dead.event, dead.reason), *key)
    return key
