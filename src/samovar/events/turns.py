"""Whose turn it is: which queue may have how many events taken next. Pure; the dispatcher takes.

Queues that have something due take turns, whatever has been due longest, so that one with a million
events does not starve one with ten. Each has a *window*: how many of its events may be under way at
once. It begins small, grows by one with each attempt that has begun, up to the queue's bound, and
falls to one with a throttle: the queue pauses then, and goes on with a single probe, so that none
of its million events is tried in vain meanwhile. Throttles of attempts that were under way before
that pause tell nothing new.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass

FIRST_WINDOW = 8

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0

TAKEN_AT_ONCE = 64
"""Events that one turn may take."""

KEPT_SHARE = 4
"""Of what may be under way in all, a fourth is kept for queues of which nothing is: one event each.
Or a few functions that run for long would keep all others from beginning."""


@dataclass(slots=True)
class _Queue:
    window: int
    under_way: int = 0
    due_at: float = math.inf
    """When the first event that nobody holds is due, as far as is known: it may be sooner than
    that, never later."""
    paused_until: float = -math.inf
    pauses: int = 0
    """In a row."""
    passed_over: bool = False
    """It would have had a turn, but for want of room: it is in no line till one of its is done."""
    epoch: int = 0
    """Counts pauses: attempts that began in an older one are not asked."""


class Turns:
    """See the module's text. Times are of the platform's clock."""

    def __init__(self, bound_of: Callable[[str], int], at_once: int) -> None:
        """`bound_of` a queue: how many of its events may be under way; `at_once`: of all queues."""
        self._bound_of = bound_of
        self._at_once = at_once
        self._queues: dict[str, _Queue] = {}
        self._line: dict[str, None] = {}
        """Queues that may have a turn, in order: something of theirs is due."""
        self._later: list[tuple[float, str]] = []
        """A heap of when to look at a queue. Entries may be out of date, and more than one a queue:
        what counts is what the queue itself says."""
        self._under_way = 0

    @property
    def under_way(self) -> int:
        """Events of all queues that have been taken or claimed and are not done."""
        return self._under_way

    def waiting(self, queue: str, due_at: float) -> None:
        """A queue has an event that may be taken from then on."""
        known = self._queue(queue)
        if due_at < known.due_at:
            known.due_at = due_at
            self._look_later(queue, known)

    def claim(self, queue: str, due_at: float, now: float) -> bool:
        """Count a new event in if it may begin at once, ahead of nobody."""
        known = self._queue(queue)
        free = due_at <= now < known.due_at and now >= known.paused_until
        if not free or self._room(queue, known) <= 0:
            self._forget_if_idle(queue, known)
            return False
        self._count(known, 1)
        return True

    def next(self, now: float) -> tuple[str, int] | None:
        """The queue whose turn it is and how many to take of it, or None where none can have one.
        Those are counted in; `took` tells how many there were."""
        self._line_up(now)
        stay: list[str] = []
        turn: tuple[str, int] | None = None
        while turn is None and self._line and self._under_way < self._at_once:
            queue = next(iter(self._line))
            del self._line[queue]
            known = self._queues.get(queue)
            if known is None or known.due_at > now:
                continue
            if known.paused_until > now:
                self._look_later(queue, known)
            elif self._own_room(queue, known) <= 0:
                known.passed_over = True
            elif (number := min(self._room(queue, known), TAKEN_AT_ONCE)) <= 0:
                stay.append(queue)  # till some of the others' are done
            else:
                self._count(known, number)
                known.due_at = math.inf  # `took` knows; what comes meanwhile is told
                turn = queue, number
        self._line.update(dict.fromkeys(stay))
        return turn

    def next_at(self) -> float | None:
        """After `next` has returned None: when to call it again, if nothing else happens before;
        None: never."""
        return self._later[0][0] if self._later and self._under_way < self._at_once else None

    def took(self, queue: str, asked: int, got: int, next_due_at: float | None) -> None:
        """A turn has taken `got` of `asked` events; the next one is due then, if there is one."""
        known = self._queue(queue)
        self._count(known, got - asked)
        if next_due_at is not None:
            known.due_at = min(known.due_at, next_due_at)
        self._look_later(queue, known)
        self._forget_if_idle(queue, known)

    def done(self, queue: str) -> None:
        """An event is under way no more."""
        known = self._queue(queue)
        self._count(known, -1)
        if known.passed_over:
            known.passed_over = False
            self._look_later(queue, known)
        self._forget_if_idle(queue, known)

    def epoch(self, queue: str) -> int:
        """To be kept with an attempt, and given to what follows."""
        return self._queue(queue).epoch

    def begun(self, queue: str, epoch: int) -> None:
        """An attempt of that epoch has begun: there is room for its queue."""
        known = self._queue(queue)
        if epoch == known.epoch:
            known.pauses = 0
            known.window = min(known.window + 1, max(self._bound_of(queue), 1))

    def throttled(self, queue: str, epoch: int, now: float) -> None:
        """An attempt of that epoch could not begin: there is no room for its queue."""
        known = self._queue(queue)
        if epoch != known.epoch:
            return
        pause_s = min(FIRST_PAUSE_S * 2**known.pauses, LONGEST_PAUSE_S)
        known.epoch += 1
        known.pauses = min(known.pauses + 1, 16)
        known.window = 1
        known.paused_until = now + pause_s

    # ------------------------------------------------------------ inside

    def _queue(self, queue: str) -> _Queue:
        known = self._queues.get(queue)
        if known is None:
            known = self._queues[queue] = _Queue(FIRST_WINDOW)
        return known

    def _room(self, queue: str, known: _Queue) -> int:
        free = self._at_once - self._under_way
        shared = max(free - self._at_once // KEPT_SHARE, 0)
        if not known.under_way:
            shared = max(shared, min(free, 1))
        return min(self._own_room(queue, known), shared)

    def _own_room(self, queue: str, known: _Queue) -> int:
        return min(known.window, self._bound_of(queue)) - known.under_way

    def _count(self, known: _Queue, number: int) -> None:
        known.under_way += number
        self._under_way += number

    def _look_later(self, queue: str, known: _Queue) -> None:
        at = max(known.due_at, known.paused_until)
        if at == math.inf or queue in self._line:
            return
        if len(self._later) > 2 * len(self._queues) + 64:
            self._drop_old_entries()
        heapq.heappush(self._later, (at, queue))

    def _line_up(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            _, queue = heapq.heappop(self._later)
            known = self._queues.get(queue)
            if known is None or known.due_at == math.inf or queue in self._line:
                continue
            if max(known.due_at, known.paused_until) <= now:
                self._line[queue] = None
            else:
                self._look_later(queue, known)

    def _drop_old_entries(self) -> None:
        times = {
            queue: max(known.due_at, known.paused_until) for queue, known in self._queues.items()
        }
        self._later = [(at, queue) for queue, at in times.items() if at < math.inf]
        heapq.heapify(self._later)

    def _forget_if_idle(self, queue: str, known: _Queue) -> None:
        """Of a queue that is empty nothing need be known, but that it has been throttled."""
        if not known.under_way and known.due_at == math.inf and not known.pauses:
            self._queues.pop(queue, None)
