"""When pools have to be looked at again (pure): a heap, so that a million pools cost nothing."""

from __future__ import annotations

import heapq
import itertools
import math

from samovar.manager.pool import Pool


class Timers:
    """At most a few entries a pool. One that comes too early (its pool has been used since) is
    put back by whoever looks: an instance that is used all the time moves no entry."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Pool]] = []
        self._numbers = itertools.count()

    @property
    def next_at(self) -> float:
        """When the first one is due."""
        return self._heap[0][0] if self._heap else math.inf

    def arm(self, pool: Pool, at: float) -> None:
        """Look at the pool then, at the latest."""
        if at < pool.armed_for:
            pool.armed_for = at
            heapq.heappush(self._heap, (at, next(self._numbers), pool))

    def due(self, now: float) -> list[Pool]:
        """Take out what is due. Each of them must be armed again, if there is anything more."""
        pools: list[Pool] = []
        while self._heap and self._heap[0][0] <= now:
            at, _, pool = heapq.heappop(self._heap)
            if at == pool.armed_for:  # else it was armed for an earlier time since
                pool.armed_for = math.inf
                pools.append(pool)
        return pools
