"""Placement: filter, then rank."""

from __future__ import annotations

from dataclasses import replace

from samovar.model.instance import WorkerId
from samovar.placement.feasible import feasible
from samovar.placement.rank import rank
from samovar.ports import Need, WorkerStatus


class Planner:
    """The `Placement` port."""

    def __init__(self) -> None:
        self._workers: dict[WorkerId, WorkerStatus] = {}

    def observe(self, status: WorkerStatus) -> None:
        """See `ports.Placement`."""
        self._workers[status.id] = status

    def forget(self, worker: WorkerId) -> None:
        """See `ports.Placement`."""
        self._workers.pop(worker, None)

    def place(self, need: Need) -> WorkerId | None:
        """See `ports.Placement`."""
        candidates = [worker for worker in self._workers.values() if feasible(need, worker)]
        if not candidates:
            return None
        best = max(candidates, key=lambda worker: rank(need, worker))
        left_mib = best.free_memory_mib - need.memory_mib
        self._workers[best.id] = replace(best, free_memory_mib=left_mib)
        return best.id
