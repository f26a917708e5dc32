"""The Manager: performs what pools decide.

The way of one request: `acquire` takes a provisioned instance, or counts the request against the
limits and takes an idle instance or queues a ticket, and waits for the pool to grant one;
`release` gives the instance back. Each start runs as a task of its own (`_start`), so a request is
never tied to the start that it caused: whichever instance is free first takes it (invariant 1).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence

from samovar.census import ManagerCensus
from samovar.manager.actions import Action, Grant, Reject, Start, Stop, Ticket
from samovar.manager.alarm import Alarm
from samovar.manager.census import census_of
from samovar.manager.eviction import Victim
from samovar.manager.functions import Functions
from samovar.manager.instances import Instances, NoRoomError, Origin, with_queueing
from samovar.manager.keep_alive import KeepAlivePolicy
from samovar.manager.leases import Granted, Held
from samovar.manager.limits import ConcurrencyLedger
from samovar.manager.policies import policy_named
from samovar.manager.pool import BEFOREHAND, Pool, PoolKey
from samovar.manager.pools import Pools
from samovar.manager.refusals import check_scale, shutting_down
from samovar.manager.room import Room
from samovar.manager.tally import Tally
from samovar.model.errors import PlatformError
from samovar.model.function import LATEST, FunctionId, FunctionVersion, VersionKey
from samovar.model.instance import InstanceId
from samovar.model.invocation import INIT_LIMIT_S, ColdCause, Outcome, StartReport
from samovar.model.scale import Provisioned, ProvisionedStatus, Scale
from samovar.model.tuning import Tuning
from samovar.ports import InitFailedError, Lease, Placement, Worker
from samovar.telemetry.log import get_logger

log = get_logger("manager")

FORGET_AFTER_S = 3600.0
"""See `Pools`."""
ROUND_S = 1.0
"""Between two looks at workers where nothing has happened."""
TIMER_RESOLUTION_S = 0.001

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
        keep_alive: str = "fixed",
        policies: Callable[[str], KeepAlivePolicy] | None = None,
        concurrency_target: float = 0.8,
        forget_after_s: float = FORGET_AFTER_S,
        round_s: float = ROUND_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workers = {worker.status().id: worker for worker in workers}
        self.ledger = ledger
        self._queue_timeout_s = queue_timeout_s
        self._init_limit_s = init_limit_s
        self._round_s = round_s
        self._monotonic = monotonic
        named = policies or functools.partial(policy_named, idle_timeout_s=idle_timeout_s)
        self._functions = Functions(named, keep_alive, concurrency_target)
        self._pools = Pools(self._functions, forget_after_s)
        self._room = Room(self._workers, placement, self._make_room)
        self.tally = Tally()
        self._instances = Instances(
            self._workers, self._room, self._functions, self.tally, monotonic
        )
        self._tickets: dict[Ticket, asyncio.Future[Granted]] = {}
        self._leases: dict[int, Held] = {}
        self._numbers = itertools.count(1)
        self._tasks = asyncio.TaskGroup()
        self._alarm = Alarm(self._on_time, monotonic)
        self._next_round = Alarm(self._go_round, monotonic)
        self._at_rest = asyncio.Event()
        self._in_flight = 0
        self._draining = False
        for worker in workers:
            worker.on_exit(self._gone)

    async def __aenter__(self) -> PoolManager:
        await self._tasks.__aenter__()
        self._next_round.set(self._monotonic() + self._round_s)
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self._tasks.__aexit__(None, None, None)
        self._alarm.cancel()
        self._next_round.cancel()

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
        now = self._monotonic()
        pool = self._pools.get(PoolKey(version.key, tenant))
        instance = pool.take_provisioned() if pool is not None else None
        on_demand = instance is None
        if on_demand:
            self.ledger.admit(version.id)
            pool = pool or self._pools.make(version, tenant, now)
            instance = pool.take()
        assert pool is not None
        self._in_flight += 1
        pool.keep.arrived(now, cold=instance is None)
        if instance is None:
            return await self._wait(pool, now)
        origin = self._instances[instance]
        report, origin.first = origin.first, None
        return self._lease(pool, instance, origin, report or WARM, on_demand=on_demand)

    def release(self, lease: Lease, outcome: Outcome | None) -> None:
        """See `ports.Manager`. Of a lease that has ended already, it does nothing."""
        held = self._leases.pop(lease.number, None)
        if held is None:
            return
        if outcome is not None and outcome.pending:
            self._tasks.create_task(self._release_when_idle(lease.worker, held))
        else:
            self._give_back(held, survives=outcome is not None and outcome.instance_survives)

    async def prepare(self, version: FunctionVersion) -> None:
        """See `ports.Manager`. Every worker that could run it gets ready."""
        for worker in self._workers.values():
            if version.runtime in worker.status().runtimes:
                await worker.prepare(version)

    def supersede(self, function: FunctionId, version: str, current: VersionKey | None) -> None:
        """See `ports.Manager`. What was asked for of those instances is not kept any more."""
        provisioned = 0
        for pool in self._pools.of(function, version):
            if pool.key.version == current:
                provisioned += pool.scale.provisioned
            else:
                self._perform(pool, pool.retire())
        for worker in self._workers.values():
            worker.forget(function, version, current)
        self.ledger.provision(function, version, provisioned)
        if current is None and version == LATEST:
            self._functions.forget(function)
            self.tally.forget(function)

    def renew(self, version: FunctionVersion) -> None:
        """See `ports.Manager`. What waits already is still served by the old pools."""
        for old in self._pools.of(version.id, version.version):
            if old.key.version == version.key:
                now, scale = self._monotonic(), old.scale
                new = self._pools.make(version, old.key.tenant, now, ColdCause.FORCED)
                self._perform(old, old.retire())
                self._perform(new, new.ask(scale, now))

    def set_reserved_concurrency(self, function: FunctionId, limit: int | None) -> None:
        """See `ports.Manager`. Raises INVALID_PARAMETER where the others would get too little."""
        if limit is not None:
            self.ledger.check_reservation(function, limit)
        self.ledger.reserve(function, limit)

    def set_scale(self, version: FunctionVersion, scale: Scale) -> None:
        """See `ports.Manager`. It holds for exactly this code and configuration, until that is
        superseded."""
        check_scale(version, scale)
        pool, now = self._pools.get(PoolKey(version.key, None)), self._monotonic()
        self.ledger.provision(version.id, version.version, scale.provisioned)
        if pool is None and scale != Scale():
            pool = self._pools.make(version, None, now)
        if pool is not None:
            self._perform(pool, pool.ask(scale, now))

    def provisioned(self, version: FunctionVersion) -> Provisioned:
        """See `ports.Manager`."""
        pool = self._pools.get(PoolKey(version.key, None))
        return pool.progress() if pool else Provisioned(0, 0, 0, ProvisionedStatus.READY)

    def tune(self, function: FunctionId, tuning: Tuning) -> None:
        """See `ports.Manager`. Raises INVALID_PARAMETER for a policy that there is not."""
        state = self._functions.tune(function, tuning)
        for pool in self._pools.of(function):
            soft = state.soft_limit(pool.version, self._functions.concurrency_target)
            self._perform(pool, pool.tune(state.keep, soft))

    def census(self) -> ManagerCensus:
        """See `census.ManagerView`."""
        pools = {*self._pools, *self._instances.pools()}
        return census_of(pools, self.ledger, self.tally)

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

    async def _wait(self, pool: Pool, asked: float) -> Lease:
        ticket = Ticket(next(self._numbers))
        future: asyncio.Future[Granted] = asyncio.get_running_loop().create_future()
        self._tickets[ticket] = future
        granted: Granted | None = None
        try:
            self._perform(pool, pool.request(ticket))
            if not await _done_within(self._queue_timeout_s, future) and not pool.blocked:
                # An init phase is under way; it has a bound of its own, and ends within it.
                await _done_within(self._init_limit_s + pool.version.timeout_s, future)
            if not future.done():
                raise self._room.no_capacity(pool)
            granted = future.result()
        finally:
            del self._tickets[ticket]
            if granted is None:
                self._finished(pool, on_demand=True)
                self._abandon(pool, ticket, future)
        instance, origin, at, first, provisioned = granted
        if provisioned:
            self.ledger.done(pool.version.id)
        report = with_queueing(first or WARM, (at - asked) * 1e3)
        return self._lease(pool, instance, origin, report, on_demand=not provisioned)

    def _abandon(self, pool: Pool, ticket: Ticket, future: asyncio.Future[Granted]) -> None:
        """Take a request out of the queue, or give back what it was granted a moment ago."""
        pool.cancel(ticket)
        if future.done() and not future.cancelled() and future.exception() is None:
            granted = future.result()
            granted.origin.first = granted.report
            self._release(pool, granted.instance, survives=True)
        self._settle(pool)

    def _lease(
        self,
        pool: Pool,
        instance: InstanceId,
        origin: Origin,
        report: StartReport,
        *,
        on_demand: bool,
    ) -> Lease:
        number = next(self._numbers)
        self._leases[number] = Held(instance, pool, on_demand)
        return Lease(instance, origin.worker, pool.version, report, number)

    async def _release_when_idle(self, worker: Worker, held: Held) -> None:
        survives = False
        try:
            survives = await worker.await_idle(held.instance)
        except Exception:
            log.exception("an instance is not known to be idle", instance=held.instance)
        finally:
            self._give_back(held, survives=survives)

    def _give_back(self, held: Held, *, survives: bool) -> None:
        self._finished(held.pool, on_demand=held.on_demand)
        self._release(held.pool, held.instance, survives=survives)

    def _release(self, pool: Pool, instance: InstanceId, *, survives: bool) -> None:
        actions = pool.released(instance, self._monotonic(), survives=survives)
        if actions or self._room.blocked or pool.due < pool.armed_for:
            self._perform(pool, actions)

    def _finished(self, pool: Pool, *, on_demand: bool) -> None:
        if on_demand:
            self.ledger.done(pool.version.id)
        self._in_flight -= 1
        if not self._in_flight:
            self._at_rest.set()

    # ------------------------------------------------------------ performing

    def _perform(self, pool: Pool, actions: Sequence[Action]) -> None:
        queue = deque(actions)
        while queue:
            match queue.popleft():
                case Grant(ticket, instance):
                    queue.extend(self._grant(pool, ticket, instance))
                case Reject(ticket, error):
                    future = self._tickets.get(ticket)
                    if future is not None and not future.done():
                        future.set_exception(error)
                case Start(cause):
                    if cause not in BEFOREHAND or not self._draining:
                        self._tasks.create_task(self._start(pool, cause))
                case Stop(instance):
                    self._tasks.create_task(self._stop(instance))
        if self._room.blocked and pool.members.idle:
            self._room_came_free()  # what is idle may be evicted
        self._settle(pool)

    def _settle(self, pool: Pool) -> None:
        self._pools.settle(pool, self._monotonic())
        if pool.empty:
            self._room.blocked.discard(pool)
        self._alarm.set(self._pools.timers.next_at)

    def _grant(self, pool: Pool, ticket: Ticket, instance: InstanceId) -> Sequence[Action]:
        future, now = self._tickets.get(ticket), self._monotonic()
        if future is None or future.done():  # the request went away in this turn of the loop
            return pool.released(instance, now, survives=True)
        origin = self._instances[instance]
        report, origin.first = origin.first, None
        provisioned = pool.members.is_provisioned(instance)
        future.set_result(Granted(instance, origin, now, report, provisioned))
        return ()

    async def _start(self, pool: Pool, cause: ColdCause) -> None:
        if pool.blocked and cause is not ColdCause.PREDICTED:
            return self._block(pool, cause)
        try:
            origin = await self._instances.start(pool, cause)
        except NoRoomError:
            return self._block(pool, cause)
        except (InitFailedError, PlatformError) as error:
            self._perform(pool, pool.start_failed(cause, error, self._monotonic()))
            return self._room_came_free()
        self._perform(pool, pool.started(origin.instance, cause, self._monotonic()))
        if cause in BEFOREHAND:
            origin.first = None  # whoever takes it from now on finds it warm
        return None

    async def _stop(self, instance: InstanceId, *, in_a_hurry: bool = False) -> None:
        await self._instances.stop(instance, in_a_hurry=in_a_hurry)
        self._gone(instance)

    def _gone(self, instance: InstanceId) -> None:
        pool = self._instances.gone(instance)
        if pool is not None:
            self._perform(pool, pool.lost(instance))
            self._room_came_free()

    # ------------------------------------------------------------ room

    async def _make_room(self, leaving: Sequence[Victim]) -> None:
        async with asyncio.TaskGroup() as stops:
            for worth, instance, pool in leaving:
                pool.keep.evicted(worth)
                self.tally.evicted(pool.version.id)
                for _ in pool.evict(instance):
                    stops.create_task(self._stop(instance, in_a_hurry=True))

    def _block(self, pool: Pool, cause: ColdCause) -> None:
        pool.start_blocked(cause)
        if pool.blocked:
            self._room.blocked.add(pool)
        self._perform(pool, ())

    def _room_came_free(self) -> None:
        for pool in self._room.could_start(self._monotonic()):
            self._perform(pool, pool.unblock())

    # ------------------------------------------------------------ time

    def _on_time(self) -> None:
        now = self._monotonic()
        for pool in self._pools.timers.due(now):
            self._perform(pool, pool.on_time(now) if pool.due <= now else ())
        self._alarm.set(self._pools.timers.next_at)

    def _go_round(self) -> None:
        self._room.look_around()
        if self._room.blocked:
            self._room_came_free()
        self._next_round.set(self._monotonic() + self._round_s)


async def _done_within(limit_s: float, future: asyncio.Future[Granted]) -> bool:
    done, _ = await asyncio.wait((future,), timeout=limit_s)
    return bool(done)
