"""Room for instances: asking placement for it, reserving it, and making it by evicting.

How this works. Placement knows of each worker what it was told last, less what it has given away
since. Workers are looked at again only where something has happened; all of them by and by, on a
slow round. What is reserved or made free for somebody is held back from everybody else until it is
taken. The worker has the last word: one that refuses is not asked again for the like for a while.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from samovar.manager.eviction import Eviction, Victim, could_take
from samovar.manager.needs import need_of
from samovar.manager.pool import Pool
from samovar.manager.refusals import never_fits, no_capacity
from samovar.manager.waiters import oldest_ticket
from samovar.model.errors import PlatformError
from samovar.model.instance import InstanceId, WorkerId
from samovar.ports import Need, Placement, Worker, WorkerStatus

ROUND_WORKERS = 64
"""So many workers are looked at on each round, whether anything has happened there or not."""

CLAIM_ROUNDS = 4
CLAIM_PAUSE_ROUNDS = 12
"""For so many rounds in all something may be held for whoever waits for longest; and then nothing
is for so many: who waits for what does not come cannot keep a worker from everybody else."""
CLAIM_WORKERS = 16
"""So many workers are looked at for that, those first that have most free."""

MakeRoom = Callable[[Sequence[Victim]], Awaitable[None]]
"""Has these instances stopped: from now on they serve nobody. Wait for what it returns until they
are gone."""
Claim = tuple[Pool, WorkerId, Need]


@dataclass(slots=True)
class Held:
    """What is held back on a worker, in all."""

    count: int = 0
    memory_mib: int = 0
    vcpus: float = 0.0

    def add(self, need: Need, times: int) -> None:
        """Hold it as well (1), or no more (-1)."""
        self.count += times
        self.memory_mib += times * need.memory_mib
        self.vcpus += times * need.vcpus


@dataclass(frozen=True, slots=True, eq=False)
class Reservation:
    """Room on a worker that is held for a start until `Room.take`."""

    pool: Pool
    need: Need
    where: WorkerId
    asked: float
    evicting: bool
    """Whether others may be stopped for it."""
    emptied: Awaitable[None] | None = None
    """What is being stopped there for it."""


class Room:
    """All workers' room."""

    def __init__(
        self, workers: Mapping[WorkerId, Worker], placement: Placement, make_room: MakeRoom
    ) -> None:
        self._workers = workers
        self._placement = placement
        self._make_room = make_room
        self._statuses: dict[WorkerId, WorkerStatus] = {}
        self._held: dict[WorkerId, Held] = {}
        self._changed: set[WorkerId] = set(workers)
        self._refusals: dict[WorkerId, dict[Pool, WorkerStatus]] = {}
        """Whom a worker has refused since the last round, and what it said of itself then."""
        self._claim: Claim | None = None
        """What is held for whoever has waited for longest."""
        self._claimed = self._claim_pause = 0
        """Rounds with a claim since the last pause; rounds that are left of a pause."""
        self._longest = math.inf
        """The request that had waited for longest on the last round."""
        self._pressed: set[WorkerId] = set()
        """Workers that take nothing new, or want something back."""
        self._relieved: set[WorkerId] = set()
        """Those of them where instances are being stopped for that."""
        self._round: Iterator[WorkerId] = itertools.cycle(workers)
        self.eviction = Eviction()

    # ------------------------------------------------------------ instances

    def reserve(self, pool: Pool, now: float, *, evicting: bool = True) -> Reservation | None:
        """Reserve room for another instance of a pool; where need be, the cheapest idle instances
        of any function are stopped for it. None: there is no room, and stopping what is idle would
        not make enough. Raises `PlatformError` where there will never be any."""
        need, claim = need_of(pool), self._claim
        if claim is not None and claim[0] is pool:
            self._give_up_claim()
        where = self._placed(need)
        if where is not None:
            pool.beside[where] = pool.beside.get(where, 0) + 1
            self._hold(where, need)
            return Reservation(pool, need, where, now, evicting)
        leaving = self.eviction.victims(need, self._statuses, now) if evicting else []
        if leaving:
            where = self.eviction.worker_of(leaving[0].instance)
            self._hold(where, need)
            return Reservation(pool, need, where, now, evicting, self._make_room(leaving))
        if claim is not None and claim[0] is pool:
            self._hold_claim(claim)
        elif not pool.blocked:  # else this has been asked
            why = self._placement.explain(need)
            if (never := never_fits(need, why, self._statuses.values())) is not None:
                raise never
        return None

    async def take(self, reserved: Reservation) -> WorkerId | None:
        """Wait for the room that is reserved, and give the reservation up: the worker counts what
        is started there in the same step. None: there is none after all."""
        again: Reservation | None = reserved
        while again is not None and again.emptied is not None:
            try:
                await again.emptied
            finally:
                self._let_go(again.where, again.need)
            again = self.reserve(again.pool, again.asked, evicting=again.evicting)
        if again is None:
            return None
        self._let_go(again.where, again.need)
        return again.where

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

    # ------------------------------------------------------------ refusals and claims

    def refused(self, pool: Pool, where: WorkerId) -> None:
        """A worker took none that was placed there: it is not asked again for the like until more
        is free there, or the next round."""
        pool.refused_by.add(where)
        self._refusals.setdefault(where, {})[pool] = self._workers[where].status()

    def next_round(self, longest: Pool | None) -> Iterable[WorkerId]:
        """Look at some workers again: their code caches and their use change by themselves. Return
        those that are under pressure. `longest`: that with the request that waits for longest."""
        self._changed.update(itertools.islice(self._round, min(ROUND_WORKERS, len(self._workers))))
        for refused in self._refusals.values():
            for pool in refused:
                pool.refused_by.clear()
        self._refusals.clear()
        self._claim_for(longest)
        return list(self._pressed)

    def _claim_for(self, pool: Pool | None) -> None:
        """Where the same request is still the one that waits for longest, hold what comes free on
        one worker for it, or smaller ones would have it for ever. Not for long: what runs there
        may run for longer still, and nobody else can start anything meanwhile."""
        self._give_up_claim()
        longest = math.inf if pool is None else oldest_ticket(pool)
        same, self._longest = longest == self._longest, longest
        if self._claim_pause:
            self._claim_pause -= 1
        elif self._claimed == CLAIM_ROUNDS:
            self._claimed, self._claim_pause = 0, CLAIM_PAUSE_ROUNDS
        elif pool is not None and same and (where := self._could_be_free(need_of(pool))):
            self._claimed += 1
            self._hold_claim((pool, where, need_of(pool)))

    def _could_be_free(self, need: Need) -> WorkerId | None:
        """A worker that has room for it when what runs there on demand has ended."""
        able = (status for status in self._statuses.values() if could_take(need, status))
        for status in heapq.nlargest(CLAIM_WORKERS, able, key=attrgetter("free_memory_mib")):
            if status.free_memory_mib + self.eviction.could_free_mib(status.id) >= need.memory_mib:
                return status.id
        return None

    def _hold_claim(self, claim: Claim) -> None:
        self._claim = claim
        self._hold(claim[1], claim[2])

    def _give_up_claim(self) -> None:
        if self._claim is not None:
            _, where, need = self._claim
            self._claim = None
            self._let_go(where, need)

    def _hold(self, where: WorkerId, need: Need) -> None:
        self._held.setdefault(where, Held()).add(need, 1)
        self._changed.add(where)

    def _let_go(self, where: WorkerId, need: Need) -> None:
        held = self._held[where]
        held.add(need, -1)
        if not held.count:
            del self._held[where]
        self._changed.add(where)

    def no_capacity(self, pool: Pool) -> PlatformError:
        """What a request is told that has waited for as long as it may."""
        return no_capacity(pool, self._placement.explain(need_of(pool)) if pool.blocked else ())

    # ------------------------------------------------------------ workers

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
        for pool, before in list(self._refusals.get(worker, {}).items()):
            if _has_more(status, before):
                del self._refusals[worker][pool]
                pool.refused_by.discard(worker)
        if (held := self._held.get(worker)) is not None:
            status = replace(
                status,
                free_memory_mib=status.free_memory_mib - held.memory_mib,
                free_vcpus=status.free_vcpus - held.vcpus,
            )
        self._statuses[worker] = status
        self._placement.observe(status)
        return status

    def _placed(self, need: Need) -> WorkerId | None:
        while self._changed:
            self.look_at(next(iter(self._changed)))
        return self._placement.place(need)


def _has_more(now: WorkerStatus, before: WorkerStatus) -> bool:
    return (
        now.free_memory_mib > before.free_memory_mib
        or now.free_vcpus > before.free_vcpus
        or now.free_disk_mib > before.free_disk_mib
    )
