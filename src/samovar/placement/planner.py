"""Placement: filter, then rank. An immutable state in, a decision out."""

from __future__ import annotations

from collections.abc import Sequence

from samovar.model.instance import WorkerId
from samovar.placement.feasible import feasible
from samovar.placement.rank import rank
from samovar.ports import Need, WorkerStatus


class Planner:
    """The `Placement` port."""

    def place(self, need: Need, workers: Sequence[WorkerStatus]) -> WorkerId | None:
        """Return the best worker with room, or None."""
        candidates = [worker for worker in workers if feasible(need, worker)]
        if not candidates:
            return None
        return max(candidates, key=lambda worker: rank(need, worker)).id
