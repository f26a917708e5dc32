"""What was seen of the manager and all workers at one moment, bounded in size."""

from __future__ import annotations

from collections.abc import Sequence

from samovar.census import FunctionCensus, ManagerCensus, WorkerCensus
from samovar.model.function import FunctionId

MAX_FUNCTIONS = 1000
"""So many are told of one by one: those with the most requests and instances."""


class Look:
    """See the module's text."""

    def __init__(
        self, manager: ManagerCensus, workers: Sequence[WorkerCensus], monotonic_s: float
    ) -> None:
        self.manager = manager
        self.workers = workers
        self.monotonic_s = monotonic_s
        """When it began."""
        ranked = sorted(manager.functions, key=_busiest_first)
        self.functions = ranked[:MAX_FUNCTIONS]
        self.left_out = len(ranked) - len(self.functions)

    def used_mib(self, function: FunctionId) -> int:
        """Memory that a function's instances really use, on all workers."""
        return sum(worker.used_mib.get(function, 0) for worker in self.workers)


def _busiest_first(census: FunctionCensus) -> tuple[int, FunctionId]:
    return -(census.running + census.waiting + sum(census.instances.values())), census.function
