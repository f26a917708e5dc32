"""What is told about workers, instances and functions to whoever looks: values, and whom to ask.

Nothing here is kept up to date: it is counted when somebody asks. Only what happens (cold starts,
refusals, evictions) is counted as it happens, on ways that are not the warm one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from samovar.capacity import WorkerStatus
from samovar.model.function import FunctionId
from samovar.model.instance import InstanceState
from samovar.model.invocation import ColdCause


class WorkerCensus(msgspec.Struct, frozen=True):
    """One worker: what it has promised, and what is really used of what it has."""

    status: WorkerStatus
    usable_memory_mib: int
    """What all instances may use together."""
    processors: float
    memory_oversubscription: float
    cpu_oversubscription: float
    """0: vCPUs are not counted."""
    promised_vcpus: float
    instances: Mapping[InstanceState, int]
    blanks: int
    """Isolated processes that wait for code."""
    busy_s: float
    """For so long the machine's processors, all together, have been at work since it booted."""
    used_mib: Mapping[FunctionId, int]
    """Memory that the instances of each function really use."""


class FunctionCensus(msgspec.Struct, frozen=True):
    """One function, with all its versions and tenants."""

    function: FunctionId
    instances: Mapping[InstanceState, int]
    provisioned: int
    """Of the instances, those that count towards provisioned concurrency."""
    running: int
    """Requests in instances."""
    waiting: int
    """Requests that wait for one."""
    declared_mib: int
    """Memory that its instances declare, starting ones not counted."""


class FunctionCounts(msgspec.Struct, frozen=True):
    """What has happened to a function since the server started: none of it ever falls."""

    cold_starts: Mapping[ColdCause, int]
    """Instances that came up, by why they were needed."""
    failed_starts: int
    throttles: Mapping[str, int]
    """Requests that were refused, by AWS's reason."""
    evictions: int
    """Idle instances that were stopped to make room."""


class ManagerCensus(msgspec.Struct, frozen=True):
    """All functions that have instances or requests, and what has happened."""

    functions: Sequence[FunctionCensus]
    counts: Mapping[FunctionId, FunctionCounts]
    other_counts: FunctionCounts
    """Of the functions that are too many to be counted one by one."""
    in_use: int
    """Requests that count against the account's concurrency."""
    limit: int


class ManagerView(Protocol):
    """Can tell of functions."""

    def census(self) -> ManagerCensus:
        """Count now."""
        ...


class WorkerView(Protocol):
    """Can tell of a worker."""

    async def census(self) -> WorkerCensus:
        """Count now. Lets others run while it looks at many instances."""
        ...
