"""Which idle instances are to go, so that another can start (a decision only).

How this works. A heap has every instance by what it was worth when it was looked at last; that it
has been used since shows only when it comes to the top, and it is put back by what it is worth
now. So using an instance costs nothing here, and looking for the cheapest one costs about as much
as there was use since. What has come to be worth less does not come to the top by itself: each
search looks at some more, all of them in turn.

What policies of different kinds say cannot be compared: each has a heap of its own, and of the
cheapest ones that goes which has been idle for longest.
"""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from samovar.capacity import VCPU_TOLERANCE
from samovar.manager.keep_alive import KeepAlive
from samovar.manager.pool import Pool
from samovar.model.function import CodeRef
from samovar.model.instance import InstanceId, WorkerId
from samovar.ports import Need, WorkerStatus

LOOKS = 256
"""Entries of each kind that one search looks at, at the most; the next one goes on from there."""
REFRESHED = 16
"""Instances that each search looks at, whatever they were worth."""
SLACK = 64
"""Entries of instances that are gone, beyond as many as there are living ones."""
WORKERS = 16
"""Workers that one search looks at, at the most."""


class Victim(NamedTuple):
    """An instance that could go. Of one kind of policy, that of the least worth goes first."""

    worth: float
    instance: InstanceId
    pool: Pool


class _Place(NamedTuple):
    """Where an instance stands."""

    kind: type[KeepAlive]
    """Of its policy: worths are comparable within it."""
    worth: float


class Eviction:
    """The order in which instances go."""

    def __init__(self) -> None:
        self._heaps: dict[type[KeepAlive], list[tuple[float, InstanceId]]] = {}
        self._places: OrderedDict[InstanceId, _Place] = OrderedDict()
        """By which entry of a heap each counts; at the front is what was looked at longest ago."""
        self._where: dict[InstanceId, WorkerId] = {}
        self._on: dict[WorkerId, dict[InstanceId, Pool]] = {}

    def __len__(self) -> int:
        """Entries of all heaps, those that do not count any more included."""
        return sum(map(len, self._heaps.values()))

    def add(self, instance: InstanceId, worker: WorkerId, pool: Pool, now: float) -> None:
        """An instance has come up."""
        self._where[instance] = worker
        self._on.setdefault(worker, {})[instance] = pool
        self._look_at(instance, now)

    def remove(self, instance: InstanceId) -> None:
        """Nothing of it is left."""
        worker = self._where.pop(instance)
        del self._places[instance]
        del self._on[worker][instance]
        if not self._on[worker]:
            del self._on[worker]
        self._tidy_up()

    def worker_of(self, instance: InstanceId) -> WorkerId:
        """Where an instance is."""
        return self._where[instance]

    def idle_on(self, worker: WorkerId, now: float) -> list[Victim]:
        """The instances of one worker that may go, the cheapest first."""
        kinds: dict[type[KeepAlive], list[tuple[float, InstanceId, float, Pool]]] = {}
        for instance, pool in self._on.get(worker, {}).items():
            since = pool.idle_since(instance)
            if since is not None:
                worth = pool.keep.worth(now, since)
                kinds.setdefault(type(pool.keep), []).append((worth, instance, since, pool))
        ranked = (sorted(entries) for entries in kinds.values())
        return [
            Victim(worth, instance, pool)
            for worth, instance, _, pool in heapq.merge(*ranked, key=lambda entry: entry[2])
        ]

    def could_free_mib(self, worker: WorkerId) -> int:
        """What instances hold on a worker that go by and by, busy ones included: not those that are
        provisioned or of a least number."""
        here = self._on.get(worker, {})
        return sum(
            pool.version.memory_mib
            for instance, pool in here.items()
            if _goes_in_time(pool, instance)
        )

    def victims(
        self, need: Need, workers: Mapping[WorkerId, WorkerStatus], now: float
    ) -> list[Victim]:
        """Return as many as must go, all of one worker and the cheapest of it first; none where
        no worker's idle ones together would leave enough room. Of such workers it is that with
        the cheapest instance."""
        for instance in list(islice(self._places, REFRESHED)):
            self._look_at(instance, now)
        self._tidy_up()
        seen: list[tuple[_Place, InstanceId]] = []
        tried: set[WorkerId] = set()
        chosen: list[Victim] = []
        ranked = [self._cheapest(kind, now, seen) for kind in list(self._heaps)]
        for _, instance in heapq.merge(*ranked, key=lambda idle: idle[0]):
            where = self._where[instance]
            if where in tried or where not in workers:
                continue
            tried.add(where)
            chosen = _enough(need, workers[where], self.idle_on(where, now), self._on[where])
            if chosen or len(tried) == WORKERS:
                break
        for place, instance in seen:
            heapq.heappush(self._heaps[place.kind], (place.worth, instance))
        return chosen

    def _cheapest(
        self, kind: type[KeepAlive], now: float, seen: list[tuple[_Place, InstanceId]]
    ) -> Iterator[tuple[float, InstanceId]]:
        """Idle ones of one kind of policy, the cheapest first, and since when they have been idle.
        What it takes from the heap, and still counts, is `seen`."""
        heap = self._heaps[kind]
        for _ in range(min(LOOKS, len(heap))):
            if not heap:
                break
            worth, instance = heapq.heappop(heap)
            place = _Place(kind, worth)
            if self._places.get(instance) != place:
                continue  # it is gone, or stands elsewhere
            since = self._look_at(instance, now)
            if self._places[instance] == place:
                seen.append((place, instance))
                if since is not None:
                    yield since, instance

    def _look_at(self, instance: InstanceId, now: float) -> float | None:
        """See what an instance is worth now, and return since when it has been idle."""
        pool = self._on[self._where[instance]][instance]
        since = pool.idle_since(instance)
        worth = pool.keep.worth(now, now if since is None else since)
        place = _Place(type(pool.keep), worth)
        if self._places.get(instance) != place:
            self._places[instance] = place
            heapq.heappush(self._heaps.setdefault(place.kind, []), (worth, instance))
        self._places.move_to_end(instance)
        return since

    def _tidy_up(self) -> None:
        if len(self) <= 2 * len(self._where) + SLACK:
            return
        self._heaps = {}
        for instance, place in self._places.items():
            self._heaps.setdefault(place.kind, []).append((place.worth, instance))
        for heap in self._heaps.values():
            heapq.heapify(heap)


