"""What a peer is to a benchmark: something that answers, and perhaps a way to start it cold."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.connection import Connection
from benchmarks.load import Target


@dataclass(frozen=True, slots=True)
class Peer:
    """A running platform with one function on it."""

    target: Target
    cold_s: Callable[[], float] | None = None
    """One invocation that no process is ready for, in seconds. None where there is no such thing:
    the function's process is the server."""

    @property
    def name(self) -> str:
        """As in tables."""
        return self.target.name


def timed(connection: Connection, raw_request: bytes) -> float:
    """Seconds from sending a request to having its answer, which must be a good one."""
    start = time.perf_counter()
    answer = connection.exchange(raw_request)
    elapsed_s = time.perf_counter() - start
    answer.expect(200)
    return elapsed_s
