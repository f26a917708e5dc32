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


class Clock:
    """See the module's text. Times are seconds since the epoch."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._ahead_s = 0.0
        self._advanced = asyncio.Event()

    def now(self) -> float:
        """The present time."""
        return self._wall() + self._ahead_s

    def advance(self, seconds: float) -> None:
        """Let so much time have passed. Whoever waits for a time that has come then goes on."""
        if seconds < 0:
            raise ValueError("time does not go back")
        self._ahead_s += seconds
        self._advanced.set()
        self._advanced = asyncio.Event()

    async def until(self, moment: float | None, *, or_when: asyncio.Event) -> None:
        """Return at `moment` (None: never), or as soon as `or_when` is set; never much later."""
        while not or_when.is_set():
            left_s = None if moment is None else moment - self.now()
            if left_s is not None and left_s <= 0:
                return
            waiters = [asyncio.ensure_future(event.wait()) for event in (or_when, self._advanced)]
            try:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait(waiters, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for waiter in waiters:
                    waiter.cancel()
