"""The Manager: performs what pools decide.

The way of one request: `acquire` counts it against the limits, takes an idle instance or queues a
ticket, and waits for the pool to grant one; `release` gives the instance back. Each start runs as
a task of its own (`_start`), so a request is never tied to the start that it caused: whichever
instance is free first takes it (invariant 1).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from samovar.manager.limits import ConcurrencyLedger
from samovar.manager.pool import Action, Grant, Pool, Reject, Start, Stop, Ticket
from samovar.model.errors import ErrorCode, PlatformError, ThrottleReason
from samovar.model.function import FunctionId, FunctionVersion, VersionKey
from samovar.model.instance import InstanceId
from samovar.model.invocation import ColdCause, Outcome, StartReport, Timing
from samovar.ports import InitFailedError, Lease, Need, Placement, Worker, WorkerStatus
from samovar.telemetry.log import get_logger

log = get_logger("manager")

Granted = tuple[InstanceId, float]
"""An instance, and when it was granted."""


@dataclass(slots=True)
class _Origin:
    """Where an instance runs, and how it began (told to the first request that it takes)."""

    worker: Worker
    version: FunctionVersion
    first: StartReport | None


WARM = StartReport(cause=None)


class PoolManager:
    """The `Manager` port. Use as an async context manager: its tasks live inside."""

    def __init__(
        self,
        workers: Sequence[Worker],
        placement: Placement,
        ledger: ConcurrencyLedger,
        *,
        idle_timeout_s: float,
        queue_timeout_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workers = {worker.status().id: worker for worker in workers}
        self._placement = placement
        self.ledger = ledger
        self._idle_timeout_s = idle_timeout_s
        self._queue_timeout_s = queue_timeout_s
        self._monotonic = monotonic
        self._pools: dict[VersionKey, Pool] = {}
        self._keys: dict[tuple[FunctionId, str], set[VersionKey]] = {}
        self._origins: dict[InstanceId, _Origin] = {}
        self._tickets: dict[Ticket, asyncio.Future[Granted]] = {}
        self._numbers = itertools.count(1)
        self._tasks = asyncio.TaskGroup()
        self._closing = asyncio.Event()
        self._at_rest = asyncio.Event()
        self._blocked: set[Pool] = set()
        self._in_flight = 0
        self._draining = False
        for worker in workers:
            worker.on_exit(self._instance_exited)

    async def __aenter__(self) -> PoolManager:
        await self._tasks.__aenter__()
        self._tasks.create_task(self._expire_idle(), name="expire-idle")
        return self

    async def __aexit__(self, *failure: object) -> None:
        self._closing.set()
        await self._tasks.__aexit__(None, None, None)

    # ------------------------------------------------------------ the port

    async def acquire(self, version: FunctionVersion) -> Lease:
        """See `ports.Manager`."""
        if self._draining:
            raise PlatformError(ErrorCode.UNAVAILABLE, "The server is shutting down.")
        self.ledger.admit(version.id)
        self._in_flight += 1
        try:
            pool = self._pools.get(version.key) or self._new_pool(version)
            instance = pool.take_idle()
            if instance is not None:
                return self._lease(instance)
            return await self._wait(pool)
        except BaseException:
            self._finished(version.id)
            raise

    def release(self, lease: Lease, outcome: Outcome | None) -> None:
        """See `ports.Manager`."""
        self._finished(lease.version.id)
        survives = outcome is not None and outcome.instance_survives
        pool = self._pools.get(lease.version.key)
        if pool is not None:
            self._perform(pool, pool.released(lease.instance, self._monotonic(), survives=survives))
        if self._blocked:
            self._room_came_free()  # what is idle now may be evicted

    async def prepare(self, version: FunctionVersion) -> None:
        """See `ports.Manager`. Every worker that could run it gets ready."""
        for worker in self._workers.values():
            if version.runtime in worker.status().runtimes:
                await worker.prepare(version)

    def supersede(self, function: FunctionId, version: str, current: VersionKey | None) -> None:
        """See `ports.Manager`."""
        for key in list(self._keys.get((function, version), ())):
            if key != current:
                pool = self._pools[key]
                self._perform(pool, pool.retire())
                self._forget_if_done(pool)

    def set_reserved_concurrency(self, function: FunctionId, limit: int | None) -> None:
        """See `ports.Manager`. Raises INVALID_PARAMETER where the others would get too little."""
        if limit is not None:
            self.ledger.check_reservation(function, limit)
        self.ledger.reserve(function, limit)

    def set_reserved_concurrencies(self, limits: Mapping[FunctionId, int]) -> None:
        """See `ports.Manager`."""
        for function, limit in limits.items():
            self.ledger.reserve(function, limit)

    async def drain(self, timeout_s: float) -> None:
        """See `ports.Manager`. Instances are stopped by their workers, afterwards."""
        self._draining = True
        self._at_rest.clear()
        if self._in_flight:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._at_rest.wait()
        gone = PlatformError(ErrorCode.UNAVAILABLE, "The server is shutting down.")
        for future in self._tickets.values():
            if not future.done():
                future.set_exception(gone)

    # ------------------------------------------------------------ waiting

    async def _wait(self, pool: Pool) -> Lease:
        ticket = Ticket(next(self._numbers))
        future: asyncio.Future[Granted] = asyncio.get_running_loop().create_future()
        self._tickets[ticket] = future
        asked = self._monotonic()
        granted: Granted | None = None
        try:
            self._perform(pool, pool.request(ticket))
            async with asyncio.timeout(self._queue_timeout_s):
                granted = await future
        except TimeoutError as error:
            raise _no_capacity(pool) from error
        finally:
            if granted is None:
                self._abandon(pool, ticket, future)
            del self._tickets[ticket]
        instance, at = granted
        return self._lease(instance, waited_ms=(at - asked) * 1e3)

    def _abandon(self, pool: Pool, ticket: Ticket, future: asyncio.Future[Granted]) -> None:
        """Take a request out of the queue, or give back what it was granted a moment ago."""
        pool.cancel(ticket)
        if future.done() and not future.cancelled() and future.exception() is None:
            instance, _ = future.result()
            self._perform(pool, pool.released(instance, self._monotonic(), survives=True))

    def _lease(self, instance: InstanceId, waited_ms: float = 0.0) -> Lease:
        origin = self._origins[instance]
        report, origin.first = origin.first or WARM, None
        if waited_ms:
            spent = report.timing
            queue_ms = max(0.0, waited_ms - spent.place_ms - spent.start_ms - spent.init_ms)
            report = replace(report, timing=replace(spent, queue_ms=queue_ms))
        return Lease(instance, origin.worker, origin.version, report)

    def _finished(self, function: FunctionId) -> None:
        self.ledger.done(function)
        self._in_flight -= 1
        if not self._in_flight:
            self._at_rest.set()

    # ------------------------------------------------------------ performing

    def _perform(self, pool: Pool, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Grant(ticket, instance):
                    future = self._tickets[ticket]
                    if future.done():  # the request went away in this very turn of the loop
                        again = pool.released(instance, self._monotonic(), survives=True)
                        self._perform(pool, again)
                    else:
                        future.set_result((instance, self._monotonic()))
                case Reject(ticket, error):
                    future = self._tickets[ticket]
                    if not future.done():
                        future.set_exception(error)
                case Start(cause):
                    self._tasks.create_task(self._start(pool, cause))
                case Stop(instance):
                    self._tasks.create_task(self._stop(pool, instance))

    async def _start(self, pool: Pool, cause: ColdCause) -> None:
        begun = self._monotonic()
        instance = InstanceId(f"i-{next(self._numbers):08x}")
        try:
            worker = await self._place(pool.version)
            if worker is None:
                return self._block(pool)
            placed = self._monotonic()
            started = await worker.start(instance, pool.version)
        except (InitFailedError, PlatformError) as error:
            if isinstance(error, PlatformError) and error.code is ErrorCode.TOO_MANY_REQUESTS:
                return self._block(pool)
            self._perform(pool, pool.start_failed(error))
            return self._room_came_free()
        except Exception as error:
            log.exception("start of an instance failed", function=pool.version.arn)
            failure = PlatformError(ErrorCode.SERVICE, f"The instance could not start: {error}")
            return self._perform(pool, pool.start_failed(failure))
        timing = Timing(0.0, (placed - begun) * 1e3, started.start_ms, started.init_ms)
        report = StartReport(cause, started.origin, timing)
        self._origins[instance] = _Origin(worker, pool.version, report)
        return self._perform(pool, pool.started(instance, self._monotonic()))

    async def _stop(self, pool: Pool, instance: InstanceId) -> None:
        origin = self._origins.get(instance)
        if origin is not None:  # else it has ended by itself meanwhile
            await origin.worker.stop(instance)
            self._instance_gone(pool, instance)

    def _instance_exited(self, instance: InstanceId) -> None:
        origin = self._origins.get(instance)
        if origin is not None:
            self._instance_gone(self._pools[origin.version.key], instance)

    def _instance_gone(self, pool: Pool, instance: InstanceId) -> None:
        if self._origins.pop(instance, None) is None:
            return
        self._perform(pool, pool.lost(instance))
        self._room_came_free()
        self._forget_if_done(pool)

    # ------------------------------------------------------------ room

    async def _place(self, version: FunctionVersion) -> Worker | None:
        """Find a worker with room, stopping the longest idle instances of any function if need
        be. None: there is none, and nothing idle is left."""
        need = Need(version.runtime, version.memory_mib, version.code.sha256_hex)
        while True:
            statuses = [worker.status() for worker in self._workers.values()]
            chosen = self._placement.place(need, statuses)
            if chosen is not None:
                return self._workers[chosen]
            _check_it_could_ever_fit(need, statuses)
            idle = [
                (*oldest, pool) for pool in self._pools.values() if (oldest := pool.oldest_idle())
            ]
            if not idle:
                return None
            _, victim, pool = min(idle, key=lambda entry: entry[:2])
            pool.evict(victim)
            await self._stop(pool, victim)

    def _block(self, pool: Pool) -> None:
        self._perform(pool, pool.start_blocked())
        self._blocked.add(pool)

    def _room_came_free(self) -> None:
        while self._blocked:
            pool = self._blocked.pop()
            self._perform(pool, pool.unblock())

    # ------------------------------------------------------------ pools

    def _new_pool(self, version: FunctionVersion) -> Pool:
        pool = self._pools[version.key] = Pool(version)
        self._keys.setdefault((version.id, version.version), set()).add(version.key)
        return pool

    def _forget_if_done(self, pool: Pool) -> None:
        if pool.retired and pool.empty:
            version = pool.version
            self._pools.pop(version.key, None)
            keys = self._keys.get((version.id, version.version), set())
            keys.discard(version.key)
            if not keys:
                self._keys.pop((version.id, version.version), None)

    async def _expire_idle(self) -> None:
        interval_s = min(1.0, self._idle_timeout_s / 2)
        while not self._closing.is_set():
            now = self._monotonic()
            for pool in list(self._pools.values()):
                self._perform(pool, pool.expire(now, self._idle_timeout_s))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval_s):
                    await self._closing.wait()


def _no_capacity(pool: Pool) -> PlatformError:
    what = "no worker has room for" if pool.blocked else "no instance came free in time for"
    return PlatformError(
        ErrorCode.TOO_MANY_REQUESTS,
        f"Rate Exceeded: {what} {pool.version.id.name} ({pool.version.memory_mib} MB).",
        ThrottleReason.ACCOUNT_CONCURRENCY,
    )


def _check_it_could_ever_fit(need: Need, workers: Sequence[WorkerStatus]) -> None:
    able = [worker for worker in workers if need.runtime in worker.runtimes]
    if not able:
        raise PlatformError(
            ErrorCode.INVALID_RUNTIME, f"No worker can run {need.runtime} at this time."
        )
    if all(need.memory_mib > worker.memory_mib for worker in able):
        most = max(worker.memory_mib for worker in able)
        raise PlatformError(
            ErrorCode.SERVICE,
            f"The function asks for {need.memory_mib} MB; the largest worker has {most} MB.",
        )
