"""Whose turn it is: which queue may have how many events taken next. Pure; the dispatcher takes.

Queues that have something due take turns, whatever has been due longest, so that one with a million
events does not starve one with ten. Each has a *window*: how many of its events may be under way at
once. It begins small, grows by one with each attempt that has begun, up to the queue's bound, and
falls to one with a throttle: the queue pauses then, and goes on with a single probe, so that none
of its million events is tried in vain meanwhile. Throttles of attempts that were under way before
that pause tell nothing new.

Events that are sent elsewhere, and do not invoke, are counted apart as soon as that is known: an
endpoint that hangs keeps no function waiting, but that whose messages it does not take.
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
Or a few functions that run for long would keep all others from beginning. Another fourth is kept
for those that have less than their share: so the largest shrink, one by one, where others wait."""

SENT_AT_ONCE = 64
"""Events of one queue that are sent elsewhere."""


@dataclass(slots=True)
class _Queue:
    window: int
    under_way: int = 0
    sending: int = 0
    """Are not among those `under_way`."""
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

    @property
    def is_idle(self) -> bool:
        """Nothing of it is under way, and nothing waits."""
        return not self.under_way and not self.sending and self.due_at == math.inf

    @property
    def look_at(self) -> float:
        """When it may have a turn; or, of one that is idle, when its pause has ended."""
        return self.paused_until if self.is_idle else max(self.due_at, self.paused_until)


class Turns:
    """See the module's text. Times are of the platform's clock."""

    def __init__(self, bound_of: Callable[[str], int], at_once: int) -> None:
        """`bound_of` a queue: how many of its events may be under way; `at_once`: of all queues,
        and about as many that are sent elsewhere."""
        self._bound_of = bound_of
        self._at_once = at_once
        self._queues: dict[str, _Queue] = {}
        self._line: dict[str, None] = {}
        """Queues that may have a turn, in order: something of theirs is due."""
        self._later: list[tuple[float, str]] = []
        """A heap of when to look at a queue. Entries may be out of date, and more than one a queue:
        what counts is what the queue itself says."""
        self._under_way = 0
        self._sending = 0
        self._busy = 0
        """Queues that have something under way."""
        self._now = -math.inf

    @property
    def under_way(self) -> int:
        """Events of all queues that have been taken or claimed and are not done."""
        return self._under_way + self._sending

    def waiting(self, queue: str, due_at: float) -> None:
        """A queue has an event that may be taken from then on."""
        known = self._queue(queue)
        if due_at <= known.due_at:  # the same once more: whoever looks at all of them mends a line
            known.due_at = due_at
            self._look_later(queue, known)

    def claim(self, queue: str, due_at: float, now: float) -> bool:
        """Count a new event in if it may begin at once, ahead of nobody."""
        self._notice(now)
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
        self._notice(now)
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

    def sends(self, queue: str) -> None:
        """An event that was counted in is one that is sent elsewhere."""
        known = self._queue(queue)
        self._count(known, -1)
        self._count_sends(known, +1)
        self._look_once_more(queue, known)

    def sent(self, queue: str) -> None:
        """It is under way no more."""
        known = self._queue(queue)
        self._count_sends(known, -1)
        self._look_once_more(queue, known)
        self._forget_if_idle(queue, known)

    def done(self, queue: str) -> None:
        """An event is under way no more."""
        known = self._queue(queue)
        self._count(known, -1)
        self._look_once_more(queue, known)
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
        free, kept = self._at_once - self._under_way, self._at_once // KEPT_SHARE
        if not known.under_way:
            shared = max(free - kept, min(free, 1))
        elif known.under_way < (self._at_once - kept) // self._busy:
            shared = free - kept
        else:
            shared = free - 2 * kept
        return min(self._own_room(queue, known), max(shared, 0))

    def _own_room(self, queue: str, known: _Queue) -> int:
        # What it has next may have to be sent, too. Who has sent nothing yet is believed not to.
        if known.sending >= (SENT_AT_ONCE if self._sending < self._at_once else 1):
            return 0
        return min(known.window, self._bound_of(queue)) - known.under_way

    def _count(self, known: _Queue, number: int) -> None:
        self._busy -= known.under_way > 0
        known.under_way += number
        self._busy += known.under_way > 0
        self._under_way += number

    def _count_sends(self, known: _Queue, number: int) -> None:
        known.sending += number
        self._sending += number

    def _notice(self, now: float) -> None:
        """A clock that is set back ends all pauses: they would last for as long as that."""
        if now < self._now:
            for known in self._queues.values():
                known.paused_until = -math.inf
            self._drop_old_entries()
        self._now = now

    def _look_once_more(self, queue: str, known: _Queue) -> None:
        if known.passed_over:
            known.passed_over = False
            self._look_later(queue, known)

    def _look_later(self, queue: str, known: _Queue) -> None:
        at = known.look_at
        if at == math.inf or queue in self._line:
            return
        if len(self._later) > 2 * len(self._queues) + 64:
            self._drop_old_entries()
        heapq.heappush(self._later, (at, queue))

    def _line_up(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            _, queue = heapq.heappop(self._later)
            known = self._queues.get(queue)
            if known is None or queue in self._line:
                continue
            if known.look_at > now:
                self._look_later(queue, known)
            elif known.due_at < math.inf:
                self._line[queue] = None
            else:
                self._forget_if_idle(queue, known)

    def _drop_old_entries(self) -> None:
        times = {queue: known.look_at for queue, known in self._queues.items()}
        self._later = [(at, queue) for queue, at in times.items() if at < math.inf]
        heapq.heapify(self._later)

    def _forget_if_idle(self, queue: str, known: _Queue) -> None:
        """Of a queue that is empty nothing need be known, but that it is paused."""
        if not known.is_idle:
            return
        if known.paused_until <= self._now:
            self._queues.pop(queue, None)
        else:
            self._look_later(queue, known)
