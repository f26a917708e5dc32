"""Values that somebody who looks might be told."""

from __future__ import annotations

from typing import Any

from samovar.capacity import Pressure, WorkerStatus
from samovar.census import FunctionCensus, FunctionCounts, ManagerCensus, WorkerCensus
from samovar.frontend.look import Look
from samovar.model.function import FunctionId
from samovar.model.instance import InstanceState
from samovar.model.invocation import ColdCause
from samovar.model.isolation import Isolation
from tests.contract.samples import function_id

STATES = {
    InstanceState.STARTING: 1,
    InstanceState.IDLE: 2,
    InstanceState.BUSY: 3,
    InstanceState.STOPPING: 0,
}
NO_COUNTS = FunctionCounts({}, 0, {}, 0)
COUNTS = FunctionCounts(
    cold_starts={ColdCause.FIRST: 1, ColdCause.SCALE_OUT: 4},
    failed_starts=2,
    throttles={"ConcurrentInvocationLimitExceeded": 5},
    evictions=6,
)


def a_status(**changes: Any) -> WorkerStatus:
    settings: dict[str, Any] = {
        "id": "w1",
        "memory_mib": 4096,
        "free_memory_mib": 1024,
        "isolation": Isolation("process", frozenset()),
        "runtimes": frozenset({"python3.11"}),
        "disk_mib": 1000,
        "free_disk_mib": 400,
        "zone": "rack-1",
        "pressure": Pressure(
            memory_used_mib=512, memory_usable_mib=2048, cpu_stalled=0.25, memory_stalled=0.5
        ),
    }
    return WorkerStatus(**{**settings, **changes})


def a_worker_census(status: WorkerStatus | None = None, **changes: Any) -> WorkerCensus:
    settings: dict[str, Any] = {
        "status": status or a_status(),
        "usable_memory_mib": 2048,
        "processors": 2.0,
        "memory_oversubscription": 2.0,
        "cpu_oversubscription": 0.0,
        "promised_vcpus": 1.5,
        "instances": STATES,
        "blanks": 4,
        "busy_s": 100.0,
        "used_mib": {function_id("f"): 300},
    }
    return WorkerCensus(**{**settings, **changes})


def a_function_census(function: FunctionId | None = None, **changes: Any) -> FunctionCensus:
    settings: dict[str, Any] = {
        "function": function or function_id("f"),
        "instances": STATES,
        "provisioned": 1,
        "running": 3,
        "waiting": 7,
        "declared_mib": 640,
    }
    return FunctionCensus(**{**settings, **changes})


def a_manager_census(*functions: FunctionCensus, **changes: Any) -> ManagerCensus:
    settings: dict[str, Any] = {
        "functions": functions,
        "counts": {},
        "other_counts": NO_COUNTS,
        "in_use": 10,
        "limit": 1000,
    }
    return ManagerCensus(**{**settings, **changes})


def a_look(manager: ManagerCensus, *workers: WorkerCensus, monotonic_s: float = 50.0) -> Look:
    return Look(manager, workers, monotonic_s)
