"""The filter: which workers could take an instance at all, and why not the others."""

from __future__ import annotations

from typing import NamedTuple

from samovar.capacity import VCPU_TOLERANCE
from samovar.ports import Need, WorkerStatus


class Obstacle(NamedTuple):
    """What is in the way on one worker: see `ports.Refusal`."""

    reason: str
    lasting: bool


def feasible(need: Need, worker: WorkerStatus) -> bool:
    """Whether a worker could take an instance now."""
    return obstacle(need, worker) is None


def obstacle(need: Need, worker: WorkerStatus) -> Obstacle | None:
    """The first thing that is in the way, what lasts before what passes; None: nothing is."""
    lasting = _lasting(need, worker)
    if lasting is not None:
        return Obstacle(lasting, lasting=True)
    passing = _passing(need, worker)
    return None if passing is None else Obstacle(passing, lasting=False)


def disk_mib(need: Need, worker: WorkerStatus) -> int:
    """What an instance adds to the disk: nothing where its code is unpacked already."""
    return 0 if need.code_sha256 in worker.warm_code else need.disk_mib


def _lasting(need: Need, worker: WorkerStatus) -> str | None:
    if need.runtime not in worker.runtimes:
        return f"no {need.runtime}"
    if need.architecture != worker.architecture:
        return f"not {need.architecture}"
    if not worker.isolation.meets(need.isolation):
        return f"less isolated than {need.isolation}"
    if need.memory_mib > worker.memory_mib:
        return f"less than {need.memory_mib} MB in all"
    if need.vcpus > worker.vcpus + VCPU_TOLERANCE:
        return f"less than {need.vcpus:.2f} vCPUs in all"
    if disk_mib(need, worker) > worker.disk_mib:
        return f"less than {need.disk_mib} MB of disk in all"
    return None


def _passing(need: Need, worker: WorkerStatus) -> str | None:
    if worker.draining:
        return "draining"
    if not worker.pressure.admits:
        return f"under pressure: {worker.pressure.reason or 'it admits nothing'}"
    if need.memory_mib > worker.free_memory_mib:
        return f"less than {need.memory_mib} MB free"
    if need.vcpus > worker.free_vcpus + VCPU_TOLERANCE:
        return f"less than {need.vcpus:.2f} vCPUs free"
    if disk_mib(need, worker) > worker.free_disk_mib:
        return f"less than {need.disk_mib} MB of disk free"
    if worker.id in need.refused_by:
        return "it has just refused one"
    return None
