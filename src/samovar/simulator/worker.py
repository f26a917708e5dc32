"""A machine that is not there: the `Worker` port in virtual time.

It admits by what it has promised, as a real one does; its instances use a part of what they were
promised, and where that comes near to what it really has, it says so as its pressure.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random

from samovar.model.errors import ErrorCode, PlatformError, ThrottleReason
from samovar.model.function import FunctionId, FunctionVersion, VersionKey
from samovar.model.instance import Initialization, InstanceId, WorkerId
from samovar.model.invocation import Invocation, Outcome
from samovar.model.isolation import Isolation
from samovar.ports import Pressure, ResponseSink, Started, WorkerStatus
from samovar.simulator.trace import Function

RUNTIME = "simulated"
START_SPREAD = 0.25
"""Between the starts of one function."""
FULL_AT, CALM_AT = 0.95, 0.85
"""Shares of its real memory: at the first it stops admitting, and below the second admits again."""
FULL = PlatformError(
    ErrorCode.TOO_MANY_REQUESTS, "The worker is full.", ThrottleReason.ACCOUNT_CONCURRENCY
)


class SimulatedWorker:
    """See the module's text. Whatever it meters is in GiB·s."""

    def __init__(
        self,
        name: str,
        memory_mib: int,
        oversubscription: float,
        functions: Mapping[str, Function],
        random: Random,
    ) -> None:
        self.memory_mib = memory_mib
        self._functions = functions
        self._random = random
        promised_mib = int(memory_mib * oversubscription)
        self._status = WorkerStatus(
            id=WorkerId(name),
            memory_mib=promised_mib,
            free_memory_mib=promised_mib,
            isolation=Isolation("simulated", frozenset()),
            runtimes=frozenset({RUNTIME}),
        )
        self._free_mib = promised_mib
        self._used_mib = 0
        self._stale = False
        self._admits = True
        self._alive: dict[InstanceId, tuple[Function, float]] = {}
        """And since when it is initialised."""
        self._loop = asyncio.get_running_loop()
        self._on_pressure: list[Callable[[WorkerId], None]] = []
        self.starts = 0
        self.starting_gib_s = 0.0
        self._ended_gib_s = 0.0

    def alive_gib_s(self, now: float) -> float:
        """What initialised instances have held so far, idle or not."""
        return self._ended_gib_s + sum(
            function.memory_mib / 1024 * (now - since) for function, since in self._alive.values()
        )

    def status(self) -> WorkerStatus:
        """See `ports.Worker`."""
        if self._stale:
            self._stale = False
            self._status = replace(
                self._status, free_memory_mib=self._free_mib, pressure=self._pressure()
            )
        return self._status

    async def prepare(self, version: FunctionVersion) -> None:
        """See `ports.Worker`."""

    def forget(self, function: FunctionId, version: str, current: VersionKey | None) -> None:
        """See `ports.Worker`."""

    async def start(
        self,
        instance: InstanceId,
        version: FunctionVersion,
        initialization: Initialization = Initialization.ON_DEMAND,
    ) -> Started:
        """See `ports.Worker`."""
        function = self._functions[version.id.name]
        if function.memory_mib > self._free_mib or not self._admits:
            raise FULL
        self._take(function, 1)
        self.starts += 1
        start_s = function.start_s * math.exp(self._random.gauss(0.0, START_SPREAD))
        try:
            await asyncio.sleep(start_s)
        except BaseException:
            self._take(function, -1)
            raise
        self.starting_gib_s += start_s * function.memory_mib / 1024
        self._alive[instance] = function, self._loop.time()
        return Started("fork", start_s * 1e3, 0.0)

    async def stop(self, instance: InstanceId, *, in_a_hurry: bool = False) -> None:
        """See `ports.Worker`."""
        if instance in self._alive:
            function, since = self._alive.pop(instance)
            self._ended_gib_s += function.memory_mib / 1024 * (self._loop.time() - since)
            self._take(function, -1)

    async def invoke(
        self, instance: InstanceId, invocation: Invocation, sink: ResponseSink | None = None
    ) -> Outcome:
        """Calls of a trace do not come this far: what they take is known."""
        raise NotImplementedError

    async def crash(self, instance: InstanceId, invocation: Invocation) -> Outcome:
        """As `invoke`."""
        raise NotImplementedError

    async def await_idle(self, instance: InstanceId) -> bool:
        """No outcome of a simulation is pending."""
        return instance in self._alive

    def on_exit(self, callback: Callable[[InstanceId], None]) -> None:
        """Instances do not end by themselves."""

    def on_pressure(self, callback: Callable[[WorkerId], None]) -> None:
        """See `ports.Worker`."""
        self._on_pressure.append(callback)

    def _take(self, function: Function, count: int) -> None:
        self._free_mib -= count * function.memory_mib
        self._used_mib += count * function.used_mib
        self._stale = True
        used = self._used_mib / self.memory_mib
        admits = used < (FULL_AT if self._admits else CALM_AT)
        if admits is not self._admits:
            self._admits = admits
            for callback in self._on_pressure:
                callback(self._status.id)

    def _pressure(self) -> Pressure:
        over_mib = self._used_mib - int(self.memory_mib * CALM_AT)
        return Pressure(
            memory_used_mib=self._used_mib,
            memory_usable_mib=self.memory_mib,
            reclaim_mib=0 if self._admits else max(0, over_mib),
            admits=self._admits,
            reason="" if self._admits else "memory is nearly used up",
        )
