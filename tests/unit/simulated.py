"""Traces whose outcome can be computed by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from samovar.simulator.trace import Call, Function

GIB = 1024


def a_function(name: str = "f", memory_mib: int = GIB, start_s: float = 0.0) -> Function:
    return Function(name, memory_mib, memory_mib // 2, start_s)


@dataclass
class WrittenTrace:
    """The `Trace` that a test writes down."""

    listed: Sequence[Call]
    length_s: float
    functions: Sequence[Function] = field(default_factory=lambda: [a_function()])

    def calls(self) -> Iterator[Call]:
        return iter(self.listed)


def every(period_s: float, length_s: float, duration_s: float = 2.0) -> WrittenTrace:
    """One function of 1 GiB that is called periodically, first at 0."""
    times = range(int(length_s / period_s))
    return WrittenTrace([Call(time * period_s, 0, duration_s) for time in times], length_s)
