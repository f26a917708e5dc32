"""An event loop whose time jumps: nothing in it ever waits.

How this works. An event loop that has nothing to do asks its selector to wait until its first
timer is due. Here the selector does not wait, it moves the loop's time to then. So everything
happens in the same order as in real time, an hour of which takes as long as what happens in it.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

RESOLUTION_S = 1e-6
"""Timers that are due within so much of each other are called in one turn, in order."""
LOOK_EVERY = 1024
"""Turns after which real events (an answer of a thread) are looked for: it costs a system call."""
STUCK_AFTER_S = 1.0
"""Where no timer is left, so much real time is given to threads."""


class StuckError(Exception):
    """Everybody waits for something that no timer will bring: a defect of what is simulated."""


class _Jumping(selectors.BaseSelector):
    """Moves the time in place of waiting."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._real = selectors.DefaultSelector()
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._turns += 1
        if timeout is None or self._turns % LOOK_EVERY == 0:
            found = self._real.select(STUCK_AFTER_S if timeout is None else 0)
            if found:
                return found
        if timeout is None:
            raise StuckError("nothing is due, and nothing is ready")
        if timeout > 0:
            self.now_s += timeout
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """See the module's text. Its time begins at 0."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)
        self._clock_resolution = RESOLUTION_S

    def time(self) -> float:
        """Seconds since it was made, all of them virtual."""
        return self._jumping.now_s


def run(main: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
