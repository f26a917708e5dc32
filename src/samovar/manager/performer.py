"""Performs what pools decide: starts and stops instances, and tells requests that wait.

Each start and each stop is a task of its own, in the group that the manager gives. Pools are
looked at when they are due, and workers on a slow round.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from samovar.manager.actions import Action, Grant, Reject, Start, Stop, Ticket
from samovar.manager.alarm import Alarm
from samovar.manager.eviction import Victim
from samovar.manager.functions import Functions
from samovar.manager.instances import Instances, NoRoomError
from samovar.manager.pool import BEFOREHAND, Pool
from samovar.manager.pools import Pools
from samovar.manager.room import Room
from samovar.manager.tally import Tally
from samovar.manager.tickets import Granted, Tickets
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
                    self._start_in_time(pool, cause)
                case Stop(instance):
                    self._tasks.create_task(self._stop(instance))
        if self.room.blocked and pool.members.idle:
            self._room_came_free()  # what is idle may be evicted
        self.settle(pool)

    def settle(self, pool: Pool) -> None:
        """See to it that a pool is looked at in time."""
        self._pools.settle(pool, self._monotonic())
        if pool.empty and pool.blocked:  # nobody waits for room any more
            self.room.blocked.discard(pool)
            pool.unblock()
        self._alarm.set(self._pools.timers.next_at)

    def release(self, pool: Pool, instance: InstanceId, *, survives: bool) -> None:
        """A request has ended in an instance."""
        actions = pool.released(instance, self._monotonic(), survives=survives)
        if actions or self.room.blocked or pool.due < pool.armed_for:
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

    def _start_in_time(self, pool: Pool, cause: ColdCause) -> None:
        """Start an instance when the function's scaling rate allows for it. (Those that nobody
        waits for are few at a time, and not counted.)"""
        if cause in BEFOREHAND:
            delay_s = 0.0
        else:
            delay_s = self._functions.of(pool.version).rates.start(self._monotonic())
        if delay_s:
            asyncio.get_running_loop().call_later(delay_s, self._begin_late, pool, cause)
        elif cause not in BEFOREHAND or not self.draining:
            self._tasks.create_task(self._start(pool, cause))

    def _begin_late(self, pool: Pool, cause: ColdCause) -> None:
        if self._closed:
            return
        if pool.tickets:
            self._tasks.create_task(self._start(pool, cause))
        else:  # whoever waited for its turn has been served, or has gone
            pool.start_blocked(cause, room=True)
            self.settle(pool)

    async def _start(self, pool: Pool, cause: ColdCause) -> None:
        if pool.blocked and cause is not ColdCause.PREDICTED:
            return self._block(pool, cause)
        try:
            origin = await self.instances.start(pool, cause)
        except NoRoomError:
            return self._block(pool, cause)
        except (InitFailedError, PlatformError) as error:
            self.perform(pool, pool.start_failed(cause, error, self._monotonic()))
            return self._room_came_free()
        self.perform(pool, pool.started(origin.instance, cause, self._monotonic()))
        self.came_up(pool)
        if cause in BEFOREHAND:
            origin.first = None  # whoever takes it from now on finds it warm
        return None

    async def _stop(self, instance: InstanceId, *, in_a_hurry: bool = False) -> None:
        await self.instances.stop(instance, in_a_hurry=in_a_hurry)
        self._gone(instance)

    def _gone(self, instance: InstanceId) -> None:
        pool = self.instances.gone(instance)
        if pool is not None:
            self.perform(pool, pool.lost(instance, self._monotonic()))
            self._room_came_free()

    # ------------------------------------------------------------ room

    async def _make_room(self, leaving: Sequence[Victim]) -> None:
        async with asyncio.TaskGroup() as stops:
            for worth, instance, pool in leaving:
                if pool.idle_since(instance) is None:
                    continue  # of a least number only some may go
                pool.keep.evicted(worth)
                self._tally.evicted(pool.version.id)
                pool.evict(instance)
                stops.create_task(self._stop(instance, in_a_hurry=True))

    def _block(self, pool: Pool, cause: ColdCause) -> None:
        pool.start_blocked(cause)
        if pool.blocked:
            self.room.blocked.add(pool)
        self.perform(pool, ())

    def _room_came_free(self) -> None:
        for pool in self.room.could_start(self._monotonic()):
            self.perform(pool, pool.unblock())

    def _pressed(self, worker: WorkerId) -> None:
        self._tasks.create_task(self._relieve(worker))

    async def _relieve(self, worker: WorkerId) -> None:
        await self.room.relieve(worker, self._monotonic())
        self._room_came_free()

    def _go_round(self) -> None:
        for worker in self.room.look_around():
            self._pressed(worker)
        if self.room.blocked:
            self._room_came_free()
        self.room.claim()
        self._next_round.set(self._monotonic() + self._round_s)
