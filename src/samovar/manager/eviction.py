"""Which idle instances are to go, so that another can start (a decision only)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from samovar.model.instance import InstanceId, WorkerId
from samovar.ports import Need, WorkerStatus


class Idle(NamedTuple):
    """An instance that could go."""

    since: float
    instance: InstanceId
    worker: WorkerId
    memory_mib: int


def victims(need: Need, workers: Sequence[WorkerStatus], idle: Iterable[Idle]) -> list[InstanceId]:
    """Return as many as must go, all of one worker and the longest idle of it first; none where
    no worker's idle ones together would leave enough room. Of such workers it is that with the
    instance that has been idle for longest."""
    free_mib = {
        worker.id: worker.free_memory_mib
        for worker in workers
        if need.runtime in worker.runtimes and not worker.draining
    }
    candidates = sorted(entry for entry in idle if entry.worker in free_mib)
    could_be_mib = dict(free_mib)
    for entry in candidates:
        could_be_mib[entry.worker] += entry.memory_mib
    useful = (entry.worker for entry in candidates if could_be_mib[entry.worker] >= need.memory_mib)
    where = next(useful, None)
    chosen: list[InstanceId] = []
    for entry in candidates:
        if entry.worker == where and free_mib[where] < need.memory_mib:
            free_mib[where] += entry.memory_mib
            chosen.append(entry.instance)
    return chosen
