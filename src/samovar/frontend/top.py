"""What `/_samovar/top` and `/_samovar/metrics` tell: one look at the manager and all workers.

However many ask, one looks at a time; whoever has asked before a look began has its answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from samovar.capacity import UNLIMITED_VCPUS
from samovar.census import FunctionCensus, FunctionCounts, ManagerView, WorkerCensus, WorkerView
from samovar.frontend.look import Look
from samovar.frontend.metrics import CONTENT_TYPE, exposition
from samovar.frontend.own import Route, json_response
from samovar.frontend.request import HttpResponse, Request
from samovar.model.errors import ErrorCode, PlatformError


class TopRoutes:
    """See the module's text."""

    def __init__(
        self,
        manager: ManagerView,
        workers: Sequence[WorkerView],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._manager = manager
        self._workers = workers
        self._monotonic = monotonic
        self._turn = asyncio.Lock()
        self._newest: Look | None = None

    def routes(self) -> Mapping[str, Route]:
        """What `OwnRoutes` takes."""
        return {"top": self.top, "metrics": self.metrics}

    async def top(self, request: Request, rest: str) -> HttpResponse:
        """`GET /_samovar/top`. Raises `PlatformError`."""
        _check(request, rest)
        return json_response(200, _document(await self._look()))

    async def metrics(self, request: Request, rest: str) -> HttpResponse:
        """`GET /_samovar/metrics`: for Prometheus. Raises `PlatformError`."""
        _check(request, rest)
        text = exposition(await self._look())
        return HttpResponse(200, [("Content-Type", CONTENT_TYPE)], text)

    async def _look(self) -> Look:
        asked_s = self._monotonic()
        async with self._turn:
            if self._newest is None or self._newest.monotonic_s < asked_s:
                begun_s = self._monotonic()
                workers = [await worker.census() for worker in self._workers]
                self._newest = Look(self._manager.census(), workers, begun_s)
            return self._newest


def _check(request: Request, rest: str) -> None:
    if request.method != "GET" or rest:
        raise PlatformError(ErrorCode.UNKNOWN_OPERATION, f"No such page: {request.raw_path[:200]}")


# ---------------------------------------------------------------- as JSON


def _document(look: Look) -> dict[str, Any]:
    manager = look.manager
    return {
        "monotonic_s": look.monotonic_s,
        "concurrency": {"in_use": manager.in_use, "limit": manager.limit},
        "workers": [_worker(worker) for worker in look.workers],
        "functions": [_function(census, look) for census in look.functions],
        "functions_left_out": look.left_out,
    }


def _worker(census: WorkerCensus) -> dict[str, Any]:
    status = census.status
    pressure = status.pressure
    counted = status.vcpus < UNLIMITED_VCPUS
    return {
        "id": status.id,
        "zone": status.zone,
        "architecture": status.architecture,
        "isolation": status.isolation.driver,
        "draining": status.draining,
        "admits": pressure.admits and not status.draining,
        "why_not": "draining" if status.draining else pressure.reason,
        "memory": {
            "promised_mib": status.memory_mib - status.free_memory_mib,
            "may_promise_mib": status.memory_mib,
            "used_mib": pressure.memory_used_mib,
            "usable_mib": census.usable_memory_mib,
            "reclaim_mib": pressure.reclaim_mib,
            "oversubscription": census.memory_oversubscription,
            "stalled": pressure.memory_stalled,
        },
        "processors": {
            "promised_vcpus": round(census.promised_vcpus, 3),
            "may_promise_vcpus": round(status.vcpus, 3) if counted else None,
            "count": census.processors,
            "busy_s": census.busy_s,
            "oversubscription": census.cpu_oversubscription,
            "stalled": pressure.cpu_stalled,
        },
        "disk": {"free_mib": status.free_disk_mib, "total_mib": status.disk_mib},
        "instances": {state.value: count for state, count in census.instances.items()},
        "blanks": census.blanks,
        "templates": len(status.templates),
    }


def _function(census: FunctionCensus, look: Look) -> dict[str, Any]:
    account, region, name = census.function
    counts = look.manager.counts.get(census.function)
    return {
        "account": account,
        "region": region,
        "name": name,
        "instances": {state.value: count for state, count in census.instances.items()},
        "provisioned": census.provisioned,
        "running": census.running,
        "waiting": census.waiting,
        "memory": {
            "declared_mib": census.declared_mib,
            "used_mib": look.used_mib(census.function),
        },
        "counts": None if counts is None else _counts(counts),
    }


def _counts(counts: FunctionCounts) -> dict[str, Any]:
    return {
        "cold_starts": {cause.value: count for cause, count in counts.cold_starts.items()},
        "failed_starts": counts.failed_starts,
        "throttles": dict(counts.throttles),
        "evictions": counts.evictions,
    }
