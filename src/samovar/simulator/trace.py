"""What a simulation replays: functions, and their calls in the order of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


@dataclass(frozen=True, slots=True)
class Function:
    """One function of a trace."""

    name: str
    memory_mib: int
    used_mib: int
    """Of that memory, what an instance really uses."""
    start_s: float
    """What a cold start of it takes, as a median: start and init together."""


class Call(NamedTuple):
    """One request."""

    at_s: float
    """Since the trace's beginning."""
    function: int
    """Its place in the trace's functions."""
    duration_s: float


class Trace(Protocol):
    """Can be replayed any number of times, always alike."""

    @property
    def functions(self) -> Sequence[Function]:
        """All that may be called."""
        ...

    @property
    def length_s(self) -> float:
        """When it is over."""
        ...

    def calls(self) -> Iterator[Call]:
        """In ascending order of time."""
        ...


class TraceError(Exception):
    """A trace cannot be read; the message says where and why."""
