"""The terminal that a command runs in, when a function's debugger may speak there too."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import termios
from collections.abc import Iterator


class Terminal:
    """How this works. The debugger of an instance opens the terminal by its path and locks it as
    long as it speaks (`samovar.guest.debugger`); whoever else writes to it takes the lock first. A
    debugger that is ended in mid-line would leave the terminal's settings as it had them."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        """None: there is no terminal."""
        self._fd = -1 if path is None else os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)

    @classmethod
    @contextlib.contextmanager
    def of_this_process(cls) -> Iterator[Terminal]:
        """The one behind stdin, for a block; its settings are afterwards what they were before."""
        try:
            terminal = cls(os.ttyname(sys.stdin.fileno()))
        except (OSError, ValueError):
            yield cls(None)
            return
        settings = termios.tcgetattr(terminal._fd)
        try:
            yield terminal
        finally:
            with contextlib.suppress(termios.error):  # it has been closed
                termios.tcsetattr(terminal._fd, termios.TCSANOW, settings)
            os.close(terminal._fd)

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until no debugger speaks, and keep others from it for the block."""
        if self.path is None:
            yield
            return
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
