"""Being called at a time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

RESOLUTION_S = 0.001


class Alarm:
    """One call at a time, on the running event loop; `monotonic` may be another clock than its."""

    def __init__(self, callback: Callable[[], None], monotonic: Callable[[], float]) -> None:
        self._callback = callback
        self._monotonic = monotonic
        self._handle: asyncio.TimerHandle | None = None
        self._at = math.inf

    def set(self, at: float) -> None:
        """Call then, or before: at what was set earlier, where that is sooner."""
        if at < self._at:
            self.cancel()
            self._at = at
            delay_s = max(RESOLUTION_S, at - self._monotonic())
            self._handle = asyncio.get_running_loop().call_later(delay_s, self._call)

    def cancel(self) -> None:
        """Do not call."""
        self._at = math.inf
        if self._handle is not None:
            self._handle.cancel()

    def _call(self) -> None:
        self._at = math.inf
        self._callback()