def _goes_in_time(pool: Pool, instance: InstanceId) -> bool:
    """Whether it is kept no longer than there is use for it."""
    return not (pool.targets.scale.min_instances or pool.members.is_provisioned(instance))


def could_take(need: Need, worker: WorkerStatus) -> bool:
    """Whether a worker could take an instance, if nothing else ran there."""
    return (
        not worker.draining
        and worker.pressure.admits
        and need.runtime in worker.runtimes
        and need.architecture == worker.architecture
        and worker.isolation.meets(need.isolation)
        and need.memory_mib <= worker.memory_mib
        and worker.id not in need.refused_by
    )


def _enough(
    need: Need, worker: WorkerStatus, idle: list[Victim], here: Mapping[InstanceId, Pool]
) -> list[Victim]:
    """The first of them that together leave room for it; none where all of them do not."""
    if not could_take(need, worker):
        return []
    free_mib, free_vcpus = worker.free_memory_mib, worker.free_vcpus + VCPU_TOLERANCE
    lacking_bytes = 0
    if need.code_sha256 not in worker.warm_code:
        lacking_bytes = max(0, need.disk_mib - worker.free_disk_mib) << 20
    users = (
        Counter(code for pool in here.values() for code in _code_of(pool)) if lacking_bytes else {}
    )
    for count, victim in enumerate(idle, 1):
        free_mib += victim.pool.version.memory_mib
        free_vcpus += victim.pool.version.vcpus
        if lacking_bytes > 0:
            for code in _code_of(victim.pool):
                users[code] -= 1
                lacking_bytes -= 0 if users[code] else code.unpacked_bytes
        if free_mib >= need.memory_mib and free_vcpus >= need.vcpus and lacking_bytes <= 0:
            return idle[:count]
    return []


def _code_of(pool: Pool) -> tuple[CodeRef, ...]:
    """What an instance keeps on the disk, with all others that use it."""
    return (pool.version.code, *(layer.code for layer in pool.version.layers))
