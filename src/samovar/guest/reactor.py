"""The bridge's event loop: descriptors and timers, one callback at a time.

Runs inside instances: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import heapq
import itertools
import selectors
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    File = int | socket.socket
    Callback = Callable[[], None]


class Timer:
    """A call that is to come. `cancel` is idempotent, and none any more once it has come."""

    def __init__(self, callback: Callback) -> None:
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        """Make it not come."""
        self.callback = None


class Reactor:
    """Calls back when a descriptor is ready, or when time has come. What a callback raises ends
    `run_until`."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()

    def watch(
        self, file: File, readable: Callback | None = None, writable: Callback | None = None
    ) -> None:
        """From now on call `readable` while there is something to read (or an end), `writable`
        while there is room; None: don't look. Replaces what was said of `file` before."""
        events = (selectors.EVENT_READ if readable else 0) | (
            selectors.EVENT_WRITE if writable else 0
        )
        known = self._selector.get_map().get(file)
        if not events:
            self.unwatch(file)
        elif known is None:
            self._selector.register(file, events, (readable, writable))
        else:
            self._selector.modify(file, events, (readable, writable))

    def unwatch(self, file: File) -> None:
        """Forget a descriptor, before it is closed. Unknown ones are no error."""
        if file in self._selector.get_map():
            self._selector.unregister(file)

    def later(self, delay_s: float, callback: Callback) -> Timer:
        """Call once, after `delay_s`."""
        timer = Timer(callback)
        heapq.heappush(self._timers, (time.monotonic() + delay_s, next(self._order), timer))
        return timer

    def run_until(self, done: Callable[[], bool]) -> None:
        """Serve until `done()`, which is asked before each wait."""
        while not done():
            self._step()

    def _step(self) -> None:
        for key, events in self._selector.select(self._patience_s()):
            if events & selectors.EVENT_WRITE and (writable := self._callbacks(key)[1]):
                writable()
            if events & selectors.EVENT_READ and (readable := self._callbacks(key)[0]):
                readable()
        while self._timers and self._timers[0][0] <= time.monotonic():
            callback = heapq.heappop(self._timers)[2].callback
            if callback:
                callback()

    def _callbacks(self, key: selectors.SelectorKey) -> tuple[Callback | None, Callback | None]:
        """Whom to call now: an earlier callback of this round may be done with it, or have given
        it to somebody else."""
        known = self._selector.get_map().get(key.fd)
        if known is None or known.fileobj is not key.fileobj:
            return None, None
        readable, writable = known.data
        return readable, writable

    def _patience_s(self) -> float | None:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
