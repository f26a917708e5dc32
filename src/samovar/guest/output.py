"""Stdout and stderr of an instance, and its root logger.

Everything ends in the pipe behind fds 1 and 2, in order, and before the answer to the invocation
that printed it: the worker relies on that to tell whose log a line is. User code may replace or
close `sys.stdout`; what the runtime itself writes goes to the fd regardless.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextvars import ContextVar
    from typing import TextIO

_STDOUT_FD = 1
_STDERR_FD = 2


class Output:
    """The two streams. Create it in the instance: it looks at the fds."""

    def __init__(self) -> None:
        self._stdout = _text_stream(_STDOUT_FD, "<stdout>", "strict")
        self._stderr = _text_stream(_STDERR_FD, "<stderr>", "backslashreplace")
        sys.stdout = sys.__stdout__ = self._stdout  # type: ignore[misc]
        sys.stderr = sys.__stderr__ = self._stderr  # type: ignore[misc]

    def flush(self) -> None:
        """Bring into the pipe what has been printed. Never raises an `Exception`."""
        try:
            self._stdout.flush()
            self._stderr.flush()
            if sys.stdout is not self._stdout:
                sys.stdout.flush()
            if sys.stderr is not self._stderr:
                sys.stderr.flush()
        except Exception:
            # Something in it was closed, replaced or made non-blocking by the function.
            for stream in (self._stdout, self._stderr, sys.stdout, sys.stderr):
                _flush_somehow(stream)

    def write(self, text: str) -> None:
        """Write an entry to the log, past whatever became of `sys.stdout`: to AWS it is one
        however it ends, so it ends its line here. Never raises an `Exception`."""
        _flush_somehow(self._stdout)
        if not text.endswith("\n"):
            text += "\n"
        rest = memoryview(text.encode("utf-8", "backslashreplace"))
        try:
            while rest:
                try:
                    rest = rest[os.write(_STDOUT_FD, rest) :]
                except BlockingIOError:
                    os.set_blocking(_STDOUT_FD, True)
        except OSError:
            # The function has closed its own log.
            return


def _text_stream(fd: int, name: str, errors: str) -> io.TextIOWrapper:
    raw = io.FileIO(fd, "wb", closefd=False)
    raw.name = name
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding="utf-8", errors=errors, newline="\n", line_buffering=True
    )


def _flush_somehow(stream: TextIO) -> None:
    for _ in range(2):
        try:
            stream.flush()
            return
        except BlockingIOError:
            os.set_blocking(_STDOUT_FD, True)
            os.set_blocking(_STDERR_FD, True)
        except Exception:
            return


class InvocationLog(logging.Handler):
    """The root logger's handler: AWS's line format, and the request that is running.

    https://docs.aws.amazon.com/lambda/latest/dg/python-logging.html
    """

    def __init__(self, output: Output) -> None:
        super().__init__()
        self.request_id = ""
        self.of_request: ContextVar[str] | None = None
        """In its stead, where many requests run at once."""
        self.output = output
        self.setFormatter(_FORMATTER)
        self.addFilter(self._add_request_id)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.output.write(self.format(record))
        except RecursionError:
            raise
        except Exception:
            self.handleError(record)

    def _add_request_id(self, record: logging.LogRecord) -> bool:
        of_request = self.of_request
        record.aws_request_id = self.request_id if of_request is None else of_request.get()
        return True

    def install(self) -> None:
        """Become the root logger's only handler; times are in UTC from now on."""
        logging.Formatter.converter = time.gmtime
        logging.getLogger().handlers[:] = [self]


_FORMATTER = logging.Formatter(
    "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n",
    "%Y-%m-%dT%H:%M:%S",
)
