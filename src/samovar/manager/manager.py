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
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from msgspec import structs

from samovar.manager.eviction import Idle, victims
from samovar.manager.limits import ConcurrencyLedger
from samovar.manager.needs import need_of
from samovar.manager.pool import Action, Grant, Pool, PoolKey, Reject, Start, Stop, Ticket
from samovar.manager.refusals import check_it_could_ever_fit, no_capacity, shutting_down
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import FunctionId, FunctionVersion, VersionKey
from samovar.model.instance import InstanceId, WorkerId
from samovar.model.invocation import INIT_LIMIT_S, ColdCause, Outcome, StartReport, Timing
from samovar.model.scale import Provisioned, Scale
from samovar.model.tuning import Tuning
from samovar.ports import InitFailedError, Lease, Placement, Worker, WorkerStatus
from samovar.telemetry.log import get_logger

log = get_logger("manager")

FORGET_AFTER_S = 3600.0
"""A pool that has been empty for so long is forgotten, and with it why its last instance ended.
A tenant's is forgotten at once: there may be any number of them."""


@dataclass(slots=True)
class _Origin:
    """Where an instance runs, and how it began (told to the first request that it takes)."""

    worker_id: WorkerId
    worker: Worker
    pool: Pool
    first: StartReport | None


Granted = tuple[InstanceId, _Origin, float]
"""An instance, its origin, and when it was granted."""

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
        init_limit_s: float = INIT_LIMIT_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workers = {worker.status().id: worker for worker in workers}
        self._placement = placement
        self.ledger = ledger
        self._idle_timeout_s = idle_timeout_s
        self._queue_timeout_s = queue_timeout_s
        self._init_limit_s = init_limit_s
        self._monotonic = monotonic
        self._pools: dict[PoolKey, Pool] = {}
        self._keys: dict[tuple[FunctionId, str], set[PoolKey]] = {}
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

    async def acquire(self, version: FunctionVersion, tenant: str | None = None) -> Lease:
        """See `ports.Manager`."""
        if self._draining:
            raise shutting_down()
        self.ledger.admit(version.id)
        self._in_flight += 1
        try:
            pool = self._pools.get(PoolKey(version.key, tenant)) or self._new_pool(version, tenant)
            instance = pool.take_idle()
            if instance is not None:
                return self._lease(instance, self._origins[instance])
            return await self._wait(pool)
        except BaseException:
            self._finished(version.id)
            raise

    def release(self, lease: Lease, outcome: Outcome | None) -> None:
        """See `ports.Manager`."""
        if outcome is not None and outcome.pending:
            self._tasks.create_task(self._release_when_idle(lease))
        else:
            self._give_back(lease, survives=outcome is not None and outcome.instance_survives)

    async def _release_when_idle(self, lease: Lease) -> None:
        survives = False
        try:
            survives = await lease.worker.await_idle(lease.instance)
        except Exception:
            log.exception("an instance is not known to be idle", instance=lease.instance)
        finally:
            self._give_back(lease, survives=survives)

    def _give_back(self, lease: Lease, *, survives: bool) -> None:
        self._finished(lease.version.id)
        origin = self._origins.get(lease.instance)
        if origin is not None:  # else it has ended by itself meanwhile
            self._release(origin.pool, lease.instance, survives=survives)

    async def prepare(self, version: FunctionVersion) -> None:
        """See `ports.Manager`. Every worker that could run it gets ready."""
        for worker in self._workers.values():
            if version.runtime in worker.status().runtimes:
                await worker.prepare(version)

    def supersede(self, function: FunctionId, version: str, current: VersionKey | None) -> None:
        """See `ports.Manager`."""
        for key in list(self._keys.get((function, version), ())):
            if key.version != current:
                pool = self._pools[key]
                self._perform(pool, pool.retire())

    def renew(self, version: FunctionVersion) -> None:
        """See `ports.Manager`. What waits already is still served by the old pools."""
        for key in list(self._keys.get((version.id, version.version), ())):
            if key.version == version.key:
                old = self._pools[key]
                new = self._pools[key] = Pool(version, key.tenant, ColdCause.FORCED)
                new.last_used_at = self._monotonic()
                self._perform(old, old.retire())

    def set_reserved_concurrency(self, function: FunctionId, limit: int | None) -> None:
        """See `ports.Manager`. Raises INVALID_PARAMETER where the others would get too little."""
        if limit is not None:
            self.ledger.check_reservation(function, limit)
        self.ledger.reserve(function, limit)

    def set_scale(self, version: FunctionVersion, scale: Scale) -> None:
        raise NotImplementedError

    def provisioned(self, version: FunctionVersion) -> Provisioned:
        raise NotImplementedError

    def tune(self, function: FunctionId, tuning: Tuning) -> None:
        raise NotImplementedError

    async def drain(self, timeout_s: float) -> None:
        """See `ports.Manager`. Instances are stopped by their workers, afterwards."""
        self._draining = True
        self._at_rest.clear()
        if self._in_flight:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._at_rest.wait()
        for future in self._tickets.values():
            if not future.done():
                future.set_exception(shutting_down())

    # ------------------------------------------------------------ waiting

    async def _wait(self, pool: Pool) -> Lease:
        ticket = Ticket(next(self._numbers))
        future: asyncio.Future[Granted] = asyncio.get_running_loop().create_future()
        self._tickets[ticket] = future
        asked = self._monotonic()
        granted: Granted | None = None
        try:
            self._perform(pool, pool.request(ticket))
            if not await _done_within(self._queue_timeout_s, future) and not pool.blocked:
                # An init phase is under way; it has a bound of its own, and ends within it.
                await _done_within(self._init_limit_s + pool.version.timeout_s, future)
            if not future.done():
                raise no_capacity(pool)
            granted = future.result()
        finally:
            if granted is None:
                self._abandon(pool, ticket, future)
            del self._tickets[ticket]
        instance, origin, at = granted
        return self._lease(instance, origin, waited_ms=(at - asked) * 1e3)

    def _abandon(self, pool: Pool, ticket: Ticket, future: asyncio.Future[Granted]) -> None:
        """Take a request out of the queue, or give back what it was granted a moment ago."""
        pool.cancel(ticket)
        if future.done() and not future.cancelled() and future.exception() is None:
            self._release(pool, future.result()[0], survives=True)
        self._forget_if_done(pool)

    def _lease(self, instance: InstanceId, origin: _Origin, waited_ms: float = 0.0) -> Lease:
        report, origin.first = origin.first or WARM, None
        if waited_ms:
            spent = report.timing
            queue_ms = max(0.0, waited_ms - spent.place_ms - spent.start_ms - spent.init_ms)
            report = structs.replace(report, timing=structs.replace(spent, queue_ms=queue_ms))
        return Lease(instance, origin.worker, origin.pool.version, report)

    def _release(self, pool: Pool, instance: InstanceId, *, survives: bool) -> None:
        self._perform(pool, pool.released(instance, self._monotonic(), survives=survives))

    def _finished(self, function: FunctionId) -> None:
        self.ledger.done(function)
        self._in_flight -= 1
        if not self._in_flight:
            self._at_rest.set()

    # ------------------------------------------------------------ performing

    def _perform(self, pool: Pool, actions: Sequence[Action]) -> None:
        queue = deque(actions)
        while queue:
            match queue.popleft():
                case Grant(ticket, instance):
                    future, now = self._tickets[ticket], self._monotonic()
                    if future.done():  # the request went away in this very turn of the loop
                        queue.extend(pool.released(instance, now, survives=True))
                    else:
                        future.set_result((instance, self._origins[instance], now))
                case Reject(ticket, error):
                    future = self._tickets[ticket]
                    if not future.done():
                        future.set_exception(error)
                case Start(cause):
                    self._tasks.create_task(self._start(pool, cause))
                case Stop(instance):
                    self._tasks.create_task(self._stop(pool, instance))
        if self._blocked and pool.idle:
            self._room_came_free()  # what is idle may be evicted
        self._forget_if_done(pool)

    async def _start(self, pool: Pool, cause: ColdCause) -> None:
        if pool.known_blocked:
            return self._block(pool)
        begun = self._monotonic()
        instance = InstanceId(f"i-{next(self._numbers):08x}")
        try:
            worker_id = await self._place(pool.version)
            if worker_id is None:
                return self._block(pool)
            placed = self._monotonic()
            worker = self._workers[worker_id]
            started = await worker.start(instance, pool.version)
        except (InitFailedError, PlatformError) as error:
            if isinstance(error, PlatformError) and error.code is ErrorCode.TOO_MANY_REQUESTS:
                return self._block(pool)
            self._perform(pool, pool.start_failed(error))
            return self._room_came_free()
        except Exception as error:
            log.exception("start of an instance failed", function=pool.version.arn)
            failure = PlatformError(ErrorCode.SERVICE, f"The instance could not start: {error}")
            self._perform(pool, pool.start_failed(failure))
            return self._room_came_free()
        timing = Timing(0.0, (placed - begun) * 1e3, started.start_ms, started.init_ms)
        report = StartReport(cause, started.origin, timing)
        self._origins[instance] = _Origin(worker_id, worker, pool, report)
        return self._perform(pool, pool.started(instance, self._monotonic()))

    async def _stop(self, pool: Pool, instance: InstanceId, *, in_a_hurry: bool = False) -> None:
        origin = self._origins.get(instance)
        if origin is not None:  # else it has ended by itself meanwhile
            try:
                await origin.worker.stop(instance, in_a_hurry=in_a_hurry)
            except Exception:  # the worker still counts it; there is nothing more to do here
                log.exception("an instance could not be stopped", instance=instance)
            self._instance_gone(pool, instance)

    def _instance_exited(self, instance: InstanceId) -> None:
        origin = self._origins.get(instance)
        if origin is not None:
            self._instance_gone(origin.pool, instance)

    def _instance_gone(self, pool: Pool, instance: InstanceId) -> None:
        if self._origins.pop(instance, None) is None:
            return
        self._perform(pool, pool.lost(instance))
        self._room_came_free()

    # ------------------------------------------------------------ room

    async def _place(self, version: FunctionVersion) -> WorkerId | None:
        """Find a worker with room, stopping the longest idle instances of any function if need
        be. None: there is none, and stopping what is idle would not make enough."""
        need = need_of(version)
        while True:
            statuses = self._statuses()
            chosen = self._placement.place(need)
            if chosen is not None:
                return chosen
            check_it_could_ever_fit(need, statuses)
            leaving = victims(need, statuses, self._idle())
            if not leaving:
                return None
            async with asyncio.TaskGroup() as stops:
                for victim in leaving:
                    pool = self._origins[victim].pool
                    pool.evict(victim)
                    stops.create_task(self._stop(pool, victim, in_a_hurry=True))

    def _idle(self) -> Iterator[Idle]:
        for pool in self._pools.values():
            for since, instance in pool.idle_instances():
                where = self._origins[instance].worker_id
                yield Idle(since, instance, where, pool.version.memory_mib)

    def _block(self, pool: Pool) -> None:
        self._perform(pool, pool.start_blocked())
        self._blocked.add(pool)

    def _room_came_free(self) -> None:
        """Let those start that now could: not all, or each release of a busy function would make
        every waiting request of every blocked one try in vain."""
        statuses = self._statuses() if self._blocked else []
        for pool in list(self._blocked):
            need = need_of(pool.version)
            room = bool(self._placement.place(need) or victims(need, statuses, self._idle()))
            if room and pool in self._blocked:
                self._blocked.discard(pool)
                self._perform(pool, pool.unblock())

    def _statuses(self) -> list[WorkerStatus]:
        statuses = [worker.status() for worker in self._workers.values()]
        for status in statuses:
            self._placement.observe(status)
        return statuses

    # ------------------------------------------------------------ pools

    def _new_pool(self, version: FunctionVersion, tenant: str | None) -> Pool:
        pool = Pool(version, tenant)
        self._pools[pool.key] = pool
        pool.last_used_at = self._monotonic()
        self._keys.setdefault((version.id, version.version), set()).add(pool.key)
        return pool

    def _forget_if_done(self, pool: Pool) -> None:
        if pool.retired and pool.empty:
            self._forget(pool)

    def _forget(self, pool: Pool) -> None:
        version = pool.version
        self._blocked.discard(pool)
        if self._pools.get(pool.key) is not pool:
            return
        del self._pools[pool.key]
        keys = self._keys[version.id, version.version]
        keys.discard(pool.key)
        if not keys:
            del self._keys[version.id, version.version]

    async def _expire_idle(self) -> None:
        interval_s = min(1.0, self._idle_timeout_s / 2)
        while not self._closing.is_set():
            now = self._monotonic()
            for pool in list(self._pools.values()):
                self._perform(pool, pool.expire(now, self._idle_timeout_s))
                keep_s = FORGET_AFTER_S if pool.key.tenant is None else 0.0
                if pool.empty and now - pool.last_used_at >= keep_s:
                    self._forget(pool)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval_s):
                    await self._closing.wait()


async def _done_within(limit_s: float, future: asyncio.Future[Granted]) -> bool:
    done, _ = await asyncio.wait((future,), timeout=limit_s)
    return bool(done)
