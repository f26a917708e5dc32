"""Placement: what is known of the workers, and the answer to who needs one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from operator import attrgetter

from samovar.model.instance import WorkerId
from samovar.placement.feasible import obstacle
from samovar.placement.fleet import Fleet
from samovar.placement.search import FEW, Search
from samovar.ports import Need, Refusal, WorkerStatus


class Planner:
    """The `Placement` port. `few`: see `search.FEW`."""

    def __init__(self, few: int = FEW) -> None:
        self._few = few
        self._fleet = Fleet()

    def observe(self, status: WorkerStatus) -> None:
        """See `ports.Placement`."""
        self._fleet.observe(status)

    def forget(self, worker: WorkerId) -> None:
        """See `ports.Placement`."""
        self._fleet.forget(worker)

    def place(self, need: Need) -> WorkerId | None:
        """See `ports.Placement`."""
        best = Search(self._fleet, need, self._few).best()
        if best is None:
            return None
        self._fleet.take(best, need)
        return best.status.id

    def explain(self, need: Need) -> Sequence[Refusal]:
        """See `ports.Placement`."""
        obstacles = (obstacle(need, spot.status) for spot in self._fleet.spots.values())
        counts = Counter(found for found in obstacles if found is not None)
        refusals = [Refusal(found.reason, count, found.lasting) for found, count in counts.items()]
        return sorted(refusals, key=lambda refusal: (-refusal.workers, refusal.reason))

    def workers(self) -> Sequence[WorkerStatus]:
        """Every worker by name, less what has been placed there since its last status."""
        spots = sorted(self._fleet.spots.values(), key=attrgetter("status.id"))
        return [spot.status for spot in spots]
