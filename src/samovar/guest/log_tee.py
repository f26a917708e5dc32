"""What programs print, where somebody wants to read along: to the function's log, line by line.

How this works. Without extensions a program writes to the instance's log itself, and nothing here
is in use. With them, each process has a pipe of its own; what comes out of it goes to the log as it
is, and to the telemetry as lines. The log is taken from us at a bounded rate, so when it is full we
stop reading, and the writer waits, as it would without us.

Runs inside instances: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from samovar.guest.reactor import Reactor

LOG_FD = 1
MAX_LINE_BYTES = 64 * 1024
"""A longer line is told in pieces."""

_ROOM_BYTES = 64 * 1024
_READ_BYTES = 64 * 1024
_DRAIN_READS = 4
"""A pipe holds 64 KiB; its writer may go on meanwhile."""


class LogOutput:
    """The instance's log, shared by all who print. Nothing waits for it here."""

    def __init__(self, reactor: Reactor, fd: int = LOG_FD) -> None:
        os.set_blocking(fd, False)
        self._reactor = reactor
        self._fd = fd
        self._unsent = bytearray()
        self._broken = False
        self._waiting: list[Callable[[], None]] = []

    @property
    def has_room(self) -> bool:
        """Whether the log keeps up."""
        return len(self._unsent) < _ROOM_BYTES

    @property
    def flushed(self) -> bool:
        """Whether all is in it."""
        return not self._unsent

    def when_room(self, callback: Callable[[], None]) -> None:
        """Call once, when there is room again."""
        self._waiting.append(callback)

    def write(self, data: bytes) -> None:
        """Add to the log, sooner or later."""
        self._unsent += data
        self._flush()

    def _flush(self) -> None:
        try:
            while self._unsent and not self._broken:
                del self._unsent[: os.write(self._fd, self._unsent)]
        except BlockingIOError:
            self._reactor.watch(self._fd, None, self._writable)
            return
        except OSError:
            self._broken = True
        if self._broken:
            self._unsent.clear()

    def _writable(self) -> None:
        self._reactor.unwatch(self._fd)
        self._flush()
        if self.has_room:
            waiting, self._waiting = self._waiting, []
            for callback in waiting:
                callback()


class LogTee:
    """The pipe of one process. `child_fd` is its end; `close_child_fd` once it has been started.

    `on_line(text)` is called for each line, without its end; None where nobody listens."""

    def __init__(
        self, reactor: Reactor, log: LogOutput, on_line: Callable[[str], None] | None
    ) -> None:
        self._reactor = reactor
        self._log = log
        self._fd, self.child_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._fd, False)
        self._line = bytearray()
        self._over = self._finishing = False
        self.on_line = on_line
        reactor.watch(self._fd, self._readable)

    def close_child_fd(self) -> None:
        """Keep only our end."""
        os.close(self.child_fd)

    @property
    def drained(self) -> bool:
        """Whether nothing waits to be taken."""
        return self._over or not select.select([self._fd], [], [], 0)[0]

    def drain(self) -> None:
        """Take what has been printed by now, as far as there is room."""
        for _ in range(_DRAIN_READS):
            if self._over or not self._log.has_room or not self._read():
                return

    def finish(self) -> None:
        """The process has ended: tell what it has left unfinished too. What it may have started
        can print on."""
        self._finishing = True
        self.drain()

    def _readable(self) -> None:
        if self._log.has_room:
            self._read()
        else:
            self._reactor.unwatch(self._fd)
            self._log.when_room(self._resume)

    def _resume(self) -> None:
        if not self._over:
            self._reactor.watch(self._fd, self._readable)

    def _read(self) -> bool:
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            if self._finishing:
                self._tell_rest()
            return False
        if not data:
            self._over = True
            self._reactor.unwatch(self._fd)
            os.close(self._fd)
            self._tell_rest()
            return False
        self._log.write(data)
        if self.on_line:
            self._split(data)
        return True

    def _split(self, data: bytes) -> None:
        self._line += data
        *lines, rest = self._line.split(b"\n")
        self._line = rest
        for line in lines:
            self._tell(line)
        while len(self._line) >= MAX_LINE_BYTES:
            self._tell(self._line[:MAX_LINE_BYTES])
            del self._line[:MAX_LINE_BYTES]

    def _tell_rest(self) -> None:
        if self._line:
            self._tell(self._line)
            self._line = bytearray()

    def _tell(self, line: bytes | bytearray) -> None:
        if self.on_line:
            for start in range(0, len(line) or 1, MAX_LINE_BYTES):
                self.on_line(line[start : start + MAX_LINE_BYTES].decode("utf-8", "replace"))
