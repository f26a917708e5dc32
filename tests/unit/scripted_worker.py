"""A worker that does what a test says: the `Worker` port without machine, code or sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from samovar.manager.limits import ConcurrencyLedger
from samovar.manager.manager import FORGET_AFTER_S, NO_RATES, PoolManager
from samovar.manager.rates import RateLimits
from samovar.model.errors import ErrorCode, PlatformError, ThrottleReason
from samovar.model.function import FunctionId, FunctionVersion, VersionKey
from samovar.model.instance import Initialization, InstanceId, WorkerId
from samovar.model.invocation import Invocation, Outcome
from samovar.model.isolation import Isolation
from samovar.placement.planner import Planner
from samovar.ports import CALM, Pressure, ResponseSink, Started, WorkerStatus

DEADLINE_S = 10.0


async def until(condition: Callable[[], object]) -> None:
    """Let others run until something is true."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0)


async def settled() -> None:
    """Let everything that is ready run: for what must *not* happen."""
    for _ in range(20):
        await asyncio.sleep(0)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class ScriptedWorker:
    """Starts at once, or (`held`) when the test says so with `come_up` and `fail`."""

    def __init__(self, memory_mib: int = 1 << 20, name: str = "w", *, held: bool = False) -> None:
        self.name = name
        self.memory_mib = memory_mib
        self.held = held
        self.zone = ""
        self.draining = False
        self.pressure = CALM
        self.alive: dict[InstanceId, FunctionVersion] = {}
        """Instances that take memory, starting ones included."""
        self.asked: list[InstanceId] = []
        """Every start, in order."""
        self.initializations: list[Initialization] = []
        self.stopped: list[InstanceId] = []
        self.forgotten: list[tuple[FunctionId, str, VersionKey | None]] = []
        self.killed: list[InstanceId] = []
        self.invoked: list[InstanceId] = []
        self.failures: list[Exception] = []
        """Errors for the next starts, first in first out."""
        self.hurried: list[InstanceId] = []
        """Those of them whose room somebody waited for."""
        self.stop_gate: asyncio.Event | None = None
        self.stop_error: Exception | None = None
        self.prepare_gate: asyncio.Event | None = None
        self.on_invoke: Callable[[InstanceId], Outcome] = lambda _: Outcome(b"1")
        self.on_stream: Callable[[ResponseSink], Awaitable[Outcome]] | None = None
        """What it does instead, where there is a sink."""
        self.on_await_idle: Callable[[], Awaitable[bool]]
        self._gates: dict[InstanceId, asyncio.Future[None]] = {}
        self._callbacks: list[Callable[[InstanceId], None]] = []
        self._pressure_callbacks: list[Callable[[WorkerId], None]] = []

    # ------------------------------------------------------------ the test's side

    @property
    def starting(self) -> list[InstanceId]:
        """Starts that wait for `come_up` or `fail`."""
        return [instance for instance, gate in self._gates.items() if not gate.done()]

    def come_up(self, instance: InstanceId | None = None) -> None:
        """Let the oldest start, or this one, succeed."""
        self._gates[instance or self.starting[0]].set_result(None)

    def fail(self, error: Exception) -> None:
        """Let the oldest start fail."""
        self._gates[self.starting[0]].set_exception(error)

    def ends_by_itself(self, instance: InstanceId) -> None:
        """A crash between invocations."""
        del self.alive[instance]
        for callback in self._callbacks:
            callback(instance)

    def tell(self, pressure: Pressure = CALM, *, draining: bool = False) -> None:
        """Come under pressure, or be drained, or neither any more; whoever listens is told."""
        self.pressure, self.draining = pressure, draining
        for callback in self._pressure_callbacks:
            callback(WorkerId(self.name))

    # ------------------------------------------------------------ the port

    def status(self) -> WorkerStatus:
        taken = sum(version.memory_mib for version in self.alive.values())
        return WorkerStatus(
            id=WorkerId(self.name),
            memory_mib=self.memory_mib,
            free_memory_mib=self.memory_mib - taken,
            isolation=Isolation("scripted", frozenset()),
            runtimes=frozenset({"python3.11"}),
            zone=self.zone,
            draining=self.draining,
            pressure=self.pressure,
        )

    def forget(self, function: FunctionId, version: str, current: VersionKey | None) -> None:
        self.forgotten.append((function, version, current))

    async def prepare(self, version: FunctionVersion) -> None:
        if self.prepare_gate is not None:
            await self.prepare_gate.wait()
        if self.failures:
            raise self.failures.pop(0)

    async def start(
        self,
        instance: InstanceId,
        version: FunctionVersion,
        initialization: Initialization = Initialization.ON_DEMAND,
    ) -> Started:
        if version.memory_mib > self.status().free_memory_mib:
            raise PlatformError(
                ErrorCode.TOO_MANY_REQUESTS, "full", ThrottleReason.ACCOUNT_CONCURRENCY
            )
        self.asked.append(instance)
        self.initializations.append(initialization)
        self.alive[instance] = version
        try:
            if self.failures:
                raise self.failures.pop(0)
            if self.held:
                gate = self._gates[instance] = asyncio.get_running_loop().create_future()
                await gate
        except BaseException:
            del self.alive[instance]
            raise
        return Started("fork", 2.0, 3.0)

    async def invoke(
        self, instance: InstanceId, invocation: Invocation, sink: ResponseSink | None = None
    ) -> Outcome:
        if instance not in self.alive:
            raise PlatformError(ErrorCode.SERVICE, f"Instance {instance} is not idle here.")
        self.invoked.append(instance)
        if self.on_stream is not None and sink is not None:
            return await self.on_stream(sink)
        return self.on_invoke(instance)

    async def await_idle(self, instance: InstanceId) -> bool:
        return instance in self.alive and await self.on_await_idle()

    async def stop(self, instance: InstanceId, *, in_a_hurry: bool = False) -> None:
        self.stopped.append(instance)
        if in_a_hurry:
            self.hurried.append(instance)
        await asyncio.sleep(0)
        if self.stop_gate is not None:
            await self.stop_gate.wait()
        self.alive.pop(instance, None)
        if self.stop_error is not None:
            raise self.stop_error

    async def crash(self, instance: InstanceId, invocation: Invocation) -> Outcome:
        self.killed.append(instance)
        return Outcome(b"killed", "Unhandled", instance_survives=False)

    def on_exit(self, callback: Callable[[InstanceId], None]) -> None:
        self._callbacks.append(callback)

    def on_pressure(self, callback: Callable[[WorkerId], None]) -> None:
        self._pressure_callbacks.append(callback)


