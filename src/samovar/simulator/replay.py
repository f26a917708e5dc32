"""One run: a trace through the real manager and placement, in virtual time.

How this works. A callback hands each call to `PoolManager.acquire` when it is due. Most find an
instance at once; such an acquire never waits, so that it is stepped by hand, without a task. The
others become tasks. An instance is released when the call's duration is over.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import math
import time
import types
from array import array
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from samovar.manager.keep_alive import KeepAlivePolicy
from samovar.manager.limits import ConcurrencyLedger
from samovar.manager.manager import PoolManager
from samovar.model.errors import PlatformError
from samovar.model.function import LATEST, CodeRef, FunctionId, FunctionVersion
from samovar.model.instance import InstanceId
from samovar.model.invocation import Outcome
from samovar.placement.planner import Planner
from samovar.ports import Lease
from samovar.simulator import virtual_time
from samovar.simulator.trace import Call, Function, Trace
from samovar.simulator.worker import RUNTIME, SimulatedWorker

NO_LIMIT = 1 << 40
DONE = Outcome(b"")
WAIT_BINS = 20
"""Of waiting times, in each octave."""
ROUND_S = 10.0
"""Of virtual time, between two looks of the manager at workers where nothing has happened."""
PROGRESS_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Machines:
    """What a trace is run on."""

    workers: int
    memory_mib: int
    """Of each, really."""
    oversubscription: float = 1.0
    queue_timeout_s: float = 60.0


@dataclass(slots=True)
class Tally:
    """What came of a run, counted. Per function: two numbers, whatever happens to it."""

    calls: array[int]
    cold: array[int]
    """Calls that found no instance free: they waited for one."""
    length_s: float
    refused: int = 0
    queued: int = 0
    """Calls that waited for longer than it took to start their instance."""
    waits: dict[int, int] = field(default_factory=dict)
    """Octave × `WAIT_BINS` of milliseconds → calls that waited for so long."""
    starts: int = 0
    idle_gib_s: float = 0.0
    busy_gib_s: float = 0.0
    starting_gib_s: float = 0.0
    memory_gib: float = 0.0
    """Of all workers, really."""
    took_s: float = 0.0
    """Real time."""


def replay(
    trace: Trace,
    policy: KeepAlivePolicy,
    machines: Machines,
    seed: int,
    progress: Callable[[float], None] = lambda share: None,
) -> Tally:
    """Run it; `progress` hears every now and then how much of the trace is over."""
    begun = time.perf_counter()
    tally = virtual_time.run(_Replay(trace, policy, machines, seed, progress).run())
    tally.took_s = time.perf_counter() - begun
    return tally


class _Replay:
    def __init__(
        self,
        trace: Trace,
        policy: KeepAlivePolicy,
        machines: Machines,
        seed: int,
        progress: Callable[[float], None],
    ) -> None:
        self._trace = trace
        self._policy = policy
        self._machines = machines
        self._seed = seed
        self._progress = progress
        count = len(trace.functions)
        self._versions: list[FunctionVersion | None] = [None] * count
        self._tally = Tally(array("L", bytes(8 * count)), array("L", bytes(8 * count)), 0.0)
        self._busy: dict[InstanceId, tuple[Function, float]] = {}
        """And since when it has been."""
        self._calls = iter(trace.calls())
        self._over = asyncio.Event()
        self._shown_at = 0.0

    async def run(self) -> Tally:
        self._loop = asyncio.get_running_loop()
        machines, random = self._machines, Random(self._seed)  # noqa: S311 (a simulation)
        by_name = {function.name: function for function in self._trace.functions}
        workers = [
            SimulatedWorker(
                f"w{number}", machines.memory_mib, machines.oversubscription, by_name, random
            )
            for number in range(machines.workers)
        ]
        self._manager = PoolManager(
            workers,
            Planner(),
            ConcurrencyLedger(NO_LIMIT, {}),
            idle_timeout_s=600.0,
            queue_timeout_s=machines.queue_timeout_s,
            policies=lambda name: self._policy,
            round_s=ROUND_S,
            monotonic=self._loop.time,
        )
        async with self._manager, asyncio.TaskGroup() as self._waiting:
            self._next(next(self._calls, None))
            await self._over.wait()
            self._finish(workers)
            await self._manager.drain(0.0)
        return self._tally

    # ------------------------------------------------------------ calls

    def _next(self, call: Call | None) -> None:
        """Make every call that is due, and have the next one made when it is."""
        while call is not None and call.at_s <= self._loop.time():
            self._make(call)
            call = next(self._calls, None)
        if call is not None and call.at_s < self._trace.length_s:
            self._loop.call_at(call.at_s, self._next, call)
        else:
            self._loop.call_at(self._trace.length_s, self._over.set)
        if (now := time.perf_counter()) - self._shown_at > PROGRESS_EVERY_S:
            self._shown_at = now
            self._progress(self._loop.time() / self._trace.length_s)

    def _make(self, call: Call) -> None:
        self._tally.calls[call.function] += 1
        acquiring = self._manager.acquire(self._version(call.function))
        try:
            pending = acquiring.send(None)
        except StopIteration as granted:
            self._begin(call, granted.value)
        except PlatformError:
            self._tally.refused += 1
        else:
            self._tally.cold[call.function] += 1
            self._waiting.create_task(self._wait(call, _resumed(acquiring, pending)))

    async def _wait(self, call: Call, acquiring: Coroutine[Any, Any, Lease]) -> None:
        try:
            lease = await acquiring
        except PlatformError:
            if not self._over.is_set():
                self._tally.refused += 1
            return
        if self._over.is_set():
            self._manager.release(lease, DONE)
            return
        waited_ms = (self._loop.time() - call.at_s) * 1e3
        bin_ = int(WAIT_BINS * math.log2(max(1.0, waited_ms)))
        self._tally.waits[bin_] = self._tally.waits.get(bin_, 0) + 1
        self._tally.queued += lease.start.timing.queue_ms > 1.0
        self._begin(call, lease)

    def _begin(self, call: Call, lease: Lease) -> None:
        now = self._loop.time()
        self._busy[lease.instance] = self._trace.functions[call.function], now
        self._loop.call_at(now + call.duration_s, self._end, lease)

    def _end(self, lease: Lease) -> None:
        function, since = self._busy.pop(lease.instance)
        self._tally.busy_gib_s += function.memory_mib / 1024 * (self._loop.time() - since)
        self._manager.release(lease, DONE)

    def _finish(self, workers: list[SimulatedWorker]) -> None:
        """The trace is over: count what is still there up to now."""
        now, tally = self._loop.time(), self._tally
        tally.busy_gib_s += sum(
            function.memory_mib / 1024 * (now - since) for function, since in self._busy.values()
        )
        tally.idle_gib_s = sum(worker.alive_gib_s(now) for worker in workers) - tally.busy_gib_s
        tally.starting_gib_s = sum(worker.starting_gib_s for worker in workers)
        tally.starts = sum(worker.starts for worker in workers)
        tally.memory_gib = sum(worker.memory_mib for worker in workers) / 1024
        tally.length_s = now

    # ------------------------------------------------------------ functions

    def _version(self, number: int) -> FunctionVersion:
        version = self._versions[number]
        if version is None:
            function = self._trace.functions[number]
            version = self._versions[number] = FunctionVersion(
                id=FunctionId("000000000000", "simulated", function.name),
                version=LATEST,
                revision_id="1",
                runtime=RUNTIME,
                handler="simulated",
                role="",
                code=CodeRef(function.name, 0),
                last_modified=dt.datetime.fromtimestamp(0, dt.UTC),
                memory_mib=function.memory_mib,
                timeout_s=900,
            )
        return version


@types.coroutine
def _resumed(begun: Coroutine[Any, Any, Lease], waits_for: Any) -> Generator[Any, Any, Lease]:
    """Go on with a coroutine that has been stepped once, and waits for something."""
    try:
        while True:
            try:
                answer = yield waits_for
            except BaseException as error:  # such as a cancellation: it is told
                waits_for = begun.throw(error)
            else:
                waits_for = begun.send(answer)
    except StopIteration as returned:
        lease: Lease = returned.value
        return lease
