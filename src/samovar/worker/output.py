"""What an instance prints: from its pipe to the log of its function.

The pipe holds 64 KiB; when nobody reads it, the writer waits. That is how a function that prints
without end hurts itself alone: `_readable` takes a bounded amount and then rests, whether it comes
in large pieces or in small ones, and the log store is bounded in size.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

TAIL_BYTES = 4096
"""AWS: LogType=Tail returns the last 4 KB."""

CHUNK_BYTES = 64 * 1024
DRAIN_BYTES = 1 << 20
"""The most that is read at once when an invocation has ended."""

REST_S = 0.005
"""The pipe is read no more than twice in so long: about 26 MB/s at most."""


class Tail:
    """The last of what an instance has printed, and we have written, since something began: with
    many requests at once, what came during each of them."""

    def __init__(self, tails: list[Tail]) -> None:
        self._tails = tails
        self._kept = bytearray()
        tails.append(self)

    def keep(self, data: bytes) -> None:
        """Add to it."""
        self._kept += data[-TAIL_BYTES:]
        if len(self._kept) > 4 * TAIL_BYTES:
            del self._kept[:-TAIL_BYTES]

    def text(self) -> bytes:
        """The last 4 KiB."""
        return bytes(self._kept[-TAIL_BYTES:])

    def end(self) -> None:
        """Add no more. Idempotent."""
        if self in self._tails:
            self._tails.remove(self)


class Output:
    """Reads the pipe of one instance on the running event loop."""

    def __init__(self, fd: int, sink: Callable[[bytes], None]) -> None:
        self._fd = fd
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._tails: list[Tail] = []
        """Of what is under way."""
        self._unfinished = False
        """Whether the last line has no end yet."""
        self._read_at = 0.0
        self._resting: asyncio.TimerHandle | None = None
        self._closed = False
        self._loop.add_reader(fd, self._readable)

    def begin(self, line: bytes = b"") -> Tail:
        """Start the log of an invocation with a line of the platform's."""
        if not self._tails:
            self._unfinished = False
        tail = Tail(self._tails)
        if line:
            self.write(line)
        return tail

    def write(self, line: bytes) -> None:
        """Add a line of the platform's, on a line of its own."""
        self._keep(b"\n" + line if self._unfinished else line)

    def drain(self) -> None:
        """Take what is in the pipe now: everything printed before the answer was sent."""
        taken = 0
        while taken < DRAIN_BYTES and not self._closed:
            data = self._read()
            if not data:
                return
            taken += len(data)

    def close(self) -> None:
        """Stop reading (the pipe's owner closes it)."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._fd)
            if self._resting is not None:
                self._resting.cancel()

    def _readable(self) -> None:
        before, self._read_at = self._read_at, self._loop.time()
        if self._read() and self._read_at - before < REST_S:
            self._loop.remove_reader(self._fd)
            self._resting = self._loop.call_later(REST_S, self._resume)

    def _resume(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._fd, self._readable)

    def _read(self) -> bytes:
        try:
            data = os.read(self._fd, CHUNK_BYTES)
        except BlockingIOError:
            return b""
        if data:
            self._keep(data)
        else:
            self.close()
        return data

    def _keep(self, data: bytes) -> None:
        self._sink(data)
        self._unfinished = data[-1:] != b"\n"
        for tail in self._tails:
            tail.keep(data)