@contextlib.asynccontextmanager
async def managing(
    *workers: ScriptedWorker,
    ledger: ConcurrencyLedger | None = None,
    idle_timeout_s: float = 600.0,
    queue_timeout_s: float = 600.0,
    init_limit_s: float = 10.0,
    forget_after_s: float = FORGET_AFTER_S,
    queue_requests: int = 0,
    rates: RateLimits = NO_RATES,
    keep_alive: str = "fixed",
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[PoolManager]:
    """A manager of these workers, for one block."""
    manager = PoolManager(
        workers,
        Planner(),
        ledger or ConcurrencyLedger(1000, {}),
        idle_timeout_s=idle_timeout_s,
        queue_timeout_s=queue_timeout_s,
        init_limit_s=init_limit_s,
        forget_after_s=forget_after_s,
        queue_requests=queue_requests,
        rates=rates,
        keep_alive=keep_alive,
        monotonic=clock,
    )
    async with manager:
        yield manager


def leftovers(manager: PoolManager) -> dict[str, int]:
    """What a manager still keeps of requests and instances; empty when all is over."""
    kept = {
        "instances": len(manager._performer.instances),
        "leases": len(manager._leases),
        "requests": len(manager._performer.tickets),
        "in flight": manager._leases.in_flight,
        "counted": manager.ledger.total_in_use,
        "pools": len(manager._pools),
        "functions": len(manager._pools._of),
        "blocked": len(manager._performer.waiters),
    }
    return {what: count for what, count in kept.items() if count}
