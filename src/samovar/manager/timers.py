"""When pools have to be looked at again (pure): a heap, so that a million pools cost nothing."""

from __future__ import annotations

import heapq
import itertools
import math

from samovar.manager.pool import Pool

SLACK = 64
"""Entries that count no more, beyond half of them all."""


class Timers:
    """One entry a pool counts: the earliest. One that comes too early (its pool has been used
    since) is put back by whoever looks: an instance that is used all the time moves no entry."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Pool]] = []
        self._numbers = itertools.count()
        self._dead = 0
        """Entries that count no more."""

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def next_at(self) -> float:
        """When the first one is due."""
        return self._heap[0][0] if self._heap else math.inf

    def arm(self, pool: Pool, at: float) -> None:
        """Look at the pool then, at the latest."""
        if at < pool.armed_for:
            self.disarm(pool)
            pool.armed_for = at
            heapq.heappush(self._heap, (at, next(self._numbers), pool))

    def disarm(self, pool: Pool) -> None:
        """It need not be looked at any more."""
        if pool.armed_for == math.inf:
            return
        pool.armed_for = math.inf
        self._dead += 1
        if self._dead > len(self._heap) // 2 + SLACK:
            self._heap = [entry for entry in self._heap if entry[0] == entry[2].armed_for]
            heapq.heapify(self._heap)
            self._dead = 0

    def due(self, now: float) -> list[Pool]:
        """Take out what is due. Each of them must be armed again, if there is anything more."""
        pools: list[Pool] = []
        while self._heap and self._heap[0][0] <= now:
            at, _, pool = heapq.heappop(self._heap)
            if at == pool.armed_for:
                pool.armed_for = math.inf
                pools.append(pool)
            else:
                self._dead -= 1
        return pools
