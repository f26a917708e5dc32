"""The instance's log, and who reads along.

Without extensions, programs write to it themselves, and so do we. With external ones each process
gets a pipe (`log_tee`), so that the telemetry can tell who has printed what.

Runs inside instances: standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from samovar.guest.log_tee import LOG_FD, LogOutput, LogTee

if TYPE_CHECKING:
    from samovar.guest.reactor import Reactor
    from samovar.guest.telemetry import Telemetry


class InstanceLog:
    """See the module."""

    def __init__(self, reactor: Reactor, telemetry: Telemetry) -> None:
        self._reactor = reactor
        self._telemetry = telemetry
        self._output: LogOutput | None = None
        self._tees: list[LogTee] = []

    def pipe(self, kind: str) -> LogTee:
        """A pipe for a process whose lines are of `kind`: `function` or `extension`. From the first
        one on, no process may write to the log itself."""
        if self._output is None:
            self._output = LogOutput(self._reactor)
        telemetry = self._telemetry
        tee = LogTee(self._reactor, self._output, lambda line: telemetry.publish(kind, line))
        self._tees.append(tee)
        return tee

    def write(self, line: bytes) -> None:
        """A line of the platform's."""
        if self._output:
            self._output.write(line)
        else:
            with contextlib.suppress(OSError):
                os.write(LOG_FD, line)

    @property
    def drained(self) -> bool:
        """Whether nothing that has been printed waits for room."""
        log = self._output
        return log is None or (log.flushed and all(tee.drained for tee in self._tees))

    def drain(self) -> None:
        """Bring into the log what has been printed by now."""
        for tee in self._tees:
            tee.drain()
