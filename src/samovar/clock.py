"""The platform's clock: what is due, too old, or missed goes by it.

It runs with the machine's wall clock, plus what it has been advanced by (tests do that, and
`samovar up --test-controls`). Deadlines that only have to do with this machine's work (leases,
time-outs of requests) do not go by it: advancing it by an hour must not end them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

LOOK_AGAIN_S = 60.0
"""The event loop's timers do not notice when the wall clock is set, or the machine sleeps: so
whoever waits looks at it at least so often."""


@dataclass(slots=True, eq=False)
class _Wait:
    moment: float
    limit: asyncio.Timeout
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Clock:
    """See the module's text. Times are seconds since the epoch."""

    def __init__(
        self, wall: Callable[[], float] = time.time, look_again_s: float = LOOK_AGAIN_S
    ) -> None:
        self._wall = wall
        self._look_again_s = look_again_s
        self._ahead_s = 0.0
        self._waits: set[_Wait] = set()

    @property
    def ahead_s(self) -> float:
        """How far it has been advanced beyond the wall clock."""
        return self._ahead_s

    def now(self) -> float:
        """The present time."""
        return self._wall() + self._ahead_s

    def advance(self, seconds: float) -> None:
        """Let so much time have passed. Whoever waits for a time that has come then goes on."""
        if seconds < 0:
            raise ValueError("time does not go back")
        self._ahead_s += seconds
        for wait in self._waits:
            if not wait.limit.expired():
                wait.limit.reschedule(self._look_at(wait.moment))

    async def until(self, moment: float | None, *, or_when: asyncio.Event) -> None:
        """Return at `moment` (None: never), or as soon as `or_when` is set; never much later."""
        if moment is None:
            await or_when.wait()
            return
        while not or_when.is_set() and moment > self.now():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._look_at(moment)) as limit:
                    wait = _Wait(moment, limit)
                    self._waits.add(wait)
                    try:
                        await or_when.wait()
                    finally:
                        self._waits.discard(wait)
                        wait.over.set()

    async def settled(self) -> None:
        """Return when everybody who waits for a time that has come by now has gone on."""
        for wait in [wait for wait in self._waits if wait.moment <= self.now()]:
            await wait.over.wait()

    def _look_at(self, moment: float) -> float:
        """When the event loop is to wake who waits for a moment, in the loop's own time."""
        return asyncio.get_running_loop().time() + min(moment - self.now(), self._look_again_s)
