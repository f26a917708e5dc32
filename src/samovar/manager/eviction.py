"""Which idle instances are to go, so that another can start (a decision only).

How this works. A heap has every instance by what it was worth when it was looked at last; that it
has been used since shows only when it comes to the top, and it is put back by what it is worth
now. So using an instance costs nothing here, and looking for the cheapest one costs about as much
as there was use since.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import NamedTuple

from samovar.capacity import VCPU_TOLERANCE
from samovar.manager.pool import Pool
from samovar.model.instance import InstanceId, WorkerId
from samovar.ports import Need, WorkerStatus

LOOKS = 256
"""Entries that one search looks at, at the most; the next one goes on from there."""
SLACK = 64
"""Entries of instances that are gone, beyond as many as there are living ones."""
WORKERS = 16
"""Workers that one search looks at, at the most."""


class Victim(NamedTuple):
    """An instance that could go. The least goes first."""

    worth: float
    instance: InstanceId
    pool: Pool


class Eviction:
    """The order in which instances go."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, InstanceId]] = []
        self._where: dict[InstanceId, WorkerId] = {}
        self._on: dict[WorkerId, dict[InstanceId, Pool]] = {}

    def add(self, instance: InstanceId, worker: WorkerId, pool: Pool, now: float) -> None:
        """An instance has come up."""
        self._where[instance] = worker
        self._on.setdefault(worker, {})[instance] = pool
        heapq.heappush(self._heap, (pool.keep.worth(now, now), instance))

    def remove(self, instance: InstanceId) -> None:
        """Nothing of it is left."""
        worker = self._where.pop(instance)
        del self._on[worker][instance]
        if not self._on[worker]:
            del self._on[worker]
        if len(self._heap) > 2 * len(self._where) + SLACK:
            self._heap = [entry for entry in self._heap if entry[1] in self._where]
            heapq.heapify(self._heap)

    def worker_of(self, instance: InstanceId) -> WorkerId:
        """Where an instance is."""
        return self._where[instance]

    def idle_on(self, worker: WorkerId, now: float) -> list[Victim]:
        """The instances of one worker that may go, the cheapest first."""
        here = self._on.get(worker, {})
        return sorted(
            Victim(pool.keep.worth(now, since), instance, pool)
            for instance, pool in here.items()
            if (since := pool.idle_since(instance)) is not None
        )

    def victims(
        self, need: Need, workers: Mapping[WorkerId, WorkerStatus], now: float
    ) -> list[Victim]:
        """Return as many as must go, all of one worker and the cheapest of it first; none where
        no worker's idle ones together would leave enough room. Of such workers it is that with
        the cheapest instance."""
        seen: list[tuple[float, InstanceId]] = []
        tried: set[WorkerId] = set()
        chosen: list[Victim] = []
        for _ in range(min(LOOKS, len(self._heap))):
            worth, instance = entry = heapq.heappop(self._heap)
            where = self._where.get(instance)
            if where is None:
                continue  # it is gone
            pool = self._on[where][instance]
            since = pool.idle_since(instance)
            worth_now = pool.keep.worth(now, now if since is None else since)
            if worth_now > worth:
                heapq.heappush(self._heap, (worth_now, instance))
                continue
            seen.append(entry)
            if since is not None and where not in tried and where in workers:
                tried.add(where)
                chosen = _enough(need, workers[where], self.idle_on(where, now))
                if chosen or len(tried) == WORKERS:
                    break
        for entry in seen:
            heapq.heappush(self._heap, entry)
        return chosen


def could_take(need: Need, worker: WorkerStatus) -> bool:
    """Whether a worker could take an instance, if nothing else ran there."""
    return (
        not worker.draining
        and worker.pressure.admits
        and need.runtime in worker.runtimes
        and need.architecture == worker.architecture
        and worker.isolation.meets(need.isolation)
        and need.memory_mib <= worker.memory_mib
    )


def _enough(need: Need, worker: WorkerStatus, idle: list[Victim]) -> list[Victim]:
    """The first of them that together leave room for it; none where all of them do not."""
    if not could_take(need, worker):
        return []
    free_mib, free_vcpus = worker.free_memory_mib, worker.free_vcpus + VCPU_TOLERANCE
    for count, victim in enumerate(idle, 1):
        free_mib += victim.pool.version.memory_mib
        free_vcpus += victim.pool.version.vcpus
        if free_mib >= need.memory_mib and free_vcpus >= need.vcpus:
            return idle[:count]
    return []
