"""breakpoint() in a terminal: for functions without isolation, and there alone.

How this works. INIT names a terminal by its path; only a server without isolation has one to name.
`pdb.Pdb`, which breakpoint() and `pdb.set_trace()` make, becomes one that speaks there. From its
first stop till the person lets the function go on, standard input, output and error are the
terminal: its line editing works, and what the function prints while it is stepped through shows
at once. As long as that lasts the terminal is locked, so that neither another instance's debugger
nor `samovar dev`, which prints logs there, writes into it (`samovar.cli.terminal`).

Runs inside instances: standard library only, Python 3.9.
"""

from __future__ import annotations

import fcntl
import os
import pdb
import sys
import termios
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from samovar.guest.handler import Handler

_TERM = "xterm"
"""What nearly every terminal of today understands."""
_READER_LIMIT_S = 0.2
_OURS = ["samovar.*", "pdb", "bdb"]
"""Modules that are not stepped into."""


class _Terminal:
    """One terminal, and what the standard streams were before they became it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = -1
        self._saved: list[tuple[int, int]] = []
        self._streams: tuple[Any, Any, Any] = (None, None, None)

    def take(self) -> None:
        """Wait for the terminal, then make it the standard streams. Idempotent."""
        if self._saved:
            return
        _import_readline()
        sys.stdout.flush()
        sys.stderr.flush()
        _await_reader(1)
        terminal = os.open(self._path, os.O_RDWR | os.O_NOCTTY)
        fcntl.flock(terminal, fcntl.LOCK_EX)
        self._lock = terminal
        for fd in (0, 1, 2):
            self._saved.append((fd, os.dup(fd)))
            os.dup2(terminal, fd)
        self._streams = sys.stdin, sys.stdout, sys.stderr
        sys.stdin = os.fdopen(0, closefd=False)
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)

    def give_back(self) -> None:
        """Make the standard streams what they were before. Idempotent."""
        if not self._saved:
            return
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdin, sys.stdout, sys.stderr = self._streams
        for fd, saved in self._saved:
            os.dup2(saved, fd)
            os.close(saved)
        self._saved.clear()
        os.close(self._lock)  # and with it the lock


def _await_reader(pipe: int) -> None:
    """Let what was printed before be shown before."""
    until = time.monotonic() + _READER_LIMIT_S
    try:
        while fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)) != bytes(4):
            if time.monotonic() > until:
                return
            time.sleep(0.001)
    except OSError:
        return  # the function has put something else there


def _import_readline() -> None:
    """For history and completion. It asks the environment for the terminal's kind, and the
    function's has none."""
    if "readline" in sys.modules:
        return
    had = os.environ.get("TERM")
    os.environ["TERM"] = _TERM
    try:
        import readline  # noqa: F401
    except ImportError:
        return  # the terminal's own line editing it is
    finally:
        if had is None:
            del os.environ["TERM"]
        else:
            os.environ["TERM"] = had


class TerminalDebugger:
    """Make one before the function's code is loaded: from then on its debugger is at the terminal
    of that path."""

    def __init__(self, path: str) -> None:
        self._terminal = terminal = _Terminal(path)
        self._stopped: list[Any] = []
        """Debuggers that have stopped the function in this invocation."""
        stopped = self._stopped

        class Debugger(pdb.Pdb):
            def __init__(self, *arguments: Any, **options: Any) -> None:
                options.setdefault("skip", _OURS)
                super().__init__(*arguments, **options)

            def interaction(self, *arguments: Any) -> None:
                stopped.append(self)
                terminal.take()
                self.stdin, self.stdout = sys.stdin, sys.stdout
                super().interaction(*arguments)

            def set_continue(self) -> None:
                super().set_continue()
                terminal.give_back()

            def set_quit(self) -> None:
                super().set_quit()
                terminal.give_back()

        pdb.Pdb = Debugger  # type: ignore[misc]

    def watched(self, handler: Handler) -> Handler:
        """The handler to call in its stead: whoever steps on past its end does not step into the
        next invocation, and does not keep the terminal."""

        def call(event: Any, context: Any) -> Any:
            try:
                return handler(event, context)
            finally:
                for debugger in self._stopped:
                    debugger.set_continue()
                self._stopped.clear()
                self._terminal.give_back()

        return call
