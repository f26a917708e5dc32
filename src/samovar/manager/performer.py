"""Performs what pools decide: starts and stops instances, and tells requests that wait.

Each start and each stop is a task of its own, in the group that the manager gives. Pools are
looked at when they are due, and workers on a slow round.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from samovar.manager.actions import Action, Grant, Reject, Start, Stop, Ticket
from samovar.manager.alarm import Alarm
from samovar.manager.eviction import Victim
from samovar.manager.functions import Functions
from samovar.manager.instances import Instances, NoRoomError
from samovar.manager.pool import Pool
from samovar.manager.pools import Pools
from samovar.manager.room import Reservation, Room
from samovar.manager.starts import BEFOREHAND
from samovar.manager.tally import Tally
from samovar.manager.tickets import Granted, Tickets
from samovar.manager.waiters import Waiters
from samovar.model.errors import PlatformError
from samovar.model.instance import InstanceId, WorkerId
from samovar.model.invocation import ColdCause
from samovar.ports import InitFailedError, Placement, Worker


class Performer:
    """See the module's text. `round_s`: between two looks at workers where nothing happens."""

    def __init__(
        self,
        workers: Mapping[WorkerId, Worker],
        placement: Placement,
        functions: Functions,
        pools: Pools,
        tally: Tally,
        tasks: asyncio.TaskGroup,
        round_s: float,
        monotonic: Callable[[], float],
    ) -> None:
        self._functions = functions
        self._pools = pools
        self._tally = tally
        self._tasks = tasks
        self._round_s = round_s
        self._monotonic = monotonic
        self.room = Room(workers, placement, self._make_room)
        self.waiters = Waiters(self._begin, monotonic)
        self.instances = Instances(workers, self.room, functions, tally, monotonic)
        self.tickets = Tickets()
        self.draining = False
        """Nothing is started beforehand any more."""
        self.came_up: Callable[[Pool], None] = lambda _: None
        """Told of the pool of each instance that has come up."""
        self._closed = False
        self._alarm = Alarm(self.on_time, monotonic)
        self._next_round = Alarm(self._go_round, monotonic)
        for worker in workers.values():
            worker.on_exit(self._gone)
            worker.on_pressure(self._pressed)

    def open(self) -> None:
        """Begin to look around."""
        self._next_round.set(self._monotonic() + self._round_s)

    def close(self) -> None:
        """Look at nothing, and start nothing, any more."""
        self._closed = True
        self._alarm.cancel()
        self._next_round.cancel()
        self.waiters.close()

    def perform(self, pool: Pool, actions: Sequence[Action]) -> None:
        """Do what a pool has decided. Does not wait."""
        queue = deque(actions)
        while queue:
            match queue.popleft():
                case Grant(ticket, instance):
                    queue.extend(self._grant(pool, ticket, instance))
                case Reject(ticket, error):
                    self.tickets.reject(ticket, error)
                case Start(cause):
                    queue.extend(self._start_in_time(pool, cause))
                case Stop(instance):
                    self._tasks.create_task(self._stop(instance))
        if self.waiters and pool.members.idle:
            self.waiters.wake()  # what is idle may be evicted
        self.settle(pool)

    def settle(self, pool: Pool) -> None:
        """See to it that a pool is looked at in time."""
        self._pools.settle(pool, self._monotonic())
        if pool.blocked and pool.unblock():  # nobody needs it any more
            self.waiters.discard(pool)
        self._alarm.set(self._pools.timers.next_at)

    def release(self, pool: Pool, instance: InstanceId, *, survives: bool) -> None:
        """A request has ended in an instance."""
        actions = pool.released(instance, self._monotonic(), survives=survives)
        if actions or self.waiters or pool.due < pool.armed_for:
            self.perform(pool, actions)

    def on_time(self) -> None:
        """Some pools are due."""
        now = self._monotonic()
        for pool in self._pools.timers.due(now):
            self.perform(pool, pool.on_time(now) if pool.due <= now else ())
        self._alarm.set(self._pools.timers.next_at)

    # ------------------------------------------------------------ instances

    def _grant(self, pool: Pool, ticket: Ticket, instance: InstanceId) -> Sequence[Action]:
        now = self._monotonic()
        if not self.tickets.is_waiting(ticket):
            return pool.released(instance, now, survives=True)
        origin = self.instances[instance]
        report, origin.first = origin.first, None
        provisioned = pool.members.is_provisioned(instance)
        self.tickets.grant(ticket, Granted(origin, now, report, provisioned))
        return ()

    def _start_in_time(self, pool: Pool, cause: ColdCause) -> Sequence[Action]:
        """Start an instance when the function's scaling rate allows for it. (Those that nobody
        waits for are few at a time, and not counted.) Return what comes of it at once."""
        is_counted = cause not in BEFOREHAND
        if (pool.blocked and cause is not ColdCause.PREDICTED) or (
            self.draining and not is_counted
        ):
            pool.starts.count(cause, -1)
            return ()
        now = self._monotonic()
        delay_s = self._functions.of(pool.version).rates.start(now) if is_counted else 0.0
        if delay_s:
            asyncio.get_running_loop().call_later(delay_s, self._begin_late, pool, cause)
            return ()
        try:
            self._reserve(pool, cause)
        except PlatformError as error:
            self._not_started(pool, cause)
            return pool.start_failed(cause, error, now)
        return ()

    def _begin_late(self, pool: Pool, cause: ColdCause) -> None:
        if self._closed:
            return
        if pool.tickets and not pool.blocked:
            try:
                self._reserve(pool, cause)
            except PlatformError as error:
                self._not_started(pool, cause)
                self.perform(pool, pool.start_failed(cause, error, self._monotonic()))
        else:  # whoever waited for its turn has been served, or has gone, or waits for room
            self._not_started(pool, cause)
            pool.starts.count(cause, -1)
        self.settle(pool)

    def _begin(self, pool: Pool, cause: ColdCause) -> bool:
        """Begin a start of a pool that waits for room, where there is some now."""
        if cause not in BEFOREHAND:
            rates, now = self._functions.of(pool.version).rates, self._monotonic()
            if wait_s := rates.wait_s(now):
                pool.starts.count(cause, -1)
                self.waiters.wake(wait_s)
                return False
            rates.start(now)
        return self._reserve(pool, cause)

    def _reserve(self, pool: Pool, cause: ColdCause) -> bool:
        evicting = cause is not ColdCause.PREDICTED  # nobody needs that one yet
        reserved = self.room.reserve(pool, self._monotonic(), evicting=evicting)
        if reserved is None:
            self._block(pool, cause)
            return False
        self._tasks.create_task(self._start(pool, cause, reserved))
        return True

    async def _start(self, pool: Pool, cause: ColdCause, reserved: Reservation) -> None:
        try:
            origin = await self.instances.start(pool, cause, reserved)
        except NoRoomError:
            self._block(pool, cause)
        except (InitFailedError, PlatformError) as error:
            self.perform(pool, pool.start_failed(cause, error, self._monotonic()))
        else:
            self.perform(pool, pool.started(origin.instance, cause, self._monotonic()))
            self.came_up(pool)
            if cause in BEFOREHAND:
                origin.first = None  # whoever takes it from now on finds it warm
            return
        self.waiters.wake()  # what was reserved is free

    def _not_started(self, pool: Pool, cause: ColdCause) -> None:
        """What was counted has not been begun."""
        if cause not in BEFOREHAND:
            self._functions.of(pool.version).rates.start_given_up()

    def _block(self, pool: Pool, cause: ColdCause) -> None:
        self._not_started(pool, cause)
        if cause is ColdCause.PREDICTED:  # nobody needs it yet
            pool.starts.count(cause, -1)
        else:
            pool.start_blocked(cause)
            self.waiters.add(pool)
        self.settle(pool)

    async def _stop(self, instance: InstanceId, *, in_a_hurry: bool = False) -> None:
        await self.instances.stop(instance, in_a_hurry=in_a_hurry)
        self._gone(instance)

    def _gone(self, instance: InstanceId) -> None:
        pool = self.instances.gone(instance)
        if pool is not None:
            self.perform(pool, pool.lost(instance, self._monotonic()))
            self.waiters.wake()

    # ------------------------------------------------------------ room

    def _make_room(self, leaving: Sequence[Victim]) -> Awaitable[None]:
        stops: list[asyncio.Task[None]] = []
        for worth, instance, pool in leaving:
            if pool.idle_since(instance) is None:
                continue  # of a least number only some may go
            pool.keep.evicted(worth)
            self._tally.evicted(pool.version.id)
            pool.evict(instance)
            stops.append(self._tasks.create_task(self._stop(instance, in_a_hurry=True)))
        return _all_done(stops)

    def _pressed(self, worker: WorkerId) -> None:
        self._tasks.create_task(self._relieve(worker))

    async def _relieve(self, worker: WorkerId) -> None:
        await self.room.relieve(worker, self._monotonic())
        self.waiters.wake()

    def _go_round(self) -> None:
        for worker in self.room.next_round(self.waiters.longest()):
            self._pressed(worker)
        self.waiters.wake()
        self._next_round.set(self._monotonic() + self._round_s)


async def _all_done(stops: Iterable[asyncio.Task[None]]) -> None:
    for stop in stops:
        await stop
