"""Room for instances: asking placement for it, making it by evicting, and who waits for it.

How this works. Placement knows of each worker what it was told last, less what it has given away
since. Workers are looked at again only where something has happened; all of them by and by, on a
slow round. What is made free for somebody is held back from everybody else until it is taken.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from samovar.manager.eviction import Eviction, Victim, could_take
from samovar.manager.needs import need_of
from samovar.manager.pool import Pool
from samovar.manager.refusals import never_fits, no_capacity
from samovar.model.errors import PlatformError
from samovar.model.instance import InstanceId, WorkerId
from samovar.ports import Need, Placement, Worker, WorkerStatus

ROUND_WORKERS = 64
"""So many workers are looked at on each round, whether anything has happened there or not."""

MakeRoom = Callable[[Sequence[Victim]], Awaitable[None]]
"""Stops these instances; returns when they are gone."""


class Room:
    """All workers' room."""

    def __init__(
        self, workers: Mapping[WorkerId, Worker], placement: Placement, make_room: MakeRoom
    ) -> None:
        self._workers = workers
        self._placement = placement
        self._make_room = make_room
        self._statuses: dict[WorkerId, WorkerStatus] = {}
        self._held: dict[WorkerId, list[Need]] = {}
        """What is being made free there, and for what."""
        self._changed: set[WorkerId] = set(workers)
        self._claim: tuple[Pool, WorkerId, Need] | None = None
        """What is held for whoever has been blocked for longest."""
        self._longest: float | None = None
        """The request that had been blocked for longest on the last round."""
        self._pressed: set[WorkerId] = set()
        """Workers that take nothing new, or want something back."""
        self._relieved: set[WorkerId] = set()
        """Those of them where instances are being stopped for that."""
        self._round: Iterator[WorkerId] = itertools.cycle(workers)
        self.eviction = Eviction()
        self.blocked: set[Pool] = set()
        """Pools that wait for room."""

    # ------------------------------------------------------------ instances

    async def place(self, pool: Pool, now: float, *, evicting: bool = True) -> WorkerId | None:
        """Find a worker with room for another instance of a pool, and count it there; where need
        be, the cheapest idle instances of any function are stopped first. None: there is no room,
        and stopping what is idle would not make enough. Raises `PlatformError` where there will
        never be any."""
        need = need_of(pool)
        if self._claim is not None and self._claim[0] is pool:
            self._give_up_claim()
        while True:
            where = self._placed(need)
            if where is not None:
                pool.beside[where] = pool.beside.get(where, 0) + 1
                self._changed.add(where)
                return where
            leaving = self.eviction.victims(need, self._statuses, now) if evicting else []
            if not leaving:
                why = self._placement.explain(need)
                never = never_fits(need, why, self._statuses.values())
                if never is not None:
                    raise never
                return None
            await self._evict(leaving, need)

    def came_up(self, pool: Pool, instance: InstanceId, where: WorkerId, now: float) -> None:
        """A start that was placed has succeeded."""
        self.eviction.add(instance, where, pool, now)
        self._changed.add(where)

    def is_free(self, pool: Pool, where: WorkerId, instance: InstanceId | None = None) -> None:
        """A start that was placed has failed, or nothing is left of this instance."""
        if instance is not None:
            self.eviction.remove(instance)
        self._changed.add(where)
        left = pool.beside[where] - 1
        if left:
            pool.beside[where] = left
        else:
            del pool.beside[where]

    # ------------------------------------------------------------ who waits

    def could_start(self, now: float) -> Iterator[Pool]:
        """Of those that are blocked the ones for which there is room now, the oldest request
        first. Not all of them, or each release of a busy function would make every waiting
        request of every blocked one try in vain."""
        too_large: dict[tuple[str, str], int] = {}
        for pool in sorted(self.blocked, key=_oldest):
            need = need_of(pool)
            kind = need.runtime, need.architecture
            if pool not in self.blocked or need.memory_mib >= too_large.get(kind, 1 << 62):
                continue
            claim = self._claim
            if claim is not None and claim[0] is pool:
                self._give_up_claim()
            if self._would_fit(need, now):
                self.blocked.discard(pool)
                yield pool
            elif claim is not None and claim[0] is pool:
                self._hold(claim)
                too_large[kind] = need.memory_mib
            else:
                too_large[kind] = need.memory_mib

    def claim(self) -> None:
        """Called on each round: where the same request is still the one that waits for longest,
        hold what comes free on one worker for it, or smaller ones would have it for ever."""
        self._give_up_claim()
        pool = min((pool for pool in self.blocked if pool.tickets), key=_oldest, default=None)
        longest = None if pool is None else _oldest(pool)
        if pool is not None and longest == self._longest:
            need = need_of(pool)
            able = [status for status in self._statuses.values() if could_take(need, status)]
            if able:
                freest = max(able, key=lambda status: status.free_memory_mib)
                self._hold((pool, freest.id, need))
        self._longest = longest

    def _hold(self, claim: tuple[Pool, WorkerId, Need]) -> None:
        self._claim = claim
        self._held.setdefault(claim[1], []).append(claim[2])
        self._changed.add(claim[1])

    def _give_up_claim(self) -> None:
        if self._claim is not None:
            _, where, need = self._claim
            self._claim = None
            self._let_go(where, need)

    def _let_go(self, where: WorkerId, need: Need) -> None:
        held = self._held[where]
        held.remove(need)
        if not held:
            del self._held[where]
        self._changed.add(where)

    def no_capacity(self, pool: Pool) -> PlatformError:
        """What a request is told that has waited for as long as it may."""
        return no_capacity(pool, self._placement.explain(need_of(pool)) if pool.blocked else ())

    # ------------------------------------------------------------ workers

    def look_around(self) -> Iterable[WorkerId]:
        """Look at some workers again: their code caches and their use change by themselves. Return
        those that are under pressure."""
        self._changed.update(itertools.islice(self._round, min(ROUND_WORKERS, len(self._workers))))
        return list(self._pressed)

    async def relieve(self, worker: WorkerId, now: float) -> None:
        """Give a worker back what it wants, where idle instances suffice: the cheapest go first.
        One that is draining wants everything.

        It says what it wants of what is really used, which is less than what was promised; what an
        instance really uses is taken to be its share of that."""
        status = self.look_at(worker)
        pressure = status.pressure
        if pressure.admits and not pressure.reclaim_mib and not status.draining:
            self._pressed.discard(worker)
            return
        self._pressed.add(worker)
        if worker in self._relieved:
            return  # what is being stopped may suffice
        promised_mib = status.memory_mib - status.free_memory_mib
        used_share = min(1.0, pressure.memory_used_mib / promised_mib) if promised_mib else 1.0
        leaving: list[Victim] = []
        wanted_mib = math.inf if status.draining else float(pressure.reclaim_mib)
        for victim in self.eviction.idle_on(worker, now):
            if wanted_mib <= 0:
                break
            wanted_mib -= victim.pool.version.memory_mib * (used_share or 1.0)
            leaving.append(victim)
        self._relieved.add(worker)
        try:
            await self._make_room(leaving)
        finally:
            self._relieved.discard(worker)

    def look_at(self, worker: WorkerId) -> WorkerStatus:
        """Learn a worker's status, and tell it to placement, less what is held there."""
        self._changed.discard(worker)
        status = self._workers[worker].status()
        for need in self._held.get(worker, ()):
            status = replace(
                status,
                free_memory_mib=status.free_memory_mib - need.memory_mib,
                free_vcpus=status.free_vcpus - need.vcpus,
            )
        self._statuses[worker] = status
        self._placement.observe(status)
        return status

    def _placed(self, need: Need) -> WorkerId | None:
        while self._changed:
            self.look_at(next(iter(self._changed)))
        return self._placement.place(need)

    def _would_fit(self, need: Need, now: float) -> bool:
        where = self._placed(need)
        if where is not None:
            self.look_at(where)  # nothing was taken there
            return True
        return bool(self.eviction.victims(need, self._statuses, now))

    async def _evict(self, leaving: Sequence[Victim], need: Need) -> None:
        where = self.eviction.worker_of(leaving[0].instance)
        self._held.setdefault(where, []).append(need)
        self.look_at(where)
        try:
            await self._make_room(leaving)
        finally:
            self._let_go(where, need)


def _oldest(pool: Pool) -> float:
    """Of the requests that wait for a pool; what is started beforehand comes after all of them."""
    return next(iter(pool.tickets), math.inf)
