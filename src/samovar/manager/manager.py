"""The Manager: lets requests in, gives them instances, and takes these back.

The way of one request: `acquire` takes a provisioned instance, or counts the request against the
limits and takes an idle instance or queues a ticket, and waits for the pool to grant one;
`release` gives the instance back. What pools decide is done by the performer: a start is a task of
its own, so a request is never tied to the start that it caused: whichever instance is free first
takes it (invariant 1).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import time
from collections.abc import Callable, Sequence

from samovar.census import ManagerCensus
from samovar.manager.actions import Ticket
from samovar.manager.census import census_of
from samovar.manager.functions import Functions
from samovar.manager.instances import Origin, with_queueing
from samovar.manager.keep_alive import KeepAlivePolicy
from samovar.manager.leases import Held, Leases
from samovar.manager.limits import ConcurrencyLedger
from samovar.manager.line import Line
from samovar.manager.performer import Performer
from samovar.manager.policies import policy_named
from samovar.manager.pool import Pool, PoolKey
from samovar.manager.pools import Pools
from samovar.manager.rates import RateLimits
from samovar.manager.refusals import check_most, check_scale, shutting_down
from samovar.manager.returning import Returning
from samovar.manager.tally import Tally
from samovar.manager.tickets import Granted
from samovar.model.errors import PlatformError
from samovar.model.function import LATEST, FunctionId, FunctionVersion, VersionKey
from samovar.model.instance import InstanceId
from samovar.model.invocation import INIT_LIMIT_S, ColdCause, Outcome, StartReport
from samovar.model.scale import Provisioned, ProvisionedStatus, Scale
from samovar.model.tuning import Tuning
from samovar.ports import Lease, Placement, Worker
from samovar.telemetry.log import get_logger

log = get_logger("manager")

FORGET_AFTER_S = 3600.0
"""See `Pools`."""
ROUND_S = 1.0
"""See `Performer`."""
NO_RATES = RateLimits()

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
        queue_requests: int = 0,
        init_limit_s: float = INIT_LIMIT_S,
        keep_alive: str = "fixed",
        policies: Callable[[str], KeepAlivePolicy] | None = None,
        concurrency_target: float = 0.8,
        rates: RateLimits = NO_RATES,
        forget_after_s: float = FORGET_AFTER_S,
        round_s: float = ROUND_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workers = {worker.status().id: worker for worker in workers}
        self.ledger = ledger
        self._line = Line(ledger, queue_requests, self._not_used)
        self._queue_requests = queue_requests
        self._queue_timeout_s = queue_timeout_s
        self._init_limit_s = init_limit_s
        self._monotonic = monotonic
        named = policies or functools.partial(policy_named, idle_timeout_s=idle_timeout_s)
        self._functions = Functions(named, keep_alive, concurrency_target, rates)
        self._pools = Pools(self._functions, forget_after_s)
        self._tasks = asyncio.TaskGroup()
        self.tally = Tally()
        self._performer = Performer(
            self._workers,
            placement,
            self._functions,
            self._pools,
            self.tally,
            self._tasks,
            round_s,
            monotonic,
        )
        self._performer.came_up = self._offer
        self._leases = Leases()
        self._draining = False

    async def __aenter__(self) -> PoolManager:
        await self._tasks.__aenter__()
        self._performer.open()
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self._tasks.__aexit__(None, None, None)
        self._performer.close()

    # ------------------------------------------------------------ the port

    async def acquire(self, version: FunctionVersion, tenant: str | None = None) -> Lease:
        """See `ports.Manager`."""
        try:
            return await self._acquire(version, tenant)
        except PlatformError as refusal:
            self.tally.refused(version.id, refusal)
            raise

    async def _acquire(self, version: FunctionVersion, tenant: str | None) -> Lease:
        if self._draining:
            raise shutting_down()
        now, ledger = self._monotonic(), self.ledger
        if self._functions.limit_invocations:
            rates = self._functions.of(version).rates
            rates.invoked(now, ledger.reserved(version.id), ledger.account_limit)
        key = PoolKey(version.key, tenant)
        pool = self._pools.get(key)
        instance = self._take_provisioned(pool) if pool is not None else None
        if instance is not None:
            return self._lease(self._performer.instances[instance], now, on_demand=False)
        deadline = asyncio.get_running_loop().time() + self._queue_timeout_s
        if self._queue_requests:
            origin = await self._line.admit(key, deadline)
            if origin is not None:
                return self._lease(origin, now, on_demand=False)
            pool = self._pools.get(key)  # it may be another one now
        else:
            ledger.admit(version.id)
        pool = pool or self._pools.make(version, tenant, now)
        instance = pool.take()
        if instance is not None:
            return self._lease(self._performer.instances[instance], now, on_demand=True)
        return await self._wait(pool, now, deadline)

    def _take_provisioned(self, pool: Pool) -> InstanceId | None:
        if not pool.targets.scale.provisioned or not self.ledger.may_occupy(pool.version.id):
            return None
        return pool.take_provisioned()

    def _lease(self, origin: Origin, asked: float, *, on_demand: bool) -> Lease:
        """Let a request in that has its instance."""
        self._leases.in_flight += 1
        origin.pool.keep.arrived(asked, cold=False)
        report, origin.first = origin.first, None
        if not on_demand:
            self._occupy(origin.pool)
        return self._leases.begin(origin, report or WARM, on_demand=on_demand)

    def release(self, lease: Lease, outcome: Outcome | None) -> None:
        """See `ports.Manager`. Of a lease that has ended already, it does nothing."""
        held = self._leases.end(lease)
        if held is None:
            return
        if outcome is not None and outcome.pending:
            profile = self._functions.of(lease.version).profile
            returning = Returning(held.pool, profile)
            self._tasks.create_task(self._release_when_idle(lease.worker, held, returning))
        else:
            self._give_back(held, survives=outcome is not None and outcome.instance_survives)

    async def prepare(self, version: FunctionVersion) -> None:
        """See `ports.Manager`. Every worker that could run it gets ready."""
        self.tally.begin(version.id)
        for worker in self._workers.values():
            if version.runtime in worker.status().runtimes:
                await worker.prepare(version)

    def supersede(self, function: FunctionId, version: str, current: VersionKey | None) -> None:
        """See `ports.Manager`. What was asked for of those instances is not kept any more."""
        provisioned = 0
        pools = self._pools.of(function, version)
        for key in {pool.key.version for pool in pools} | self._line.versions(function):
            if key.version == version and key != current:
                self._functions.superseded.add(key)
        for pool in pools:
            if pool.key.version == current:
                provisioned += pool.targets.scale.provisioned
            else:
                self._performer.perform(pool, pool.retire())
        for worker in self._workers.values():
            worker.forget(function, version, current)
        self.ledger.provision(function, version, provisioned)
        self._line.advance()
        if current is None and version == LATEST:
            self._functions.forget(function)
            self.tally.forget(function)

    def renew(self, version: FunctionVersion) -> None:
        """See `ports.Manager`. What waits already is still served by the old pools."""
        for old in self._pools.of(version.id, version.version):
            if old.key.version == version.key:
                now, scale = self._monotonic(), old.targets.scale
                new = self._pools.make(version, old.key.tenant, now, ColdCause.FORCED)
                self._performer.perform(old, old.retire())
                self._performer.perform(new, new.ask(scale, now))

    def set_reserved_concurrency(self, function: FunctionId, limit: int | None) -> None:
        """See `ports.Manager`. Raises INVALID_PARAMETER where the others would get too little."""
        if limit is not None:
            self.ledger.check_reservation(function, limit)
        self.ledger.reserve(function, limit)
        self._line.advance()

    def set_scale(self, version: FunctionVersion, scale: Scale) -> None:
        """See `ports.Manager`. It holds for exactly this code and configuration, until that is
        superseded."""
        self.ledger.check_provision(version.id, version.version, scale.provisioned)
        check_scale(version, scale, (worker.status() for worker in self._workers.values()))
        pool, now = self._pools.get(PoolKey(version.key, None)), self._monotonic()
        self.ledger.provision(version.id, version.version, scale.provisioned)
        self._line.advance()
        if pool is None and scale != Scale():
            pool = self._pools.make(version, None, now)
        if pool is not None:
            self._performer.perform(pool, pool.ask(scale, now))

    def provisioned(self, version: FunctionVersion) -> Provisioned:
        """See `ports.Manager`."""
        pool = self._pools.get(PoolKey(version.key, None))
        return (
            pool.targets.progress(pool.members)
            if pool
            else Provisioned(0, 0, 0, ProvisionedStatus.READY)
        )

    def tune(self, function: FunctionId, tuning: Tuning) -> None:
        """See `ports.Manager`. Raises INVALID_PARAMETER for a policy that there is not."""
        state = self._functions.tune(function, tuning)
        for pool in self._pools.of(function):
            soft = state.soft_limit(pool.version, self._functions.concurrency_target)
            self._performer.perform(pool, pool.tune(state.keep, soft))

    def census(self) -> ManagerCensus:
        """See `census.ManagerView`."""
        pools = {*self._pools, *self._performer.instances.pools()}
        return census_of(pools, self.ledger, self.tally)

    async def drain(self, timeout_s: float) -> None:
        """See `ports.Manager`. Instances are stopped by their workers, afterwards."""
        self._draining = self._performer.draining = True
        self._line.close(shutting_down())
        self._leases.at_rest.clear()
        if self._leases.in_flight:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._leases.at_rest.wait()
        self._performer.tickets.reject_all(shutting_down())

    # ------------------------------------------------------------ waiting

    async def _wait(self, pool: Pool, asked: float, deadline: float) -> Lease:
        self._leases.in_flight += 1
        tickets = self._performer.tickets
        ticket, future = tickets.open()
        granted: Granted | None = None
        try:
            self._check_queue(pool, asked)
            pool.keep.arrived(asked, cold=True)
            self._performer.perform(pool, pool.request(ticket))
            if not await _done_by(deadline, future) and _is_started_for(pool, ticket):
                # That init phase has a bound of its own, and ends within it.
                bound_s = self._init_limit_s + pool.version.timeout_s
                await _done_by(deadline + bound_s, future)
            if not future.done():
                raise self._performer.room.no_capacity(pool)
            granted = future.result()
        finally:
            tickets.close(ticket)
            if granted is None:
                pool.cancel(ticket)
                self._finished(pool, on_demand=True)
                self._give_up(pool, future)
        if granted.provisioned:
            self._occupy(pool)
            self._done(pool, on_demand=True)
        report = with_queueing(granted.report or WARM, (granted.at - asked) * 1e3)
        return self._leases.begin(granted.origin, report, on_demand=not granted.provisioned)

    def _check_queue(self, pool: Pool, now: float) -> None:
        """Raise TOO_MANY_REQUESTS where too many wait already for what may not be yet."""
        if pool.targets.scale.max_instances is not None:
            check_most(pool, self._queue_requests)
        if pool.wants_start:
            self._functions.of(pool.version).rates.check_start(now, self._queue_requests)

    def _give_up(self, pool: Pool, future: asyncio.Future[Granted]) -> None:
        """Give back what a request was granted in the moment in which it went away."""
        if future.done() and not future.cancelled() and future.exception() is None:
            origin, _, report, _ = future.result()
            origin.first = report
            self._not_used(origin)
        self._performer.settle(pool)

    def _not_used(self, origin: Origin) -> None:
        """An instance was given to a request that has gone away."""
        self._performer.release(origin.pool, origin.instance, survives=True)
        self._offer(origin.pool)

    def _offer(self, pool: Pool) -> None:
        """Provisioned instances may have come free: those who wait for less to run on demand need
        not wait for that."""
        while (waiting := self._line.first(pool.key)) is not None:
            instance = self._take_provisioned(pool)
            if instance is None:
                return
            self._line.give(waiting, self._performer.instances[instance])

    async def _release_when_idle(self, worker: Worker, held: Held, returning: Returning) -> None:
        survives = False
        loop = asyncio.get_running_loop()
        overdue = loop.call_later(returning.within_s, self._not_returning, returning)
        try:
            survives = await worker.await_idle(held.instance)
        except Exception:
            log.exception("an instance is not known to be idle", instance=held.instance)
        finally:
            overdue.cancel()
            self._give_back(held, survives=survives)
            self._not_returning(returning)

    def _not_returning(self, returning: Returning) -> None:
        self._performer.perform(returning.pool, returning.end())

    def _give_back(self, held: Held, *, survives: bool) -> None:
        self._finished(held.pool, on_demand=held.on_demand)
        self._performer.release(held.pool, held.instance, survives=survives)
        if self._queue_requests:
            self._offer(held.pool)

    def _finished(self, pool: Pool, *, on_demand: bool) -> None:
        self._done(pool, on_demand=on_demand)
        self._leases.finished()

    def _occupy(self, pool: Pool) -> None:
        self.ledger.occupy(pool.version.id, pool.version.version)

    def _done(self, pool: Pool, *, on_demand: bool) -> None:
        """A request does not count against the limits any more."""
        if on_demand:
            self.ledger.done(pool.version.id)
        else:
            self.ledger.vacate(pool.version.id, pool.version.version)
        if self._queue_requests:
            self._line.advance(pool.version.id)


async def _done_by(deadline: float, future: asyncio.Future[Granted]) -> bool:
    limit_s = max(0.0, deadline - asyncio.get_running_loop().time())
    done, _ = await asyncio.wait((future,), timeout=limit_s)
    return bool(done)


def _is_started_for(pool: Pool, ticket: Ticket) -> bool:
    """Whether a request is one of the oldest, which get what is starting now."""
    return ticket in itertools.islice(pool.tickets, pool.starts.total * pool.members.hard)
