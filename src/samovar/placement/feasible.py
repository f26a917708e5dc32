"""The filter: which workers could take an instance at all."""

from __future__ import annotations

from samovar.ports import Need, WorkerStatus


def feasible(need: Need, worker: WorkerStatus) -> bool:
    """Whether `worker` accepts instances, has the runtime, and has room for the memory."""
    return (
        not worker.draining
        and need.runtime in worker.runtimes
        and need.memory_mib <= worker.free_memory_mib
    )
