"""The supervisor's event loop: descriptors, timers and dead children, one at a time.

How this works. Plain `selectors`, because entering another mount namespace demands a process with
a single thread, and because a start should cost two system calls of waiting, not a framework's.
"""

from __future__ import annotations

import heapq
import itertools
import os
import selectors
import signal
import time
from collections.abc import Callable

Callback = Callable[[], None]


class EventLoop:
    """Calls back when a descriptor is ready, when time has come, when a child died."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Callback]] = []
        self._count = itertools.count()
        self._running = True

    def watch(self, fd: int, readable: Callback, writable: Callback | None = None) -> None:
        """Call `readable` while `fd` can be read (or has ended), and `writable` likewise."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if writable else 0)
        if fd in self._selector.get_map():
            self._selector.modify(fd, events, (readable, writable))
        else:
            self._selector.register(fd, events, (readable, writable))

    def unwatch(self, fd: int) -> None:
        """Forget a descriptor. To be called before it is closed."""
        if fd in self._selector.get_map():
            self._selector.unregister(fd)

    def later(self, delay_s: float, callback: Callback) -> None:
        """Call once, after `delay_s`."""
        due = time.monotonic() + delay_s
        heapq.heappush(self._timers, (due, next(self._count), callback))

    def watch_children(self, callback: Callback) -> None:
        """Call when children may have died."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

        def drain() -> None:
            os.read(reader, 4096)
            callback()

        self.watch(reader, drain)

    def stop(self) -> None:
        """Make `run` return."""
        self._running = False

    def run(self) -> None:
        """Serve until stopped."""
        while self._running:
            self.step()

    def step(self) -> None:
        """Wait for something to happen, and serve it."""
        timeout = None
        if self._timers:
            timeout = max(0.0, self._timers[0][0] - time.monotonic())
        for key, events in self._selector.select(timeout):
            if key.fd not in self._selector.get_map():
                continue  # an earlier callback of this round was done with it
            readable, writable = key.data
            if events & selectors.EVENT_WRITE and writable:
                writable()
            elif events & selectors.EVENT_READ:
                readable()
        while self._timers and self._timers[0][0] <= time.monotonic():
            heapq.heappop(self._timers)[2]()
