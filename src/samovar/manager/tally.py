"""Counts what happens to functions, for whoever looks (pure).

None of it is on the warm path. However many functions there are, the counts are bounded: where
there are too many, those of the function that nothing has happened to for longest join those of all
others. What still comes of a function that has been deleted is counted there, too.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from samovar.census import FunctionCounts
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import FunctionId
from samovar.model.invocation import ColdCause

MAX_FUNCTIONS = 1000


@dataclass(slots=True)
class _Row:
    cold_starts: dict[ColdCause, int] = field(default_factory=dict)
    failed_starts: int = 0
    throttles: dict[str, int] = field(default_factory=dict)
    evictions: int = 0

    def add(self, other: _Row) -> None:
        """Count all of it here."""
        for cause, count in other.cold_starts.items():
            self.cold_starts[cause] = self.cold_starts.get(cause, 0) + count
        for reason, count in other.throttles.items():
            self.throttles[reason] = self.throttles.get(reason, 0) + count
        self.failed_starts += other.failed_starts
        self.evictions += other.evictions

    def told(self) -> FunctionCounts:
        return FunctionCounts(
            dict(self.cold_starts), self.failed_starts, dict(self.throttles), self.evictions
        )


class Tally:
    """See the module's text."""

    def __init__(self, max_functions: int = MAX_FUNCTIONS) -> None:
        self._max_functions = max_functions
        self._rows: OrderedDict[FunctionId, _Row] = OrderedDict()
        self._deleted: OrderedDict[FunctionId, None] = OrderedDict()
        self._others = _Row()

    def started(self, function: FunctionId, cause: ColdCause) -> None:
        """An instance has come up."""
        starts = self._row(function).cold_starts
        starts[cause] = starts.get(cause, 0) + 1

    def start_failed(self, function: FunctionId) -> None:
        """A start has failed, by the function's or the platform's fault."""
        self._row(function).failed_starts += 1

    def refused(self, function: FunctionId, refusal: PlatformError) -> None:
        """A request got this answer; over a limit, it is counted."""
        if refusal.code is not ErrorCode.TOO_MANY_REQUESTS:
            return
        reason = refusal.reason or "unknown"
        throttles = self._row(function).throttles
        throttles[reason] = throttles.get(reason, 0) + 1

    def evicted(self, function: FunctionId) -> None:
        """An idle instance had to make room."""
        self._row(function).evictions += 1

    def forget(self, function: FunctionId) -> None:
        """It has been deleted."""
        self._rows.pop(function, None)
        self._deleted[function] = None
        if len(self._deleted) > self._max_functions:
            self._deleted.popitem(last=False)

    def begin(self, function: FunctionId) -> None:
        """It is there, perhaps again."""
        self._deleted.pop(function, None)

    def counts(self) -> Mapping[FunctionId, FunctionCounts]:
        """Of each function."""
        return {function: row.told() for function, row in self._rows.items()}

    def other_counts(self) -> FunctionCounts:
        """Of those that were too many, together."""
        return self._others.told()

    def _row(self, function: FunctionId) -> _Row:
        if function in self._deleted:
            return self._others
        row = self._rows.get(function)
        if row is None:
            row = self._rows[function] = _Row()
            if len(self._rows) > self._max_functions:
                self._others.add(self._rows.popitem(last=False)[1])
        self._rows.move_to_end(function)
        return row
