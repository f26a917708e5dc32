"""The lanes of one instance: which are idle, which are busy, and opening one more.

An instance of one request at a time has one: its first channel. That of any other one carries what
concerns the whole instance, and passes it the far ends of its lanes: so they get there whatever is
under way on a lane, and an event that is read slowly is in nobody's way.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from samovar.guest import wire
from samovar.model.errors import ErrorCode, PlatformError
from samovar.worker.channel import Channel
from samovar.worker.lane import Lane


class Lanes:
    """At most `concurrency` of them. `make` is given the channel of each; `on_closed` is called
    when one of them closes."""

    def __init__(
        self,
        first: Channel,
        concurrency: int,
        make: Callable[[Channel], Lane],
        on_closed: Callable[[], None],
    ) -> None:
        self._first = first
        self._concurrency = concurrency
        self._make = make
        self._on_closed = on_closed
        self._sockets: list[socket.socket] = []
        self._idle = [make(first)] if concurrency == 1 else []
        """Those that were used last are taken first: their memory is warm."""
        self.busy: set[Lane] = set()

    @property
    def all_busy(self) -> bool:
        """Whether as many run as may."""
        return len(self.busy) >= self._concurrency

    @property
    def breached(self) -> bool:
        """Whether the instance has spoken where nobody had asked."""
        return self._first.breached or any(lane.channel.breached for lane in self._idle)

    def open_one(self) -> None:
        """Have a lane for the first request, if there is none."""
        if not self._idle:
            self._idle.append(self._open())

    def take(self) -> Lane:
        """An idle lane, now busy. Raises `PlatformError` UNAVAILABLE where one more cannot be."""
        lane = self._idle.pop() if self._idle else self._open()
        self.busy.add(lane)
        return lane

    def free(self, lane: Lane) -> None:
        """Its invocation is over."""
        self.busy.remove(lane)
        self._idle.append(lane)

    def give_up(self, lane: Lane) -> None:
        """The same, and it is not to be used any more. (The first channel is: to say that the
        instance is to end.)"""
        self.busy.discard(lane)
        if lane.channel is not self._first:
            lane.channel.silence()

    def close(self) -> None:
        """All of them. Whoever waits for an answer learns that none comes."""
        for lane in (*self.busy, *self._idle):
            lane.channel.close()
        for sock in self._sockets:
            sock.close()

    def _open(self) -> Lane:
        try:
            ours, theirs = wire.channel_ends()
        except OSError as error:
            message = f"no room for one more request in an instance: {error}"
            raise PlatformError(ErrorCode.UNAVAILABLE, message) from error
        self._sockets.append(ours)
        self._first.pass_on(theirs)
        channel = Channel(ours, self._on_closed, self._first.pace, may_pend=False)
        return self._make(channel)
