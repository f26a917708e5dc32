"""A trace that has a line for each call."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence

from samovar.simulator.trace import Call, Function

MAX_CALLS = 50_000_000
"""That a trace may have: 20 bytes each, and as much again where they are brought into order."""


class ListedTrace:
    """The `Trace` of lines, in any order."""

    def __init__(self) -> None:
        self.functions: Sequence[Function] = ()
        self.length_s = 0.0
        self._begin_s = array("d")
        self._duration_s = array("d")
        self._function = array("I")

    def add(self, begin_s: float, function: int, duration_s: float) -> None:
        """Raises `ValueError` where there are too many."""
        if len(self._begin_s) >= MAX_CALLS:
            raise ValueError(f"the trace has more than {MAX_CALLS:,} calls: split the file")
        self._begin_s.append(begin_s)
        self._function.append(function)
        self._duration_s.append(duration_s)

    def finish(self, functions: Sequence[Function]) -> None:
        """All has been added: bring it into order; the first call is at 0."""
        self.functions = functions
        begun = self._begin_s
        order = array("I", range(len(begun)))
        if any(begun[place] > begun[place + 1] for place in range(len(begun) - 1)):
            order = array("I", sorted(order, key=begun.__getitem__))
        self._order = order
        self._first_s = begun[order[0]] if order else 0.0
        self.length_s = begun[order[-1]] - self._first_s + 1.0 if order else 0.0

    def calls(self) -> Iterator[Call]:
        """See `Trace`."""
        for place in self._order:
            at_s = self._begin_s[place] - self._first_s
            yield Call(at_s, self._function[place], self._duration_s[place])
