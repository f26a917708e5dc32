"""The parts of a streamed answer, between the channel that reads them and who passes them on.

Bounded by pausing: once `HIGH_BYTES` lie here, `full` tells the channel to stop reading, and taking
them makes it go on. So a stream holds at most that, one part that was not whole and one read more
in this process's memory; the rest waits in the socket, and then in the instance.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from samovar.guest import wire

HIGH_BYTES = 128 * 1024
"""Reading pauses there: with the rest of a part (`wire.MAX_PART_BYTES`) and one more read
(`wire.RECV_BYTES`), a stream takes 256 KiB."""


class Parts:
    """A streamed answer. `end` is the frame that ended it, once `take` has returned nothing."""

    def __init__(self, resume: Callable[[], None]) -> None:
        self.end: wire.Frame | None = None
        self.failure: Exception | None = None
        self._resume = resume
        self._held = bytearray()
        self._news = asyncio.Event()

    @property
    def full(self) -> bool:
        """Whether no more should be read for now."""
        return len(self._held) >= HIGH_BYTES

    # ------------------------------------------------------------ the channel's side

    def feed(self, frame: wire.Frame) -> str | None:
        """Take in the next frame; return what is wrong with it, if anything is."""
        kind, _, body = frame
        if kind == wire.PART:
            self._held += body
        elif kind == wire.ERROR or (kind == wire.RESPONSE and not body):
            self.end = frame
        else:
            return f"frame of type {kind} with {len(body)} bytes in a stream"
        self._news.set()
        return None

    def fail(self, error: Exception) -> None:
        """No more will come: `take` raises this when it has returned what there is."""
        self.failure = error
        self._news.set()

    # ------------------------------------------------------------ the taker's side

    async def take(self) -> bytes:
        """Wait for bytes and return all that are there; none: the answer has ended.

        Raises what `fail` was told."""
        while not self._held:
            if self.end is not None:
                return b""
            if self.failure is not None:
                raise self.failure
            self._news.clear()
            await self._news.wait()
        taken, was_full = bytes(self._held), self.full
        self._held.clear()
        if was_full:
            self._resume()
        return taken
