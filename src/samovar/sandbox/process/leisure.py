"""Work that can wait, done in small steps when nobody waits for a start.

How this works. What makes the next start fast (a blank, a network namespace) would make the one
that is under way slow, for both want the same processors. So a step is taken when no start has
come for a while; and, where starts never cease, from time to time all the same.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from samovar.sandbox.process.event_loop import EventLoop

Step = Callable[[], bool]
"""One step of something; returns whether there are more."""

_QUIET_S = 0.01
"""After the last start: about what the init and the first invocation of a small function take."""
_AT_LATEST_S = 0.1
"""After the last step, however busy we are."""
_BREATH_S = 0.0002
"""Between two steps: long enough for the event loop to look at its descriptors."""


class Leisure:
    """See the module."""

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop
        self._steps: deque[Step] = deque()
        self._last_start_s = 0.0
        self._last_step_s = 0.0
        self._scheduled = False
        self._closed = False

    def start_has_come(self) -> None:
        """Let it have the processors for a while."""
        self._last_start_s = time.monotonic()

    def add(self, step: Step) -> None:
        """Call `step` at leisure until it returns False. Adding it again meanwhile is no error."""
        if not self._steps:
            self._last_step_s = time.monotonic()
        if step not in self._steps and not self._closed:
            self._steps.append(step)
        self._schedule()

    def close(self) -> None:
        """Take no more steps."""
        self._steps.clear()
        self._closed = True

    def _schedule(self) -> None:
        if self._steps and not self._scheduled:
            self._scheduled = True
            self._loop.later(max(_BREATH_S, self._due_s() - time.monotonic()), self._on_timer)

    def _due_s(self) -> float:
        return min(self._last_start_s + _QUIET_S, self._last_step_s + _AT_LATEST_S)

    def _on_timer(self) -> None:
        self._scheduled = False
        if self._steps and time.monotonic() >= self._due_s():
            step = self._steps.popleft()
            if step() and step not in self._steps:
                self._steps.append(step)
            self._last_step_s = time.monotonic()
        self._schedule()
