"""A trace of counts: how often each function was called in each slot of time (a minute, a second).

Where in its slot a call was is not known. Calls of one slot are spread evenly over it, from a
point on that is the function's own: so what was periodic stays periodic.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from random import Random

from samovar.simulator.trace import Call, Function
from samovar.simulator.workload import duration_of

MAX_COUNTS = 50_000_000
"""That are not zero, in all: 8 bytes each."""
MAX_CALLS = 1_000_000
"""Of one function in one slot."""


class Counts:
    """Slot → functions, and how often each of them was called. Only what is not zero."""

    def __init__(self, slot_s: float) -> None:
        self.slot_s = slot_s
        self.slots: dict[int, tuple[array[int], array[int]]] = {}
        self._kept = 0

    def add(self, slot: int, function: int, calls: float) -> None:
        """Raises `ValueError` for a count that is none, or too many of them."""
        if not 0 <= calls <= MAX_CALLS:
            raise ValueError(f"{calls} is no number of calls from 0 to {MAX_CALLS:,}")
        if not (whole := round(calls)):
            return
        self._kept += 1
        if self._kept > MAX_COUNTS:
            raise ValueError(f"the trace has more than {MAX_COUNTS:,} counts: take fewer files")
        functions, counts = self.slots.setdefault(slot, (array("I"), array("I")))
        functions.append(function)
        counts.append(whole)


class CountedTrace:
    """The `Trace` of counts."""

    def __init__(
        self,
        functions: Sequence[Function],
        durations_s: Sequence[float],
        counts: Counts,
        seed: int,
        max_per_minute: float = math.inf,
    ) -> None:
        self.functions = functions
        self._durations_s = durations_s
        self._counts = counts
        self._seed = seed
        self._most = max_per_minute * counts.slot_s / 60.0
        self.length_s = (max(counts.slots, default=-1) + 1) * counts.slot_s

    def calls(self) -> Iterator[Call]:
        """See `Trace`."""
        random = Random(self._seed)  # noqa: S311 (a simulation)
        slot_s, most = self._counts.slot_s, self._most
        phases = [random.random() for _ in self.functions]
        for slot in sorted(self._counts.slots):
            functions, counts = self._counts.slots[slot]
            due: list[tuple[float, int]] = []
            for function, count in zip(functions, counts, strict=True):
                kept = count if count <= most else int(most) + (random.random() < most % 1)
                due += (
                    (slot + (phases[function] + place) / kept, function) for place in range(kept)
                )
            due.sort()
            for at_slots, function in due:
                duration_s = duration_of(self._durations_s[function], random)
                yield Call(at_slots * slot_s, function, duration_s)
